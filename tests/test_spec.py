"""Tests of specs: TOML round trips, composition of models, and messages for incompatible parts."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from varied.composition import compose
from varied.errors import VariedError
from varied.nets import NETS
from varied.nets.film import Film
from varied.nets.mlp import mlp
from varied.schedules import Cyclical, Linear
from varied.schema import settings
from varied.spec import AXES, Part, Plan, Spec
from varied.zoo import ZOO

SPECS = [
    Spec(),
    Spec(latent=2, context=10),
    Spec.parse(net={"name": "mlp", "width": 64, "depth": 1, "activation": "silu"}),
    Spec.parse(net={"name": "conv", "depth": None, "width": 8}),
    Spec.parse(encoder="conv", decoder={"name": "mlp", "width": 8}),
    Spec.parse(objective={"name": "elbo", "beta": 4, "free_bits": "linear(0.5, 0, 100)"}),
    Spec.parse(objective={"name": "elbo", "beta": Linear(0, 1, 2000)}),
    Spec.parse(objective={"name": "elbo", "beta": "join(constant(0, 9), cosine(0, 1, 9))"}),
    Spec.parse(likelihood={"name": "gaussian", "scale": "heteroscedastic", "min_scale": 0.01}),
    Spec.parse(likelihood={"name": "laplace", "scale": 1.0}, posterior="gaussian"),
    Spec.parse(plan={"minutes": 2, "lr": 1e-4, "compile": "no"}),
    Spec(plan=Plan(epochs=3.5, batch_size=7, seed=2**40)),
    Spec(objective=Part("elbo", {"beta": Cyclical(0, 1, 8), "free_bits": 0.1})),
]


def refusal(function) -> str:
    """Return the message of the raised `VariedError`, which must be a single line."""
    with pytest.raises(VariedError) as error:
        function()
    text = str(error.value)
    assert text.endswith((".", "?"))
    assert "\n" not in text
    assert not re.search(r"[.?!] [A-Z]", text)
    return text


# Text


@pytest.mark.parametrize("spec", SPECS, ids=range(len(SPECS)))
def test_a_spec_is_restored_from_values_and_text(spec):
    assert Spec.parse(**spec.to_dict()) == spec
    assert Spec.from_toml(spec.to_toml()) == spec
    assert Spec.from_toml(spec.to_toml()).to_toml() == spec.to_toml()


@given(
    st.integers(1, 10**6),
    st.floats(1e-12, 1e6),
    st.dictionaries(st.sampled_from(["beta", "free_bits"]), st.floats(0, 100)),
    st.integers(0, 2**62),
)
def test_numbers_are_restored_exactly(latent, lr, weights, seed):
    plan = Plan(lr=lr, seed=seed)
    spec = Spec(latent=latent, objective=Part("elbo", dict(weights)), plan=plan)
    assert Spec.from_toml(spec.to_toml()) == spec


@pytest.mark.parametrize("spec", SPECS, ids=range(len(SPECS)))
def test_a_text_with_defaults_is_the_same_spec(spec):
    restored = Spec.from_toml(spec.to_toml(defaults=True))
    assert restored.without_defaults() == spec.without_defaults()
    assert restored.to_dict(defaults=True) == spec.to_dict(defaults=True)
    assert spec.without_defaults().to_dict(defaults=True) == spec.to_dict(defaults=True)


@pytest.mark.parametrize("axis", AXES)
def test_a_text_with_defaults_has_all_settings_of_every_part(axis):
    for name, builder in AXES[axis].items():
        text = Spec.parse(**{axis: name}).to_toml(defaults=True)
        part = getattr(Spec.from_toml(text), axis)
        assert set(part.settings) == set(settings(builder))
        assert part.without_defaults(axis) == Part(name)


def test_settings_that_equal_the_default_are_removed():
    spec = Spec.parse(net={"name": "mlp", "width": 512, "depth": 3}, objective="elbo")
    assert spec.without_defaults() == Spec.parse(net={"name": "mlp", "depth": 3})


def test_new_defaults_do_not_change_a_stored_spec(monkeypatch):
    spec = Spec.parse(net={"name": "mlp", "depth": 1})
    before = weights(spec)
    text = spec.to_toml(defaults=True).replace("gated = false\n", "")

    def other_mlp(inputs, outputs, *, width: int = 7, depth: int = 2, activation: str = "relu"):
        return mlp(inputs, outputs, width=width, depth=depth, activation=activation)

    monkeypatch.setitem(NETS, "mlp", other_mlp)
    restored = Spec.from_toml(text).without_defaults()
    assert all(map(torch.equal, before, weights(restored)))
    assert weights(spec)[0].shape != before[0].shape


def test_a_part_is_a_name_or_a_table():
    assert Part.parse("mlp") == Part.parse({"name": "mlp"}) == Part.parse(Part("mlp"))
    assert Part("mlp").to_dict() == {"name": "mlp"}
    assert Part.parse({"name": "mlp", "width": 3}).to_dict() == {"name": "mlp", "width": 3}


def test_parsing_does_not_change_the_table():
    table = {"name": "mlp", "width": 3}
    Part.parse(table).settings["width"] = 4
    assert table == {"name": "mlp", "width": 3}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: Spec.parse(latnet=3), "did you mean 'latent'"),
        (lambda: Spec.parse(likelihood="bernouli"), "did you mean 'bernoulli'"),
        (lambda: Spec.parse(net={"name": "mlp", "widht": 3}), "did you mean 'width'"),
        (lambda: Spec.parse(net={"name": "mlp", "width": "wide"}), "an integer"),
        (lambda: Spec.parse(latent="many"), "an integer"),
        (lambda: Spec.parse(net={"width": 3}), "A part must be a name"),
        (lambda: Spec.parse(net=3), "A part must be a name"),
        (lambda: Spec.parse(plan={"epohcs": 3}), "did you mean 'epochs'"),
        (lambda: Spec.parse(plan={"lr_schedule": "fast"}), "choose from"),
        (lambda: Spec.parse(plan={"precision": "half"}), "choose from"),
        (lambda: Spec.parse(plan={"epochs": 1, "steps": 1}), "Only one of epochs and steps"),
        (lambda: Spec.parse(plan={"epochs": -1}), "epochs=-1.0 must not be negative"),
        (lambda: Spec.parse(plan={"patience": -1}), "patience=-1 must not be negative"),
        (lambda: Spec.parse(plan={"batch_size": 0}), "batch_size=0 must be above 0"),
        (lambda: Spec.parse(plan={"lr": 0}), "must be above 0"),
        (lambda: Spec.parse(objective={"name": "elbo", "beta": "linaer(0, 1, 2)"}), "'linear'"),
        (lambda: Spec.from_toml("net = "), "not valid TOML"),
        (lambda: Spec.from_toml("nett = 'mlp'"), "did you mean 'net'"),
        (lambda: compose(Spec(latent=0), (1, 4, 4)), "latent=0 must be at least 1"),
        (lambda: compose(Spec(), (1, 4, 4), "sound"), "the domain 'sound'"),
    ],
)
def test_invalid_values_are_refused_in_one_sentence(function, message):
    assert message in refusal(function)


# Composition


def weights(spec, shape=(1, 6, 6)):
    return list(compose(spec, shape)[0].parameters())


def test_weights_depend_on_the_seed_of_the_plan_only():
    torch.manual_seed(1)
    first = weights(Spec())
    torch.manual_seed(2)
    assert all(map(torch.equal, first, weights(Spec())))
    other = weights(Spec(plan=Plan(seed=1)))
    assert not any(map(torch.equal, first[::2], other[::2]))


def test_composition_does_not_change_the_random_state():
    before = torch.get_rng_state()
    compose(Spec(), (1, 6, 6))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ZOO)
def test_each_model_of_the_zoo_composes_and_runs(name):
    entry = ZOO[name]
    context = 3 * entry.conditional
    spec = Spec.parse(**entry.parts, context=context)
    model, objective = compose(spec, (1, 12, 12), "binary")
    x = torch.rand(4, 1, 12, 12).round()
    c = torch.eye(4, 3) if context else None
    trace = model(x, c, samples=objective.samples)
    assert objective(trace, 0)[0].isfinite()
    assert trace.z.shape[2:] == model.latent_shape
    assert model.decode(trace.z, c).log_prob(x).shape[:2] == trace.z.shape[:2]
    assert entry.link.startswith("https://")
    assert 1990 < entry.year < 2030
    assert all((entry.title, entry.reference, entry.use_for, entry.benchmark, entry.group))
    assert not set(entry.parts) - {*AXES, "latent"}


def test_encoder_and_decoder_have_their_own_networks():
    spec = Spec.parse(encoder={"name": "conv", "width": 4}, decoder={"name": "mlp", "width": 8})
    model, _ = compose(spec, (1, 8, 8))
    layers = {type(module).__name__ for module in model.encoder.modules()}
    assert "Conv2d" in layers
    assert "Conv2d" not in {type(module).__name__ for module in model.decoder.modules()}


def test_an_autoencoder_has_no_elbo():
    text = refusal(lambda: compose(Spec.parse(posterior="deterministic"), (1, 6, 6)))
    assert "use posterior='gaussian' or objective='reconstruction'" in text


def test_film_modulates_the_hidden_layers_of_encoder_and_decoder():
    spec = Spec.parse(latent=2, context=3, conditioning="film")
    assert Spec.from_toml(spec.to_toml()) == spec
    model, _ = compose(spec, (1, 6, 6))
    for part in (model.encoder, model.decoder):
        assert any(isinstance(module, Film) for module in part.modules())
    assert not any(isinstance(m, Film) for m in compose(Spec(context=3), (1, 6, 6))[0].modules())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"conditioning": "flim"}, "did you mean 'film'"),
        ({"conditioning": "film", "architecture": "ladder"}, "has its own conditioning"),
    ],
)
def test_unsuitable_conditioning_is_refused(values, message):
    assert message in refusal(lambda: compose(Spec.parse(context=3, **values), (1, 6, 6)))


def test_a_bernoulli_likelihood_of_gray_levels_is_refused():
    text = refusal(lambda: compose(Spec(), (1, 6, 6), "uint8"))
    assert "binarize='dynamic'" in text
    assert "likelihood='continuous-bernoulli'" in text


@pytest.mark.parametrize("name", ["conv", "resnet"])
def test_networks_for_images_refuse_vectors(name):
    assert "use net='mlp'" in refusal(lambda: compose(Spec.parse(net=name), (7,)))
