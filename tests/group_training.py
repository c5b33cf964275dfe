"""Train small models in a group of processes, and store the losses and tensors of each process.

`train_in_processes` starts ``python -m tests.group_training FOLDER RANK KIND...`` for each process.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from tests.bar_images import bar_images
from varied.process_group import join_group
from varied.tensor_io import read_tensors, write_tensors
from varied.training import prepare

#: Small models by name; the first three have no noise.
KINDS = {
    "autoencoder": {"model": "autoencoder"},
    "vq-vae": {"model": "vq-vae", "codebook_size": 16, "net": "conv"},
    "fsq-vae": {"model": "fsq-vae", "levels": (3, 4, 5), "net": "conv"},
    "vae": {"model": "vae"},
    "control-vae": {"model": "control-vae"},
    "patchgan-vae": {"model": "patchgan-vae"},
    "vae-gan": {"model": "vae-gan"},
    "m2": {"model": "m2"},
    "finished run": {"model": "vae", "steps": 5},
    "early-stopping": {"lr": 0.02, "beta": 0, "patience": 1, "steps": 3000},
}
PLAN = {
    "steps": 60,
    "batch_size": 31,
    "precision": "float32",
    "compile": "no",
    "threads": 1,
    "binarize": "none",
}


def train_kind(kind, folder, **choices):
    """Train a small model.

    Returns:
        The loss of each step, with shape (steps); empty in processes whose rank is not 0. And the
        tensors of the training step by name.
    """
    torch.manual_seed(0)
    job = prepare(bar_images(200), out=folder, **PLAN | {"net.width": 16} | KINDS[kind] | choices)
    losses = []
    if kind == "finished run":
        return torch.tensor(losses), job.run(progress=False).model.state_dict()
    if job.group.rank > 0:
        job.follow()
    else:
        losses = [float(event.parts["loss"]) for event in job.train()]
    return torch.tensor(losses), job.step.state_dict()


def train_in_processes(n, folder, kinds):
    """Train models in a group; return the output of `train_kind` by kind, for each process."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(n)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.group_training", str(folder), *kinds],
            env=os.environ | address | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(n)
    ]
    for process in processes:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
    return [
        {kind: _read(Path(folder) / f"{kind}-{rank}.safetensors") for kind in kinds}
        for rank in range(n)
    ]


def _read(path):
    tensors, _ = read_tensors(path)
    return tensors.pop("losses"), tensors


def main(folder, *kinds):
    with join_group() as group:
        for kind in kinds:
            losses, tensors = train_kind(kind, Path(folder) / kind)
            path = Path(folder) / f"{kind}-{group.rank}.safetensors"
            write_tensors(path, {"losses": losses, **tensors})


if __name__ == "__main__":
    main(*sys.argv[1:])
