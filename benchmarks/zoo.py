"""Every name of the zoo, trained on digits as `varied train` does it: ``python -m benchmarks.zoo``.

Each has the same time on one thread that has a core to itself, or the epochs that this time gave
(a prior that is fitted afterwards has half as many); m2 and the three m1m2, whose classifier is
convolutional, have two minutes, and the two deepest, of which a step takes a hundred times as
long, eight, beside other work. All have the defaults that a person gets, and are measured on the
first test rows: in nats, with log p(x) by importance samples. The Fréchet distance is that of
5,000 samples, the means of p(x given z), from as many test digits, in the features of a digit
classifier (training digits stand at about 3). `benchmarks/results/zoo.json` keeps the figures as
they come, `benchmarks/results/zoo/` a strip of samples of each, and the page
`benchmarks/results/zoo.md` is written from both.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.pages import markdown
from benchmarks.trained import RESULTS, Data, Trained, digit_features, keep
from varied.evaluate.frechet import frechet
from varied.evaluate.suites.context import EvalContext
from varied.plots import grid
from varied.runs import Run
from varied.training import prepare
from varied.zoo import GROUPS, ZOO

STRIPS = RESULTS / "zoo"
PARTS = {
    group: [name for name, entry in ZOO.items() if entry.group == group]
    for group in GROUPS.values()
}
ROWS, SAMPLES, LABELS, COLUMNS = 1000, 100, 100, 16
#: The structures that learn classes from few labels.
CLASSES = ("m2", "m1m2")


def measured(name: str, length: dict[str, float], threads: int) -> dict[str, Any]:
    """Train a variant, keep its strip of samples, and return its figures."""
    plan = {**length, "threads": threads, "compile": "no"}
    if structure(name) in CLASSES:
        plan["n_labels"] = LABELS
    with TemporaryDirectory() as folder:
        job = prepare("mnist", name, out=Path(folder) / "run", **plan)
        *_, event = job.train()
        for _ in job.fit_prior():
            pass
        run = job.deliver()
        found = numbers(run, event.state.seconds, event.epoch)
        strip(run, STRIPS / f"{name}.png")
    return found


def structure(name: str) -> str:
    """Return the name of a variant's structure."""
    part = ZOO[name].parts.get("architecture", "vae")
    return part if isinstance(part, str) else part["name"]


def numbers(run: Run, seconds: float, epochs: float) -> dict[str, Any]:
    """Return the figures of a run."""
    test = run.split("test")
    items = test.take(range(ROWS))
    here = Data(items, run.codec, {"test": run.encode_items(items)})
    one = Trained(run.spec, run.model, here, seconds, 0, epochs)
    # A density that takes an integral for every draw is too dear for a hundred of them.
    found = one.numbers(samples=0 if run.spec.prior.name == "flow-matching" else SAMPLES)
    if run.error is not None:
        found["error"] = run.error.value
    beside = EvalContext(run, digit_features())
    made, real = (beside.sample_features, beside.test_features)
    return found | {"frechet": frechet(made, real)}


def strip(run: Run, path: Path) -> None:
    """Keep sixteen samples in one row, their pixels exact; of each class in turn, if any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.hstack(run.sample(COLUMNS, seed=1).shown)).save(path)


def page() -> None:
    """Write the page from all that was kept, with a sheet of samples for each part of the zoo."""
    held = json.loads((RESULTS / "zoo.json").read_text("utf-8"))
    about = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    lines = ["# The zoo, trained", "", about, ""]
    for title, part in PARTS.items():
        rows = {name: held[name] for name in part if name in held}
        if not rows:
            continue
        sheet = f"zoo/{title.split()[0].lower()}.png"
        shown = [_cut(STRIPS / f"{name}.png") for name in rows]
        grid(np.concatenate(shown), RESULTS / sheet, columns=COLUMNS, row_titles=list(rows))
        lines += [f"## {title}", "", *markdown(rows), "", f"![Samples of each]({sheet})", ""]
    (RESULTS / "zoo.md").write_text("\n".join(lines), "utf-8")


def _cut(path: Path) -> np.ndarray:
    """Return the pictures of a strip, with shape (16, H, W)."""
    return np.stack(np.hsplit(np.asarray(Image.open(path)), COLUMNS))


def main() -> None:
    asks = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asks.add_argument("names", nargs="*", metavar="NAME", help="of the zoo; all where none is")
    asks.add_argument("--minutes", type=float, default=0.75, help="minutes of each training")
    asks.add_argument("--threads", type=int, default=1)
    asks.add_argument("--again", action="store_true", help="also what was measured, as many epochs")
    asks.add_argument("--page", action="store_true", help="write the page, and train nothing")
    wanted = asks.parse_args()
    path = RESULTS / "zoo.json"
    held = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for name in [] if wanted.page else wanted.names or ZOO:
        before = held.get(name)
        if before is None or wanted.again:
            length = {"epochs": before["epochs"]} if before else {"minutes": wanted.minutes}
            found = measured(name, length, wanted.threads)
            if before:  # its epochs came of these seconds, on a machine that was perhaps less busy
                found["seconds"] = before["seconds"]
            keep("zoo", name, found)
            print(name, json.dumps(found), flush=True)
    page()


if __name__ == "__main__":
    sys.exit(main())
