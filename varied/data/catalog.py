"""Named datasets, which are included in the package, generated, installed or downloaded."""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from varied.data.arrays import from_array
from varied.data.download import Remote, cache_folder, download, verify
from varied.data.idx import read_idx_folder
from varied.data.numpy_files import Npz, read_npz
from varied.data.raw_data import RawData
from varied.data.sprites import N_COLOR_SPRITES, N_SPRITES, n_combinations, sprites
from varied.errors import VariedError

_HERE = Path(__file__).parent
_DEBIAN = Path("/usr/share/datasets")
_CIFAR_RECORD = 3073  # a label and 3 x 32 x 32 bytes

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_CIFAR_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


class Row(NamedTuple):
    """A dataset of the catalog: its name, title, content and location."""

    name: str
    title: str
    content: str
    location: str


@dataclass(frozen=True)
class NamedSet:
    """A dataset that can be loaded by name.

    Arguments:
        name: The name.
        title: The title.
        content: A description of the number and kind of examples.
        reference: The paper to cite.
        license: The license.
        open: A function that reads the dataset from a folder; its second argument contains the
            labels, or is None to use the labels of the dataset.
        is_in: A function that returns whether a folder contains the dataset.
        installed: The folder, in the package or on the system, that may contain the dataset.
        remotes: The files at the official source; a file without an address is only verified.
        advice: How to obtain the dataset, if it cannot be downloaded.
    """

    name: str
    title: str
    content: str
    reference: str
    license: str
    open: Callable[[Path, Any], RawData]
    is_in: Callable[[Path], bool]
    installed: Path | None = None
    remotes: tuple[Remote, ...] = ()
    advice: str = ""

    def folders(self) -> list[Path]:
        """Return the folders that are searched for the dataset, in order."""
        installed = [self.installed] if self.installed else []
        if self.installed and self.installed.is_relative_to(_HERE):
            return installed
        data_folder = os.environ.get("VARIED_DATA")
        own = [Path(data_folder) / self.name] if data_folder else []
        return [*own, *installed, cache_folder() / self.name]

    def find(self) -> Path | None:
        """Return the folder that contains the dataset, or None."""
        return next((folder for folder in self.folders() if self.is_in(folder)), None)

    def load(self, labels: Any = None) -> RawData:
        """Read the dataset, after downloading its files if they are not found.

        Arguments:
            labels: The labels to use instead of the dataset's own labels.

        Raises:
            VariedError: If the dataset is not found and cannot be downloaded; the message says
                where to save it.
        """
        folder = self.find() or self._download()
        for remote in self.remotes:
            if (folder / remote.name).exists():
                verify(folder / remote.name, remote)
        return self.open(folder, labels)

    def location(self) -> str:
        """Return the location of the dataset, or how to obtain it."""
        if (folder := self.find()) is not None:
            return "in the package" if folder.is_relative_to(_HERE) else str(folder)
        return self.advice or "downloaded when it is first used"

    def _download(self) -> Path:
        folder = cache_folder() / self.name
        if self.advice:
            raise VariedError(f"{self.title} is not on this machine; {self.advice}.")
        for remote in self.remotes:
            download(remote, folder)
        return folder


def catalog_rows() -> list[Row]:
    """Return a `Row` for each dataset of the catalog.

    Example:
        >>> catalog_rows()[0].name, catalog_rows()[0].location
        ('mnist', 'in the package')
    """
    return [Row(s.name, s.title, s.content, s.location()) for s in CATALOG.values()]


def _files(*names: str) -> Callable[[Path], bool]:
    return lambda folder: all((folder / name).is_file() for name in names)


def _mnist(folder: Path, labels: Any) -> RawData:
    return read_npz(folder / "mnist.npz", labels, _DIGITS if labels is None else None)


def _fashion(folder: Path, labels: Any) -> RawData:
    return read_idx_folder(folder, labels, _CLOTHES if labels is None else None)


def _cifar10(folder: Path, labels: Any) -> RawData:
    records = np.concatenate([_records(part, name) for part, name in _cifar_files(folder)])
    images = records[:, 1:].reshape(-1, 3, 32, 32)
    y, classes = (records[:, 0], _CIFAR_CLASSES) if labels is None else (labels, None)
    data = from_array(images, y, classes, what="cifar10", channels_first=True)
    return data.replace(test=np.arange(50_000, 60_000))


def _omniglot(folder: Path, labels: Any) -> RawData:
    """Read the drawings; ``labels`` may be "y" (characters), "alphabet" or "drawer"."""
    path = folder / "omniglot28.npz"
    with Npz(path) as npz:
        names = {"alphabet": "alphabets"}.get(str(labels), "characters")
        known = labels in (None, "y", "alphabet") and names in npz.members
        classes = tuple(npz[names].tolist()) if known else None
    return read_npz(path, labels, classes)


def _sprites(folder: Path, labels: Any) -> RawData:
    """Generate the images; ``labels`` may be the name of a factor."""
    return sprites(labels=labels)


def _sprites_color(folder: Path, labels: Any) -> RawData:
    return sprites(labels=labels, color=True)


def _is_anywhere(folder: Path) -> bool:
    return True


def _cifar_files(folder: Path) -> list[tuple[bytes, str]]:
    """Return the contents and names of the six files, unpacked or from the archive."""
    if _CIFAR_UNPACKED(folder):
        return [((folder / name).read_bytes(), name) for name in _CIFAR_FILES]
    try:
        with tarfile.open(folder / _CIFAR.name) as archive:
            parts = [archive.extractfile(name) for name in _CIFAR_FILES]
            return [(p.read(), n) for p, n in zip(parts, _CIFAR_FILES, strict=True) if p]
    except (tarfile.TarError, KeyError, OSError, EOFError, zlib.error) as error:
        raise VariedError(
            f"{folder / _CIFAR.name} is corrupted; delete it to download it again."
        ) from error


def _records(contents: bytes, name: str) -> npt.NDArray[np.uint8]:
    if len(contents) != 10_000 * _CIFAR_RECORD:
        raise VariedError(f"{name} of cifar10 is truncated; delete it to download it again.")
    return np.frombuffer(contents, np.uint8).reshape(-1, _CIFAR_RECORD)


def _remote(base: str, name: str, sha256: str, unpacked: bool = False) -> Remote:
    return Remote(name, f"{base}/{name}", sha256, unpacked)


_MNIST = Remote("mnist.npz", "", "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64")
_ZALANDO = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
_FASHION = (
    _remote(
        _ZALANDO,
        "train-images-idx3-ubyte.gz",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        unpacked=True,
    ),
    _remote(
        _ZALANDO,
        "train-labels-idx1-ubyte.gz",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        unpacked=True,
    ),
    _remote(
        _ZALANDO,
        "t10k-images-idx3-ubyte.gz",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        unpacked=True,
    ),
    _remote(
        _ZALANDO,
        "t10k-labels-idx1-ubyte.gz",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        unpacked=True,
    ),
)
_CIFAR = _remote(
    "https://www.cs.toronto.edu/~kriz",
    "cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
_CIFAR_FILES = tuple(
    f"cifar-10-batches-bin/{name}.bin"
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
)
_CIFAR_UNPACKED = _files(*_CIFAR_FILES)

_DATASETS = (
    NamedSet(
        name="mnist",
        title="MNIST",
        content="70,000 gray images, 28x28, of digits",
        reference='LeCun, Bottou, Bengio, Haffner, "Gradient-based learning", 1998',
        license="CC BY-SA 3.0",
        open=_mnist,
        is_in=_files("mnist.npz"),
        installed=_HERE / "mnist",
        remotes=(_MNIST,),
        advice="reinstall varied, since a file of the package is missing",
    ),
    NamedSet(
        name="fashion-mnist",
        title="Fashion-MNIST",
        content="70,000 gray images, 28x28, of clothes",
        reference='Xiao, Rasul, Vollgraf, "Fashion-MNIST", 2017, https://arxiv.org/abs/1708.07747',
        license="MIT",
        open=_fashion,
        is_in=_files(*(remote.name for remote in _FASHION)),
        installed=_DEBIAN / "fashion-mnist",
        remotes=_FASHION,
    ),
    NamedSet(
        name="cifar10",
        title="CIFAR-10",
        content="60,000 color images, 32x32, of ten classes",
        reference='Krizhevsky, "Learning multiple layers of features from tiny images", 2009',
        license="none stated",
        open=_cifar10,
        is_in=lambda folder: _files(_CIFAR.name)(folder) or _CIFAR_UNPACKED(folder),
        remotes=(_CIFAR,),
    ),
    NamedSet(
        name="omniglot",
        title="Omniglot",
        content="32,460 gray images, 28x28, of 1,623 characters from 50 alphabets",
        reference='Lake, Salakhutdinov, Tenenbaum, "Human-level concept learning", 2015',
        license="MIT",
        open=_omniglot,
        is_in=_files("omniglot28.npz"),
        advice=(
            "create omniglot28.npz (with the arrays x_train, y_train, x_test and y_test; 28x28 "
            "pixels, ink is 255) from "
            "https://github.com/brendenlake/omniglot, put it in a folder named 'omniglot', and set "
            "the environment variable VARIED_DATA to the parent of that folder"
        ),
    ),
    NamedSet(
        name="sprites",
        title="Sprites",
        content=(
            f"{N_SPRITES:,} binary images, 64x64, of a shape with 5 known factors "
            f"({n_combinations():,} possible combinations)"
        ),
        reference=(
            'after Matthey, Higgins, Hassabis, Lerchner, "dSprites", 2017, '
            "https://github.com/google-deepmind/dsprites-dataset; generated by Varied"
        ),
        license="Apache-2.0",
        open=_sprites,
        is_in=_is_anywhere,
        installed=_HERE,
    ),
    NamedSet(
        name="sprites-color",
        title="Sprites in color",
        content=(
            f"{N_COLOR_SPRITES:,} color images, 64x64, of a shape with 6 known factors "
            f"({n_combinations(color=True):,} possible combinations)"
        ),
        reference=(
            'after Matthey, Higgins, Hassabis, Lerchner, "dSprites", 2017, '
            "https://github.com/google-deepmind/dsprites-dataset; generated by Varied"
        ),
        license="Apache-2.0",
        open=_sprites_color,
        is_in=_is_anywhere,
        installed=_HERE,
    ),
)
CATALOG = {dataset.name: dataset for dataset in _DATASETS}
