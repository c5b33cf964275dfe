"""Tables on which the defaults were chosen, or on which the documentation reports results."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.unfamiliar.tables import TUNED, Table, UnavailableError, add

ADBENCH = {
    "ionosphere": "18_Ionosphere",
    "mammography": "23_mammography",
    "optdigits": "26_optdigits",
    "pendigits": "28_pendigits",
    "pima": "29_Pima",
    "annthyroid": "2_annthyroid",
    "shuttle": "32_shuttle",
    "thyroid": "38_thyroid",
    "vowels": "40_vowels",
    "glass": "14_glass",
    "adbench_wine": "45_wine",
    "cardio": "6_cardio",
}


def path_of(*names: str) -> Path:
    """Return the path of a file in the folder of real data."""
    path = Path(os.environ.get("VARIED_DATA", "")).joinpath(*names)
    if "VARIED_DATA" not in os.environ or not path.exists():
        raise UnavailableError("Set VARIED_DATA to the folder of real data.")
    return path


def numbers(x: np.ndarray) -> pd.DataFrame:
    """Return a table of numeric columns, x0, x1, ..."""
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])])


def adbench(file: str) -> Table:
    with np.load(path_of("anomaly", f"{file}.npz")) as arrays:
        frame = numbers(arrays["X"]).assign(label=arrays["y"].astype(int))
    return Table(frame, "label", 1)


for name, file in ADBENCH.items():
    add(TUNED, "ADBench", name)(partial(adbench, file))


@add(TUNED, "UCI")
def adult() -> Table:
    return Table(pd.read_csv(path_of("adult", "adult_train.csv.gz")), "income")


@add(TUNED, "UCR")
def ecg5000() -> Table:
    with np.load(path_of("ecg5000", "ecg5000.npz")) as arrays:
        x = np.concatenate([arrays["x_train"], arrays["x_test"]])
        y = np.concatenate([arrays["y_train"], arrays["y_test"]])
    return Table(numbers(x).assign(label=(y != 1).astype(int)), "label", 1)


def sklearn_frame(name: str) -> pd.DataFrame:
    """Return a table of scikit-learn with its target."""
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")(as_frame=True).frame


@add(TUNED, "scikit-learn")
def breast_cancer() -> Table:
    return Table(sklearn_frame("breast_cancer"), "target", 0)


@add(TUNED, "scikit-learn")
def wine() -> Table:
    return Table(sklearn_frame("wine"), "target", 2)


@add(TUNED, "scikit-learn")
def digits() -> Table:
    return Table(sklearn_frame("digits"), "target", 9)
