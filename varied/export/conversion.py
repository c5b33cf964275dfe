"""Conversion of graphs to ONNX, and the comparison of the result with PyTorch."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from varied import __version__
from varied.errors import VariedError
from varied.export.graphs import Graph
from varied.runtime import eval_float32
from varied.seeding import seeded

Array = npt.NDArray[Any]

#: The batch sizes with which a graph is compared with PyTorch.
BATCH_SIZES = (1, 3, 65)
#: The maximum error is this number times 1 plus the absolute value.
TOLERANCE = 1e-5
#: The maximum fraction of integer outputs that differ. A vector that is equally far from two
#: codebook entries may be assigned to either of them.
MAX_DIFFERENT = 1e-3
#: The batch size with which a graph is traced; it must differ from 0 and 1, which are special.
_TRACED_ROWS = 7
#: The maximum number of nodes of a graph that is optimized, which takes minutes for large graphs.
_MAX_OPTIMIZED = 3000
#: The maximum length of the reason in an error message.
_MAX_REASON = 200


@dataclass(frozen=True)
class ExportedGraph:
    """A graph in the ONNX format.

    Arguments:
        name: The name of the graph.
        content: The bytes of the file.
        inputs: The name, the shape without the batch and the data type of each input.
        outputs: The same for each output.
        errors: The largest absolute error of each output of floats.
        mismatches: The fraction of the values that differ, for each output of integers.
    """

    name: str
    content: bytes
    inputs: tuple[tuple[str, tuple[int, ...], str], ...]
    outputs: tuple[tuple[str, tuple[int, ...], str], ...]
    errors: dict[str, float]
    mismatches: dict[str, float]


def import_onnxruntime() -> Any:
    """Return the module ``onnxruntime``, if all packages for the export are installed.

    Raises:
        VariedError: If a package is not installed.
    """
    try:
        for name in ("onnx", "onnxscript"):
            importlib.import_module(name)
        return importlib.import_module("onnxruntime")
    except ImportError:
        raise VariedError(
            "The export requires onnx, onnxruntime and onnxscript; run "
            "`pip install 'varied[onnx]'`."
        ) from None


def versions() -> dict[str, str]:
    """Return the versions of the packages that the export uses."""
    runtime, onnx = import_onnxruntime(), importlib.import_module("onnx")
    return {
        "varied": __version__,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": runtime.__version__,
    }


def export(graph: Graph, *, seed: int = 0) -> ExportedGraph:
    """Convert a graph to ONNX, and compare its outputs with PyTorch for random inputs.

    Arguments:
        graph: The graph; its model is left unchanged, as is torch's random state.
        seed: The seed of the inputs.

    Raises:
        VariedError: If a package is not installed, the graph cannot be converted, or the outputs
            differ.
    """
    runtime = import_onnxruntime()
    with eval_float32(graph), seeded(seed, "export"):
        inputs = graph.random_inputs(_TRACED_ROWS)
        outputs = graph.outputs(*inputs)  # fills caches, which must not contain traced tensors
        content = _convert(graph, inputs, tuple(outputs))
        session = _open(runtime, content, graph.name)
        errors = _largest_errors(graph, session)
    is_float = {name: value.is_floating_point() for name, value in outputs.items()}
    return ExportedGraph(
        graph.name,
        content,
        tuple(map(_describe, graph.input_names, inputs)),
        tuple(map(_describe, outputs, outputs.values())),
        {name: error for name, error in errors.items() if is_float[name]},
        {name: error for name, error in errors.items() if not is_float[name]},
    )


def _describe(name: str, value: Tensor) -> tuple[str, tuple[int, ...], str]:
    return name, tuple(value.shape[1:]), str(value.dtype).removeprefix("torch.")


def _convert(graph: Graph, inputs: tuple[Tensor, ...], names: Sequence[str]) -> bytes:
    batch = torch.export.Dim("batch")
    shapes = {"inputs": tuple({0: batch} for _ in inputs)}
    try:
        with _silence():
            traced = torch.export.export(graph, inputs, dynamic_shapes=shapes, strict=False)
            program = torch.onnx.export(
                traced,
                input_names=graph.input_names,
                output_names=names,
                verbose=False,
                optimize=len(traced.graph.nodes) <= _MAX_OPTIMIZED,
            )
            assert program is not None
            content: bytes = program.model_proto.SerializeToString()
    except Exception as error:  # PyTorch raises errors of many types
        raise _refusal(graph.name, error.__cause__ or error) from error
    return content


def _open(runtime: Any, content: bytes, name: str) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # only fatal errors
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the classes of the errors of ONNX Runtime are not public
        raise _refusal(name, error) from error


def _refusal(name: str, error: BaseException) -> VariedError:
    reason = next((line for line in str(error).splitlines() if line.strip()), "").strip()
    reason = reason[:_MAX_REASON].rstrip(".") or type(error).__name__
    return VariedError(
        f"The {name} of this run cannot be exported to ONNX ({reason}); nothing was written. "
        "`varied models` lists other models."
    )


def _largest_errors(graph: Graph, session: Any) -> dict[str, float]:
    """Return the largest deviation of each output over all batch sizes.

    Raises:
        VariedError: If a deviation is too large.
    """
    largest: dict[str, float] = {}
    for n in BATCH_SIZES:
        inputs = graph.random_inputs(n)
        expected = graph.outputs(*inputs)
        arrays = {k: v.numpy() for k, v in zip(graph.input_names, inputs, strict=True)}
        try:
            actual = session.run(list(expected), arrays)
        except Exception as error:  # the classes of the errors of ONNX Runtime are not public
            raise _refusal(graph.name, error) from error
        for (name, value), array in zip(expected.items(), actual, strict=True):
            deviation = _deviation(value.numpy(), array)
            if deviation is None:
                raise VariedError(
                    f"The output '{name}' of the exported {graph.name} differs from PyTorch for a "
                    f"batch of {n}; nothing was written. Update torch and onnxruntime, or use the "
                    "run itself."
                )
            largest[name] = max(deviation, largest.get(name, 0.0))
    return largest


def _deviation(expected: Array, actual: Array) -> float | None:
    """Return the largest absolute error, or for integers the fraction that differs.

    If the shapes or types differ, or the deviation exceeds the tolerance, return None.
    """
    if (expected.shape, expected.dtype) != (actual.shape, actual.dtype):
        return None
    if expected.dtype.kind != "f":
        fraction = float((expected != actual).mean())
        return fraction if fraction <= MAX_DIFFERENT else None
    difference = np.abs(expected.astype(np.float64) - actual)
    is_close = (difference <= TOLERANCE * (1 + np.abs(expected))).all()
    return float(difference.max()) if is_close else None  # NaN is never close


@contextmanager
def _silence() -> Iterator[None]:
    """Suppress the warnings, the log messages and the printed graphs of the exporter."""
    disabled, trace = logging.root.manager.disable, logging.getLogger("torch.__trace")
    logging.disable(logging.CRITICAL)
    trace.disabled = True  # PyTorch calls its handlers without asking whether they are disabled
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        trace.disabled = False
        logging.disable(disabled)
