"""Generated tables with properties on which models fail: few values, copies, heavy tails."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks.unfamiliar.tables import HELD_OUT, Table, add
from benchmarks.unfamiliar.tuned import numbers

ROWS = 2000
Random = np.random.Generator


def generate(function: Callable[[Random], pd.DataFrame | Table]) -> None:
    """Add a table that is generated with a fixed seed."""
    add(HELD_OUT, "generator", function.__name__)(lambda: function(np.random.default_rng(0)))


@generate
def clusters(random: Random) -> pd.DataFrame:
    """Five Gaussian clusters of different scales in six dimensions."""
    means, scales = random.normal(0, 4, (5, 6)), random.uniform(0.2, 1.5, (5, 6))
    k = random.choice(5, ROWS, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    return numbers(random.normal(means[k], scales[k]))


@generate
def rings(random: Random) -> pd.DataFrame:
    """Two rings in a plane, and two columns of noise."""
    angle, radius = random.uniform(0, 2 * np.pi, ROWS), random.choice([1.0, 3.0], ROWS)
    plane = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return numbers(np.hstack([random.normal(plane, 0.1), random.normal(size=(ROWS, 2))]))


@generate
def near_constant(random: Random) -> pd.DataFrame:
    """Three correlated columns, and five columns of which 98% of the cells are equal."""
    x = random.normal(size=(ROWS, 1)) + random.normal(0, 0.5, (ROWS, 3))
    rare = random.random((ROWS, 5)) < 0.02
    return numbers(np.hstack([x, np.where(rare, random.exponential(5, (ROWS, 5)), 1.0)]))


@generate
def near_duplicates(random: Random) -> pd.DataFrame:
    """Three independent columns, each with three copies that differ by 1%."""
    x = random.gamma(2, 1, (ROWS, 3)).repeat(4, 1)
    return numbers(x + random.normal(0, 0.01, x.shape))


@generate
def sparse_counts(random: Random) -> pd.DataFrame:
    """Fifteen counts that are mostly zero, with rates that depend on a group."""
    rates = random.choice([0.02, 0.2, 1.5], (4, 15), p=[0.5, 0.4, 0.1])
    return numbers(random.poisson(rates[random.integers(0, 4, ROWS)]))


@generate
def heavy_tails(random: Random) -> pd.DataFrame:
    """Correlated columns with the tails of a t distribution and of a lognormal distribution."""
    z = random.multivariate_normal(np.zeros(6), 0.4 * np.eye(6) + 0.6, ROWS)
    scale = np.sqrt(random.chisquare(2, (ROWS, 1)) / 2)
    return numbers(np.hstack([z[:, :3] / scale, np.exp(1.5 * z[:, 3:])]))


@generate
def dependent_categories(random: Random) -> Table:
    """Six columns of categories, each of which depends on the previous column."""
    columns = [random.integers(0, 4, ROWS)]
    for levels in (3, 5, 4, 6, 2):
        p = random.dirichlet(np.full(levels, 0.3), int(columns[-1].max()) + 1)
        columns.append((random.random((ROWS, 1)) > p[columns[-1]].cumsum(1)[:, :-1]).sum(1))
    names = [f"c{i}" for i in range(6)]
    frame = pd.DataFrame(
        {name: [f"{name}{k}" for k in column] for name, column in zip(names, columns, strict=True)}
    )
    return Table(frame, "c5")


@generate
def customers(random: Random) -> Table:
    """Numbers and categories that depend on each other, and a class to predict."""
    age = random.integers(18, 90, ROWS)
    region = random.choice(["north", "south", "east", "west"], ROWS, p=[0.5, 0.3, 0.15, 0.05])
    income = np.exp(random.normal(10 + 0.3 * (region == "north") - ((age - 50) / 40) ** 2, 0.4))
    visits = random.poisson(1 + 4 * (region == "south") + income / 2e4)
    spending = np.where(visits > 0, visits * income * random.uniform(0, 1e-3, ROWS), 0.0)
    leaves = random.random(ROWS) < 1 / (1 + np.exp(visits - 3 + (age > 60)))
    return Table(
        pd.DataFrame(
            {
                "age": age,
                "region": region,
                "income": income.round(-2),
                "visits": visits,
                "spending": spending.round(2),
                "leaves": np.where(leaves, "yes", "no"),
            }
        ),
        "leaves",
    )


@generate
def time_windows(random: Random) -> pd.DataFrame:
    """Windows of 24 steps of a daily cycle with a random phase and autocorrelated noise."""
    phase, level = random.uniform(0, 2 * np.pi, (ROWS, 1)), random.normal(0, 1, (ROWS, 1))
    x = level + np.sin(phase + np.arange(24) * 2 * np.pi / 24)
    noise = random.normal(0, 0.2, x.shape)
    for step in range(1, 24):
        noise[:, step] += 0.8 * noise[:, step - 1]
    return numbers(x + noise)


@generate
def mostly_missing(random: Random) -> pd.DataFrame:
    """Six correlated columns: 95% of the cells of the first are missing, 10% of the others."""
    x = random.normal(size=(ROWS, 2)) @ random.normal(size=(2, 6)) + random.normal(
        0, 0.3, (ROWS, 6)
    )
    is_missing = random.random(x.shape) < np.array([0.95, *[0.1] * 5])
    return numbers(np.where(is_missing, np.nan, x))


@generate
def repeated_rows(random: Random) -> pd.DataFrame:
    """Two hundred different rows, each of which occurs about ten times."""
    x = random.normal(size=(200, 2)) @ random.normal(size=(2, 5)) + random.normal(0, 0.3, (200, 5))
    return numbers(x[random.integers(0, 200, ROWS)])


@generate
def interaction(random: Random) -> Table:
    """Five independent columns, and a class that depends on the product of two of them."""
    x = random.normal(size=(ROWS, 5))
    y = np.where(x[:, 0] * x[:, 1] + random.normal(0, 0.2, ROWS) > 0, "positive", "negative")
    return Table(numbers(x).assign(y=y), "y")
