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
from varied.train import Step, train

SHAPE, CLASSES = (1, 12, 12), 3
PARTS = {
    "structure": ["flat", {"name": "ladder", "levels": 2, "state": 8}],
    "net": [{"name": name, "width": 4} for name in AXES["net"]],
    "likelihood": [
        # Rows of a table are no pictures: test_columns.py has a product of its own for them.
        *(name for name in AXES["likelihood"] if name not in ("gaussian", "columns")),
        *({"name": "gaussian", "scale": scale} for scale in ("learned", "each", 1.0)),
        {"name": "categorical", "levels": 2},
        {"name": "discretized-logistic-mixture", "components": 2},
    ],
    "posterior": list(AXES["posterior"]),
    "prior": list(AXES["prior"]),
    "objective": [
        *AXES["objective"],
        {"name": "elbo", "beta": 4.0},
        {"name": "elbo", "beta": Linear(0.1, 1, 3)},
        {"name": "elbo", "free_bits": 0.1},
        {"name": "elbo", "free_level": 0.1},
        {"name": "iwae", "samples": 3, "estimator": "dreg"},
        {"name": "iwae", "samples": 3, "kept": 2},
        {"name": "dip", "kind": 2},
        {"name": "rae", "decoder": "gp"},
    ],
}
SMALL = {
    "posterior": {"gumbel": {"classes": 2}, "joint": {"classes": 2}, "vq": {"codes": 8}},
    "prior": {
        "categorical": {"classes": 2},
        "joint": {"classes": 2},
        "transformer": {"width": 8, "depth": 1, "heads": 2},
        "mixture": {"components": 3},
        "vamp": {"components": 3},
        "flow": {"width": 8, "transforms": 1},
        "flow-matching": {"width": 8, "depth": 1, "steps": 2},
        "gmm": {"components": 2},
    },
    "objective": {
        "iwae": {"samples": 3},
        "miwae": {"groups": 2, "samples": 2},
        "piwae": {"groups": 2, "samples": 2},
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
        chosen["structure"] = small("structure", "flat")
    return chosen | {"domain": domain, "context": dice.choice([0, CLASSES])}


def legal(one) -> bool:
    """Whether a combination means something, said again in the fewest words."""
    posterior, prior = (AXES[axis][one[axis]["name"]] for axis in ("posterior", "prior"))
    if one["objective"]["name"] in ("semi", "stacked"):  # for models of classes alone
        return False
    if one["objective"]["name"] in ("aae", "wae-gan") and (
        one["structure"]["name"] == "ladder" or posterior.space == "codes"
    ):  # they draw from one prior while they train
        return False
    settings = {k: v for k, v in one["objective"].items() if k != "name"}
    reads = OBJECTIVES[one["objective"]["name"]](**settings).reads
    if one["structure"]["name"] == "ladder" and (
        one["posterior"] != {"name": "gaussian"} or one["prior"] != {"name": "standard-normal"}
    ):
        return False
    return (
        one["domain"] in AXES["likelihood"][one["likelihood"]["name"]].accepts
        and posterior.space == prior.space
        and reads <= posterior.gives
        and (prior.fitted_later or reads - {"codes"} <= prior.gives)
    )


def trains(one) -> None:
    """Two steps of the one loop: the loss is finite, and what has a gradient has a finite one."""
    spec = Spec.of(**{axis: one[axis] for axis in AXES}, latent=4, context=one["context"])
    model, objective = compose(spec, SHAPE, one["domain"])
    step = Step(model, objective, lambda x: x)
    x = DRAW[one["domain"]](8, *SHAPE)
    c = torch.eye(CLASSES)[torch.arange(8) % CLASSES] if one["context"] else None
    plan = Plan(steps=2, batch=8, threads=1, compile="no", precision="float32", warmup=1)
    before = {name: p.detach().clone() for name, p in step.named_parameters()}
    events = list(train(step, Batches(x, c, size=8, seed=0), plan))
    assert all(event.parts["loss"].isfinite() for event in events), one
    assert events[-1].state.skipped == 0, one
    prior = getattr(model, "prior", None)
    aside = prior is not None and (prior.fitted_later or "density" not in objective.reads)
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
            assert one["structure"]["name"] == "ladder"
            assert "use structure='flat'" in str(told)
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
        every = {named(part) for part in PARTS[axis]} - {"semi", "stacked"}
        assert {one[axis]["name"] for one in rows if legal(one)} == every


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("start", range(0, len(ALL), 100))
def test_more_of_the_product_trains_or_is_refused(start):
    for seed in ALL[start : start + 100]:
        held(row(seed))
