"""Optimize molecules and rows: ``python -m benchmarks.optimize QM9 MOSES ADULT``.

A VAE is trained on each dataset for a few minutes on one thread. *Prediction*: the HOMO-LUMO gap of
QM9 is predicted from the codes by a ridge regression and by a network, and from Morgan fingerprints
(radius 2, 1,024 bits) by a ridge regression; all are fitted to the same training molecules, and R2
is that on test molecules. A second model is trained to predict properties from its latent variables
(`--property-weight 1`). *Molecules*: the QED of random test molecules is raised at a Tanimoto
similarity of at least 0.4 to the start. `varied optimize` is compared with a random search in the
same ball without a predictor, and with a genetic algorithm that replaces, inserts and deletes
SELFIES tokens of the best molecules so far. All decode at most 32 molecules for each evaluation of
the QED, and evaluate at most 50 distinct molecules for each start. The gain is 0 if no molecule is
better. "Known" is the gain of the best of the training molecules at this similarity. For MOSES, the
starts have a QED between 0.6 and 0.8, since the mean is near the maximum otherwise. *Rows*: the
weekly hours of 100 test rows of Adult are raised. The hours that a random forest predicts from the
other columns of the optimized row show whether the row is consistent; the reference sets the cell
and leaves the other columns.

Each part is saved in ``results/optimize.json`` as soon as it ends, and is not repeated;
``results/optimize.md`` shows all of them.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import varied
from benchmarks.records import description, load, markdown_table, save, write_page
from varied import functional
from varied.data import RawData, molecules
from varied.evaluate import Estimate
from varied.evaluate.probes import r2
from varied.runs.latent_support import embed
from varied.runs.optimization import Decoder, Search
from varied.runtime import describe_machine

NAME = "optimize"
#: What the names of the parts with the second model end with.
TRAINED = ", trained to predict properties"
GAP, HOURS = "HOMO_LUMO_gap_au", "hours-per-week"
#: The columns of the page.
COLUMNS = ("improved", "similarity", "heavy atoms", "outside")
N_STARTS, N_EVALUATIONS, MIN_SIMILARITY = 100, 50, 0.4
#: The settings of the genetic algorithm; all but the last are those of `functional.search`.
ROUNDS, MAX_ATTEMPTS, DECODED, PARENTS, MAX_MUTATIONS = 8, 4, 8, 10, 3
RIDGE_ALPHA = 10.0

Evaluate = Callable[[list[str]], np.ndarray]


def train(source: str, folder: Path, minutes: float, **choices: Any) -> varied.Run:
    """Return a run, which is trained unless the folder contains it."""
    if not (folder / "model.safetensors").exists():
        varied.train(source, out=folder, minutes=minutes, threads=1, progress=False, **choices)
    return varied.Run(folder)


# Prediction


def predict_gap(run: varied.Run) -> dict[str, float]:
    """Return R2 of the gap of test molecules, predicted from codes and from fingerprints."""
    training, test = map(run.split, ("train", "test"))
    codes = [embed(run, data) for data in (training, test)]
    values = [torch.from_numpy(data.labels.astype(np.float64)) for data in (training, test)]
    results = {}
    for kind in ("ridge", "mlp"):
        predictor = functional.fit_property(codes[0], values[0], codes[1], values[1], kind=kind)
        results[f"codes, {kind}"] = predictor.r2
    x, x_test = (_bits(data.x.tolist()) for data in (training, test))
    y = values[0] - values[0].mean()
    gram = x.T @ x + RIDGE_ALPHA * torch.eye(x.shape[1])
    weights = torch.linalg.solve(gram, x.T @ y.float())
    predicted = x_test @ weights + values[0].mean()
    results["fingerprints, ridge"] = r2(predicted.double().numpy(), values[1].numpy())
    return _flat(results)


def _bits(smiles: list[str]) -> torch.Tensor:
    return torch.from_numpy(molecules.fingerprints(smiles)).float()


# Molecules


def raise_qed(run: varied.Run, low: float, high: float) -> dict[str, Any]:
    """Return the gain of each method over test molecules with a QED in a range."""
    starts = _starts(run, low, high)
    search = Search(run, "QED", False, 0.8, MIN_SIMILARITY, None)
    codes, before = embed(run, starts), _qed(starts.x.tolist())
    results: dict[str, Any] = {
        "starts": len(starts),
        "mean before": float(before.mean()),
        "R2": search.predictor.r2.value,
    }
    methods = {
        "varied optimize": lambda i: _search(search, starts.take([i]), codes[i], before[i], True),
        "random search": lambda i: _search(search, starts.take([i]), codes[i], before[i], False),
        "genetic algorithm": lambda i: evolve(run, str(starts.x[i]), float(before[i]), seed=i),
    }
    for name, method in methods.items():
        begin = time.perf_counter()
        best, used = zip(*map(method, range(len(starts))), strict=True)
        after = _qed(list(best))
        similar = [molecules.similarities(a, [b])[0] for a, b in zip(starts.x, best, strict=True)]
        optimized = RawData(np.array(best), "molecules")
        assert search.density is not None
        outside = search.density.is_out_of_support(search.encode(optimized, None))
        size = (
            run.codec.properties(best)["heavy atoms"]
            - run.codec.properties(starts.x)["heavy atoms"]
        )
        gain = Estimate.of(torch.from_numpy(after - before))
        results[name] = {
            "gain": gain.value,
            "error": gain.error,
            "similarity": float(np.mean(similar)),
            "improved": float(np.mean(after > before)),
            "evaluations": float(np.mean(used)),
            "heavy atoms": float(size.mean()),
            "outside": float(outside.double().mean()),
            "seconds": time.perf_counter() - begin,
        }
        print(name, results[name], flush=True)
    return results


def _starts(run: varied.Run, low: float, high: float) -> RawData:
    """Return random test molecules with a QED in a range."""
    test = run.split("test")
    order = np.random.default_rng(0).permutation(len(test))[: 20 * N_STARTS]
    qed = _qed(test.x[order].tolist())
    return test.take(order[(qed >= low) & (qed <= high)][:N_STARTS])


def _search(
    search: Search, start: RawData, code: torch.Tensor, before: float, is_guided: bool
) -> tuple[str, int]:
    optimum = functional.search(
        code,
        float(before),
        Decoder(search, start, code, None),
        lambda candidates: torch.from_numpy(_qed(candidates.data.x.tolist())),
        search.predictor if is_guided else None,
        search.region,
        search.density,
        n_evaluations=N_EVALUATIONS,
    )
    best = start if optimum.best is None else optimum.best.data
    return str(best.x[0]), optimum.n_evaluations


def evolve(run: varied.Run, start: str, before: float, *, seed: int) -> tuple[str, int]:
    """Return the best molecule of a genetic algorithm, and the number of evaluated molecules."""
    random = np.random.default_rng(seed)
    population, generated, used = [(before, start)], {start}, 0
    batch = math.ceil(N_EVALUATIONS / ROUNDS)
    for _ in range(ROUNDS * MAX_ATTEMPTS):
        parents = molecules.to_tokens([smiles for _, smiles in population])
        children = [
            _mutate(parents[random.integers(len(parents))], run.codec.tokens[2:], random)
            for _ in range(DECODED * batch)
        ]
        children = [row[: run.codec.length] for row in children]
        smiles = [s for s in dict.fromkeys(molecules.to_smiles(children)) if s not in generated]
        generated.update(smiles)
        similar = molecules.similarities(start, smiles) >= MIN_SIMILARITY
        smiles = [s for s, is_similar in zip(smiles, similar, strict=True) if s and is_similar]
        smiles = smiles[: min(batch, N_EVALUATIONS - used)]
        used += len(smiles)
        population += zip(_qed(smiles).tolist(), smiles, strict=True)
        population = sorted(population, reverse=True)[:PARENTS]
        if used == N_EVALUATIONS:
            break
    return population[0][1], used


def _mutate(
    tokens: list[str], vocabulary: tuple[str, ...], random: np.random.Generator
) -> list[str]:
    """Return tokens of which up to three are replaced, inserted or deleted."""
    row = list(tokens)
    for _ in range(random.integers(1, MAX_MUTATIONS + 1)):
        position, new = random.integers(len(row) + 1), vocabulary[random.integers(len(vocabulary))]
        row[position : position + random.integers(2)] = [new] * random.integers(2)
    return row


def _qed(smiles: list[str]) -> np.ndarray:
    return np.array(molecules.properties(smiles)["QED"])


def known_gain(run: varied.Run) -> float:
    """Return the mean gain of the most similar training molecules with the highest QED."""
    training, starts = run.split("train").x.tolist(), _starts(run, 0, 1).x.tolist()
    bits, qed = (_bits(training), _bits(starts)), _qed(training)
    shared = bits[1] @ bits[0].T
    similarity = shared / (bits[1].sum(1, keepdim=True) + bits[0].sum(1) - shared)
    gains = []
    for row, value in zip(similarity.numpy(), _qed(starts), strict=True):
        gains.append(max(0.0, float((qed[row >= MIN_SIMILARITY] - value).max(initial=0.0))))
    return float(np.mean(gains))


def _flat(results: dict[str, Estimate]) -> dict[str, float]:
    return {name: r.value for name, r in results.items()} | {
        f"{name} error": r.error for name, r in results.items()
    }


# Rows


def raise_hours(run: varied.Run) -> dict[str, float]:
    """Return the weekly hours of test rows before and after an optimization, and how consistent."""
    import pandas as pd
    from sklearn.ensemble import RandomForestRegressor

    test = run.split("test").take(range(N_STARTS))
    result = run.optimize(test, property=HOURS, n=N_STARTS, n_evaluations=50)
    before, after = (result.array.xs(which, level="which") for which in ("start", "best"))
    training = run.split("train").x
    columns = [name for name in training if name not in (HOURS, "fnlwgt")]
    both = pd.concat([training, before, after])[columns]
    features = pd.get_dummies(both).fillna(0)
    forest = RandomForestRegressor(100, min_samples_leaf=5, random_state=0)
    forest.fit(features[: len(training)], training[HOURS])
    predicted = forest.predict(features[len(training) :]).reshape(2, -1).mean(1)
    return {
        "before": float(before[HOURS].mean()),
        "after": float(after[HOURS].mean()),
        "predicted before": float(predicted[0]),
        "predicted after": float(predicted[1]),
        "R2": result.r2.value,
        "distance": float(result.distance.mean()),
        **{f"{c.name} before": c.before for c in result.changes[:3]},
        **{f"{c.name} after": c.after for c in result.changes[:3]},
    }


def main() -> None:
    """Run the parts that have not been run, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs=3, help="the tables of QM9, MOSES and Adult")
    parser.add_argument("--folder", type=Path, default=Path("runs/optimize"))
    parser.add_argument("--minutes", type=float, nargs=3, default=(5.0, 10.0, 2.0))
    args = parser.parse_args()
    qm9, trained, moses, adult = (
        lambda name=name, source=source, minutes=minutes, choices=choices: train(
            source, args.folder / name, minutes, **choices
        )
        for name, source, minutes, choices in zip(
            ("qm9", "qm9-properties", "moses", "adult"),
            (args.sources[0], *args.sources),
            (args.minutes[0], *args.minutes),
            ({"labels": GAP}, {"labels": GAP, "property_weight": 1.0}, {"beta": 0.3}, {}),
            strict=True,
        )
    )
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "gap": lambda: predict_gap(qm9()),
        "QM9": lambda: raise_qed(qm9(), 0.0, 1.0) | {"known": known_gain(qm9())},
        f"gap{TRAINED}": lambda: predict_gap(trained()),
        f"QM9{TRAINED}": lambda: raise_qed(trained(), 0.0, 1.0),
        "Adult": lambda: raise_hours(adult()),
        "MOSES": lambda: raise_qed(moses(), 0.6, 0.8),
    }
    for name, run_part in parts.items():
        if name not in load(NAME):
            save(NAME, name, run_part())
            write_page(NAME, page())


def page() -> list[str]:
    """Return the lines of the page."""
    records = load(NAME)
    lines = ["# Optimization", "", description(__doc__), ""]
    lines += [f"Processor: {describe_machine()['processor']}.", ""]
    for part in ("gap", f"gap{TRAINED}"):
        if gap := records.get(part):
            rows = [
                [name, f"{value:.3f} ± {gap[f'{name} error']:.3f}"]
                for name, value in gap.items()
                if not name.endswith("error")
            ]
            title = f"## Gap of QM9{part.removeprefix('gap')}"
            lines += [title, "", *markdown_table(["predicted from", "R2"], rows), ""]
    for dataset in ("QM9", f"QM9{TRAINED}", "MOSES"):
        if record := records.get(dataset):
            known = f" Known: {record['known']:.3f}." if "known" in record else ""
            lines += [
                f"## QED of {dataset}",
                "",
                f"{record['starts']} starts with a mean QED of {record['mean before']:.3f}. "
                f"R2 of the predictor: {record['R2']:.2f}.{known}",
                "",
            ]
            methods = {k: v for k, v in record.items() if isinstance(v, dict)}
            rows = [
                [
                    name,
                    f"{m['gain']:.3f} ± {m['error']:.3f}",
                    *(f"{m[column]:.2f}" for column in COLUMNS),
                    f"{m['evaluations']:.0f}",
                ]
                for name, m in methods.items()
            ]
            header = ["method", "gain", *COLUMNS, "evaluations"]
            lines += [*markdown_table(header, rows), ""]
    if adult := records.get("Adult"):
        rows = [[name, f"{value:.3g}"] for name, value in adult.items()]
        lines += ["## Weekly hours of Adult", "", *markdown_table(["mean", "value"], rows), ""]
    return lines


if __name__ == "__main__":
    main()
