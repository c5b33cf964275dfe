"""Prepare a training run: read the data, resolve the spec, and create the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from varied.composition import compose
from varied.data import CODECS, RawData, Split, read, split
from varied.data.labels import subsample_labels
from varied.errors import VariedError
from varied.process_group import joined_group
from varied.registry import load_entry_points
from varied.runs import Run, Store
from varied.spec import Spec
from varied.training.defaults import ResolvedConfig, resolve
from varied.training.job import Job
from varied.training.property_targets import PropertyTargets

_MAX_RUNS = 10_000


def train(
    source: Any,
    model: str | Spec = "vae",
    *,
    out: Path | str | None = None,
    progress: bool | None = None,
    **choices: Any,
) -> Run:
    """Train a model on data, evaluate it and write its report.

    Arguments:
        source: A folder or zip file of images or recordings, another file, an array, a tensor, a
            DataFrame, the name of a dataset, or a `torch.utils.data.Dataset`; see `varied.read`.
        model: The name of a model (see ``varied models``), or a spec.
        out: The run folder. If it contains an unfinished run of the same model on the same
            data, training resumes. None resumes such a run in ``runs/``, or creates a new folder
            there.
        progress: Whether to show progress; None shows it in a terminal or a notebook.
        choices: Any of the following; everything else gets a default that suits the data.

            - A part for an axis (``architecture``, ``net``, ``encoder``, ``decoder``,
              ``likelihood``, ``posterior``, ``prior`` or ``objective``), by name or as a class,
              function or module, such as ``net="conv"`` or ``encoder=MyEncoder``.
            - ``latent`` (the shape of the latent variable), ``conditional`` (whether the model is
              conditioned on the labels) and ``conditioning`` ("concatenate" or "film").
            - A setting of a part or of the plan, such as ``beta=4``, ``minutes=1`` or
              ``**{"net.width": 64}``.
            - Options for the data: ``image_size``, ``binarize``, ``domain``, ``column_types``,
              ``labels``, ``classes``, ``n_labels``, ``kind``, and options of the kind of data.

    Returns:
        The run.

    Raises:
        VariedError: If the data cannot be read, or the parts are incompatible.
        Interrupted: After Ctrl-C or SIGTERM; training can be resumed.
    """
    return prepare(source, model, out=out, **choices).run(progress=progress)


def prepare(
    source: Any, model: str | Spec = "vae", *, out: Path | str | None = None, **choices: Any
) -> Job:
    """Create a run folder, and return the job that `train` runs.

    The arguments are the same as for `train`.
    """
    load_entry_points()
    names = [name for codec in CODECS.values() for name in codec.reading_option_names]
    reading = {
        name: choices.pop(name)
        for name in ("labels", "classes", "kind", *names)
        if choices.get(name) is not None
    }
    n_labels = int(choices.pop("n_labels", None) or 0)
    data = read(source, **reading)
    seed = int(choices.get("seed") or (model.plan.seed if isinstance(model, Spec) else 0))
    split_rows = split(data, seed=seed)
    training = data.take(split_rows.train)
    config = resolve(training, model, choices)
    _check_labels(training, config, n_labels)
    if config.spec.plan.property_weight:
        PropertyTargets(config, training)  # raises an error if there are none
    name = model if isinstance(model, str) else "spec"
    metadata = describe_data(data, split_rows)
    metadata |= {"n_labels": n_labels}
    group = joined_group()
    if group.rank > 0:
        out = group.announce("")  # wait until the process of rank 0 has created the folder
    store = Store(out) if out is not None else _default_store(data, name, config, metadata)
    if out is not None:
        _check_folder(store, config, metadata)
    if not store.exists:
        metadata |= {"model": name}
        store.create(config.spec, config.codec, config.context, metadata, split_rows)
    if group.rank == 0:
        group.announce(str(store.folder.absolute()))
    return Job(store, data, config, name, n_labels)


def describe_data(data: RawData, split: Split) -> dict[str, Any]:
    """Return the metadata that a run stores about its data."""
    return {
        "source": data.source,
        "options": dict(data.options),
        "digest": data.digest(),
        "n": len(data),
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        "split_seed": split.seed,
        "classes": list(data.classes),
        "label_columns": list(data.label_names) if data.is_frame else [],
        "notes": list(data.notes),
        "problems": [[problem.name, problem.reason] for problem in data.problems],
    }


def _check_labels(training: RawData, config: ResolvedConfig, n_labels: int) -> None:
    """Raise an error for labels that the model cannot use, before the folder is created."""
    spec, context = config.spec, config.context
    model, _ = compose(spec, config.codec.shape, config.codec.domain)
    has_several = any(training.label_classes)
    if model.num_classes and context is not None and not context.classes:
        labels = "several covariates" if has_several else "numbers"
        raise VariedError(
            f"architecture='{spec.architecture.name}' learns classes, but these labels are "
            f"{labels}; provide one class label for each row, or use architecture='vae'."
        )
    if not n_labels:
        return
    if has_several:
        raise VariedError(
            f"n_labels={n_labels} hides class labels, but each row has several covariates; "
            "provide one class label for each row, or omit n_labels."
        )
    if context is None or training.labels is None:
        raise VariedError(
            f"n_labels={n_labels} hides labels, but this model does not use labels; omit it, or "
            "use model='m2'."
        )
    n_labeled = int((training.class_indices >= 0).sum())
    if n_labels > n_labeled:
        raise VariedError(
            f"n_labels={n_labels} exceeds the {n_labeled:,} labels of the training rows; use "
            "fewer, or omit n_labels."
        )
    subsample_labels(training.labels, n_labels, spec.plan.seed)


def _default_store(
    data: RawData, name: str, config: ResolvedConfig, metadata: Mapping[str, Any]
) -> Store:
    """Return a new folder in ``runs/``, or the folder of an unfinished run to resume."""
    source = Path(data.source or "arrays").name.partition(".")[0] or "data"
    for i in range(1, _MAX_RUNS):
        store = Store(Path("runs") / f"{source}-{name}-{i:02d}")
        is_resumable = not store.is_finished and _is_same(store, config, metadata)
        if store.is_unused or is_resumable:
            return store
    raise VariedError("runs/ contains too many runs with this name; choose a folder with --out.")


def _check_folder(store: Store, config: ResolvedConfig, metadata: Mapping[str, Any]) -> None:
    """Raise an error unless the folder is new, is empty, or contains the same unfinished run."""
    folder = store.folder
    if not store.exists:
        if not store.is_unused:
            raise VariedError(
                f"{folder} is not empty and does not contain a run; choose a new folder with --out."
            )
        return
    if not _is_same(store, config, metadata):
        raise VariedError(
            f"{folder} contains a run with a different model or different data; choose another "
            "folder with --out."
        )
    if store.is_finished:
        raise VariedError(
            f"{folder} contains this run, which is already finished; see {store / 'report.html'}, "
            "or choose another folder with --out."
        )


def _is_same(store: Store, config: ResolvedConfig, metadata: Mapping[str, Any]) -> bool:
    """Return whether a folder contains a run with the same model and data."""
    if not store.exists:
        return False
    known = store.read_metadata()
    is_same_data = all(known.get(key, 0) == metadata[key] for key in ("digest", "n_labels"))
    return is_same_data and store.read_spec() == config.spec.without_defaults()
