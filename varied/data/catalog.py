"""Sets with a name: some ship with the package or are drawn by it, others are found or fetched."""

from __future__ import annotations

import dataclasses
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
from varied.data.download import Remote, cache_folder, check, fetch
from varied.data.idx import read_idx_folder
from varied.data.numpy_files import Npz, read_npz
from varied.data.raw_data import RawData
from varied.data.sprites import COLOUR_ROWS, ROWS, count, sprites
from varied.errors import VariedError

__all__ = ["CATALOG", "NamedSet", "Row", "catalog_rows"]

HERE = Path(__file__).parent
DEBIAN = Path("/usr/share/datasets")
RECORD = 3073  # a label and 3 x 32 x 32 bytes

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
THINGS = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


class Row(NamedTuple):
    """A line of the catalog: name, title, what it holds, and where it is or may be got."""

    name: str
    title: str
    holds: str
    where: str


@dataclass(frozen=True)
class NamedSet:
    """A set with a name.

    Arguments:
        name: The name.
        title: The title.
        holds: How much of what, in words.
        reference: The paper to cite.
        license: The license.
        open: Reads it from a folder, with other labels than its own if they are given.
        ready: Whether a folder has it.
        installed: Where the package, or the system, has it.
        remotes: Its files at the official source; a file with no address is only checked.
        advice: How to get it where it cannot be fetched.
    """

    name: str
    title: str
    holds: str
    reference: str
    license: str
    open: Callable[[Path, Any], RawData]
    ready: Callable[[Path], bool]
    installed: Path | None = None
    remotes: tuple[Remote, ...] = ()
    advice: str = ""

    def places(self) -> list[Path]:
        """Return the folders that are searched, in order."""
        own = os.environ.get("VARIED_DATA")
        given = [Path(own) / self.name] if own else []
        installed = [self.installed] if self.installed else []
        if self.installed and self.installed.is_relative_to(HERE):
            return installed
        return [*given, *installed, cache_folder() / self.name]

    def find(self) -> Path | None:
        """Return the folder that has it, or None."""
        return next((place for place in self.places() if self.ready(place)), None)

    def load(self, labels: Any = None) -> RawData:
        """Return the items; fetch the files first, once, if they are nowhere.

        Arguments:
            labels: Other labels than its own.

        Raises:
            VariedError: If it is not found and cannot be fetched; the message says where to put it.
        """
        place = self.find() or self._fetch()
        for remote in self.remotes:
            if (place / remote.name).exists():
                check(place / remote.name, remote)
        return self.open(place, labels)

    def where(self) -> str:
        """Return where it was found, or how to get it."""
        if (place := self.find()) is not None:
            return "in the package" if place.is_relative_to(HERE) else str(place)
        return self.advice or "fetched at first use"

    def _fetch(self) -> Path:
        folder = cache_folder() / self.name
        if self.advice:
            raise VariedError(f"{self.title} is not on this machine: {self.advice}")
        for remote in self.remotes:
            fetch(remote, folder)
        return folder


def catalog_rows() -> list[Row]:
    """Return a line for each set with a name.

    Example:
        >>> catalog_rows()[0]
        Row(name='mnist', title='MNIST', holds='70,000 gray pictures, ...', where='in the package')
    """
    return [Row(s.name, s.title, s.holds, s.where()) for s in CATALOG.values()]


def _files(*names: str) -> Callable[[Path], bool]:
    return lambda place: all((place / name).is_file() for name in names)


def _mnist(place: Path, labels: Any) -> RawData:
    return read_npz(place / "mnist.npz", labels, DIGITS if labels is None else None)


def _fashion(place: Path, labels: Any) -> RawData:
    return read_idx_folder(place, labels, CLOTHES if labels is None else None)


def _cifar10(place: Path, labels: Any) -> RawData:
    records = np.concatenate([_records(part, name) for part, name in _batches(place)])
    pictures = records[:, 1:].reshape(-1, 3, 32, 32)
    y, classes = (records[:, 0], THINGS) if labels is None else (labels, None)
    items = from_array(pictures, y, classes, what="cifar10", channels_first=True)
    return dataclasses.replace(items, test=np.arange(50_000, 60_000))


def _omniglot(place: Path, labels: Any) -> RawData:
    """Read the drawings; `labels` may be "y" (characters), "alphabet" or "drawer"."""
    path = place / "omniglot28.npz"
    with Npz(path) as npz:
        names = {"alphabet": "alphabets"}.get(str(labels), "characters")
        known = labels in (None, "y", "alphabet") and names in npz.members
        classes = tuple(npz[names].tolist()) if known else None
    return read_npz(path, labels, classes)


def _sprites(place: Path, labels: Any) -> RawData:
    """Draw the pictures; `labels` may be the name of a factor."""
    return sprites(labels=labels)


def _sprites_color(place: Path, labels: Any) -> RawData:
    return sprites(labels=labels, color=True)


def _always(place: Path) -> bool:
    return True


def _batches(place: Path) -> list[tuple[bytes, str]]:
    """Read the six parts, unpacked or out of the archive, which is unpacked nowhere."""
    if _CIFAR_UNPACKED(place):
        return [((place / name).read_bytes(), name) for name in CIFAR_FILES]
    try:
        with tarfile.open(place / CIFAR.name) as archive:
            parts = [archive.extractfile(name) for name in CIFAR_FILES]
            return [(p.read(), n) for p, n in zip(parts, CIFAR_FILES, strict=True) if p]
    except (tarfile.TarError, KeyError, OSError, EOFError, zlib.error) as error:
        raise VariedError(
            f"{place / CIFAR.name} is damaged: delete it, to fetch it again."
        ) from error


def _records(contents: bytes, name: str) -> npt.NDArray[np.uint8]:
    if len(contents) != 10_000 * RECORD:
        raise VariedError(f"{name} of cifar10 is cut short: delete it, and fetch the set again.")
    return np.frombuffer(contents, np.uint8).reshape(-1, RECORD)


def _remote(base: str, name: str, sha256: str, unpacked: bool = False) -> Remote:
    return Remote(name, f"{base}/{name}", sha256, unpacked)


MNIST = Remote("mnist.npz", "", "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64")
ZALANDO = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
FASHION = (
    _remote(
        ZALANDO,
        "train-images-idx3-ubyte.gz",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        unpacked=True,
    ),
    _remote(
        ZALANDO,
        "train-labels-idx1-ubyte.gz",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        unpacked=True,
    ),
    _remote(
        ZALANDO,
        "t10k-images-idx3-ubyte.gz",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        unpacked=True,
    ),
    _remote(
        ZALANDO,
        "t10k-labels-idx1-ubyte.gz",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        unpacked=True,
    ),
)
CIFAR = _remote(
    "https://www.cs.toronto.edu/~kriz",
    "cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
CIFAR_FILES = tuple(
    f"cifar-10-batches-bin/{name}.bin"
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
)
_CIFAR_UNPACKED = _files(*CIFAR_FILES)

SETS = (
    NamedSet(
        name="mnist",
        title="MNIST",
        holds="70,000 gray pictures, 28x28, of digits",
        reference='LeCun, Bottou, Bengio, Haffner, "Gradient-based learning", 1998',
        license="CC BY-SA 3.0",
        open=_mnist,
        ready=_files("mnist.npz"),
        installed=HERE / "mnist",
        remotes=(MNIST,),
        advice="install varied again: the file that comes with it is missing",
    ),
    NamedSet(
        name="fashion-mnist",
        title="Fashion-MNIST",
        holds="70,000 gray pictures, 28x28, of clothes",
        reference='Xiao, Rasul, Vollgraf, "Fashion-MNIST", 2017, https://arxiv.org/abs/1708.07747',
        license="MIT",
        open=_fashion,
        ready=_files(*(remote.name for remote in FASHION)),
        installed=DEBIAN / "fashion-mnist",
        remotes=FASHION,
    ),
    NamedSet(
        name="cifar10",
        title="CIFAR-10",
        holds="60,000 color pictures, 32x32, of ten things",
        reference='Krizhevsky, "Learning multiple layers of features from tiny images", 2009',
        license="none stated",
        open=_cifar10,
        ready=lambda place: _files(CIFAR.name)(place) or _CIFAR_UNPACKED(place),
        remotes=(CIFAR,),
    ),
    NamedSet(
        name="omniglot",
        title="Omniglot",
        holds="32,460 gray pictures, 28x28, of 1,623 characters of 50 alphabets",
        reference='Lake, Salakhutdinov, Tenenbaum, "Human-level concept learning", 2015',
        license="MIT",
        open=_omniglot,
        ready=_files("omniglot28.npz"),
        advice=(
            "make omniglot28.npz (x_train, y_train, x_test, y_test; 28x28, 255 is ink) from "
            "https://github.com/brendenlake/omniglot, put it in a folder 'omniglot', and name the "
            "folder above that in the environment variable VARIED_DATA"
        ),
    ),
    NamedSet(
        name="sprites",
        title="Sprites",
        holds=(
            f"{ROWS:,} black and white pictures, 64x64, of a shape with 5 known factors "
            f"(of {count():,} settings)"
        ),
        reference=(
            'after the idea of Matthey, Higgins, Hassabis, Lerchner, "dSprites", 2017, '
            "https://github.com/google-deepmind/dsprites-dataset; drawn anew"
        ),
        license="Apache-2.0",
        open=_sprites,
        ready=_always,
        installed=HERE,
    ),
    NamedSet(
        name="sprites-color",
        title="Sprites in color",
        holds=(
            f"{COLOUR_ROWS:,} color pictures, 64x64, of a shape with 6 known factors "
            f"(of {count(color=True):,} settings)"
        ),
        reference=(
            'after the idea of Matthey, Higgins, Hassabis, Lerchner, "dSprites", 2017, '
            "https://github.com/google-deepmind/dsprites-dataset; drawn anew"
        ),
        license="Apache-2.0",
        open=_sprites_color,
        ready=_always,
        installed=HERE,
    ),
)
CATALOG = {one.name: one for one in SETS}
