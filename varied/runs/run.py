"""A run, with its operations (sampling, encoding, evaluation, ...) as methods."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from functools import partial
from typing import Any

from varied.runs import (
    augmentation,
    classification,
    compression,
    detection,
    editing,
    encoding,
    evaluation,
    imputation,
    inpainting,
    interpolation,
    nearest_training,
    neighbors,
    onnx_export,
    optimization,
    prior,
    reconstruction,
    sampling,
    style_transfer,
    traversal,
)
from varied.runs.base import RunBase
from varied.runs.uses import USES
from varied.spec import Plan
from varied.training_loop import StepEvent


class Run(RunBase):
    """A run: a folder with a trained model, which can sample, edit, detect, impute and compress.

    Each operation is implemented as a function in a module of `varied.runs`, and available as a
    method of this class. Operations that are registered with ``varied.register("use", name,
    function)`` are also available as methods.

    Arguments:
        folder: The run folder.
        data: The data that the run was trained on; if None, they are reloaded when needed.
        parts: The classes, functions or modules of external parts by axis, such as
            ``encoder=MyEncoder``.

    Raises:
        VariedError: If the folder does not contain a run, the run has not been trained, or a part
            is not available.

    Example:
        >>> run = Run("runs/mnist-vae-01")  # doctest: +SKIP
        >>> run.sample(64).save("samples.png")  # doctest: +SKIP
    """

    sample = sampling.sample
    reconstruct = reconstruction.reconstruct
    interpolate = interpolation.interpolate
    traverse = traversal.traverse
    style = style_transfer.style
    edit = editing.edit
    optimize = optimization.optimize
    encode = encoding.encode
    neighbors = neighbors.neighbors
    nearest_training = nearest_training.nearest_training
    detect = detection.detect
    impute = imputation.impute
    inpaint = inpainting.inpaint
    classify = classification.classify
    classes = classification.classes
    augment = augmentation.augment
    compress = compression.compress
    decompress = compression.decompress
    export_onnx = onnx_export.export_onnx
    evaluate = evaluation.evaluate

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in USES:
            raise AttributeError(f"'Run' has no attribute '{name}'")
        return partial(USES[name], self)

    def prepare_prior(self, name: str, **settings: Any) -> tuple[Plan, Iterator[StepEvent]]:
        """Return the plan and the training steps for fitting a prior; see `fit_prior`."""
        return prior.prepare_prior(self, name, **settings)

    def fit_prior(self, name: str, **settings: Any) -> None:
        """Fit a prior to the codes of the training rows, and use it for sampling.

        The weights of the model do not change; `reset_prior` restores the original prior.

        Arguments:
            name: "gmm", "flow", "flow-matching", "transformer" or another prior.
            settings: Settings of the prior and of the training plan, such as ``minutes`` (by
                default 2), ``epochs``, ``steps``, ``lr``, ``batch_size`` or ``seed``.

        Raises:
            VariedError: If the prior or a setting does not exist, or the model does not support it.
        """
        for _ in self.prepare_prior(name, **settings)[1]:
            pass

    def reset_prior(self) -> None:
        """Restore the prior with which the model was trained."""
        prior.reset_prior(self)

    def _repr_html_(self) -> str:
        """Return a description of the run and its samples, for notebooks."""
        path = self.folder / "samples.png"
        if not path.is_file():
            return f"<p>{html.escape(repr(self))}</p>"
        data = base64.b64encode(path.read_bytes()).decode()
        image = f'<img src="data:image/png;base64,{data}" alt="Samples">'
        return f"<p>{html.escape(repr(self))}</p>{image}"
