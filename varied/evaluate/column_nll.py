"""What each column of a table costs: so that none drowns the others unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from varied.data.batches import Batch
from varied.distributions import TableRow, base_distribution
from varied.errors import VariedError
from varied.evaluate.estimate import Estimate
from varied.models import LatentModel
from varied.runtime import eval_float32
from varied.seeding import seeded

__all__ = ["column_costs"]


def column_costs(
    model: LatentModel,
    load: Callable[[Tensor], Tensor],
    rows: Iterable[Batch],
    names: Sequence[str],
    *,
    seed: int = 0,
) -> dict[str, Estimate]:
    r"""Return -log p of each column given the code, in nats: together they are the reconstruction.

    .. math:: -E_{q(z \mid x)} \log p(x_j \mid z)

    A number counts by the density of its score, so that it may be below 0 where it is told well; a
    category by its probability, from 0 up. A gap counts by the probability that there is one.

    Arguments:
        model: A model of tables; neither it nor torch's random state is changed.
        load: From stored rows to data.
        rows: Batches in order.
        names: The columns that it learned, in order.
        seed: Which draws of the codes.

    Raises:
        VariedError: If the model's data are no table.
    """
    found = []
    with eval_float32(model):
        for index, batch in enumerate(rows):
            with seeded(seed, "evaluate", index):
                moved = batch.to(next(model.parameters()).device)
                trace = model(load(moved.x), moved.c, moved.mask)
            law = base_distribution(trace.px)
            if not isinstance(law, TableRow):
                raise VariedError("Only a model of a table has columns: train one on a table.")
            by = law.layout.sum_by_column(-law.log_prob(trace.x))
            found.append(torch.stack([trace.expect(part) for part in by.unbind(-1)], 1).cpu())
    costs = torch.cat(found).double().unbind(1)
    return {name: Estimate.of(cost) for name, cost in zip(names, costs, strict=True)}
