"""Short training runs for the tests of runs."""

from varied.runs import Run
from varied.training import Job, prepare


def train_to_end(job: Job) -> Run:
    """Finish training a job, and open its run without plots or a report."""
    for _ in job.train():
        pass
    return job.write_model()


def train_quickly(source, model="vae", **choices) -> Run:
    """Train a small model without plots or a report."""
    defaults = {"steps": 150, "lr": 5e-3, "width": 32, "threads": 1}
    return train_to_end(prepare(source, model, **defaults | choices))
