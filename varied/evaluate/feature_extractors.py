"""Where features come from that no net of ours is trained for: a person's net, or the data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.seeding import seeded

__all__ = [
    "Extractor",
    "NetExtractor",
    "StandardizedExtractor",
    "extractor_from",
    "fingerprint_of",
    "standardized",
]

Array = npt.NDArray[Any]
Net = Callable[[Tensor], Tensor]

BATCH = 100


@runtime_checkable
class Extractor(Protocol):
    """What gives features: `Features`, `Given` and `Plain` all do, and so may a person's own.

    Figures of features compare where the fingerprints are equal, and nowhere else.
    """

    @property
    def name(self) -> str:
        """What the features are, in words: it goes beside each figure."""
        ...

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits, the same for the same features on any machine."""
        ...

    def features(self, x: Tensor) -> Tensor:
        """Return the features of N data, with shape (N, D)."""
        ...


class NetExtractor:
    """The features of a person's own net; `features_by` makes it."""

    def __init__(self, net: Net, name: str, batch: int) -> None:
        self.net, self.name, self.batch = net, name, batch

    @property
    def fingerprint(self) -> str:
        """Twelve digits that follow from the name, and from a module's layers and weights."""
        return fingerprint_of(self.name, self.net)

    @torch.no_grad()
    def features(self, x: Tensor | Array) -> Tensor:
        """Return what the net gives, in batches; neither it nor torch's random state is changed.

        Arguments:
            x: Pictures as uint8, or as floats in [0, 1], with shape (N, C, H, W).

        Returns:
            Floats with shape (N, D), in main memory.

        Raises:
            VariedError: If these are no such pictures, or the net does not give (N, D).
        """
        pictures = _pictures(x)
        with _at_rest(self.net), seeded(0, "features"):
            found = [self._one(some) for some in pictures.split(self.batch)]
        return torch.cat(found)

    def _one(self, some: Tensor) -> Tensor:
        values = some.float() / 255 if some.dtype == torch.uint8 else some.float()
        seen = self.net(values.to(_device(self.net)))
        if not isinstance(seen, Tensor) or seen.ndim != 2 or len(seen) != len(some):
            shape = tuple(seen.shape) if isinstance(seen, Tensor) else type(seen).__name__
            raise VariedError(
                f"'{self.name}' gives {shape} for {len(some)} pictures, not (N, D): wrap it in a "
                "function that gives one row of features for each picture."
            )
        return seen.detach().cpu()


def extractor_from(net: Net, name: str, *, batch: int = BATCH) -> NetExtractor:
    """Return the features that a person's own net gives, Inception among them.

    Arguments:
        net: A module or function from pictures in [0, 1], float32 with shape (N, C, H, W), to
            features with shape (N, D). It runs where its weights are, in evaluation mode. Resizing
            and scaling to what it was trained on are its own business.
        name: What the net is, with its weights: it goes beside each figure.
        batch: How many pictures it sees at once.

    Raises:
        VariedError: If there is no name, it cannot be called, or the batch is empty.

    Example:
        >>> means = extractor_from(lambda x: x.mean((2, 3)), "mean colors")
        >>> means.features(torch.ones(5, 3, 8, 8)).shape
        torch.Size([5, 3])
    """
    if not isinstance(name, str) or not name.strip():
        raise VariedError(
            "Features need a name, which is printed beside each figure: "
            "features_by(net, 'Inception v3, ImageNet weights')."
        )
    if not callable(net):
        raise VariedError(
            f"A {type(net).__name__} gives no features: give a module or a function from pictures "
            "to (N, D)."
        )
    if batch < 1:
        raise VariedError(f"batch={batch} shows the net nothing: give 1 or more; 100 is usual.")
    return NetExtractor(net, name.strip(), batch)


class StandardizedExtractor:
    """The data themselves, each column standardized; `plain` makes it.

    Arguments:
        mean: The mean of each column of the training rows, with shape (D).
        scale: Its standard deviation, 1 where it is constant, with shape (D).
    """

    name = "standardized data"

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        self.mean, self.scale = mean, scale

    @property
    def fingerprint(self) -> str:
        """Twelve digits that follow from the means and scales of the training rows."""
        return _short(self.name, {"mean": self.mean, "scale": self.scale})

    def features(self, x: Tensor | Array) -> Tensor:
        """Return the standardized rows, float64 with shape (N, D).

        Arguments:
            x: Rows with shape (N, D), or (N, ...), which is flattened.

        Raises:
            VariedError: If they have other columns than the training rows, or a number is not
                finite.
        """
        rows = _flat(x)
        if rows.shape[1] != len(self.mean):
            raise VariedError(
                f"These rows have {rows.shape[1]} columns and the training rows had "
                f"{len(self.mean)}: give the same columns."
            )
        return (rows - self.mean) / self.scale


def standardized(x: Tensor | Array) -> StandardizedExtractor:
    """Return the features of data that are no pictures: their own columns, standardized.

    Arguments:
        x: The training rows, with shape (N, D), or (N, ...), which is flattened.

    Raises:
        VariedError: If there are fewer than 2 rows, or a number is not finite.

    Example:
        >>> rows = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
        >>> standardized(rows).features(rows).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """
    rows = _flat(x)
    if len(rows) < 2:
        raise VariedError("One row has no spread to standardize by: give two at least.")
    # A constant column, whose deviation may be a rounding error, keeps its own unit.
    constant = rows.amax(0) == rows.amin(0)
    mean = torch.where(constant, rows[0], rows.mean(0))
    return StandardizedExtractor(mean, torch.where(constant, 1.0, rows.std(0, correction=0)))


def fingerprint_of(name: str, net: Net) -> str:
    """Return twelve hexadecimal digits of the name, and of a module's layers and weights."""
    if not isinstance(net, nn.Module):
        return _short(name, {})
    layers = (f"{where}:{type(layer).__name__}" for where, layer in net.named_modules())
    weights = {k: v for k, v in net.state_dict().items() if isinstance(v, Tensor)}
    return _short("\n".join([name, *layers]), weights)


def _short(name: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(name.encode())
    for key, tensor in tensors.items():
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


@contextmanager
def _at_rest(net: Net) -> Iterator[None]:
    """Put each layer into evaluation mode, and afterwards back into the mode that it was in."""
    layers = list(net.modules()) if isinstance(net, nn.Module) else []
    modes = [layer.training for layer in layers]
    for layer in layers:
        layer.training = False
    try:
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode


def _device(net: Net) -> torch.device:
    weights = net.parameters() if isinstance(net, nn.Module) else iter(())
    first = next(weights, None)
    return torch.device("cpu") if first is None else first.device


def _pictures(given: Tensor | Array) -> Tensor:
    x = _tensor(given)
    if x.ndim != 4 or not x.numel():
        raise VariedError(
            f"Pictures have shape (N, C, H, W), not {tuple(x.shape)}: put the channels before "
            "height and width, and give one picture at least."
        )
    if x.dtype == torch.uint8:
        return x
    # Written so that NaN is refused too.
    if not (x.is_floating_point() and x.min() >= -1e-6 and x.max() <= 1 + 1e-6):
        raise VariedError("Pictures are uint8, or floats in [0, 1]: scale or convert them.")
    return x


def _flat(given: Tensor | Array) -> Tensor:
    x = _tensor(given)
    if x.ndim < 2 or not x.numel():
        raise VariedError(f"Rows of shape {tuple(x.shape)} have no columns: give (N, D).")
    rows = x.double().flatten(1)
    if not rows.isfinite().all():
        raise VariedError("The rows hold NaN or infinity: leave those out, or fill them in.")
    return rows


def _tensor(given: Tensor | Array) -> Tensor:
    if isinstance(given, Tensor):
        return given.detach().cpu()
    return torch.from_numpy(np.require(given, requirements=("C", "W")))
