"""Random combinations of parts: each one trains, or raises an error with a remedy."""

from __future__ import annotations

import random
import re

import pytest
import torch

from varied.composition import compose
from varied.data.batches import Batches
from varied.errors import VariedError
from varied.likelihoods import ANY
from varied.objectives import OBJECTIVES
from varied.schedules import Linear
from varied.spec import AXES, Plan, Spec
from varied.training_loop import train
from varied.training_step import Step

SHAPE, CLASSES = (1, 12, 12), 3
#: The parts that are combined.
PARTS = {
    "architecture": ["vae", {"name": "ladder", "levels": 2, "hidden_size": 8}],
    # conv1d does not support images.
    "net": [{"name": name, "width": 4} for name in AXES["net"] if name != "conv1d"],
    "likelihood": [
        # Likelihoods of table rows and of tokens do not support images.
        *(
            name
            for name, part in AXES["likelihood"].items()
            if name != "gaussian" and not part.accepts & {"table", "one-hot"}
        ),
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
#: Settings that keep the parts small.
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
        "conditional-normal": {"hidden_units": 8},
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
#: Random data by domain.
SAMPLE = {
    "binary": lambda *shape: torch.rand(shape).round(),
    "uint8": lambda *shape: torch.randint(256, shape) / 255,
    "unit-interval": torch.rand,
    "real": torch.randn,
    "count": lambda *shape: torch.poisson(5 * torch.rand(shape)),
}


def name_of(part):
    return part if isinstance(part, str) else part["name"]


def small(axis, part):
    settings = {} if isinstance(part, str) else part
    return {"name": name_of(part)} | SMALL.get(axis, {}).get(name_of(part), {}) | settings


def matching_priors(posterior):
    space = AXES["posterior"][posterior].space
    return [name for name, prior in AXES["prior"].items() if prior.space == space]


def combination(seed):
    """Return a random combination; in most, the prior and the domain match the other parts."""
    rng = random.Random(seed)
    parts = {axis: small(axis, rng.choice(choices)) for axis, choices in PARTS.items()}
    if seed % 4:
        parts["prior"] = small("prior", rng.choice(matching_priors(parts["posterior"]["name"])))
        domains = AXES["likelihood"][parts["likelihood"]["name"]].accepts
        domain = rng.choice(sorted(domains))
    else:
        domain = rng.choice(sorted(ANY))
    if seed % 3 == 0:  # a ladder supports only few of the parts
        parts["architecture"] = small("architecture", "vae")
    return parts | {"domain": domain, "context": rng.choice([0, CLASSES])}


def is_valid(parts):
    """Whether a combination is valid, independently of the checks of `compose`."""
    posterior, prior = (AXES[axis][parts[axis]["name"]] for axis in ("posterior", "prior"))
    objective, is_ladder = parts["objective"]["name"], parts["architecture"]["name"] == "ladder"
    if objective in ("m2", "m1m2"):  # need a model with classes
        return False
    if parts["prior"]["name"] == "conditional-normal" and not parts["context"]:
        return False
    if objective in ("aae", "wae-gan") and (is_ladder or posterior.space == "codes"):
        return False  # need samples from one prior during training
    is_default = parts["posterior"] == {"name": "gaussian"} and parts["prior"] == {
        "name": "standard-normal"
    }
    if is_ladder and not is_default:
        return False
    settings = {k: v for k, v in parts["objective"].items() if k != "name"}
    requires = OBJECTIVES[objective](**settings).requires
    return (
        parts["domain"] in AXES["likelihood"][parts["likelihood"]["name"]].accepts
        and posterior.space == prior.space
        and requires <= posterior.provides
        and (prior.fitted_later or requires - {"codes"} <= prior.provides)
    )


def compose_parts(parts, context):
    spec = Spec.parse(**{axis: parts[axis] for axis in AXES}, latent=4, context=context)
    return compose(spec, SHAPE, parts["domain"])


def check_training(parts):
    """Check that two steps have finite losses, and that nearly all parameters change."""
    model, objective = compose_parts(parts, parts["context"])
    step = Step(model, objective, lambda x: x)
    x = SAMPLE[parts["domain"]](8, *SHAPE)
    c = torch.eye(CLASSES)[torch.arange(8) % CLASSES] if parts["context"] else None
    plan = Plan(steps=2, batch_size=8, threads=1, compile="no", precision="float32", lr_warmup=1)
    before = {name: p.detach().clone() for name, p in step.named_parameters()}
    events = list(train(step, Batches(x, c, size=8, seed=0), plan))
    assert all(event.parts["loss"].isfinite() for event in events), parts
    assert events[-1].state.skipped == 0, parts
    prior = model.prior
    prior_is_trained = prior and not prior.fitted_later and "density" in objective.requires
    unchanged = [
        name
        for name, p in step.named_parameters()
        if p.requires_grad and torch.equal(p, before[name])
        if prior_is_trained or ".prior." not in name
    ]
    assert len(unchanged) <= 0.2 * len(before), (unchanged, parts)


def check_error(parts):
    """Check that a combination raises one sentence with a remedy."""
    with pytest.raises(VariedError) as error:
        compose_parts(parts, context=0)
    message = str(error.value)
    assert re.search(r"\b([Uu]se|leave|take)\b", message), message
    assert "\n" not in message
    assert not re.search(r"[.?!] [A-Z]", message), message


def check(parts):
    try:
        valid = is_valid(parts)
    except VariedError:
        valid = False
    if not valid:
        check_error(parts)
        return
    try:
        check_training(parts)
    except VariedError as error:  # some terms reject several levels in the first step
        assert parts["architecture"]["name"] == "ladder"
        assert "use architecture='vae'" in str(error)


QUICK, SLOW = range(72), range(72, 1600)


@pytest.mark.parametrize("seed", QUICK)
def test_combination_trains_or_raises(seed):
    check(combination(seed))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("start", range(0, len(SLOW), 100))
def test_more_combinations_train_or_raise(start):
    for seed in SLOW[start : start + 100]:
        check(combination(seed))


def test_combinations_include_valid_and_invalid_ones_of_every_part():
    combinations = [combination(seed) for seed in SLOW]
    valid = [parts for parts in combinations if is_valid(parts)]
    assert 0.2 < len(valid) / len(combinations) < 0.8
    for axis in PARTS:
        names = {name_of(part) for part in PARTS[axis]}
        assert {parts[axis]["name"] for parts in combinations} == names
        assert {parts[axis]["name"] for parts in valid} == names - {"m2", "m1m2"}
