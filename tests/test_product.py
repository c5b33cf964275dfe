"""The product of all axes: each combination trains, or is refused in one sentence."""

from __future__ import annotations

import random
import re

import pytest
import torch

from varied.data.batches import Batches
from varied.errors import VariedError
from varied.likelihoods import ANY
from varied.objectives import OBJECTIVES
from varied.schedules import Linear
from varied.spec import AXES, Plan, Spec, compose
from varied.training_loop import Step, train

SHAPE, CLASSES = (1, 12, 12), 3
PARTS = {
    "architecture": ["vae", {"name": "ladder", "levels": 2, "hidden_size": 8}],
    "net": [{"name": name, "width": 4} for name in AXES["net"]],
    "likelihood": [
        # Rows of a table are no pictures: test_table_row.py has a product of its own for them.
        *(name for name in AXES["likelihood"] if name not in ("gaussian", "table")),
        *({"name": "gaussian", "scale": scale} for scale in ("learned", "heteroscedastic", 1.0)),
        {"name": "categorical", "levels": 2},
        {"name": "discretized-logistic-mixture", "n_components": 2},
    ],
    "posterior": list(AXES["posterior"]),
    "prior": list(AXES["prior"]),
    "objective": [
        *AXES["objective"],
        {"name": "elbo", "beta": 4.0},
        {"name": "elbo", "beta": Linear(0.1, 1, 3)},
        {"name": "elbo", "free_bits": 0.1},
        {"name": "elbo", "free_bits_per_level": 0.1},
        {"name": "iwae", "samples": 3, "gradient_estimator": "dreg"},
        {"name": "iwae", "samples": 3, "n_kept": 2},
        {"name": "dip-vae", "variant": "ii"},
        {"name": "rae", "regularizer": "gp"},
    ],
}
SMALL = {
    "posterior": {
        "gumbel-softmax": {"n_classes": 2},
        "gaussian-gumbel": {"n_classes": 2},
        "vq": {"codebook_size": 8},
    },
    "prior": {
        "categorical": {"n_classes": 2},
        "gaussian-categorical": {"n_classes": 2},
        "transformer": {"width": 8, "depth": 1, "n_heads": 2},
        "learned-gmm": {"n_components": 3},
        "vamp": {"n_components": 3},
        "flow": {"width": 8, "n_transforms": 1},
        "flow-matching": {"width": 8, "depth": 1, "steps": 2},
        "gmm": {"n_components": 2},
    },
    "objective": {
        "iwae": {"samples": 3},
        "multiply-iwae": {"n_groups": 2, "samples": 2},
        "piwae": {"n_groups": 2, "samples": 2},
    },
}
DRAW = {
    "binary": lambda *shape: torch.rand(shape).round(),
    "levels": lambda *shape: torch.randint(256, shape) / 255,
    "unit": torch.rand,
    "real": torch.randn,
}


def named(value):
    return value if isinstance(value, str) else value["name"]


def small(axis, value):
    name = named(value)
    settings = {} if isinstance(value, str) else value
    return {"name": name} | SMALL.get(axis, {}).get(name, {}) | settings


def partners(posterior):
    space = AXES["posterior"][posterior].space
    return [name for name, prior in AXES["prior"].items() if prior.space == space]


def row(seed):
    """Return a combination; every other one has a prior that lies where its posterior does."""
    dice = random.Random(seed)
    chosen = {axis: small(axis, dice.choice(parts)) for axis, parts in PARTS.items()}
    if seed % 4:
        chosen["prior"] = small("prior", dice.choice(partners(chosen["posterior"]["name"])))
        fits = AXES["likelihood"][chosen["likelihood"]["name"]].accepts
        domain = dice.choice(sorted(fits))
    else:
        domain = dice.choice(sorted(ANY))
    if seed % 3 == 0:  # a ladder is legal with the plain parts alone
        chosen["architecture"] = small("architecture", "vae")
    return chosen | {"domain": domain, "context": dice.choice([0, CLASSES])}


def legal(one) -> bool:
    """Whether a combination means something, said again in the fewest words."""
    posterior, prior = (AXES[axis][one[axis]["name"]] for axis in ("posterior", "prior"))
    if one["objective"]["name"] in ("m2", "m1m2"):  # for models of classes alone
        return False
    if one["objective"]["name"] in ("aae", "wae-gan") and (
        one["architecture"]["name"] == "ladder" or posterior.space == "codes"
    ):  # they draw from one prior while they train
        return False
    settings = {k: v for k, v in one["objective"].items() if k != "name"}
    reads = OBJECTIVES[one["objective"]["name"]](**settings).requires
    if one["architecture"]["name"] == "ladder" and (
        one["posterior"] != {"name": "gaussian"} or one["prior"] != {"name": "standard-normal"}
    ):
        return False
    return (
        one["domain"] in AXES["likelihood"][one["likelihood"]["name"]].accepts
        and posterior.space == prior.space
        and reads <= posterior.provides
        and (prior.fitted_later or reads - {"codes"} <= prior.provides)
    )


def trains(one) -> None:
    """Two steps of the one loop: the loss is finite, and what has a gradient has a finite one."""
    spec = Spec.of(**{axis: one[axis] for axis in AXES}, latent=4, context=one["context"])
    model, objective = compose(spec, SHAPE, one["domain"])
    step = Step(model, objective, lambda x: x)
    x = DRAW[one["domain"]](8, *SHAPE)
    c = torch.eye(CLASSES)[torch.arange(8) % CLASSES] if one["context"] else None
    plan = Plan(steps=2, batch_size=8, threads=1, compile="no", precision="float32", lr_warmup=1)
    before = {name: p.detach().clone() for name, p in step.named_parameters()}
    events = list(train(step, Batches(x, c, size=8, seed=0), plan))
    assert all(event.parts["loss"].isfinite() for event in events), one
    assert events[-1].state.skipped == 0, one
    prior = getattr(model, "prior", None)
    aside = prior is not None and (prior.fitted_later or "density" not in objective.requires)
    still = [
        name
        for name, p in step.named_parameters()
        if p.requires_grad and torch.equal(p, before[name]) and not (aside and ".prior." in name)
    ]
    assert len(still) <= 0.2 * len(before), (still, one)


def held(one) -> None:
    try:
        allowed = legal(one)
    except VariedError:
        allowed = False
    if allowed:
        try:
            trains(one)
        except VariedError as told:  # what a term cannot read of several levels is seen in a step
            assert one["architecture"]["name"] == "ladder"
            assert "use architecture='vae'" in str(told)
        return
    with pytest.raises(VariedError) as told:
        compose(Spec.of(**{axis: one[axis] for axis in AXES}, latent=4), SHAPE, one["domain"])
    text = str(told.value)
    assert re.search(r"\b([Uu]se|leave|take)\b", text), text
    assert "\n" not in text
    assert not re.search(r"[.?!] [A-Z]", text), text


QUICK, ALL = range(72), range(72, 1600)


@pytest.mark.parametrize("seed", QUICK)
def test_a_sample_of_the_product_trains_or_is_refused(seed):
    held(row(seed))


def test_the_sample_has_legal_and_illegal_rows_of_every_part():
    rows = [row(seed) for seed in ALL]
    assert 0.2 < sum(map(legal, rows)) / len(rows) < 0.8
    for axis in PARTS:
        assert {one[axis]["name"] for one in rows} == {named(part) for part in PARTS[axis]}
        every = {named(part) for part in PARTS[axis]} - {"m2", "m1m2"}
        assert {one[axis]["name"] for one in rows if legal(one)} == every


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("start", range(0, len(ALL), 100))
def test_more_of_the_product_trains_or_is_refused(start):
    for seed in ALL[start : start + 100]:
        held(row(seed))
