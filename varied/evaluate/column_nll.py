"""The negative log-likelihood of each column of a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from varied.data.batches import Batch
from varied.distributions import RowDistribution, base_distribution
from varied.errors import VariedError
from varied.evaluate._batches import Load, map_batches
from varied.evaluate.estimate import Estimate
from varied.models import LatentModel


def column_nll(
    model: LatentModel,
    load: Load,
    batches: Iterable[Batch],
    names: Sequence[str],
    *,
    seed: int = 0,
) -> dict[str, Estimate]:
    r"""Return -log p of each column given the code, in nats.

    .. math:: -E_{q(z \mid x)} \log p(x_j \mid z)

    The sum over the columns is the reconstruction term. A numeric cell contributes the negative
    log-density of its normal score, which can be below 0, and a categorical cell contributes the
    negative log-probability of its level. If the likelihood models which cells are missing, each
    cell also contributes the negative log-probability that it is observed or missing.

    Arguments:
        model: A model trained on a table. Neither the model nor PyTorch's random state is
            changed.
        load: Maps stored rows to model inputs.
        batches: The rows, iterated over once.
        names: The names of the columns, in the order of the codec.
        seed: The seed for sampling codes.

    Raises:
        VariedError: If the model was not trained on a table.
    """

    def nll(batch: Batch) -> tuple[Tensor, ...]:
        trace = model(batch.x, batch.c, batch.mask)
        px = base_distribution(trace.px)
        if not isinstance(px, RowDistribution):
            raise VariedError("The NLL of columns requires a model that was trained on a table.")
        by_column = px.layout.sum_by_column(-px.log_prob(trace.x))
        return tuple(trace.expect(column) for column in by_column.unbind(-1))

    columns = map_batches(nll, model, load, batches, seed=seed, purpose="evaluate")
    return {name: Estimate.of(nats) for name, nats in zip(names, columns, strict=True)}
