"""A run at work on more data: labelled ones that it makes, and what lies near to what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from varied.runs.opened import Opened
from varied.runs.result import Result

if TYPE_CHECKING:
    from varied.runs.augmented import Augmented
    from varied.runs.beside import Beside
    from varied.runs.neighbours import Neighbours

__all__ = ["Making"]


class Making(Opened):
    """The folder of a run, opened, with the uses that make labelled data and find near ones.

    Arguments:
        folder: Where the run is.
        items: The data, where they are at hand already; else they are read again when needed.
    """

    def beside(self, made: Result, *, seed: int = 0) -> Beside:
        """Return samples beside the training items nearest to them, and whether they are copies.

        Arguments:
            made: What `sample` gave.
            seed: Which of the test items, by which a copy is told, where there are many.
        """
        from varied.runs.beside import beside

        parts = (self.part(name) for name in ("train", "test"))
        return beside(self.codec, made.array, *parts, seed=seed)

    def augment(
        self,
        per_class: int | None = None,
        *,
        balance: bool = False,
        temperature: float = 1.0,
        draw: bool | None = None,
        seed: int = 0,
    ) -> Augmented:
        """Return new labelled data from a run that knows classes.

        Arguments:
            per_class: How many to make of each class; with ``balance``, how many training items
                and made ones of each there are to be.
            balance: Whether each class is filled up, to the largest where nothing else is said.
            temperature: Below 1 is more typical.
            draw: Whether to draw from p(x given z); None does so for rows of a table.
            seed: Which draws.

        Raises:
            VariedError: If the run knows no classes.
        """
        from varied.runs.augmented import augmented

        how: Any = {"balance": balance, "temperature": temperature, "draw": draw, "seed": seed}
        return augmented(self, per_class, **how)

    def neighbours(self, query: Any = None, among: Any = None, *, n: int = 5) -> Neighbours:
        """Return the items whose codes are nearest to those of others.

        Arguments:
            query: The others; None for the run's own test items.
            among: The items to search; None for the run's training items.
            n: How many of them for each.
        """
        from varied.runs.neighbours import neighbours

        return neighbours(self, query, among, n)
