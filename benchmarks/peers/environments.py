"""A virtual environment for each compared system, with the versions pinned by this repository."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks" / ".peers"


def python_of(peer: str, *packages: str, share_packages: bool = False) -> Path:
    """Return the Python executable of an environment, which is created if necessary.

    Arguments:
        peer: The name of the environment.
        packages: The requirements to install.
        share_packages: Whether the packages of the current environment, such as torch, are visible
            in the new one. New packages are then not constrained to the pinned versions.
    """
    folder = FOLDER / peer
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        sys.stderr.write(f"installing {peer} into a separate environment ...\n")
        venv.create(folder, with_pip=True, clear=True)
        if share_packages:
            site_packages = next(folder.glob("lib/python*/site-packages"))
            path = str(Path(torch.__file__).parents[1])
            (site_packages / "shared.pth").write_text(path + "\n", "utf-8")
        pins = [] if share_packages else ["-c", str(ROOT / "constraints.txt")]
        install: list[str | Path] = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, *pins, *packages], check=True)
        done.touch()
    return python
