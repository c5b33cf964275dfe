"""A spec goes to text and back, makes one model from one seed, and refuses what cannot be."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from varied.errors import VariedError
from varied.nets import NETS
from varied.nets.film import Film
from varied.nets.mlp import mlp
from varied.schedules import Cyclical, Linear
from varied.schema import settings
from varied.spec import AXES, Part, Plan, Spec, axes_with_setting, compose
from varied.zoo import ZOO

SPECS = [
    Spec(),
    Spec(latent=2, context=10),
    Spec.of(net={"name": "mlp", "width": 64, "depth": 1, "activation": "silu"}),
    Spec.of(net={"name": "conv", "depth": None, "width": 8}),
    Spec.of(objective={"name": "elbo", "beta": 4, "free_bits": "linear(0.5, 0, 100)"}),
    Spec.of(objective={"name": "elbo", "beta": Linear(0, 1, 2000)}),
    Spec.of(objective={"name": "elbo", "beta": "join(constant(0, 9), cosine(0, 1, 9))"}),
    Spec.of(likelihood={"name": "gaussian", "scale": "heteroscedastic", "min_scale": 0.01}),
    Spec.of(likelihood={"name": "laplace", "scale": 1.0}, posterior="gaussian"),
    Spec.of(plan={"minutes": 2, "lr": 1e-4, "compile": "no"}),
    Spec(plan=Plan(epochs=3.5, batch_size=7, seed=2**40)),
    Spec(objective=Part("elbo", {"beta": Cyclical(0, 1, 8), "free_bits": 0.1})),
]


def one_sentence(told: VariedError | str) -> bool:
    """Whether a message is one sentence on one line."""
    text = str(told)
    return text.endswith((".", "?")) and "\n" not in text and not re.search(r"[.?!] [A-Z]", text)


def refusal(make) -> str:
    with pytest.raises(VariedError) as told:
        make()
    assert one_sentence(told.value), told.value
    return str(told.value)


# To text and back


@pytest.mark.parametrize("spec", SPECS, ids=range(len(SPECS)))
def test_text_is_the_spec(spec):
    assert Spec.of(**spec.plain) == spec
    assert Spec.from_toml(spec.to_toml()) == spec
    assert Spec.from_toml(spec.to_toml()).to_toml() == spec.to_toml()


@given(
    st.integers(1, 10**6),
    st.floats(1e-12, 1e6),
    st.dictionaries(st.sampled_from(["beta", "free_bits"]), st.floats(0, 100)),
    st.integers(0, 2**62),
)
def test_any_numbers_survive_the_text(latent, lr, beta, seed):
    plan = Plan(lr=lr, seed=seed)
    spec = Spec(latent=latent, objective=Part("elbo", dict(beta)), plan=plan)
    assert Spec.from_toml(spec.to_toml()) == spec


def round_trip(spec):
    return Spec.from_toml(spec.to_toml(full=True))


@pytest.mark.parametrize("spec", SPECS, ids=range(len(SPECS)))
def test_full_text_is_the_spec(spec):
    assert round_trip(spec).brief() == spec.brief()
    assert round_trip(spec).full == spec.full
    assert spec.brief().full == spec.full


@pytest.mark.parametrize("axis", AXES)
def test_every_part_says_all_its_settings(axis):
    for name, build in AXES[axis].items():
        spec = Spec.of(**{axis: name})
        read = getattr(round_trip(spec), axis)
        assert set(read.settings) == set(settings(build))
        assert read.brief(axis) == Part(name)


def test_what_says_the_default_is_left_out():
    spec = Spec.of(net={"name": "mlp", "width": 512, "depth": 3}, objective="elbo")
    assert spec.brief() == Spec.of(net={"name": "mlp", "depth": 3})


def test_another_default_leaves_what_was_written_as_it_was(monkeypatch):
    spec = Spec.of(net={"name": "mlp", "depth": 1})
    before, kept = weights(spec), spec.to_toml(full=True).replace("gated = false\n", "")

    def wider(inputs, outputs, *, width: int = 7, depth: int = 2, activation: str = "relu"):
        return mlp(inputs, outputs, width=width, depth=depth, activation=activation)

    monkeypatch.setitem(NETS, "mlp", wider)
    assert all(map(torch.equal, before, weights(Spec.from_toml(kept).brief())))
    assert weights(spec)[0].shape != before[0].shape


def test_a_part_is_a_name_or_a_table():
    assert Part.of("mlp") == Part.of({"name": "mlp"}) == Part.of(Part("mlp")) == Part("mlp")
    assert Part("mlp").plain == "mlp"
    assert Part.of({"name": "mlp", "width": 3}).plain == {"name": "mlp", "width": 3}


def test_reading_a_part_leaves_the_table_as_it_was():
    table = {"name": "mlp", "width": 3}
    Part.of(table).settings["width"] = 4
    assert table == {"name": "mlp", "width": 3}


WRONG = [
    (lambda: Spec.of(latnet=3), "did you mean 'latent'"),
    (lambda: Spec.of(likelihood="bernouli"), "did you mean 'bernoulli'"),
    (lambda: Spec.of(net={"name": "mlp", "widht": 3}), "did you mean 'width'"),
    (lambda: Spec.of(net={"name": "mlp", "width": "wide"}), "an integer"),
    (lambda: Spec.of(latent="many"), "an integer"),
    (lambda: Spec.of(net={"width": 3}), "write a name"),
    (lambda: Spec.of(net=3), "write a name"),
    (lambda: Spec.of(plan={"epohcs": 3}), "did you mean 'epochs'"),
    (lambda: Spec.of(plan={"lr_schedule": "fast"}), "choose from"),
    (lambda: Spec.of(plan={"precision": "half"}), "choose from"),
    (lambda: Spec.of(plan={"minutes": 1, "steps": 1}), "not minutes and steps"),
    (lambda: Spec.of(plan={"epochs": -1}), "epochs must be above 0"),
    (lambda: Spec.of(plan={"batch_size": 0}), "batch_size=0 must be above 0"),
    (lambda: Spec.of(plan={"lr": 0}), "must be above 0"),
    (lambda: Spec.of(objective={"name": "elbo", "beta": "linaer(0, 1, 2)"}), "'linear'"),
    (lambda: Spec.from_toml("net = "), "not valid TOML"),
    (lambda: Spec.from_toml("nett = 'mlp'"), "did you mean 'net'"),
    (lambda: compose(Spec(latent=0), (1, 4, 4)), "latent=0 must be at least 1"),
]


@pytest.mark.parametrize(("make", "told"), WRONG)
def test_what_is_wrong_is_told_in_one_sentence(make, told):
    assert told in refusal(make)


def test_a_setting_knows_its_owner():
    assert axes_with_setting(Spec(), "width") == ["net"]
    assert axes_with_setting(Spec(), "beta") == ["objective"]
    assert axes_with_setting(Spec(), "lr") == ["plan"]
    assert axes_with_setting(Spec(), "scale") == []
    assert axes_with_setting(Spec(likelihood=Part("gaussian")), "scale") == ["likelihood"]


# To a model


def weights(spec, shape=(1, 6, 6)):
    return list(compose(spec, shape)[0].parameters())


def test_one_seed_makes_one_model():
    torch.manual_seed(1)
    first = weights(Spec())
    torch.manual_seed(2)
    assert all(map(torch.equal, first, weights(Spec())))
    other = weights(Spec(plan=Plan(seed=1)))
    assert not any(map(torch.equal, first[::2], other[::2]))


def test_composing_leaves_the_generator_as_it_was():
    before = torch.get_rng_state()
    compose(Spec(), (1, 6, 6))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ZOO)
def test_every_name_of_the_zoo_composes_and_runs(name):
    entry = ZOO[name]
    context = 3 * entry.conditional
    spec = Spec.of(**entry.parts, context=context)
    model, objective = compose(spec, (1, 12, 12), "binary")
    x = torch.rand(4, 1, 12, 12).round()
    c = torch.eye(4, 3) if context else None
    trace = model(x, c, samples=objective.samples)
    assert objective(trace, 0)[0].isfinite()
    assert trace.z.shape[2:] == model.latent_shape  # what was drawn is what is decoded
    assert model.decode(trace.z, c).log_prob(x).shape[:2] == trace.z.shape[:2]
    assert entry.title
    assert entry.reference
    assert entry.link.startswith("https://")
    assert 1990 < entry.year < 2030
    assert entry.use_for
    assert entry.benchmark
    assert not set(entry.parts) - {*AXES, "latent"}


def test_an_autoencoder_has_no_elbo():
    told = refusal(lambda: compose(Spec.of(posterior="deterministic"), (1, 6, 6)))
    assert "use posterior='gaussian' or objective='reconstruction'" in told


def test_film_modulates_the_hidden_layers_of_encoder_and_decoder():
    spec = Spec.of(latent=2, context=3, conditioning="film")
    assert Spec.from_toml(spec.to_toml()) == spec
    model, _ = compose(spec, (1, 6, 6))
    for part in (model.encoder, model.decoder):
        assert any(isinstance(module, Film) for module in part.modules())
    assert not any(isinstance(m, Film) for m in compose(Spec(context=3), (1, 6, 6))[0].modules())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"conditioning": "flim"}, "did you mean 'film'"),
        ({"conditioning": "film", "architecture": "ladder"}, "has a conditioning of its own"),
    ],
)
def test_conditioning_is_refused_where_it_does_not_go(values, sentence):
    assert sentence in refusal(lambda: compose(Spec.of(context=3, **values), (1, 6, 6)))


def test_gray_levels_are_no_coins():
    told = refusal(lambda: compose(Spec(), (1, 6, 6), "uint8"))
    assert "binarize='dynamic'" in told
    assert "likelihood='continuous-bernoulli'" in told


@pytest.mark.parametrize("name", ["conv", "resnet"])
def test_nets_for_pictures_refuse_vectors(name):
    assert "use net='mlp'" in refusal(lambda: compose(Spec.of(net=name), (7,)))
