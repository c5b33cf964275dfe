"""The final steps of a training run: metrics, plots, animations, the report and the model card."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from varied import __version__, atomic_io, functional, plots
from varied.evaluate import Evaluation
from varied.evaluate.active_units import THRESHOLD
from varied.evaluate.formatting import format_bits
from varied.report import Fact, Figure, Note, Table, write_card, write_report
from varied.runs import Result, Run
from varied.runs.evaluation import classification_error
from varied.runs.frame import Frame
from varied.runtime import describe_machine
from varied.seeding import permutation
from varied.training.sample_tables import sample_tables
from varied.training.table_figures import table_figures
from varied.training_state import TrainingState
from varied.zoo import ZOO

Array = npt.NDArray[Any]

#: The number of recordings that can be played below a figure.
_N_PLAYED = 16
#: The maximum number of stages of training in the animation of a latent space that is embedded.
_MAX_EMBEDDED = 10


def finalize(run: Run, state: TrainingState, sentences: Sequence[str], name: str) -> Evaluation:
    """Evaluate a trained model on test rows, and write the plots, the report and the model card.

    Arguments:
        run: The run with the model and the test rows; the files are written to its folder.
        state: The state at the end of training.
        sentences: Sentences about the data and the defaults, for the report.
        name: The name of the model, as the user passed it.
    """
    evaluation = run.evaluate()
    atomic_io.write_json(run.store / "evaluation.json", evaluation.to_json())
    figures = [
        *_loss_figures(run),
        *(table_figures(run) if run.codec.column_names else _example_figures(run, evaluation)),
        *_kl_figures(run, evaluation),
        *_latent_figures(run),
        *_sample_animations(run),
    ]
    title = f"{_model_title(name)} on {_source_name(run)}"
    facts = _facts(run, evaluation, state)
    table = _parts_table(run, state)
    warnings = [
        *_short_training(run, state),
        *evaluation.warnings,
        *_interventions(state),
        *_changed_threads(state),
        *_throttle_warning(run.store.history()),
    ]
    _write_card(run, title, facts, table, warnings, figures)
    write_report(
        run.folder,
        title=title,
        notes=[
            *(Note(text, is_warning=True) for text in warnings),
            *(Note(text) for text in sentences),
        ],
        facts=facts,
        tables=[*sample_tables(run), table],
        figures=figures,
    )
    return evaluation


def _model_title(name: str) -> str:
    return ZOO[name].title if name in ZOO else "Variational autoencoder"


def _source_name(run: Run) -> str:
    return Path(run.metadata["source"]).name if run.metadata["source"] else "arrays"


# Warnings


def _short_training(run: Run, state: TrainingState) -> list[str]:
    epochs = state.step * run.spec.plan.batch_size / run.metadata["train"]
    if epochs >= 0.5:
        return []
    return [
        f"The model was trained on only {100 * epochs:.0f}% of the training rows, which is too "
        "few to judge the model; increase --minutes, or reduce --width."
    ]


def _interventions(state: TrainingState) -> list[str]:
    """Return sentences about skipped steps, rollbacks to checkpoints, and divided batches."""
    texts = []
    if state.skipped:
        texts.append(
            f"{state.skipped} steps were skipped because of non-finite gradients; reduce --lr."
        )
    if state.rollbacks:
        texts.append(
            "Because of consecutive non-finite gradients, training rolled back to an earlier "
            f"checkpoint {state.rollbacks} times, and the learning rate was multiplied by "
            f"{state.lr_factor:g}; reduce --lr."
        )
    if state.batch_parts > 1:
        texts.append(
            "The memory was exhausted, so each batch was divided into "
            f"{state.batch_parts} parts whose gradients were added; terms that compare the rows of "
            "a batch use only the rows of a part. A smaller --batch-size avoids this."
        )
    return texts


def _changed_threads(state: TrainingState) -> list[str]:
    """Return a warning if the number of threads, which affects rounding errors, changed."""
    counts = state.steps_by_threads
    if len(counts) < 2:
        return []
    steps = ", ".join(f"{n:,} steps on {threads}" for threads, n in counts.items())
    return [
        "The number of threads changed during training, since other programs used the cores "
        f"({steps}); rounding errors depend on it, so use --threads or --deterministic for "
        "reproducible weights."
    ]


def _throttle_warning(history: Sequence[dict[str, Any]]) -> list[str]:
    """Return a warning if the adversarial weight was reduced."""
    throttle = [row["throttle"] for row in history if row["split"] == "train" and "throttle" in row]
    if not throttle or min(throttle) > 0.9:
        return []
    return [
        "The adversarial loss increased the reconstruction error beyond the tolerance, so the "
        f"adversarial weight was multiplied by a factor as low as {min(throttle):.2g}; use a lower "
        "--adv-weight to avoid this."
    ]


# The report


def _facts(run: Run, evaluation: Evaluation, state: TrainingState) -> list[Fact]:
    rows = f"{evaluation.n:,} test rows"
    facts = []
    if evaluation.elbo is not None and evaluation.kl is not None:
        facts.append(Fact("−ELBO", f"{-evaluation.elbo} nats", f"{rows}; lower is better"))
    bits = format_bits(evaluation.to_json())
    if bits is not None:
        facts.append(Fact("bits per dimension", bits, "-ELBO / (dimensions × log 2)"))
    facts.append(Fact("reconstruction", f"{evaluation.reconstruction} nats", rows))
    if evaluation.kl is not None:
        facts.append(Fact("KL", f"{evaluation.kl} nats", rows))
    error = classification_error(run)
    if error is not None:
        percent = f"{100 * error.value:.2f} ± {100 * error.error:.2f}%"
        facts.append(Fact("classification error", percent, f"{rows}; their labels are not used"))
    if evaluation.codebook_size:
        usage = f"{100 * evaluation.codebook_usage:.0f}% of {evaluation.codebook_size}"
        note = f"perplexity {evaluation.codebook_perplexity:.0f}, on {rows}"
        facts.append(Fact("codebook usage", usage, note))
    active = f"{evaluation.active_units.value:.0f} of {evaluation.latent_dim}"
    facts.append(Fact("active units", active, f"variance of the posterior mean above {THRESHOLD}"))
    seconds = state.seconds
    duration = f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
    facts.append(Fact("training", duration, f"{state.step:,} steps; {state.setup}"))
    return facts


def _parts_table(run: Run, state: TrainingState) -> Table:
    spec, plan = run.spec, run.spec.plan
    rows = [(axis, _part_text(value)) for axis, value in spec.to_dict().items() if axis != "plan"]
    rows += [
        ("parameters", f"{sum(p.numel() for p in run.model.parameters()):,}"),
        ("batch size", str(plan.batch_size)),
        ("learning rate", f"{plan.lr:g}, {plan.lr_schedule} decay"),
    ]
    if plan.ema_decay:
        rows.append(("weights", f"exponential moving average, decay {plan.ema_decay:g}"))
    rows += [
        ("steps", f"{state.step:,}"),
        ("seed", str(plan.seed)),
        ("varied", __version__),
        ("torch", torch.__version__),
    ]
    return Table("The model", ("part", "value"), rows, "The complete spec is in spec.toml.")


def _part_text(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    settings = ", ".join(f"{k} = {v}" for k, v in value.items() if k != "name")
    return f"{value['name']} ({settings})"


def _write_card(
    run: Run,
    title: str,
    facts: Sequence[Fact],
    table: Table,
    warnings: Sequence[str],
    figures: Sequence[Figure],
) -> None:
    metadata, name = run.metadata, run.folder.name
    rows = (
        f"{metadata['train']:,} rows for training, {metadata['validation']:,} for validation, "
        f"{metadata['test']:,} for testing."
    )
    machine = describe_machine()
    write_card(
        run.folder,
        title=title,
        summary=f"A latent variable model trained on {_source_name(run)} with Varied.",
        data=" ".join([*metadata["notes"], rows]),
        training="The parts and the plan are in spec.toml; the training log is in metrics.jsonl.",
        python=f'import varied\n\nrun = varied.Run({name!r})\nrun.sample(64).save("new.png")',
        shell=f"varied sample {shlex.quote(name)}\nvaried evaluate {shlex.quote(name)}",
        facts=facts,
        tables=[table],
        figures=[figure for figure in figures if figure.file == "samples.png"],
        limitations=[
            *warnings,
            "The metrics are valid only for data from the distribution of the training data. "
            "Likelihoods are comparable only between runs with the same kind of likelihood on the "
            "same data.",
        ],
        versions={"varied": __version__, "python": machine["python"], "torch": machine["torch"]},
    )


# Figures


def _loss_figures(run: Run) -> Iterator[Figure]:
    history = run.store.history()
    plots.loss_curves(history, run.folder / "loss.png")
    rows = [row["loss"] for row in history if row["split"] == "validation"]
    alt = "Training and validation loss."
    if rows:
        alt = f"The validation loss is {rows[0]:.1f} nats at first and {rows[-1]:.1f} at the end."
    yield Figure("loss.png", "Loss", alt, "Reconstruction and KL, in nats.")


def _kl_figures(run: Run, evaluation: Evaluation) -> Iterator[Figure]:
    if evaluation.kl_by_unit is None:
        return
    kl, active = np.array(evaluation.kl_by_unit), np.array(evaluation.active_by_unit)
    plots.kl_bars(kl, active, run.folder / "kl.png")
    units = f"{active.sum()} of {len(active)} latent units are active"
    prior = " to the standard normal distribution" if _fits_prior_later(run) else ""
    text = f"{units}; the total KL{prior} is {kl.sum():.1f} nats."
    yield Figure("kl.png", "KL by latent unit", text, text)


def _example_figures(run: Run, evaluation: Evaluation) -> Iterator[Figure]:
    """Plot samples, reconstructions, traversals and interpolations."""
    samples = run.sample(64)
    yield _save(run, samples, "samples", _samples_caption(run), samples.array[:_N_PLAYED])
    caption = "Test examples above their reconstructions."
    pairs = run.reconstruct(n=32)
    played = pairs.array[:, : _N_PLAYED // 2].swapaxes(0, 1)
    yield _save(run, pairs, "reconstructions", caption, played)
    if run.has_euclidean_latent:
        if run.model.latent_shape == (2,) and _has_images(run):
            yield _manifold_figure(run)
        order = "variance" if evaluation.kl_by_unit is None else "KL"
        caption = (
            f"Each row varies one latent unit, in order of decreasing {order}; the other units are "
            "constant."
        )
        yield _save(run, run.traverse(), "traversals", caption)
    caption = (
        "Each row interpolates between the codes of two test examples, whose reconstructions are "
        "at the ends."
    )
    paths = run.interpolate()
    yield _save(run, paths, "interpolation", caption, paths.array[:1])


def _save(run: Run, result: Result, name: str, caption: str, played: Array | None = None) -> Figure:
    """Save a figure, and the recordings to play below it if the data are sound."""
    result.save(run.folder / f"{name}.png")
    audio = ""
    if run.codec.audio_ending and played is not None:
        audio = f"{name}{run.codec.audio_ending}"
        run.codec.save(played, run.folder / audio)
    text = f"{caption} The first recordings can be played." if audio else caption
    return Figure(f"{name}.png", name.capitalize(), caption, text, audio)


def _has_images(run: Run) -> bool:
    frames = run.store.frames()
    return bool(frames) and frames[0].samples.dtype == torch.uint8


def _fits_prior_later(run: Run) -> bool:
    return run.model.prior is not None and run.model.prior.fitted_later


def _samples_caption(run: Run) -> str:
    if _fits_prior_later(run):
        return "Samples from a prior that was fitted to the codes."
    if not run.has_density:
        return (
            "Decoded samples from a standard normal distribution. The codes of an autoencoder do "
            "not have this distribution, so the samples are poor; train a VAE for better ones."
        )
    if run.codec.decodes_by_sampling:
        return "Samples from p(x | z), with z sampled from the prior."
    return "Samples: the mean of p(x | z), with z sampled from the prior."


def _manifold_figure(run: Run) -> Figure:
    x, values = functional.manifold(run.model, 20, run.contexts(1))
    images = run.codec.to_images(x)
    plots.manifold(images, values.tolist(), run.folder / "manifold.png")
    caption = "Decoded points of the latent plane, at equally spaced quantiles of the prior."
    return Figure("manifold.png", "Manifold", caption, caption)


def _latent_figures(run: Run) -> Iterator[Figure]:
    """Plot the latent space at the end of training, and as an animation during training."""
    frames = run.store.frames()
    if not frames:  # all of them are corrupted
        return
    if np.prod(run.model.latent_shape) > 2:  # t-SNE takes most of the time after training
        frames = _evenly_spaced(frames, _MAX_EMBEDDED)
    points, method = plots.aligned_embeddings(
        [frame.codes.numpy() for frame in frames], seed=run.spec.plan.seed
    )
    labels, classes = _frame_labels(run, len(points[0]))
    text = f"{len(points[0]):,} test examples in the latent space"
    is_plane = run.model.latent_shape == (2,)
    plots.latent_map(
        points[-1],
        run.folder / "latent.png",
        labels=labels,
        classes=classes,
        axes=("z0", "z1") if is_plane else ("", ""),
        title=f"{text} ({method})",
    )
    colors = "" if labels is None else f", colored by {'class' if classes else 'label'}"
    yield Figure("latent.png", "Latent space", f"{text}{colors}.", "Posterior means.")
    plots.latent_gif(
        points,
        run.folder / "latent.gif",
        labels=labels,
        classes=classes,
        captions=[f"epoch {frame.epoch:.1f}" for frame in frames],
        method_name=method,
    )
    caption = f"{text} during training ({method})."
    yield Figure("latent.gif", "Latent space during training", caption, caption)


def _evenly_spaced(frames: list[Frame], n: int) -> list[Frame]:
    """Return n frames, or all if there are fewer, with the first and the last one."""
    return [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, n).round().astype(int))]


def _frame_labels(run: Run, limit: int) -> tuple[Array | None, tuple[str, ...]]:
    """Return the labels of the test rows in the frames, and the names of their classes.

    The labels are None if the data have no labels, or several labels per row.
    """
    rows = run.store.read_split(run.data).test
    if len(rows) > limit:
        rows = rows[permutation(len(rows), run.spec.plan.seed, "look")[:limit].numpy()]
    labels = run.data.labels
    if labels is None or labels.ndim > 1:
        return None, ()
    return labels[rows], run.data.classes


def _sample_animations(run: Run) -> Iterator[Figure]:
    if not _has_images(run):
        return
    frames = run.store.frames()
    plots.samples_gif(
        np.stack([frame.samples.numpy() for frame in frames]),
        run.folder / "samples.gif",
        captions=[f"epoch {frame.epoch:.1f}" for frame in frames],
    )
    if run.spec.prior.builder("prior").fitted_later:
        title = "Reconstructions during training"
        text = "Reconstructions of the same test examples throughout training."
    else:
        title = "Samples during training"
        text = "Samples decoded from the same latent variables throughout training."
    yield Figure("samples.gif", title, text, text)
