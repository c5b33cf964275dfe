"""Export of models to ONNX graphs that return what PyTorch returns.

A `Graph` is a part of a model with named inputs and outputs. `export` converts it to ONNX and
compares the result with PyTorch. The packages are installed by the extra ``varied[onnx]``.
"""

from varied.export.conversion import ExportedGraph, export, import_onnxruntime, versions
from varied.export.graphs import Decoder, Encoder, Graph
from varied.export.priors import NoiseToLatent, describe_prior

__all__ = [
    "Decoder",
    "Encoder",
    "ExportedGraph",
    "Graph",
    "NoiseToLatent",
    "describe_prior",
    "export",
    "import_onnxruntime",
    "versions",
]
