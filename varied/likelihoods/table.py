"""Likelihoods of table rows."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributions as td
from torch.distributions import Distribution

from varied import distributions as d
from varied.errors import VariedError
from varied.likelihoods.base import Likelihood
from varied.nets.library_size import InitializedFromRows


class TableRow(Likelihood, InitializedFromRows):
    """Table rows: mixtures for numbers and counts, and categorical distributions for categories.

    See `varied.distributions.TableRow` for the formula and the reference. By default, the
    likelihood also models whether each cell is missing. Missing values are not imputed.

    Arguments:
        event: The shape (W) of one row.
        layout: The types of the columns in order, as written by the table codec: "n" for a number,
            "n2" for a number with 2 frequent values, "k" for a count, "c5" for a category with 5
            levels. A trailing "?", as in "n?", means that cells may be missing.
        n_components: The number of components of each mixture.
        min_scale: The minimum standard deviation of a component; an entire column has a standard
            deviation of about 1.
        model_missing: Whether to model which cells are missing; otherwise, cells are assumed to be
            missing at random.
    """

    accepts = frozenset({"table"})
    #: The logit of a cell being observed, for columns without missing cells in the training data.
    ALWAYS_OBSERVED = 20.0
    #: The bound on the logarithm of the ratio between the mean of a count and its initial mean.
    MAX_LOG_RATIO = 20.0

    offsets: Tensor
    log_mean_counts: Tensor

    def __init__(
        self,
        event: tuple[int, ...],
        layout: str = "n",
        n_components: int = 3,
        min_scale: float = 0.02,
        model_missing: bool = True,
    ) -> None:
        super().__init__(event)
        self.layout, self.model_missing = d.ColumnLayout.parse(layout), model_missing
        if n_components < 1 or min_scale <= 0:
            raise VariedError(
                "n_components must be at least 1 and min_scale above 0, got "
                f"n_components={n_components} and min_scale={min_scale}."
            )
        if event != (self.layout.width,):
            raise VariedError(
                f"layout='{layout}' has rows of length {self.layout.width}, but the data have "
                f"shape {event}; omit `layout` to derive it from the table."
            )
        self.n_components, self.log_min_scale = n_components, math.log(min_scale)
        _, numbers, levels = self.layout.block_sizes
        missing = len(self.layout.missing_columns)
        self.param_sizes = (missing, *[numbers * n_components] * 3, levels)
        self.register_buffer("offsets", torch.linspace(-1, 1, n_components + 2)[1:-1])
        if self.layout.count_columns:
            self.register_buffer("log_mean_counts", torch.zeros(len(self.layout.count_columns)))

    @torch.no_grad()
    def init_from_rows(self, x: Tensor) -> None:
        """Set the initial means of counts to their means in the rows."""
        if not self.layout.count_columns:
            return
        index = self.layout.counts.to(x.device)
        observed = x[:, self.layout.number_gates.to(x.device)[index]]
        counts = x[:, self.layout.n_columns + index].expm1() * observed
        self.log_mean_counts.copy_(((counts.sum(0) + 0.5) / (observed.sum(0) + 1)).log())

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of the network output for one row."""
        return (sum(self.param_sizes),)

    def build(self, flags: Tensor, *params: Tensor) -> d.TableRow:
        """Return distributions of rows.

        Arguments:
            flags: The logits of the probabilities that cells are observed, for the columns with
                missing cells.
            params: The log-weights, means and raw scales of the mixtures, and the logits of the
                levels.
        """
        *mixture, level_logits = params
        # Missing cells in other columns are so unlikely that they are practically never sampled.
        flag_logits = flags.new_full(
            (*flags.shape[:-1], self.layout.n_columns), self.ALWAYS_OBSERVED
        )
        flag_logits[..., list(self.layout.missing_columns)] = flags
        weights, means, h = (p.unflatten(-1, (-1, self.n_components)) for p in mixture)
        # A raw output of 0 corresponds to a standard deviation of 1, as for an entire column.
        log_scales = self.log_min_scale + F.softplus(d.soft_clamp(h, 30.0) - self.log_min_scale)
        means = means + self.offsets
        if self.layout.count_columns:
            index = self.layout.counts.to(means.device)
            log_ratios = d.soft_clamp(means[..., index, :], self.MAX_LOG_RATIO)
            means = means.index_copy(-2, index, log_ratios + self.log_mean_counts[:, None])
        return d.TableRow(
            self.layout, flag_logits, weights, means, log_scales, level_logits, self.model_missing
        )

    def forward(self, h: Tensor) -> Distribution:
        """Return the distributions of rows for network outputs with shape (*, params)."""
        return td.Independent(self.build(*h.split(self.param_sizes, -1)), 1, validate_args=False)


class AutoregressiveTableRow(TableRow):
    """Table rows in which each cell also depends on the preceding cells.

    A masked network computes offsets from the preceding cells and adds them to the parameters of
    `TableRow`, so the code does not have to represent exact relations between columns. See
    `varied.distributions.AutoregressiveTableRow` for the formula and the reference.

    The masked network is trained on the detached output of the decoder, whereas the encoder and the
    decoder are trained as with `TableRow`, with cells that are independent given the code. If they
    were trained with the autoregressive likelihood, the code would lack the information that
    preceding cells also contain, and could not be used to embed or edit rows.

    During training, a random subset of the cells is hidden from the masked network in some rows, so
    that the network can also be applied to rows with missing cells.

    References:
        Variational Lossy Autoencoder (Chen et al., 2017), https://arxiv.org/abs/1611.02731, on why
        an autoregressive decoder ignores the code.

    Arguments:
        event: The shape (W) of one row.
        layout: The types of the columns, as in the likelihood ``table``.
        n_components: The number of components of each mixture.
        min_scale: The minimum standard deviation of a component.
        model_missing: Whether to model which cells are missing.
        masked_fraction: The fraction of the rows in which a random subset of the cells is hidden
            from the masked network during training.
        hidden_units: The number of units in each of the two hidden layers of the masked network.
    """

    thresholds: Tensor

    #: The factor of the weights between levels and flags. In each step, Adam changes a weight by
    #: approximately the learning rate. Without this factor, it would take thousands of steps until
    #: a level rules out all but one level of another column.
    GAIN = 10.0
    #: The inputs of the masked network contain each number s, and tanh(8 (s - t)) for 16 thresholds
    #: t, so that a level can depend on whether the number exceeds a threshold.
    N_THRESHOLDS, SHARPNESS = 16, 8.0
    #: The weights of two components of the mixture of each number: the marginal distribution of the
    #: column, and a distribution that is ten times as wide.
    MARGINAL_SHARES = (0.01, 1e-5)

    def __init__(
        self,
        event: tuple[int, ...],
        layout: str = "n",
        n_components: int = 3,
        min_scale: float = 0.02,
        model_missing: bool = True,
        masked_fraction: float = 0.25,
        hidden_units: int = 256,
    ) -> None:
        from zuko.nn import MaskedLinear, MaskedMLP

        super().__init__(event, layout, n_components, min_scale, model_missing)
        if not 0 <= masked_fraction <= 1:
            raise VariedError(f"masked_fraction={masked_fraction} must be between 0 and 1.")
        self.masked_fraction = masked_fraction
        self.register_buffer("thresholds", torch.linspace(-1.75, 1.75, self.N_THRESHOLDS))
        cells = self._adjacency()
        self.linear = MaskedLinear(cells * self._gain())
        self.net = MaskedMLP(cells, [hidden_units] * 2, nn.SiLU)
        for layer in (self.linear, self.net[-1]):  # the cells are independent at first
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def build(self, flags: Tensor, *params: Tensor) -> d.TableRow:
        """Return distributions of rows; each mixture also contains the marginal of its column.

        Otherwise, a row that violates a relation of all training rows could have an arbitrarily
        large loss.
        """
        row = super().build(flags, *params)
        means = row.means.new_zeros((*row.means.shape[:-1], len(self.MARGINAL_SHARES)))
        if self.layout.count_columns:
            means[..., self.layout.counts, :] = self.log_mean_counts[:, None]
        shares = means.new_tensor(self.MARGINAL_SHARES).expand_as(means)
        log_scales = means.new_tensor([0.0, math.log(10)])
        mixture = (
            torch.cat([row.log_weights + math.log1p(-sum(self.MARGINAL_SHARES)), shares.log()], -1),
            torch.cat([row.means, means], -1),
            torch.cat([row.log_scales, log_scales.expand_as(means)], -1),
        )
        return d.TableRow(
            self.layout, row.flag_logits, *mixture, row.level_logits, self.model_missing
        )

    def forward(self, h: Tensor) -> Distribution:
        """Return the distributions of rows for network outputs with shape (*, params)."""
        row = d.AutoregressiveTableRow(self.layout, h, self._condition, detach=self.training)
        return td.Independent(row, 1, validate_args=False)

    def _adjacency(self) -> Tensor:
        """Return which inputs each parameter may depend on, with shape (params, inputs).

        The inputs are the elements of a row, the thresholds of each number, and whether each column
        is visible.
        """
        layout, missing = self.layout, list(self.layout.missing_columns)
        n_numbers = layout.block_sizes[1]
        value_steps = len(missing) + torch.arange(layout.n_columns)
        flag_steps = torch.full((layout.n_columns,), -1)
        flag_steps[missing] = torch.arange(len(missing))
        steps = value_steps[self._value_columns]
        numbers = steps[:n_numbers].repeat_interleave(self.n_components).repeat(3)
        levels = steps[n_numbers : n_numbers + layout.block_sizes[2]]
        outputs = torch.cat([flag_steps[missing], numbers, levels])
        return outputs[:, None] > torch.cat([flag_steps, steps, value_steps])

    @property
    def _value_columns(self) -> Tensor:
        """The column of each input that is 0 if its cell is hidden: numbers, levels, thresholds."""
        columns = self.layout.element_columns[self.layout.n_columns :]
        numbers = columns[: self.layout.block_sizes[1]]
        return torch.cat([columns, numbers.repeat_interleave(self.N_THRESHOLDS)])

    def _gain(self) -> Tensor:
        """Return the factor of each weight of the linear map, with shape (params, inputs)."""
        n_flags, n_numbers, n_levels = self.layout.block_sizes
        n_missing, n_params = len(self.layout.missing_columns), 3 * n_numbers * self.n_components
        n_others = n_levels + n_numbers * self.N_THRESHOLDS + n_flags
        discrete = [
            torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(torch.tensor(sizes))
            for sizes in ((n_missing, n_params, n_levels), (n_flags, n_numbers, n_others))
        ]
        return 1 + (self.GAIN - 1) * torch.outer(*discrete)

    def _condition(self, h: Tensor, x: Tensor | None, flags: Tensor | None = None) -> d.TableRow:
        """Return the distribution of each element given the preceding elements of ``x``, if any.

        See `varied.distributions.AutoregressiveTableRow` for ``flags``.
        """
        if x is not None:
            visible = x[..., : self.layout.n_columns]
            flags = visible if flags is None else flags
            h = h + self._dependence(x.to(h), visible.to(h), flags.to(h))
        return self.build(*h.split(self.param_sizes, -1))

    def _dependence(self, x: Tensor, visible: Tensor, flags: Tensor) -> Tensor:
        """Return what the preceding elements add to each parameter, with shape (*, params)."""
        if self.training:
            # The fraction of visible cells, which is uniform for some rows and 1 for the others.
            shown = torch.rand_like(visible[..., :1]) / max(self.masked_fraction, 1e-9)
            visible = visible * (torch.rand_like(visible) < shown)
        _, numbers, levels = x.split(self.layout.block_sizes, -1)
        above = (self.SHARPNESS * (numbers[..., None] - self.thresholds)).tanh().flatten(-2)
        values = torch.cat([numbers, levels, above], -1) * visible[..., self._value_columns]
        # Flags that are 1 in all training rows are constant inputs.
        flags = flags.index_fill(-1, self.layout.observed_columns.to(flags.device), 1.0)
        cells = torch.cat([flags, values, visible], -1)
        dependence: Tensor = self.linear(cells) + self.net(cells)
        return dependence
