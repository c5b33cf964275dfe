"""M2 is Kingma's two equations; what stands on codes leaves M1 alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from varied import functional
from varied.data.batches import Batch, Batches
from varied.errors import VariedError
from varied.evaluate import log_likelihood
from varied.functional.importance_sampling import posterior_draws
from varied.models import M1M2, M2, VAE
from varied.objectives import elbo, iwae, m2
from varied.seeding import seeded
from varied.spec import Spec, compose
from varied.terms import kl, reconstruction
from varied.terms.semi_supervised import Classification
from varied.training_loop import Step, train

SHAPE, CLASSES, LATENT = (1, 2, 3), 3, 2

#: Labels of five rows: all kinds of batch.
LABELS = {"some": [0, -1, 2, -1, -1], "none": [-1] * 5, "all": [2, 1, 0, 0, 1]}
labels = pytest.mark.parametrize("given", LABELS.values(), ids=LABELS)

M2_SPEC = {"architecture": {"name": "m2", "hidden_units": 4}, "objective": "m2"}
M1M2_SPEC = {
    "architecture": {"name": "m1m2", "upper_latent": 2, "hidden_units": 4},
    "objective": "m1m2",
}
M1 = {"architecture": {"name": "m1m2", "upper_latent": 0, "hidden_units": 4}, "objective": "m2"}
JOINT = {"architecture": M1M2_SPEC["architecture"] | {"joint": True}, "objective": "m2"}
SEEING = {"architecture": JOINT["architecture"] | {"classifier": "same"}, "objective": "m2"}
SKIP = {"architecture": JOINT["architecture"] | {"skip": True}, "objective": "m2"}
APART = {"architecture": M1M2_SPEC["architecture"] | {"classifier": "same"}, "objective": "m1m2"}
KINDS = {
    "m2": M2_SPEC,
    "m1+m2": M1M2_SPEC,
    "apart on data": APART,
    "joint": JOINT,
    "joint on data": SEEING,
}
KINDS |= {"m1": M1, "skip": SKIP}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def made(kind, **changes):
    net = {"name": "mlp", "width": 5, "depth": 1, "activation": "tanh"}
    values = {"net": net, "latent": LATENT, "context": CLASSES} | kind | changes
    return compose(Spec.of(**values), SHAPE)


def rows(count=5):
    return torch.rand(count, *SHAPE).round()


def one_hot(given):
    c = torch.zeros(len(given), CLASSES)
    for row, label in enumerate(given):
        if label >= 0:
            c[row, label] = 1
    return c


def whole(log_w):
    return log_w.logsumexp(0) - math.log(len(log_w))


# Against an oracle that shares no code with ours


def dense(w, name, h, act):
    first, second = sorted(n for n in w if n.startswith(name) and n.endswith("weight"))
    h = act(h @ w[first].T + w[first.replace("weight", "bias")])
    return h @ w[second].T + w[second.replace("weight", "bias")]


def silu(h):
    return h / (1 + np.exp(-h))


def kingma(w, x, label, z):
    """Return L(x, y) of a datum with a label, U(x) of one without, from its draws in NumPy."""
    x = x.reshape(-1)
    logits = dense(w, "classifier", x, np.tanh)
    q = np.exp(logits) / np.exp(logits).sum()
    features = silu(dense(w, "trunk", x, np.tanh))
    costs = []
    for y in range(CLASSES):
        hot = np.eye(CLASSES)[y]
        h = dense(w, "encoder", np.concatenate([features, silu(hot)]), silu)
        mean, log_variance = h[:LATENT], 10 * np.tanh(h[LATENT:] / 10)
        kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum()
        logit = dense(w, "decoder", np.concatenate([z[y], hot]), np.tanh)
        chance = 1 / (1 + np.exp(-logit))
        log_px = (x * np.log(chance) + (1 - x) * np.log(1 - chance)).sum()
        costs.append(-log_px + kl - math.log(1 / CLASSES))
    if label >= 0:
        return costs[label]
    entropy = -(q * np.log(q)).sum()
    return (q * np.array(costs)).sum() - entropy


@labels
def test_distortion_and_rate_are_kingmas_equations(given):
    model = made(M2_SPEC)[0].double()
    x = rows().double()
    trace = model(x, one_hot(given).double())
    w = {name: p.detach().numpy() for name, p in model.named_parameters()}
    z = trace.levels[0].z.detach().numpy()
    wanted = [kingma(w, x[b].numpy(), given[b], z[:, b]) for b in range(len(x))]
    told = reconstruction(trace) + kl(trace)
    assert told.tolist() == pytest.approx(wanted, rel=1e-9)
    assert elbo()(trace)[0].item() == pytest.approx(np.mean(wanted), rel=1e-9)


def normal(h):
    mean, raw = np.split(h, 2)
    return mean, 10 * np.tanh(raw / 10)


def divergence(mean, log_variance, of_mean, of_log_variance):
    ratio = np.exp(log_variance - of_log_variance)
    square = (mean - of_mean) ** 2 / np.exp(of_log_variance)
    return 0.5 * (square + ratio - 1 - np.log(ratio)).sum()


def joined(w, x, label, z1, z2, kind):
    """Return the joint loss of M1+M2_SPEC of a datum, from its draws in NumPy."""
    x = x.reshape(-1)
    seen = (x, np.tanh) if kind is SEEING else (z1, silu)
    logits = dense(w, "above.classifier", *seen)
    q = np.exp(logits) / np.exp(logits).sum()
    features = silu(dense(w, "above.trunk", z1, silu))
    costs = []
    for y in range(CLASSES):
        hot = np.eye(CLASSES)[y]
        q2 = normal(dense(w, "above.encoder", np.concatenate([features, silu(hot)]), silu))
        of_mean, raw = np.split(dense(w, "above.decoder", np.concatenate([z2[y], hot]), silu), 2)
        floor = math.log(0.05)
        of_log_scale = floor + np.log1p(np.exp(30 * np.tanh(raw / 30) - floor))
        q1 = normal(dense(w, "below.encoder", x, np.tanh))
        kl = divergence(*q1, of_mean, 2 * of_log_scale) + divergence(*q2, 0, 0)
        told = np.concatenate([z1, hot]) if kind is SKIP else z1
        logit = dense(w, "below.decoder", told, np.tanh)
        log_px = (x * logit - np.log1p(np.exp(logit))).sum()
        costs.append(-log_px + kl + math.log(CLASSES))
    return costs[label] if label >= 0 else (q * (np.array(costs) + np.log(q))).sum()


@labels
@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("kind", [JOINT, SEEING, SKIP], ids=["codes", "data", "skip"])
def test_a_joint_model_has_one_bound(given, samples, kind):
    model = made(kind)[0].double()
    x, c = rows().double(), one_hot(given).double()
    trace = model(x, c, samples=samples)
    w = {name: p.detach().numpy() for name, p in model.named_parameters()}
    z1, z2 = (trace.levels[i].z.detach().numpy().reshape(CLASSES, samples, 5, -1) for i in (0, 1))
    each = [
        [joined(w, x[b].numpy(), given[b], z1[0, s, b], z2[:, s, b], kind) for b in range(5)]
        for s in range(samples)
    ]
    told = reconstruction(trace) + kl(trace)
    assert told.tolist() == pytest.approx(np.mean(each, 0), rel=1e-9)
    assert trace.weights.shape == (samples * CLASSES, 5)
    torch.testing.assert_close(trace.weights.sum(0), torch.ones(5).double())


def test_no_labels_are_as_labels_that_are_all_missing():
    model, _ = made(M2_SPEC)
    x = rows()
    torch.manual_seed(3)
    without = kl(model(x))
    torch.manual_seed(3)
    assert torch.equal(without, kl(model(x, one_hot(LABELS["none"]))))


# Samples and their weights


@labels
@pytest.mark.parametrize("samples", [1, 3])
def test_every_class_is_tried_and_weighed(given, samples):
    model, _ = made(M2_SPEC)
    trace = model(rows(), one_hot(given), samples=samples)
    q, weights = model.classify(trace.x), trace.weights
    assert weights.shape == trace.log_px.shape == (samples * CLASSES, 5)
    assert trace.levels[0].z.shape == (samples * CLASSES, 5, LATENT)
    torch.testing.assert_close(weights.sum(0), torch.ones(5))
    by_class = weights.reshape(samples, CLASSES, 5).sum(0).T
    wanted = [q[b] if label < 0 else torch.eye(CLASSES)[label] for b, label in enumerate(given)]
    torch.testing.assert_close(by_class, torch.stack(wanted))
    tried = (weights[..., None] * trace.levels[1].z).sum(0)
    torch.testing.assert_close(tried, by_class)


def test_more_draws_change_the_noise_and_not_the_mean():
    model, _ = made(M2_SPEC)
    x, c = rows(2), one_hot([1, -1])
    one, many = (elbo()(model(x, c, samples=k))[0].item() for k in (2000, 4000))
    assert one == pytest.approx(many, abs=0.05)


@pytest.mark.parametrize("kind", [M2_SPEC, JOINT, SKIP], ids=["m2", "joint", "skip"])
def test_the_bound_of_a_datum_is_the_sum_of_those_of_its_classes(kind):
    model = made(kind)[0].double()
    x = rows().double()
    found = []
    for given in ([-1] * 5, *([y] * 5 for y in range(CLASSES))):
        torch.manual_seed(1)  # the same draws for each
        found.append(whole(model(x, one_hot(given).double(), samples=4).log_weight))
    torch.testing.assert_close(found[0], torch.stack(found[1:]).logsumexp(0))
    assert (torch.stack(found[1:]) < found[0]).all()


def test_many_draws_of_a_label_give_the_integral():
    model = made(M2_SPEC, latent=1)[0].double()
    x, y = rows(2).double(), torch.eye(CLASSES)[[1, 2]].double()
    grid = torch.linspace(-8, 8, 2001, dtype=torch.float64)[:, None, None].expand(-1, 2, 1)
    log_joint = model.decoder(grid, y).log_prob(x) - 0.5 * (
        grid[..., 0] ** 2 + math.log(2 * math.pi)
    )
    exact = log_joint.logsumexp(0) + math.log(16 / 2000) - math.log(CLASSES)
    told = whole(model(x, y, samples=20_000).log_weight)
    torch.testing.assert_close(told, exact, atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", [M2_SPEC, JOINT, SKIP], ids=["m2", "joint", "skip"])
def test_a_bound_is_below_the_likelihood(kind):
    model, _ = made(kind)
    x = rows()
    trace = model(x, one_hot(LABELS["some"]), samples=2000)
    assert (-(reconstruction(trace) + kl(trace)) <= whole(trace.log_weight) + 0.02).all()


def test_importance_weighted_objectives_refuse_weighted_draws():
    model, _ = made(M2_SPEC)
    with pytest.raises(VariedError, match="weights; use objective='elbo'"):
        iwae()(model(rows()))


# What learns from what


def reached(model, loss):
    model.zero_grad()
    loss.backward()
    return {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}


@kinds
@pytest.mark.parametrize("net", ["mlp", "conv"])
def test_gradient_reaches_every_parameter(kind, net):
    if net == "conv":
        kind = kind | {"net": {"name": "conv", "width": 2, "dense_width": 4, "activation": "silu"}}
        model, objective = compose(Spec.of(latent=2, context=3, **kind), (1, 8, 8))
        x = torch.rand(60, 1, 8, 8).round()
    else:
        (model, objective), x = made(kind), rows(60)
    c = one_hot([0, 1, 2, -1] * 15)
    found = reached(model, Step(model, objective)(x, c)[0])
    assert found == {n for n, _ in model.named_parameters()}


def test_a_label_teaches_the_classifier_by_the_weight_of_its_term_alone():
    model, _ = made(M2_SPEC)
    x, c = rows(), one_hot(LABELS["all"])
    name = "classifier"
    assert not [n for n in reached(model, m2(alpha=0.0)(model(x, c))[0]) if n.startswith(name)]
    assert [n for n in reached(model, m2(alpha=1.0)(model(x, c))[0]) if n.startswith(name)]
    assert [n for n in reached(model, m2(alpha=0.0)(model(x))[0]) if n.startswith(name)]


@labels
@kinds
def test_classification_is_a_mean_over_the_rows_with_a_label(kind, given):
    model, _ = made(kind)
    x = rows()
    trace = model(x, one_hot(given), samples=2)
    told = Classification()(trace)
    assert told.shape == (5,)
    level = (trace.upper or trace).levels[-1]
    q = level.logits.softmax(-1).reshape(-1, 5, CLASSES)
    wanted = [-q[:, b, label].log().mean().item() for b, label in enumerate(given) if label >= 0]
    assert told.mean().item() == pytest.approx(np.mean(wanted) if wanted else 0.0, rel=1e-5)


def test_what_is_above_teaches_nothing_below():
    model, objective = made(M1M2_SPEC)
    x, c = rows(), one_hot(LABELS["some"])
    trace = model(x, c, samples=2)
    assert torch.equal(trace.upper.x, trace.levels[0].z.flatten(0, 1))
    above = (
        reconstruction(trace.upper).mean() + kl(trace.upper).mean() + Classification()(trace).mean()
    )
    assert all(n.startswith("above.") for n in reached(model, above))
    assert all(n.startswith("below.") for n in reached(model, elbo()(trace)[0]))
    loss, parts = objective(trace)
    wanted = elbo()(trace)[0] + reconstruction(trace.upper).mean() + kl(trace.upper).mean()
    torch.testing.assert_close(loss, wanted + 5 * parts["classification"])


def test_m1_alone_says_of_codes_that_they_are_normal():
    model, _ = made(M1)
    trace = model(rows(), one_hot(LABELS["some"]))
    z = trace.levels[0].z[0]
    normal = torch.distributions.Normal(0, 1).log_prob(z).sum(-1)
    torch.testing.assert_close(trace.upper.log_px[0], normal)
    assert model.sample_prior(20_000).std(0).tolist() == pytest.approx([1, 1], abs=0.03)


def test_dropout_is_of_training_alone():
    model, _ = made({**M2_SPEC, "architecture": {"name": "m2", "hidden_units": 4, "dropout": 0.5}})
    x = rows()
    assert not torch.equal(model.classify(x), model.classify(x))
    told = functional.classify(model, torch.Tensor.float, [Batch(x)])
    assert model.training
    assert torch.equal(told, model.eval().classify(x))


@pytest.mark.parametrize("kind", [M2_SPEC, SEEING, APART], ids=["m2", "joint on data", "apart"])
def test_pictures_are_moved_before_the_classifier_alone_and_in_training_alone(kind):
    structure = kind["architecture"] | {"augment": 3.0}
    model, _ = made({**kind, "architecture": structure})
    x = rows()
    assert not torch.equal(model.classify(x), model.classify(x))
    torch.testing.assert_close(model(x).x, x)
    told = functional.classify(model, torch.Tensor.float, [Batch(x)])
    assert torch.equal(told, model.eval().classify(x))
    c = one_hot([0, 1, 2, 0, 1])
    torch.testing.assert_close(model.train().encode(x, c).mean, model.encode(x, c).mean)


# Uses


@kinds
def test_classify_reads_no_label_and_sums_to_one(kind):
    model, _ = made(kind)
    x = rows(7)
    told = functional.classify(
        model, torch.Tensor.float, [Batch(x[:4], one_hot([0] * 4)), Batch(x[4:])]
    )
    torch.testing.assert_close(told.sum(1), torch.ones(7))
    torch.testing.assert_close(told, model.eval().classify(x))


def true_chances(n):
    """Return log-odds, and labels drawn by the probabilities that they say."""
    logits = 2 * torch.randn(n, CLASSES).double()
    return logits, torch.distributions.Categorical(logits=logits).sample()


@pytest.mark.parametrize("times", [0.5, 1, 3])
def test_the_temperature_is_how_much_too_sure_a_model_is(times):
    logits, labels = true_chances(20_000)
    found = functional.calibration_temperature((times * logits).softmax(-1), labels)
    assert found == pytest.approx(times, rel=0.05)
    mended = functional.apply_temperature((times * logits).softmax(-1), found)
    torch.testing.assert_close(mended, logits.softmax(-1), atol=0.02, rtol=0)


def test_labels_that_are_not_known_say_nothing():
    logits, labels = true_chances(50)
    sure = (5 * logits).softmax(-1)
    few = torch.where(torch.arange(50) < 30, labels, -1)
    assert functional.calibration_temperature(sure, few) == functional.calibration_temperature(
        sure[:30], labels[:30]
    )
    assert functional.calibration_temperature(sure, torch.full((50,), -1)) == 1


def test_few_rows_that_are_right_do_not_show_that_a_model_is_never_wrong():
    chances = torch.full((10, 2), 1e-30)
    chances[:, 0] = 1
    found = functional.apply_temperature(
        chances, functional.calibration_temperature(chances, torch.zeros(10, dtype=torch.long))
    )
    assert found[:, 0].tolist() == pytest.approx([1 - 1 / 24] * 10, abs=2e-3)
    hard = torch.tensor([[1.0, 0, 0]])  # a class that was ruled out to the last bit
    assert functional.apply_temperature(hard, 2.0).isfinite().all()
    assert torch.equal(functional.apply_temperature(hard, 1.0), hard)


@kinds
@pytest.mark.parametrize("given", [None, [0, -1, 2, -1, -1]])
def test_every_use_works_with_a_class_and_without(kind, given):
    model, _ = made(kind)
    x, c = rows(), None if given is None else one_hot(given)
    z = model.encode(x, c).mean
    assert z.shape == (5, *model.latent_shape)
    assert model.sample_prior(5, c).shape == z.shape
    assert functional.reconstruct(model, x, c).shape == x.shape
    assert functional.sample(model, 5, c, temperature=0.7).shape == x.shape
    with pytest.raises(VariedError, match="Only a ladder takes a temperature for each level"):
        functional.sample(model, 5, c, temperature=[0.7, 1.0])
    assert functional.interpolate(model, x, x.flip(0), c, steps=3).shape == (5, 3, *SHAPE)
    assert functional.traverse(model, z[0], [0, 1], None if c is None else c[:1])[0].shape[:2] == (
        2,
        9,
    )
    codes = functional.encode(model, torch.Tensor.float, [Batch(x, c)])
    assert codes.mean.shape == codes.std.shape == (5, *model.latent_shape)


@kinds
@pytest.mark.parametrize("samples", [1, 2])
def test_what_was_drawn_is_decoded_as_it_was(kind, samples):
    model, _ = made(kind)
    x = rows()
    trace = model.eval()(x, samples=samples)
    assert trace.z.shape[2:] == model.latent_shape
    log_px = model.decode(trace.z).log_prob(x)
    torch.testing.assert_close(log_px, trace.log_px.expand_as(log_px))


@kinds
def test_draws_are_those_of_all_classes_together(kind):
    model, _ = made(kind)
    z, log_w = posterior_draws(model, rows(), samples=7)
    assert z.shape == (*log_w.shape, *model.latent_shape)
    assert len(z) == 7 // model.num_enumerated * model.num_enumerated
    assert len(posterior_draws(model, rows(), samples=1)[0]) == model.num_enumerated


@kinds
@pytest.mark.parametrize("given", [None, [0, -1, 2, -1, -1]])
def test_gaps_are_filled_and_scores_are_told(kind, given):
    model, _ = made(kind)
    x, c = rows(), None if given is None else one_hot(given)
    mask = torch.ones_like(x)
    mask[0, 0, 0, 0] = 0
    filled = functional.impute(model, x, c, mask, n_draws=3, samples=8)
    assert torch.equal(filled[:, 1:], x[1:].expand(3, -1, -1, -1, -1)) and filled.isfinite().all()
    scores = functional.negative_log_likelihood(model, torch.Tensor.float, [Batch(x, c)], samples=8)
    assert scores.nll.shape == (5,) and scores.element_nll.shape == x.shape
    assert (scores.element_nll > 0).all()


@pytest.mark.parametrize("kind", [M2_SPEC, SKIP], ids=["m2", "skip"])
def test_a_code_holds_the_label_or_the_most_probable_class(kind):
    model, _ = made(kind)
    x = rows()
    y = model.encode(x, one_hot(LABELS["some"])).mean[:, :CLASSES]
    guess = torch.eye(CLASSES)[model.classify(x).argmax(-1)]
    assert torch.equal(y[[0, 2]], torch.eye(CLASSES)[[0, 2]])
    assert torch.equal(y[[1, 3, 4]], guess[[1, 3, 4]])
    assert model.encode(x).log_prob(model.encode(x).mean).isfinite().all()


@pytest.mark.parametrize("kind", [M2_SPEC, SKIP], ids=["m2", "skip"])
def test_a_class_overrides_that_of_a_code(kind):
    model, _ = made(kind)
    z = torch.cat([torch.eye(CLASSES)[[0, 0]], torch.randn(2, LATENT)], 1)
    same, other = model.decode(z).mean, model.decode(z, one_hot([2, -1])).mean
    assert torch.equal(same[1], other[1])
    assert not torch.equal(same[0], other[0])
    moved = torch.cat([torch.eye(CLASSES)[[2]], z[:1, CLASSES:]], 1)
    torch.testing.assert_close(model.decode(moved).mean[0], other[0])


@pytest.mark.parametrize("kind", [M2_SPEC, SKIP], ids=["m2", "skip"])
def test_draws_are_of_the_class_that_was_asked_for_or_of_all(kind):
    model, _ = made(kind)
    drawn = model.sample_prior(3000, one_hot([2, -1, -1] * 1000))[:, :CLASSES]
    assert (drawn[::3].argmax(1) == 2).all()
    shares = drawn.reshape(-1, 3, CLASSES)[:, 1:].mean((0, 1))
    assert shares.tolist() == pytest.approx([1 / CLASSES] * CLASSES, abs=0.04)
    assert model.prior().batch_shape == () and model.prior(one_hot([1])).batch_shape == (1,)


def test_missing_numbers_are_left_out():
    model, objective = made(M2_SPEC)
    x, mask = rows(), torch.ones(5, *SHAPE)
    x[0, 0, 0, 0], mask[0, 0, 0, 0] = math.nan, 0
    assert objective(model(x, one_hot(LABELS["some"]), mask))[0].isfinite()


# It learns


def test_few_labels_and_many_rows_make_a_classifier():
    torch.manual_seed(0)
    y = torch.arange(400) % 2
    c = torch.eye(2)[y]
    c[4:] = 0  # two labels for each class
    pattern = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]).float()[y]
    x = (torch.rand(400, 6) < 0.1 + 0.8 * pattern).float().reshape(-1, *SHAPE)
    plan = {"batch_size": 40, "lr": 0.02, "steps": 150, "precision": "float32", "compile": "no"}
    spec = Spec.of(
        **M2_SPEC, net={"name": "mlp", "width": 16, "depth": 1}, latent=1, context=2, plan=plan
    )
    model, objective = compose(spec, SHAPE)
    stream = Batches(x, c, size=40, seed=0, labeled=0.25)
    for _ in train(Step(model, objective), stream, spec.plan):
        pass
    told = functional.classify(model, torch.Tensor.float, [Batch(x)]).argmax(1)
    assert (told == y).float().mean() > 0.95


# What does not go together


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({**M2_SPEC, "context": 0}, "needs two classes or more"),
        ({**M1M2_SPEC, "context": 1}, "needs two classes or more"),
        ({**M2_SPEC, "latent": (2, 2, 2)}, "a latent of one dimension"),
        ({**M2_SPEC, "posterior": "iaf"}, "has a posterior of its own"),
        ({**M1M2_SPEC, "prior": "learned-gmm"}, "has a prior of its own"),
        (
            {**M2_SPEC, "architecture": {"name": "m2", "classifier": "none"}},
            "is no net; choose from",
        ),
        (
            {**M1, "architecture": {**M1["architecture"], "classifier": "conv"}},
            "nothing else would learn",
        ),
        (
            {**JOINT, "architecture": {**JOINT["architecture"], "classifier": "c"}},
            "choose from codes",
        ),
        ({**M2_SPEC, "architecture": {"name": "m2", "dropout": 1.0}}, "from 0 to below 1"),
        ({**M2_SPEC, "architecture": {"name": "m2", "augment": 8.0}}, "from 0 to 3"),
        ({**JOINT, "architecture": {**JOINT["architecture"], "augment": 1.0}}, "this one reads"),
        ({**M2_SPEC, "objective": {"name": "m2", "alpha": -1.0}}, "alpha=-1.0 must not be below 0"),
        ({**M2_SPEC, "objective": "m1m2"}, "use a architecture='m1m2' that is not joint"),
        ({**JOINT, "objective": "m1m2"}, "or objective='m2'"),
        (
            {**JOINT, "architecture": {**JOINT["architecture"], "upper_latent": 0}},
            "nothing to join",
        ),
        (
            {**M1M2_SPEC, "architecture": {**M1M2_SPEC["architecture"], "skip": True}},
            "use joint=True",
        ),
        ({**M1M2_SPEC, "architecture": "vae", "objective": "m2"}, "use architecture='m2'"),
        ({**M2_SPEC, "objective": "beta-tc-vae"}, "reads independent dimensions of the posterior"),
        ({**M2_SPEC, "objective": {"name": "elbo", "free_bits": 0.1}}, "use objective='m2'"),
        ({**M1M2_SPEC, "objective": "elbo"}, "would leave a part of architecture='m1m2' untrained"),
        ({**M1, "objective": "elbo"}, "use objective='m1m2', or with joint=True"),
    ],
)
def test_it_is_refused_in_one_sentence(changes, sentence):
    with pytest.raises(VariedError, match=sentence):
        made(changes)


def test_rows_of_a_table_are_not_moved():
    with pytest.raises(VariedError, match="these data have shape"):
        compose(
            Spec.of(**M2_SPEC | {"architecture": {"name": "m2", "augment": 1.0}}, context=3), (6,)
        )


def test_a_model_without_classes_is_refused():
    model, _ = made({"architecture": "vae"}, context=0)
    assert isinstance(model, VAE)
    with pytest.raises(VariedError, match="no classes"):
        functional.classify(model, torch.Tensor.float, [Batch(rows())])
    with pytest.raises(VariedError, match="reads the classes"):
        Classification()(model(rows()))


def test_what_is_made():
    assert isinstance(made(M2_SPEC)[0], M2) and made(M2_SPEC)[0].latent_shape == (CLASSES + LATENT,)
    assert isinstance(made(M1)[0], M1M2) and made(M1)[0].num_classes == CLASSES


def test_an_importance_bound_counts_every_class_that_was_tried():
    structure = {"name": "m2", "hidden_units": 8}
    small = {"net": {"name": "mlp", "width": 8}, "latent": 2, "context": 3}
    model, _ = compose(Spec.of(architecture=structure, objective="m2", **small), (6,))
    x = torch.rand(5, 6).round()
    bound, _ = log_likelihood(model, torch.Tensor.float, [Batch(x)], samples=4, seed=1)
    with seeded(1, "importance", 0), torch.no_grad():
        log_w = model.eval()(x, samples=4).log_weight
    assert len(log_w) == 4 * 3
    torch.testing.assert_close(bound, log_w.logsumexp(0) - math.log(12))
