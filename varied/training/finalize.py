"""What a person looks at when training is done: numbers, pictures, two animations, the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from varied import __version__, atomic_io, functional, plots
from varied.data.codecs import TableCodec
from varied.evaluate import Evaluation
from varied.evaluate.active_units import THRESHOLD
from varied.plots import animation
from varied.report import Fact, Figure, Sentence, Table, write_card, write_report
from varied.runs import Run
from varied.runtime import describe_machine
from varied.seeding import permutation
from varied.training.table_figures import table_figures
from varied.training_loop import TrainingState
from varied.zoo import ZOO

__all__ = ["finalize"]

Array = npt.NDArray[Any]


def finalize(run: Run, state: TrainingState, sentences: Sequence[str], name: str) -> Evaluation:
    """Measure a finished run on its test rows, and write its pictures, report and card.

    Arguments:
        run: The run; its folder gets the files.
        state: How training ended.
        sentences: What was understood and chosen.
        name: What the person called the model.
    """
    found = run.evaluate()
    atomic_io.write_json(run.store / "evaluation.json", found.to_json())
    of_data = table_figures if isinstance(run.codec, TableCodec) else _pictures
    figures = [
        *_loss(run),
        *of_data(run, found),
        *_units(run, found),
        *_latent(run),
        *_samples_gif(run),
    ]
    title = f"{_title(name)} on {_source(run)}"
    facts = _facts(run, found, state)
    notes = [Sentence(text) for text in sentences]
    warnings = [
        Sentence(text, "warning")
        for text in [
            *_short(run, state),
            *found.warnings,
            *_skipped(state),
            *_braked(run.store.history()),
        ]
    ]
    table = _table(run, state)
    _card(run, title, facts, table, warnings, figures)
    write_report(
        run.folder,
        title=title,
        sentences=[*warnings, *notes],
        facts=facts,
        tables=[table],
        figures=figures,
    )
    return found


def _title(name: str) -> str:
    return ZOO[name].title if name in ZOO else "Variational autoencoder"


def _source(run: Run) -> str:
    return Path(run.data["source"]).name if run.data["source"] else "arrays"


def _short(run: Run, state: TrainingState) -> list[str]:
    """Say where most rows were never seen: then no figure tells what the model can do."""
    epochs = state.step * run.spec.plan.batch_size / run.data["train"]
    if epochs >= 0.5:
        return []
    return [
        f"The run saw {epochs:.0%} of the training rows, each once at the most, which is too "
        "little to judge the model; give it more --minutes, or a smaller net (--width)."
    ]


def _skipped(state: TrainingState) -> list[str]:
    if not state.skipped:
        return []
    return [f"{state.skipped} steps had no finite gradient and were left out; try a smaller --lr."]


def _braked(history: Sequence[dict[str, Any]]) -> list[str]:
    """Say whether a critic was held back."""
    brakes = [row["throttle"] for row in history if row["split"] == "train" and "throttle" in row]
    if not brakes or min(brakes) > 0.9:
        return []
    return [
        "Reconstruction got worse than its tolerance while the critic spoke, so its weight was "
        f"held back, to {min(brakes):.2g} of itself at the least; a lower --weight needs no brake."
    ]


def _facts(run: Run, found: Evaluation, state: TrainingState) -> list[Fact]:
    rows = f"{found.n:,} test rows"
    facts = []
    if found.elbo is not None and found.kl is not None:
        facts.append(Fact("−ELBO", f"{-found.elbo} nats", f"{rows}; lower is better"))
    facts.append(Fact("reconstruction", f"{found.reconstruction} nats", rows))
    if found.kl is not None:
        facts.append(Fact("KL", f"{found.kl} nats", rows))
    error = run.error
    if error is not None:
        facts.append(
            Fact("class error", f"{error * 100} %", f"{rows}; their labels were not shown")
        )
    if found.codebook_size:
        share = f"{found.codebook_usage:.0%} of {found.codebook_size}"
        perplexity = f"perplexity {found.codebook_perplexity:.0f}, on {rows}"
        facts.append(Fact("codebook usage", share, perplexity))
    active = f"{found.active_units.value:.0f} of {found.latent_dim}"
    facts.append(Fact("active units", active, f"variance of the mean above {THRESHOLD}"))
    minutes = f"{state.seconds / 60:.1f} min" if state.seconds >= 90 else f"{state.seconds:.0f} s"
    facts.append(Fact("training", minutes, f"{state.step:,} steps; {state.setup}"))
    return facts


def _table(run: Run, state: TrainingState) -> Table:
    spec = run.spec
    parts = [(axis, _spoken(value)) for axis, value in spec.plain.items() if axis != "plan"]
    size = sum(p.numel() for p in run.model.parameters())
    more = [
        ("parameters", f"{size:,}"),
        ("batch_size", str(spec.plan.batch_size)),
        ("learning rate", f"{spec.plan.lr:g}, {spec.plan.lr_schedule} decay"),
        *(
            [("weights", f"moving average of {spec.plan.ema_decay:g}")]
            if spec.plan.ema_decay
            else []
        ),
        ("steps", f"{state.step:,}"),
        ("seed", str(spec.plan.seed)),
        ("varied", __version__),
        ("torch", torch.__version__),
    ]
    return Table(
        "The model", ("part", "value"), [*parts, *more], "The whole of it is in spec.toml."
    )


def _spoken(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    settings = ", ".join(f"{k} = {v}" for k, v in value.items() if k != "name")
    return f"{value['name']} ({settings})"


def _loss(run: Run) -> Iterator[Figure]:
    history = run.store.history()
    plots.loss_curves(history, run.folder / "loss.png")
    yield Figure("loss.png", "Loss", _loss_alt(history), "Reconstruction and KL apart, in nats.")


def _units(run: Run, found: Evaluation) -> Iterator[Figure]:
    if found.kl_by_unit is not None:
        rates = np.array(found.kl_by_unit)
        active = np.array(found.active_by_unit)
        plots.kl_bars(rates, active, run.folder / "kl.png")
        text = f"{active.sum()} of {len(active)} units are active; {rates.sum():.1f} nats in all."
        yield Figure("kl.png", "KL of each latent unit", text, text)


def _pictures(run: Run, found: Evaluation) -> Iterator[Figure]:
    """Make each picture, and yield what to say of it."""
    folder = run.folder
    yield _saved(run.sample(64), folder, "samples.png", "Samples", _sampled(run))
    yield _saved(
        run.reconstruct(n=32),
        folder,
        "reconstructions.png",
        "Reconstructions",
        "Test data as the model saw them, each above its reconstruction.",
    )
    if run.model.latent_shape == (2,) and run.has_euclidean_latent and _pictured(run):
        yield _manifold(run)
    if run.has_euclidean_latent:
        order = "most varied" if found.kl_by_unit is None else "largest KL"
        caption = f"A row for each unit, {order} first, as it alone moves from left to right."
        yield _saved(run.traverse(), folder, "traversals.png", "Traversals", caption)
    caption = (
        "Straight paths between the codes of two test data each; both ends are reconstructions."
    )
    yield _saved(run.interpolate(), folder, "interpolation.png", "Interpolation", caption)


def _saved(result: Any, folder: Path, file: str, title: str, caption: str) -> Figure:
    result.save(folder / file)
    return Figure(file, title, caption, caption)


def _pictured(run: Run) -> bool:
    return bool(run.store.frames()[0].samples.dtype == torch.uint8)


def _sampled(run: Run) -> str:
    if _fitted_later(run):
        return "New data: codes drawn from a prior that was fitted to them, and decoded."
    if "density" not in run.model.provides:
        return (
            "Codes drawn from a standard normal and decoded. An autoencoder's codes follow no "
            "known density, so do not expect good samples: train a VAE for those."
        )
    return "New data: codes drawn from the prior, and the mean of p(x given z) for each."


def _fitted_later(run: Run) -> bool:
    return bool(getattr(getattr(run.model, "prior", None), "fitted_later", False))


def _loss_alt(history: Sequence[dict[str, Any]]) -> str:
    rows = [row for row in history if row["split"] == "validation"]
    if not rows:
        return "The loss while training went on."
    return f"Validation loss from {rows[0]['loss']:.1f} to {rows[-1]['loss']:.1f} nats."


def _labels(run: Run, n: int) -> tuple[Array | None, tuple[str, ...]]:
    """Return the labels of the test rows that the frames were made of."""
    rows = run.store.read_split().test
    if len(rows) > n:
        rows = rows[permutation(len(rows), run.spec.plan.seed, "look")[:n].numpy()]
    labels = run.items.labels
    if labels is None or (labels.ndim > 1):
        return None, ()
    return labels[rows], run.items.classes


def _manifold(run: Run) -> Figure:
    made, values = functional.manifold(run.model, 20, run.contexts(1))
    pictures = run.codec.to_images(made)
    plots.manifold(pictures, len(values), run.folder / "manifold.png", values.tolist())
    caption = "What the latent plane decodes to, at evenly spread quantiles of the prior."
    return Figure("manifold.png", "Manifold", caption, caption)


def _latent(run: Run) -> Iterator[Figure]:
    """Draw the latent space at the end and as training went on, the two alike."""
    frames = run.store.frames()
    points, method = animation.aligned_embeddings(
        [f.codes.numpy() for f in frames], seed=run.spec.plan.seed
    )
    labels, classes = _labels(run, len(points[0]))
    what = f"{len(points[0]):,} test data in the latent space"
    plots.latent_map(
        points[-1],
        run.folder / "latent.png",
        labels=labels,
        classes=classes,
        axes=("z0", "z1") if run.model.latent_shape == (2,) else ("", ""),
        title=f"{what} ({method})",
    )
    colors = "" if labels is None else f", colored by {'class' if classes else 'label'}"
    yield Figure("latent.png", "Latent map", f"{what}{colors}", "Codes are posterior means.")
    animation.latent_gif(
        points,
        run.folder / "latent.gif",
        labels=labels,
        classes=classes,
        captions=[f"epoch {frame.epoch:.1f}" for frame in frames],
        method_name=method,
    )
    text = f"{what} as training went on, by {method}."
    yield Figure("latent.gif", "Latent space over training", text, text)


def _samples_gif(run: Run) -> Iterator[Figure]:
    if not _pictured(run):
        return
    frames = run.store.frames()
    captions = [f"epoch {frame.epoch:.1f}" for frame in frames]
    pictures = np.stack([frame.samples.numpy() for frame in frames])
    animation.samples_gif(pictures, run.folder / "samples.gif", captions=captions, columns=6)
    title, text = "Samples over training", "The same draws from the prior, decoded as it went on."
    if _fitted_later(run):
        title, text = "Reconstructions over training", "The same test data, rebuilt as it went on."
    yield Figure("samples.gif", title, text, text)


def _card(
    run: Run,
    title: str,
    facts: Sequence[Fact],
    table: Table,
    warnings: Sequence[Sentence],
    figures: Sequence[Figure],
) -> None:
    data, place = run.data, run.folder.name
    versions = {k: v for k, v in describe_machine().items() if k in ("python", "torch")}
    write_card(
        run.folder,
        title=title,
        summary=f"A latent variable model of {_source(run)}, trained with Varied.",
        data=" ".join(data["notes"])
        + f" {data['train']:,} rows for training, {data['validation']:,} for validation, "
        f"{data['test']:,} for the test.",
        training="The parts and the plan are in spec.toml; every step is in metrics.jsonl.",
        python=f'import varied\n\nrun = varied.Run("{place}")\nrun.sample(64).save("new.png")',
        shell=f"varied sample {place}\nvaried evaluate {place}",
        facts=facts,
        tables=[table],
        figures=[figure for figure in figures if figure.file == "samples.png"],
        limits=[
            *(warning.text for warning in warnings),
            "Numbers hold for data like those it was trained on; likelihoods compare only with "
            "runs of the same likelihood on the same data.",
        ],
        versions={"varied": __version__, **versions},
    )
