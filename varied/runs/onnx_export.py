"""Export of a run to ONNX files, with a description of their inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from varied import atomic_io, export
from varied.data import Codec, ContextCodec
from varied.errors import VariedError
from varied.export import ExportedGraph
from varied.export.conversion import BATCH_SIZES, TOLERANCE
from varied.runs.base import RunBase
from varied.runtime import eval_float32

#: The name of the description, and the version of its format.
INTERFACE, FORMAT = "interface.json", 1
#: The meaning of each input and output by name.
_MEANINGS = {
    "x": "examples as model inputs; see `data`",
    "c": "the context; see `context`",
    "z": "latent variables",
    "codes": "indices of codebook entries",
    "tokens": "the tokens of a sequence, of which each position reads the preceding ones",
    "noise": "standard normal noise",
    "std": "the standard deviation of q(z | x)",
    "concentration": "the concentration of q(z | x) around its mean direction",
    "class_probabilities": "the probability of each class; see `classes`",
    "rate": "the expected share of each element in the library size",
}
_MEANS = {"encoder": "the mean of q(z | x), which is the code", "decoder": "the mean of p(x | z)"}
_NO_PRIOR = (
    "The prior is not exported, since it is sampled in several steps; generate examples with "
    "`varied sample`."
)


@dataclass(frozen=True, repr=False)
class OnnxExport:
    """The exported files of a run.

    Arguments:
        folder: The folder that contains the files.
        interface: The contents of ``interface.json``.
    """

    folder: Path
    interface: dict[str, Any]

    def __repr__(self) -> str:
        return f"OnnxExport({', '.join(self.files)}, largest error {self.largest_error:.1e})"

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files."""
        return (*(graph["file"] for graph in self.interface["graphs"].values()), INTERFACE)

    @property
    def largest_error(self) -> float:
        """The largest absolute difference between the outputs of ONNX Runtime and PyTorch."""
        error: float = self.interface["check"]["largest_error"]
        return error

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what the files do not contain."""
        return tuple(self.interface["notes"])


def export_onnx(run: RunBase, folder: str | Path) -> OnnxExport:
    """Write the encoder and the decoder as ONNX files, with a description in ``interface.json``.

    Before anything is written, the outputs of ONNX Runtime are compared with those of PyTorch for
    batches of 1, 3 and 65 random inputs. The prior is described in ``interface.json``, or exported
    as ``prior.onnx`` if it is a function of standard normal noise.

    Arguments:
        run: The run.
        folder: The folder, which is created.

    Raises:
        VariedError: If the folder exists, a package is not installed, a part of the model cannot be
            converted, or the outputs differ.

    Example:
        >>> run = Run("runs/mnist-vae-01")  # doctest: +SKIP
        >>> run.export_onnx("digits-onnx").files  # doctest: +SKIP
        ('encoder.onnx', 'decoder.onnx', 'interface.json')
    """
    folder = Path(folder)
    export.import_onnxruntime()
    if folder.exists():
        raise VariedError(f"{folder} already exists; choose a new name.")
    graphs = [export.export(graph) for graph in _graphs(run)]
    interface = _describe(run, graphs)
    files: dict[str, bytes | str] = {_file(graph): graph.content for graph in graphs}
    files[INTERFACE] = json.dumps(atomic_io.nan_to_none(interface), indent=2) + "\n"
    return OnnxExport(atomic_io.write_folder(folder, files), interface)


def _graphs(run: RunBase) -> Iterator[export.Graph]:
    model, context = run.model, run.spec.context
    yield export.Encoder(model, context, run.calibration_temperature)
    yield export.Decoder(model, context)
    if export.NoiseToLatent.supports(model):
        yield export.NoiseToLatent(model, context)


def _file(graph: ExportedGraph) -> str:
    return f"{graph.name}.onnx"


def _describe(run: RunBase, graphs: Sequence[ExportedGraph]) -> dict[str, Any]:
    """Return the contents of ``interface.json``."""
    prior, notes = _describe_prior(run)
    return {
        "format": FORMAT,
        "versions": export.versions(),
        "graphs": {graph.name: _describe_graph(graph) for graph in graphs},
        "data": _describe_data(run.codec),
        "context": _describe_context(run.context),
        "classes": list(run.context.classes) if run.context and run.model.num_classes else None,
        "latent": _describe_latent(run),
        "prior": prior,
        "check": _describe_check(graphs),
        "notes": [*notes, *_decoder_notes(run, graphs)],
    }


def _describe_graph(graph: ExportedGraph) -> dict[str, Any]:
    def describe(name: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
        meaning = _MEANS[graph.name] if name == "mean" else _MEANINGS[name]
        return {"name": name, "shape": ["batch", *shape], "dtype": dtype, "meaning": meaning}

    inputs, outputs = (
        [describe(*port) for port in ports] for ports in (graph.inputs, graph.outputs)
    )
    return {"file": _file(graph), "inputs": inputs, "outputs": outputs}


def _describe_data(codec: Codec) -> dict[str, Any]:
    return {
        "kind": codec.kind,
        "shape": list(codec.shape),
        "domain": codec.domain,
        **codec.describe_conversion(),
    }


def _describe_context(context: ContextCodec | None) -> dict[str, Any] | None:
    """Return the labels in the order of their features."""
    if context is None:
        return None
    labels = [
        {"name": label.name, "classes": list(label.classes)}
        if label.classes
        else {"name": label.name, "mean": label.mean, "scale": label.scale}
        for label in context.covariates
    ]
    encoding = (
        "The context is the concatenation of all labels: a one-hot vector for classes, and "
        "(value - mean) / scale for numbers. The features of a missing label are 0."
    )
    return {"size": context.size, "encoding": encoding, "labels": labels}


def _describe_latent(run: RunBase) -> dict[str, Any]:
    """Return the shape of the latent variables, and their units in order of decreasing KL."""
    path = run.store / "evaluation.json"
    kl = atomic_io.read_json(path).get("kl_by_unit") if path.is_file() else None
    shape = run.model.latent_shape
    return {
        "shape": list(shape),
        "size": int(np.prod(shape)),
        "codebook_size": run.model.num_codes or None,
        "kl_by_unit": kl,
        "units_by_kl": None if kl is None else np.argsort(-np.array(kl)).tolist(),
    }


def _describe_prior(run: RunBase) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the prior and, if it is not exported, a sentence that says so."""
    with eval_float32(run.model):
        prior = export.describe_prior(run.model)
    return prior, [] if prior else [_NO_PRIOR]


def _describe_check(graphs: Sequence[ExportedGraph]) -> dict[str, Any]:
    return {
        "batch_sizes": list(BATCH_SIZES),
        "tolerance": TOLERANCE,
        "largest_error": max(error for graph in graphs for error in graph.errors.values()),
        "errors": {graph.name: graph.errors for graph in graphs},
        "mismatches": {graph.name: graph.mismatches for graph in graphs if graph.mismatches},
    }


def _decoder_notes(run: RunBase, graphs: Sequence[ExportedGraph]) -> Iterator[str]:
    """Yield sentences about outputs that differ from those of the run."""
    outputs = {name for graph in graphs for name, _, _ in graph.outputs}
    inputs = {name for graph in graphs for name, _, _ in graph.inputs}
    if "concentration" in outputs:
        yield "The encoder returns a concentration instead of a standard deviation."
    if "tokens" in inputs:
        yield (
            "The decoder returns the probabilities of the tokens at each position given the "
            "preceding tokens, so run it once for each position."
        )
    if run.codec.decodes_by_sampling:
        yield (
            "The decoder returns the mean of p(x | z), whereas `varied sample` draws x from "
            "p(x | z)."
        )
