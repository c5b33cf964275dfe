"""Measure random shifts of training images: ``python -m benchmarks.image_shift``.

`varied train` is run on a random subset of MNIST, Fashion-MNIST or Omniglot with `--max-shift` 0, 1
and 2, with early stopping and all other settings at their defaults. Each run takes at most 3,000
steps with 500 images, and 6,000 with 8,000 images. -ELBO, in nats, is measured on 1,000 other
images, which are not shifted. All runs use one thread and one seed.

Each trial is saved in ``results/image_shift.json`` as soon as it ends, and is not repeated;
``results/image_shift.md`` shows all trials.
"""

from __future__ import annotations

import argparse
import itertools

from benchmarks.networks import page, run_steps
from benchmarks.records import load, save, write_page

NAME, SHIFTS, STEPS = "image_shift", (0, 1, 2), {500: 3000, 8000: 6000}
DATASETS = ("mnist", "fashion-mnist", "omniglot")


def main() -> None:
    """Run the trials that have not been run, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="*", default=DATASETS)
    parser.add_argument("--rows", nargs="*", type=int, default=list(STEPS), choices=STEPS)
    parser.add_argument("--shifts", nargs="*", type=int, default=SHIFTS)
    args = parser.parse_args()
    for n, dataset, shift in itertools.product(args.rows, args.datasets, args.shifts):
        key = f"{dataset}, {n:,} images: {shift}"
        if key not in load(NAME):
            save(NAME, key, run_steps(dataset, n, STEPS[n], max_shift=shift))
            write_page(NAME, page(NAME, "Random shifts of images", __doc__, "max. shift"))


if __name__ == "__main__":
    main()
