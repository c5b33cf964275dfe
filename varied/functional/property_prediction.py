"""Prediction of a numeric property from codes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.evaluate import Estimate
from varied.evaluate.probes import ALPHAS, r2
from varied.nets import mlp
from varied.seeding import permutation, seeded

#: The minimum number of codes with a known value, for fitting and for measuring the R2.
_MIN_ROWS, _MIN_HELD_OUT = 20, 2
#: The fraction of the codes that is used to select the kind of predictor and for early stopping.
_SELECTION = 0.1
#: The settings of the network and of its training.
_WIDTH, _DEPTH, _BATCH, _MAX_EPOCHS, _PATIENCE, _LR = 256, 2, 128, 60, 8, 1e-3


@dataclass(frozen=True)
class PropertyPredictor:
    """A regression of a property on codes.

    Arguments:
        kind: "ridge" for a linear function, or "mlp" for a network.
        r2: The coefficient of determination on held-out codes.
        mean: The mean of the property over the codes to which the predictor was fitted.
        std: The standard deviation of the property over these codes.
        net: Maps codes with shape (N, D) to the standardized property, with shape (N, 1).
    """

    kind: str
    r2: Estimate
    mean: float
    std: float
    net: nn.Module = field(repr=False)

    def standard_score(self, z: Tensor) -> Tensor:
        """Return predictions in standard deviations from the mean, with shape (N)."""
        prediction: Tensor = self.net(z.float())[:, 0]
        return prediction

    def __call__(self, z: Tensor) -> Tensor:
        """Return predictions in the unit of the property, with shape (N), without gradients."""
        with torch.no_grad():
            return self.mean + self.std * self.standard_score(z)


def fit_property(
    codes: Tensor,
    values: Tensor,
    held_out: Tensor,
    held_out_values: Tensor,
    *,
    kind: str | None = None,
    seed: int = 0,
) -> PropertyPredictor:
    r"""Fit a regression of a property on codes, and measure its error on held-out codes.

    .. math:: R^2 = 1 - \frac{\sum_i (y_i - \hat y(z_i))^2}{\sum_i (y_i - \bar y)^2}

    The predictor is a ridge regression or a network with two hidden layers. A tenth of the codes is
    used to select one of them, and for early stopping of the network.

    References:
        Automatic Chemical Design Using a Data-Driven Continuous Representation of Molecules
        (Gómez-Bombarelli et al., 2018), https://doi.org/10.1021/acscentsci.7b00572, in which the
        predictor is trained together with the model.

    Arguments:
        codes: The codes of training data, with shape (N, D).
        values: The property of each example, NaN if unknown, with shape (N).
        held_out: The held-out codes, with shape (M, D).
        held_out_values: The property of each held-out example, NaN if unknown, with shape (M).
        kind: "ridge", "mlp", or None to choose the one with the smaller error.
        seed: The random seed.

    Raises:
        VariedError: If the property is constant, or known for fewer than twenty codes or two
            held-out codes, or if there is no predictor of the given kind.

    Example:
        >>> codes = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
        >>> values = 5 + 2 * codes[:, 0] - codes[:, 2]
        >>> predictor = fit_property(codes[:800], values[:800], codes[800:], values[800:])
        >>> predictor.kind, round(predictor.r2.value, 3)
        ('ridge', 1.0)
        >>> predictor(torch.zeros(1, 3)).round()
        tensor([5.])
    """
    codes, values = _known(codes, values, _MIN_ROWS)
    held_out, held_out_values = _known(held_out, held_out_values, _MIN_HELD_OUT)
    for name, known in (("training", values), ("held-out", held_out_values)):
        if known.std() == 0:
            raise VariedError(
                f"The property is {float(known[0]):g} for all {name} examples, so it cannot be "
                "predicted; choose a property that varies."
            )
    order = permutation(len(codes), seed, "property")
    n_selection = max(2, round(_SELECTION * len(codes)))
    selection, training = order[:n_selection], order[n_selection:]
    mean, std = float(values.mean()), float(values.std())
    targets = ((values - mean) / std).float()
    nets = {
        name: fit(codes[training], targets[training], codes[selection], targets[selection], seed)
        for name, fit in (("ridge", _fit_ridge), ("mlp", _fit_mlp))
        if kind in (name, None)
    }
    if not nets:
        raise VariedError(f"There is no predictor '{kind}'; use 'ridge' or 'mlp'.")
    best = min(nets, key=lambda name: _loss(nets[name], codes[selection], targets[selection]))
    with torch.no_grad():
        predicted = mean + std * nets[best](held_out)[:, 0].double()
    return PropertyPredictor(
        best, r2(predicted.numpy(), held_out_values.numpy()), mean, std, nets[best]
    )


def _known(codes: Tensor, values: Tensor, minimum: int) -> tuple[Tensor, Tensor]:
    """Return the codes, as float32, and the values of the rows with a known value."""
    known = values.isfinite()
    if int(known.sum()) < minimum:
        raise VariedError(
            f"The property is known for {int(known.sum()):,} examples, but at least {minimum} are "
            "required; provide the property for more examples, or choose another property."
        )
    return codes[known].float(), values[known].double()


def _loss(net: nn.Module, codes: Tensor, targets: Tensor) -> float:
    with torch.no_grad():
        return float((net(codes)[:, 0] - targets).square().mean())


class _Standardize(nn.Module):
    """Maps codes to standard deviations from their mean; constant units become 0."""

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        std = codes.std(0)
        self.register_buffer("mean", codes.mean(0))
        self.register_buffer("factor", torch.where(std > 1e-6, 1 / std.clamp_min(1e-6), 0.0))

    def forward(self, z: Tensor) -> Tensor:
        return (z - self.get_buffer("mean")) * self.get_buffer("factor")


def _fit_ridge(
    codes: Tensor, targets: Tensor, selection: Tensor, selection_targets: Tensor, seed: int
) -> nn.Module:
    """Return a ridge regression; its regularization is chosen by leave-one-out errors."""
    from sklearn.linear_model import RidgeCV

    standardize, linear = _Standardize(codes), nn.Linear(codes.shape[1], 1)
    ridge = RidgeCV(ALPHAS).fit(standardize(codes).double().numpy(), targets.double().numpy())
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(ridge.coef_)[None])
        linear.bias.fill_(float(ridge.intercept_))
    return nn.Sequential(standardize, linear).requires_grad_(False)


def _fit_mlp(
    codes: Tensor, targets: Tensor, selection: Tensor, selection_targets: Tensor, seed: int
) -> nn.Module:
    """Return a network that is trained with early stopping on the selection rows."""
    with seeded(seed, "property network"):
        net = mlp((codes.shape[1],), (1,), width=_WIDTH, depth=_DEPTH)
    net = nn.Sequential(_Standardize(codes), net)
    optimizer = torch.optim.AdamW(net.parameters(), _LR, weight_decay=0.01)
    lowest, best, n_bad = float("inf"), net.state_dict(), 0
    for epoch in range(_MAX_EPOCHS):
        for rows in permutation(len(codes), seed, "property rows", epoch).split(_BATCH):
            loss = (net(codes[rows])[:, 0] - targets[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        current = _loss(net, selection, selection_targets)
        n_bad += 1
        if current < lowest:
            lowest, n_bad = current, 0
            best = {name: value.clone() for name, value in net.state_dict().items()}
        if n_bad == _PATIENCE:
            break
    net.load_state_dict(best)
    return net.requires_grad_(False)
