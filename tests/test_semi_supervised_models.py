"""M2, M1 and M1+M2: their bounds (compared with NumPy), their gradients and their operations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from varied import functional
from varied.composition import compose
from varied.data.batches import Batch, Batches
from varied.errors import VariedError
from varied.evaluate import log_likelihood
from varied.functional.importance_sampling import posterior_draws
from varied.models import M1, M1M2, M2, VAE, JointM1M2, SkipM1M2
from varied.nets import conv
from varied.objectives import elbo, iwae, m2
from varied.seeding import seeded
from varied.spec import Spec
from varied.terms import Classification, kl, reconstruction
from varied.training_loop import train
from varied.training_step import Step

SHAPE, CLASSES, LATENT = (1, 2, 3), 3, 2

#: Labels of five rows; -1 is unlabeled.
LABELS = {"some": [0, -1, 2, -1, -1], "none": [-1] * 5, "all": [2, 1, 0, 0, 1]}
every_labeling = pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)


def m1m2_spec(objective="m1m2", **settings):
    architecture = {"name": "m1m2", "upper_latent": 2, "hidden_units": 4} | settings
    return {"architecture": architecture, "objective": objective}


M2_SPEC = {"architecture": {"name": "m2", "hidden_units": 4}, "objective": "m2"}
M1_SPEC = m1m2_spec("m2", upper_latent=0)
M1M2_SPEC = m1m2_spec()
M1M2_DATA_SPEC = m1m2_spec(classifier="same")
JOINT_SPEC = m1m2_spec("m2", joint=True)
JOINT_DATA_SPEC = m1m2_spec("m2", joint=True, classifier="same")
SKIP_SPEC = m1m2_spec("m2", joint=True, skip=True)
SPECS = {
    "m2": M2_SPEC,
    "m1": M1_SPEC,
    "m1m2": M1M2_SPEC,
    "m1m2 with a classifier of data": M1M2_DATA_SPEC,
    "joint": JOINT_SPEC,
    "joint with a classifier of data": JOINT_DATA_SPEC,
    "skip": SKIP_SPEC,
}
every_model = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
class_in_latent = pytest.mark.parametrize("spec", [M2_SPEC, SKIP_SPEC], ids=["m2", "skip"])
enumerating = pytest.mark.parametrize(
    "spec", [M2_SPEC, JOINT_SPEC, SKIP_SPEC], ids=["m2", "joint", "skip"]
)


def compose_small(spec, **changes):
    net = {"name": "mlp", "width": 5, "depth": 1, "activation": "tanh"}
    values = {"net": net, "latent": LATENT, "context": CLASSES} | spec | changes
    return compose(Spec.parse(**values), SHAPE)


def random_rows(count=5):
    return torch.rand(count, *SHAPE).round()


def one_hot(labels):
    return torch.cat([torch.eye(CLASSES), torch.zeros(1, CLASSES)])[labels]


def mean_weight(log_weight):
    """Return the logarithm of the mean weight over draws."""
    return log_weight.logsumexp(0) - math.log(len(log_weight))


# Bounds, compared with NumPy


def dense(params, name, h, activation):
    """Apply a network with one hidden layer."""
    first, second = sorted(n for n in params if n.startswith(name) and n.endswith("weight"))
    h = activation(h @ params[first].T + params[first.replace("weight", "bias")])
    return h @ params[second].T + params[second.replace("weight", "bias")]


def silu(h):
    return h / (1 + np.exp(-h))


def gaussian_params(h):
    mean, raw = np.split(h, 2)
    return mean, 10 * np.tanh(raw / 10)


def gaussian_kl(mean, log_variance, p_mean=0, p_log_variance=0):
    ratio = np.exp(log_variance - p_log_variance)
    square = (mean - p_mean) ** 2 / np.exp(p_log_variance)
    return 0.5 * (square + ratio - 1 - np.log(ratio)).sum()


def bernoulli_nll(x, logits):
    return -(x * logits - np.log1p(np.exp(logits))).sum()


def expected_loss(losses, logits, label):
    """Return L(x, y) for a labeled example, or U(x) for an unlabeled example."""
    if label >= 0:
        return losses[label]
    q = np.exp(logits) / np.exp(logits).sum()
    return (q * (np.array(losses) + np.log(q))).sum()


def m2_loss(params, x, label, z):
    """Return the loss of M2 for one example, computed from its draws."""
    x, losses = x.reshape(-1), []
    features = silu(dense(params, "vae.trunk", x, np.tanh))
    for y in np.eye(CLASSES):
        h = dense(params, "vae.encoder", np.concatenate([features, silu(y)]), silu)
        logits = dense(params, "vae.decoder", np.concatenate([z[y.argmax()], y]), np.tanh)
        kl = gaussian_kl(*gaussian_params(h)) + math.log(CLASSES)
        losses.append(bernoulli_nll(x, logits) + kl)
    return expected_loss(losses, dense(params, "classifier", x, np.tanh), label)


@every_labeling
def test_m2_reconstruction_and_kl_are_the_bound_of_the_paper(labels):
    model = compose_small(M2_SPEC)[0].double()
    x = random_rows().double()
    trace = model(x, one_hot(labels).double())
    params = {name: p.detach().numpy() for name, p in model.named_parameters()}
    z = trace.levels[0].z.detach().numpy()
    expected = [m2_loss(params, x[b].numpy(), labels[b], z[:, b]) for b in range(len(x))]
    actual = reconstruction(trace) + kl(trace)
    assert actual.tolist() == pytest.approx(expected, rel=1e-9)
    assert elbo()(trace)[0].item() == pytest.approx(np.mean(expected), rel=1e-9)


def joint_loss(params, x, label, z1, z2, spec):
    """Return the loss of a joint M1+M2 for one example, computed from its draws."""
    x, losses = x.reshape(-1), []
    features = silu(dense(params, "m2.trunk", z1, silu))
    for y in np.eye(CLASSES):
        h = dense(params, "m2.encoder", np.concatenate([features, silu(y)]), silu)
        p1 = dense(params, "m2.decoder", np.concatenate([z2[y.argmax()], y]), silu)
        p1_mean, raw = np.split(p1, 2)
        floor = math.log(0.05)
        p1_log_scale = floor + np.log1p(np.exp(30 * np.tanh(raw / 30) - floor))
        q1 = gaussian_params(dense(params, "m1.encoder", x, np.tanh))
        kl = gaussian_kl(*q1, p1_mean, 2 * p1_log_scale) + gaussian_kl(*gaussian_params(h))
        code = np.concatenate([z1, y]) if spec is SKIP_SPEC else z1
        logits = dense(params, "m1.decoder", code, np.tanh)
        losses.append(bernoulli_nll(x, logits) + kl + math.log(CLASSES))
    inputs = (x, np.tanh) if spec is JOINT_DATA_SPEC else (z1, silu)
    return expected_loss(losses, dense(params, "classifier", *inputs), label)


@every_labeling
@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize(
    "spec", [JOINT_SPEC, JOINT_DATA_SPEC, SKIP_SPEC], ids=["codes", "data", "skip"]
)
def test_joint_m1m2_has_one_bound(labels, samples, spec):
    model = compose_small(spec)[0].double()
    x, c = random_rows().double(), one_hot(labels).double()
    trace = model(x, c, samples=samples)
    params = {name: p.detach().numpy() for name, p in model.named_parameters()}
    z1, z2 = (trace.levels[i].z.detach().numpy().reshape(CLASSES, samples, 5, -1) for i in (0, 1))
    expected = [
        [
            joint_loss(params, x[b].numpy(), labels[b], z1[0, s, b], z2[:, s, b], spec)
            for b in range(5)
        ]
        for s in range(samples)
    ]
    actual = reconstruction(trace) + kl(trace)
    assert actual.tolist() == pytest.approx(np.mean(expected, 0), rel=1e-9)
    assert trace.weights.shape == (samples * CLASSES, 5)
    torch.testing.assert_close(trace.weights.sum(0), torch.ones(5).double())


def test_no_context_equals_a_context_without_labels():
    model, _ = compose_small(M2_SPEC)
    x, values = random_rows(), []
    for c in (None, one_hot(LABELS["none"])):
        torch.manual_seed(3)
        values.append(kl(model(x, c)))
    assert torch.equal(*values)


# Draws and their weights


@every_labeling
@pytest.mark.parametrize("samples", [1, 3])
def test_weights_are_the_class_probabilities(labels, samples):
    model, _ = compose_small(M2_SPEC)
    trace = model(random_rows(), one_hot(labels), samples=samples)
    q, weights = model.classify(trace.x), trace.weights
    assert weights.shape == trace.log_px.shape == (samples * CLASSES, 5)
    assert trace.levels[0].z.shape == (samples * CLASSES, 5, LATENT)
    torch.testing.assert_close(weights.sum(0), torch.ones(5))
    by_class = weights.reshape(samples, CLASSES, 5).sum(0).T
    expected = [q[b] if label < 0 else torch.eye(CLASSES)[label] for b, label in enumerate(labels)]
    torch.testing.assert_close(by_class, torch.stack(expected))
    torch.testing.assert_close((weights[..., None] * trace.levels[1].z).sum(0), by_class)


def test_number_of_draws_does_not_change_the_mean():
    model, _ = compose_small(M2_SPEC)
    x, c = random_rows(2), one_hot([1, -1])
    losses = [elbo()(model(x, c, samples=k))[0].item() for k in (2000, 4000)]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)


@enumerating
def test_importance_weights_of_an_unlabeled_example_sum_over_its_classes(spec):
    model = compose_small(spec)[0].double()
    x, bounds = random_rows().double(), []
    for labels in ([-1] * 5, *([y] * 5 for y in range(CLASSES))):
        torch.manual_seed(1)  # the same draws
        bounds.append(mean_weight(model(x, one_hot(labels).double(), samples=4).log_weight))
    unlabeled, labeled = bounds[0], torch.stack(bounds[1:])
    torch.testing.assert_close(unlabeled, labeled.logsumexp(0))
    assert (labeled < unlabeled).all()


def test_importance_weights_of_a_label_converge_to_the_integral():
    model = compose_small(M2_SPEC, latent=1)[0].double()
    x, y = random_rows(2).double(), torch.eye(CLASSES)[[1, 2]].double()
    grid = torch.linspace(-8, 8, 2001, dtype=torch.float64)[:, None, None].expand(-1, 2, 1)
    log_pz = -0.5 * (grid[..., 0] ** 2 + math.log(2 * math.pi))
    log_joint = model.vae.decoder(grid, y).log_prob(x) + log_pz
    exact = log_joint.logsumexp(0) + math.log(16 / 2000) - math.log(CLASSES)
    estimate = mean_weight(model(x, y, samples=20_000).log_weight)
    torch.testing.assert_close(estimate, exact, atol=0.02, rtol=0)


@enumerating
def test_elbo_is_below_the_importance_weighted_bound(spec):
    trace = compose_small(spec)[0](random_rows(), one_hot(LABELS["some"]), samples=2000)
    assert (-(reconstruction(trace) + kl(trace)) <= mean_weight(trace.log_weight) + 0.02).all()


def test_log_likelihood_counts_all_enumerated_classes():
    model, _ = compose_small(M2_SPEC)
    x = random_rows()
    estimate, _ = log_likelihood(model, torch.Tensor.float, [Batch(x)], samples=4, seed=1)
    with seeded(1, "importance", 0), torch.no_grad():
        log_weight = model.eval()(x, samples=4).log_weight
    assert len(log_weight) == 4 * CLASSES
    torch.testing.assert_close(estimate, mean_weight(log_weight))


def test_iwae_objective_raises_for_weighted_draws():
    model, _ = compose_small(M2_SPEC)
    with pytest.raises(VariedError, match="weights; use objective='m2' or objective='elbo'"):
        iwae()(model(random_rows()))


@every_model
@pytest.mark.parametrize("samples", [1, 2])
def test_decode_reproduces_the_likelihood_of_the_trace(spec, samples):
    model, _ = compose_small(spec)
    x = random_rows()
    trace = model.eval()(x, samples=samples)
    assert trace.z.shape[2:] == model.latent_shape
    log_px = model.decode(trace.z).log_prob(x)
    torch.testing.assert_close(log_px, trace.log_px.expand_as(log_px))


@every_model
def test_posterior_draws_are_divided_among_the_classes(spec):
    model, _ = compose_small(spec)
    z, log_weight = posterior_draws(model, random_rows(), samples=7)
    assert z.shape == (*log_weight.shape, *model.latent_shape)
    assert len(z) == 7 // model.num_enumerated * model.num_enumerated
    assert len(posterior_draws(model, random_rows(), samples=1)[0]) == model.num_enumerated


# Gradients


def trained_names(model, loss):
    """Return the names of the parameters that a loss trains."""
    model.zero_grad()
    loss.backward()
    return {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def test_the_network_of_a_classifier_does_not_depend_on_the_defaults_of_networks():
    """A stored run contains only the name of the classifier."""
    spec = Spec.parse(latent=2, context=3, **changed(M2_SPEC, classifier="conv"))
    expected = conv((1, 8, 8), (3,), width=32, dense_width=256, activation="relu")
    assert str(compose(spec, (1, 8, 8))[0].classifier.net) == str(expected)


@every_model
@pytest.mark.parametrize("net", ["mlp", "conv"])
def test_objective_trains_every_parameter(spec, net):
    if net == "conv":
        small = {"name": "conv", "width": 2, "dense_width": 4}
        model, objective = compose(
            Spec.parse(latent=2, context=3, **spec | {"net": small}), (1, 8, 8)
        )
        x = torch.rand(60, 1, 8, 8).round()
    else:
        (model, objective), x = compose_small(spec), random_rows(60)
    loss = Step(model, objective)(x, one_hot([0, 1, 2, -1] * 15))[0]
    assert trained_names(model, loss) == {n for n, _ in model.named_parameters()}


@pytest.mark.parametrize(
    ("alpha", "labels", "trains"), [(0.0, "all", False), (1.0, "all", True), (0.0, "none", True)]
)
def test_labels_train_the_classifier_by_the_classification_term_only(alpha, labels, trains):
    model, _ = compose_small(M2_SPEC)
    names = trained_names(model, m2(alpha=alpha)(model(random_rows(), one_hot(LABELS[labels])))[0])
    assert any(name.startswith("classifier") for name in names) == trains


@every_labeling
@every_model
def test_classification_is_the_mean_over_labeled_rows(spec, labels):
    model, _ = compose_small(spec)
    trace = model(random_rows(), one_hot(labels), samples=2)
    value = Classification()(trace)
    assert value.shape == (5,)
    q = (trace.upper or trace).levels[-1].logits.softmax(-1).reshape(-1, 5, CLASSES)
    losses = [-q[:, b, label].log().mean().item() for b, label in enumerate(labels) if label >= 0]
    assert value.mean().item() == pytest.approx(np.mean(losses) if losses else 0.0, rel=1e-5)


def test_gradients_of_the_upper_trace_do_not_reach_m1():
    model, objective = compose_small(M1M2_SPEC)
    trace = model(random_rows(), one_hot(LABELS["some"]), samples=2)
    assert torch.equal(trace.upper.x, trace.levels[0].z.flatten(0, 1))
    upper_elbo = reconstruction(trace.upper).mean() + kl(trace.upper).mean()
    upper_names = trained_names(model, upper_elbo + Classification()(trace).mean())
    assert {name.partition(".")[0] for name in upper_names} == {"m2", "classifier"}
    m1_names = trained_names(model, elbo()(trace)[0])
    assert all(name.startswith("m1.") for name in m1_names)
    loss, parts = objective(trace)
    upper_elbo = reconstruction(trace.upper).mean() + kl(trace.upper).mean()
    torch.testing.assert_close(loss, elbo()(trace)[0] + upper_elbo + 5 * parts["classification"])


def test_m1_models_its_codes_as_standard_normal():
    model, _ = compose_small(M1_SPEC)
    trace = model(random_rows(), one_hot(LABELS["some"]))
    log_pz = torch.distributions.Normal(0, 1).log_prob(trace.levels[0].z[0]).sum(-1)
    torch.testing.assert_close(trace.upper.log_px[0], log_pz)
    assert model.sample_prior(20_000).std(0).tolist() == pytest.approx([1, 1], abs=0.03)


@pytest.mark.parametrize(
    ("spec", "settings"),
    [
        (M2_SPEC, {"dropout": 0.5}),
        *((spec, {"augment": 3.0}) for spec in (M2_SPEC, JOINT_DATA_SPEC, M1M2_DATA_SPEC)),
    ],
    ids=["dropout", "augmented m2", "augmented joint", "augmented m1m2"],
)
def test_classifier_is_regularized_in_training_only(spec, settings):
    model, _ = compose_small({**spec, "architecture": spec["architecture"] | settings})
    x, c = random_rows(), one_hot([0, 1, 2, 0, 1])
    assert not torch.equal(model.classify(x), model.classify(x))
    torch.testing.assert_close(model(x).x, x)  # the decoder reconstructs the original data
    probabilities = functional.classify(model, torch.Tensor.float, [Batch(x)])
    assert model.training
    assert torch.equal(probabilities, model.eval().classify(x))
    torch.testing.assert_close(model.train().encode(x, c).mean, model.encode(x, c).mean)


def test_few_labels_train_a_classifier():
    torch.manual_seed(0)
    y = torch.arange(400) % 2
    c = torch.eye(2)[y]
    c[4:] = 0  # two labels per class
    pattern = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]).float()[y]
    x = (torch.rand(400, 6) < 0.1 + 0.8 * pattern).float().reshape(-1, *SHAPE)
    plan = {"batch_size": 40, "lr": 0.02, "steps": 150, "precision": "float32", "compile": "no"}
    spec = Spec.parse(
        **M2_SPEC, net={"name": "mlp", "width": 16, "depth": 1}, latent=1, context=2, plan=plan
    )
    model, objective = compose(spec, SHAPE)
    batches = Batches(x, c, size=40, seed=0, labeled=0.25)
    for _ in train(Step(model, objective), batches, spec.plan):
        pass
    predictions = functional.classify(model, torch.Tensor.float, [Batch(x)]).argmax(1)
    assert (predictions == y).float().mean() > 0.95


# Operations


@every_model
def test_classify_ignores_labels_and_sums_to_one(spec):
    model, _ = compose_small(spec)
    x = random_rows(7)
    batches = [Batch(x[:4], one_hot([0] * 4)), Batch(x[4:])]
    probabilities = functional.classify(model, torch.Tensor.float, batches)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(7))
    torch.testing.assert_close(probabilities, model.eval().classify(x))


@every_model
@pytest.mark.parametrize("labels", [None, [0, -1, 2, -1, -1]])
def test_every_operation_works_with_and_without_labels(spec, labels):
    model, _ = compose_small(spec)
    x, c = random_rows(), None if labels is None else one_hot(labels)
    z = model.encode(x, c).mean
    assert z.shape == (5, *model.latent_shape)
    assert model.sample_prior(5, c).shape == z.shape
    assert functional.reconstruct(model, x, c).shape == x.shape
    assert functional.sample(model, 5, c, temperature=0.7).shape == x.shape
    with pytest.raises(VariedError, match="Only a ladder VAE accepts one temperature per level"):
        functional.sample(model, 5, c, temperature=[0.7, 1.0])
    assert functional.interpolate(model, x, x.flip(0), c, steps=3).shape == (5, 3, *SHAPE)
    first = None if c is None else c[:1]
    assert functional.traverse(model, z[0], [0, 1], first)[0].shape[:2] == (2, 9)
    codes = functional.encode(model, torch.Tensor.float, [Batch(x, c)])
    assert codes.mean.shape == codes.std.shape == (5, *model.latent_shape)


@every_model
@pytest.mark.parametrize("labels", [None, [0, -1, 2, -1, -1]])
def test_imputation_and_likelihood_work_with_and_without_labels(spec, labels):
    model, _ = compose_small(spec)
    x, c = random_rows(), None if labels is None else one_hot(labels)
    mask = torch.ones_like(x)
    mask[0, 0, 0, 0] = 0
    imputed = functional.impute(model, x, c, mask, n_draws=3, samples=8)
    assert torch.equal(imputed[:, 1:], x[1:].expand(3, -1, -1, -1, -1))
    assert imputed.isfinite().all()
    nll = functional.negative_log_likelihood(model, torch.Tensor.float, [Batch(x, c)], samples=8)
    assert (
        nll.nll.shape == (5,) and nll.element_nll.shape == x.shape and (nll.element_nll > 0).all()
    )


@class_in_latent
def test_code_holds_the_label_or_the_most_probable_class(spec):
    model, _ = compose_small(spec)
    x = random_rows()
    y = model.encode(x, one_hot(LABELS["some"])).mean[:, :CLASSES]
    predictions = torch.eye(CLASSES)[model.classify(x).argmax(-1)]
    assert torch.equal(y[[0, 2]], torch.eye(CLASSES)[[0, 2]])
    assert torch.equal(y[[1, 3, 4]], predictions[[1, 3, 4]])
    assert model.encode(x).log_prob(model.encode(x).mean).isfinite().all()


@class_in_latent
def test_label_replaces_the_class_of_a_code(spec):
    model, _ = compose_small(spec)
    z = torch.cat([torch.eye(CLASSES)[[0, 0]], torch.randn(2, LATENT)], 1)
    plain, labeled = model.decode(z).mean, model.decode(z, one_hot([2, -1])).mean
    assert torch.equal(plain[1], labeled[1])
    assert not torch.equal(plain[0], labeled[0])
    replaced = torch.cat([torch.eye(CLASSES)[[2]], z[:1, CLASSES:]], 1)
    torch.testing.assert_close(model.decode(replaced).mean[0], labeled[0])


@class_in_latent
def test_prior_samples_have_the_label_or_a_uniform_class(spec):
    model, _ = compose_small(spec)
    y = model.sample_prior(3000, one_hot([2, -1, -1] * 1000))[:, :CLASSES]
    assert (y[::3].argmax(1) == 2).all()
    frequencies = y.reshape(-1, 3, CLASSES)[:, 1:].mean((0, 1))
    assert frequencies.tolist() == pytest.approx([1 / CLASSES] * CLASSES, abs=0.04)
    assert model.prior().batch_shape == () and model.prior(one_hot([1])).batch_shape == (1,)


def test_missing_values_are_omitted():
    model, objective = compose_small(M2_SPEC)
    x, mask = random_rows(), torch.ones(5, *SHAPE)
    x[0, 0, 0, 0], mask[0, 0, 0, 0] = math.nan, 0
    assert objective(model(x, one_hot(LABELS["some"]), mask))[0].isfinite()


@pytest.mark.parametrize(
    ("spec", "model_type", "latent"),
    [
        (M2_SPEC, M2, CLASSES + LATENT),
        (M1_SPEC, M1, LATENT),
        (M1M2_SPEC, M1M2, LATENT),
        (JOINT_SPEC, JointM1M2, LATENT),
        (SKIP_SPEC, SkipM1M2, CLASSES + LATENT),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_architecture_builds_the_model(spec, model_type, latent):
    model, _ = compose_small(spec)
    assert isinstance(model, model_type)
    assert (model.num_classes, model.latent_shape) == (CLASSES, (latent,))
    assert model.decoder_reads_context == (spec in (M2_SPEC, SKIP_SPEC))


# Errors


def changed(spec, **settings):
    return {**spec, "architecture": spec["architecture"] | settings}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({**M2_SPEC, "context": 0}, "at least two classes"),
        ({**M1M2_SPEC, "context": 1}, "at least two classes"),
        ({**M2_SPEC, "latent": (2, 2, 2)}, "requires a latent vector"),
        ({**M2_SPEC, "posterior": "iaf"}, "has its own posterior"),
        ({**M1M2_SPEC, "prior": "learned-gmm"}, "has its own prior"),
        (changed(M2_SPEC, classifier="none"), "choose from same"),
        (changed(JOINT_SPEC, classifier="c"), "choose from codes"),
        (changed(M1_SPEC, classifier="conv"), "requires M2"),
        (changed(M2_SPEC, dropout=1.0), "at least 0 and below 1"),
        (changed(M2_SPEC, augment=8.0), "between 0 and 3"),
        (changed(JOINT_SPEC, augment=1.0), "the input of this classifier is a code"),
        (changed(JOINT_SPEC, upper_latent=0), "joint model requires M2"),
        (changed(M1M2_SPEC, skip=True), "use joint=True"),
        (
            {**M2_SPEC, "objective": {"name": "m2", "alpha": -1.0}},
            "alpha=-1.0 must not be",
        ),
        ({**M2_SPEC, "objective": "m1m2"}, "use architecture='m1m2' with joint=False"),
        ({**JOINT_SPEC, "objective": "m1m2"}, "or objective='m2'"),
        ({**M1M2_SPEC, "architecture": "vae", "objective": "m2"}, "use architecture='m2'"),
        ({**M2_SPEC, "objective": "beta-tc-vae"}, "a posterior with independent dimensions"),
        ({**M2_SPEC, "objective": {"name": "elbo", "free_bits": 0.1}}, "use objective='m2'"),
        ({**M1M2_SPEC, "objective": "elbo"}, "would leave a part of architecture='m1m2' untrained"),
        ({**M1_SPEC, "objective": "elbo"}, "use objective='m1m2', or objective='m2' with"),
    ],
)
def test_invalid_combinations_raise(spec, message):
    with pytest.raises(VariedError, match=message):
        compose_small(spec)


def test_table_rows_cannot_be_augmented():
    with pytest.raises(VariedError, match="the data have shape"):
        compose(Spec.parse(**changed(M2_SPEC, augment=1.0), context=3), (6,))


def test_model_without_classes_raises():
    model, _ = compose_small({"architecture": "vae"}, context=0)
    assert isinstance(model, VAE)
    with pytest.raises(VariedError, match="no classes"):
        functional.classify(model, torch.Tensor.float, [Batch(random_rows())])
    with pytest.raises(VariedError, match="a model with classes"):
        Classification()(model(random_rows()))
