"""Measure relations between the columns of generated rows: ``python -m benchmarks.relations``.

A generated table has 2,000 rows in which ten relations hold exactly: between numbers, between
dates, between categories, and between a missing cell and a category. `varied train` is run with
default settings and one thread, and each value is the fraction of generated rows in which the
relation holds.

Each trial is saved in ``results/relations.json`` as soon as it ends, and is not repeated;
``results/relations.md`` shows all trials.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.records import description, load, markdown_table, save, write_page
from benchmarks.unfamiliar.synthesis import sample_varied
from varied.runtime import describe_machine

NAME, ROWS, SEEDS = "relations", 2000, (0, 1, 2)
COUNTRIES = {
    **dict.fromkeys(("Lyon", "Paris", "Nice"), "France"),
    **dict.fromkeys(("Rome", "Milan"), "Italy"),
    **dict.fromkeys(("Bonn", "Kiel", "Ulm"), "Germany"),
}
GRADES = {1: "low", 2: "medium", 3: "high"}


def size_of(quantity: Any) -> Any:
    """Return the size class of each quantity."""
    return np.select([quantity <= 2, quantity <= 4], ["small", "medium"], "large")


def related_table(n: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Return a table in which all of `RELATIONS` hold."""
    rng = np.random.default_rng(seed)
    a, b = np.round(rng.gamma(2, 10, n), 2), np.round(rng.gamma(2, 5, n), 2)
    city, level = rng.choice(list(COUNTRIES), n), rng.choice(list(GRADES), n, p=[0.5, 0.3, 0.2])
    married = rng.random(n) < 0.55
    check_in = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 700, n), "D")
    nights, quantity = 1 + rng.poisson(3, n), 1 + rng.poisson(2, n)
    price, celsius = np.round(rng.gamma(3, 7, n), 2), np.round(rng.normal(15, 8, n), 1)
    salary = 500 * (40 + rng.poisson(20 + 10 * level))
    return pd.DataFrame(
        {
            "a": a,
            "b": b,
            "total": np.round(a + b, 2),
            "city": city,
            "country": [COUNTRIES[name] for name in city],
            "level": level,
            "grade": [GRADES[number] for number in level],
            "married": np.where(married, "yes", "no"),
            "spouse_age": np.where(married, rng.integers(20, 80, n), np.nan),
            "check_in": check_in,
            "check_out": check_in + pd.to_timedelta(nights, "D"),
            "quantity": quantity,
            "size": size_of(quantity),
            "price": price,
            "amount": np.round(quantity * price, 2),
            "celsius": celsius,
            "fahrenheit": np.round(1.8 * celsius + 32, 1),
            "salary": salary,
            "bonus": np.where(level == 3, 500 * (1 + rng.poisson(2, n)), 0),
            "noise": rng.normal(size=n),
        }
    )


#: Whether each relation holds, in each row.
RELATIONS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "total = a + b": lambda t: (t.a + t.b - t.total).abs() < 0.006,
    "country of the city": lambda t: t.city.map(COUNTRIES) == t.country,
    "grade = name of the level": lambda t: t.level.map(GRADES) == t.grade,
    "spouse_age missing if not married": lambda t: (t.married == "no") == t.spouse_age.isna(),
    "check_out after check_in": lambda t: pd.to_datetime(t.check_out) > pd.to_datetime(t.check_in),
    "amount = quantity * price": lambda t: (t.quantity * t.price - t.amount).abs() < 0.006,
    "fahrenheit = 1.8 celsius + 32": lambda t: (1.8 * t.celsius + 32 - t.fahrenheit).abs() < 0.051,
    "salary a multiple of 500": lambda t: t.salary % 500 == 0,
    "bonus only at level 3": lambda t: (t.bonus > 0) == (t.level == 3),
    "size of the quantity": lambda t: size_of(t.quantity) == t["size"],
}


def fractions(table: pd.DataFrame) -> dict[str, float]:
    """Return the fraction of the rows in which each relation holds."""
    return {name: float(np.mean(holds(table))) for name, holds in RELATIONS.items()}


def main() -> None:
    """Run the trials that have not been run, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    for seed in parser.parse_args().seeds:
        if (key := f"seed {seed}") not in load(NAME):
            begin = time.perf_counter()
            values = fractions(sample_varied(related_table(seed=seed), seed))
            save(NAME, key, values | {"seconds": time.perf_counter() - begin})
            write_page(NAME, page())


def page() -> list[str]:
    """Return the lines of the page."""
    trials = load(NAME)
    rows = [[name, *(f"{trial[name]:.3f}" for trial in trials.values())] for name in RELATIONS]
    rows.append(["seconds", *(f"{trial['seconds']:.0f}" for trial in trials.values())])
    machine = f"Processor: {describe_machine()['processor']}."
    table = markdown_table(["relation", *trials], rows)
    return ["# Relations between columns", "", description(__doc__), "", machine, "", *table]


if __name__ == "__main__":
    main()
