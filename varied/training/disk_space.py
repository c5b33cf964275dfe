"""Check that the disk has enough space for the files of a training run before training starts."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import Tensor

from varied.errors import VariedError

if TYPE_CHECKING:
    from varied.training.job import Job

#: The number of checkpoints that exist while one is written: the latest two, and the new one.
_CHECKPOINTS = 3
#: The number of tensors that Adam stores for each parameter.
_MOMENTS = 2
#: The number of frames, of the test rows whose codes they contain, and of their samples.
_N_FRAMES, _MAX_ROWS, _N_SAMPLES = 25, 1000, 36
#: The size of the plots, the report and the text files.
_OTHER_FILES = 20 * 2**20


def check_disk_space(job: Job) -> None:
    """Check that the disk has enough space for the files of a training run.

    The space of the files of an interrupted run counts as free, since they are replaced.

    Arguments:
        job: The training run.

    Raises:
        VariedError: If there is not enough space.
    """
    folder = job.store.folder
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    needed, free = estimate_disk_space(job), shutil.disk_usage(existing).free
    replaced = {*folder.rglob("*.safetensors")} - {folder / "split.safetensors"}
    free += sum(path.stat().st_size for path in replaced)
    if needed > free:
        raise VariedError(
            f"Training would write up to {_format(needed)} to {folder}, but only {_format(free)} "
            "are free; free some disk space, choose a folder on another disk with --out, or "
            "reduce --width."
        )


def estimate_disk_space(job: Job) -> int:
    """Return the maximum size of the files of a training run, in bytes.

    These are three checkpoints with the weights, the moments of the optimizer and the moving
    averages of the weights; the best and the final weights; the frames; and the report.

    Arguments:
        job: The training run.
    """
    n_copies = _MOMENTS + bool(job.spec.plan.ema_decay)
    checkpoint = _size(job.step.state_dict().values()) + n_copies * _size(job.step.parameters())
    weights = _size(job.model.state_dict().values())
    return _CHECKPOINTS * checkpoint + 2 * weights + _N_FRAMES * _frame_size(job) + _OTHER_FILES


def _frame_size(job: Job) -> int:
    """Return the size of the codes of test rows and of the samples in a frame."""
    rows = job.rows("test", 1)
    if not len(rows):
        return 0
    image = job.codec.to_images(job.codec.load(rows.x))
    n_codes = min(len(job.split.test), _MAX_ROWS) * math.prod(job.model.latent_shape)
    return int(4 * n_codes + _N_SAMPLES * image.nbytes)


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _format(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:,.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:,.0f} MiB"
