"""Feature extractors: user-provided networks and standardized data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.evaluate._checks import as_images, as_table, to_unit_range
from varied.evaluate._types import Data
from varied.seeding import seeded

Net = Callable[[Tensor], Tensor]


@runtime_checkable
class Extractor(Protocol):
    """A feature extractor: `FeatureNet`, `NetExtractor`, `StandardizedExtractor`, or your own.

    Metrics computed from features are comparable if and only if the fingerprints of the extractors
    are equal.
    """

    @property
    def name(self) -> str:
        """A description of the features, which is reported with each metric."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash that identifies the features on any machine, as twelve hexadecimal digits."""
        ...

    def features(self, x: Tensor) -> Tensor:
        """Return the features of N examples, with shape (N, D)."""
        ...


class NetExtractor:
    """A feature extractor that applies a user-provided network; created by `extractor_from`."""

    def __init__(self, net: Net, name: str, batch_size: int) -> None:
        self.net, self.name, self.batch_size = net, name, batch_size

    @property
    def fingerprint(self) -> str:
        """A hash of the name, layers and weights of the network, as twelve hexadecimal digits.

        For a function instead of a module, only the name is hashed.
        """
        return fingerprint_of(self.name, self.net)

    @torch.no_grad()
    def features(self, x: Data) -> Tensor:
        """Return the output of the network.

        Neither the network nor PyTorch's random state is changed.

        Arguments:
            x: The images, uint8 or floating point in [0, 1], with shape (N, C, H, W).

        Returns:
            The features, in floating point with shape (N, D), in main memory.

        Raises:
            VariedError: If the images are not valid, or the output does not have shape (N, D).
        """
        with _evaluation_mode(self.net), seeded(0, "features"):
            return torch.cat([self._features(part) for part in as_images(x).split(self.batch_size)])

    def _features(self, images: Tensor) -> Tensor:
        output = self.net(to_unit_range(images, torch.float32).to(_device(self.net)))
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(images):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise VariedError(
                f"'{self.name}' returns {shape} for {len(images)} images; wrap it in a function "
                "that returns one row of features for each image, with shape (N, D)."
            )
        return output.detach().cpu()


def extractor_from(net: Net, name: str, *, batch_size: int = 100) -> NetExtractor:
    """Return a feature extractor that applies a network, such as Inception.

    Arguments:
        net: A module or function that maps images in [0, 1], float32 with shape (N, C, H, W), to
            features with shape (N, D). It runs on the device of its weights, in evaluation mode,
            and must resize and normalize the images itself.
        name: A description of the network and its weights, which is reported with each metric.
        batch_size: The number of images in a batch.

    Raises:
        VariedError: If the name is empty, the network is not callable, or the batch size is not
            positive.

    Example:
        >>> mean_color = extractor_from(lambda x: x.mean((2, 3)), "mean color")
        >>> mean_color.features(torch.ones(5, 3, 8, 8)).shape
        torch.Size([5, 3])
    """
    if not isinstance(name, str) or not name.strip():
        raise VariedError(
            "Features require a name, which is reported with each metric; for example, use "
            "extractor_from(net, 'Inception v3, ImageNet weights')."
        )
    if not callable(net):
        raise VariedError(
            f"A feature extractor must be a module or function that maps images to features, not "
            f"{type(net).__name__}."
        )
    if batch_size < 1:
        raise VariedError(f"batch_size={batch_size} must be at least 1; the default is 100.")
    return NetExtractor(net, name.strip(), batch_size)


class StandardizedExtractor:
    """A feature extractor that standardizes columns; created by `fit_standardizer`.

    Arguments:
        mean: The mean of each column of the training rows, with shape (D).
        scale: The standard deviation of each column, or 1 for a constant column, with shape (D).
    """

    name = "standardized data"

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        self.mean, self.scale = mean, scale

    @property
    def fingerprint(self) -> str:
        """A hash of the means and scales of the training rows, as twelve hexadecimal digits."""
        return _digest(self.name, {"mean": self.mean, "scale": self.scale})

    def features(self, x: Data) -> Tensor:
        """Return the standardized rows as a float64 tensor with shape (N, D).

        Arguments:
            x: The rows, with shape (N, D), or (N, ...), flattened to (N, D).

        Raises:
            VariedError: If the rows do not have as many columns as the training rows, or a value is
                not finite.
        """
        rows = as_table(x, "rows", flatten=True)
        if rows.shape[1] != len(self.mean):
            raise VariedError(
                f"The rows have {rows.shape[1]} columns, but the training rows had "
                f"{len(self.mean)}; use the same columns."
            )
        return (rows - self.mean) / self.scale


def fit_standardizer(x: Data) -> StandardizedExtractor:
    """Return a feature extractor that standardizes columns, for data other than images.

    Arguments:
        x: The training rows, with shape (N, D), or (N, ...), flattened to (N, D).

    Raises:
        VariedError: If there are fewer than 2 rows, or a value is not finite.

    Example:
        >>> rows = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
        >>> fit_standardizer(rows).features(rows).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """
    rows = as_table(x, "rows", min_rows=2, flatten=True)
    # The computed standard deviation of a constant column may differ from 0 due to rounding.
    constant = rows.amax(0) == rows.amin(0)
    mean = torch.where(constant, rows[0], rows.mean(0))
    return StandardizedExtractor(mean, torch.where(constant, 1.0, rows.std(0, correction=0)))


def fingerprint_of(name: str, net: Net) -> str:
    """Return a hash of a name and a module with its weights, as twelve hexadecimal digits.

    If ``net`` is not a module, only the name is hashed.
    """
    if not isinstance(net, nn.Module):
        return _digest(name, {})
    layers = (f"{path}:{type(layer).__name__}" for path, layer in net.named_modules())
    weights = {key: v for key, v in net.state_dict().items() if isinstance(v, Tensor)}
    return _digest("\n".join([name, *layers]), weights)


def _digest(name: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(name.encode())
    for key, tensor in tensors.items():
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


@contextmanager
def _evaluation_mode(net: Net) -> Iterator[None]:
    """Put all layers into evaluation mode, and restore the mode of each layer on exit."""
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
    return next((weight.device for weight in weights), torch.device("cpu"))
