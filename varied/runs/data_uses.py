"""What a run makes of a person's data: edits, styles, filled holes, more of them, near ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from varied.runs.opening import OpenRun
from varied.runs.result import Result

if TYPE_CHECKING:
    from varied.runs.augmentation import AugmentedData
    from varied.runs.editing import EditResult
    from varied.runs.nearest_training import NearestTraining
    from varied.runs.neighbors import Neighbors

__all__ = ["Making"]


class Making(OpenRun):
    """The folder of a run, opened, with the uses that change data, add to them and find near ones.

    Arguments:
        folder: Where the run is.
        items: The data, where they are at hand already; else they are read again when needed.
    """

    def edit(
        self,
        source: Any = None,
        *,
        target: str | None = None,
        column: str | None = None,
        examples: tuple[Any, Any] | None = None,
        strengths: Sequence[float] = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0),
        control_for: Sequence[str] = (),
        attributes: Any = None,
        direction: str = "means",
        n: int = 6,
    ) -> EditResult:
        """Return data as an attribute is taken away and added, and what else moves.

        Arguments:
            source: The data; None for the run's own test rows.
            target: A class, or a level of the column.
            column: Which attribute: a column of the table, or of ``attributes``; of numbers the
                upper half is gone towards.
            examples: Data with the attribute and data without it, in the place of labels: each a
                source, or a list of rows of the run's own data by number (from 0) or name.
            strengths: How far to go; 1 is as far as the means of the two groups lie apart.
            control_for: Attributes that must not come along.
            attributes: A table or a dict with further labels for each row of the run's data.
            direction: "means", or "logistic" for the normal of a logistic regression.
            n: How many data.

        Raises:
            VariedError: If there is no such attribute, a group has fewer than two rows, or no unit
                of the latents can be moved.
        """
        from varied.runs.editing import EditRequest, edit

        wanted = EditRequest(target, column, examples, tuple(control_for), attributes, direction)
        return edit(self, self.read(source).first(n), wanted, strengths)

    def style(
        self,
        source: Any = None,
        *,
        label: object = None,
        content: Any = None,
        levels: Sequence[int] | None = None,
        units: Sequence[int] | None = None,
        n: int = 8,
    ) -> Result:
        """Return data in the style of others, with shape (styles, contents, ...).

        A conditional run writes each datum as each class. Where levels or units are named, each
        datum gives these of its code to each of the contents.

        Arguments:
            source: The data that give the style; None for the run's own test rows.
            label: The classes, or numbers, to write them as; None takes every class.
            content: The data that keep the rest of their code; None takes those after the first n.
            levels: Levels of a ladder that are the style; 1 is nearest to the datum.
            units: Units of the code that are the style.
            n: How many styles, and how many contents.

        Raises:
            VariedError: If the run is not conditional, and neither levels nor units are named.
        """
        from varied.runs.style_transfer import mix_styles, rewrite_as

        items = self.read(source)
        if not (levels or units):
            return rewrite_as(self, items.first(n), label)
        others = items.take(np.arange(n, len(items))) if content is None else self.read(content)
        return mix_styles(self, items.first(n), others.first(n), levels, units)

    def inpaint(
        self,
        source: Any = None,
        *,
        mask: Any,
        n: int = 8,
        n_draws: int = 20,
        samples: int = 100,
        sweeps: int = 20,
        seed: int = 0,
    ) -> Result:
        """Return pictures whose hole is filled, several times over; shape (n, 1 + draws, ...).

        The first of each is the mean of all its draws.

        Arguments:
            source: The pictures; None for the run's own test rows.
            mask: (left, top, width, height) in pixels of the run, or a picture or bool array that
                is white where the hole is.
            n: How many pictures.
            n_draws: How often each hole is filled.
            samples: Codes that each draw is chosen from.
            sweeps: How often what was drawn is encoded again: an encoder that never saw a hole
                needs that.
            seed: Which draws.

        Raises:
            VariedError: If the run is not of pictures, or there is no such hole.
        """
        from varied.runs.inpainting import inpaint

        how = {"n_draws": n_draws, "samples": samples, "sweeps": sweeps, "seed": seed}
        return inpaint(self, self.read(source).first(n), mask, **how)

    def nearest_training(self, made: Result, *, seed: int = 0) -> NearestTraining:
        """Return samples beside the training items nearest to them, and whether they are copies.

        Arguments:
            made: What `sample` gave.
            seed: Which of the test items, by which a copy is told, where there are many.
        """
        from varied.runs.nearest_training import nearest_training

        parts = (self.split(name) for name in ("train", "test"))
        return nearest_training(self.codec, made.array, *parts, seed=seed)

    def augment(
        self,
        per_class: int | None = None,
        *,
        balance: bool = False,
        temperature: float = 1.0,
        sample_x: bool | None = None,
        seed: int = 0,
    ) -> AugmentedData:
        """Return new labeled data from a run that knows classes.

        Arguments:
            per_class: How many to make of each class; with ``balance``, how many training items
                and made ones of each there are to be.
            balance: Whether each class is filled up, to the largest where nothing else is said.
            temperature: Below 1 is more typical.
            sample_x: Whether to draw from p(x given z); None does so for rows of a table.
            seed: Which draws.

        Raises:
            VariedError: If the run knows no classes.
        """
        from varied.runs.augmentation import augment

        how: Any = {
            "balance": balance,
            "temperature": temperature,
            "sample_x": sample_x,
            "seed": seed,
        }
        return augment(self, per_class, **how)

    def neighbors(self, query: Any = None, among: Any = None, *, n: int = 5) -> Neighbors:
        """Return the items whose codes are nearest to those of others.

        Arguments:
            query: The others; None for the run's own test items.
            among: The items to search; None for the run's training items.
            n: How many of them for each.
        """
        from varied.runs.neighbors import neighbors

        return neighbors(self, query, among, n)
