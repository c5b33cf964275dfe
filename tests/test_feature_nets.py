"""Networks trained to extract features: classifiers, and networks that predict rotations."""

import numpy as np
import pytest
import torch

from varied.data import read
from varied.errors import VariedError
from varied.evaluate import feature_nets
from varied.evaluate.feature_nets import WIDTH, FeatureNet, train_classifier, train_encoder
from varied.evaluate.frechet import frechet


def bars(n, seed=0):
    """Noisy images with a horizontal bar, a vertical bar, or none, and their classes."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 120, (n, 1, 10, 12), dtype=np.uint8), rng.integers(0, 3, n)
    x[y == 0, :, 4:6] = 250
    x[y == 1, :, :, 4:6] = 250
    return torch.from_numpy(x), y


def noise_like(x):
    return torch.randint(0, 256, x.shape, generator=torch.Generator().manual_seed(0)).byte()


# With labels


@pytest.fixture(scope="module")
def classifier():
    return train_classifier(*bars(900), data_name="bars", epochs=4)


def test_classifier_learns_and_reports_its_accuracy(classifier):
    x, y = bars(300, seed=1)
    assert (classifier.predict(x).numpy() == y).mean() > 0.95
    assert classifier.accuracy.n == 90
    accuracy = f"{100 * classifier.accuracy.value:.1f}% test accuracy"
    assert classifier.name == f"classifier trained on bars, {accuracy}"


def test_features_are_the_input_of_the_last_layer(classifier):
    x = bars(1100, seed=1)[0]
    features = classifier.features(x)
    assert (features.shape, features.dtype) == ((1100, WIDTH), torch.float32)
    assert features.min() >= 0 and not features.requires_grad
    assert torch.equal(classifier.last(features).argmax(1), classifier.predict(x))
    assert torch.allclose(classifier.features(x.float() / 255), features, atol=1e-5)


def test_distance_of_features_detects_noise_and_blur(classifier):
    x = bars(800, seed=1)[0]
    real = classifier.features(x)
    blurred = torch.nn.functional.avg_pool2d(x.float() / 255, 3, 1, 1)
    near = frechet(real[:400], real[400:])
    assert 10 * near < frechet(real, classifier.features(blurred))
    assert 10 * near < frechet(real, classifier.features(noise_like(x)))


def test_classifier_is_deterministic():
    state, x = torch.get_rng_state(), bars(20, seed=1)[0]
    first, again, other = (
        train_classifier(*bars(200), epochs=1, seed=seed).features(x) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_classifier_can_be_saved_as_tensors(classifier):
    copy = FeatureNet(classifier.shape, classifier.classes, classifier.name)
    copy.load_state_dict(classifier.state_dict())
    x = bars(20, seed=1)[0]
    assert torch.equal(copy.features(x), classifier.features(x))


def test_test_images_and_unlabeled_images_are_not_used_for_training():
    x, y = bars(300)
    y[::3] = -1
    test_x, test_y = bars(60, seed=2)
    net = train_classifier(x, y, test=(test_x, (test_y + 1) % 3), epochs=6)
    assert net.accuracy.n == 60
    assert net.accuracy.value < 0.2  # the test labels are wrong
    assert (net.predict(test_x).numpy() == test_y).mean() > 0.8
    known = y >= 0
    same = train_classifier(x[known], y[known], test=(test_x, test_y), epochs=6)
    assert torch.equal(net.features(x), same.features(x))


def test_held_out_images_are_not_used_for_training():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(0, 2, (200, 1, 10, 12), dtype=np.uint8) * 255)
    y = rng.integers(0, 2, 200)
    net = train_classifier(x, y, epochs=40)
    assert net.accuracy.n == 20
    assert net.accuracy.value < 0.85  # random labels can only be memorized
    assert (net.predict(x).numpy() == y).mean() > 0.9


def test_zero_epochs():
    nets = [train_classifier(*bars(50), epochs=0, seed=seed) for seed in (0, 1)]
    assert nets[0].accuracy.value < 0.8
    assert not torch.equal(nets[0].last.weight, nets[1].last.weight)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "A classifier requires labels"),
        (np.zeros((30, 5), np.float32), "choose a factor"),
        (np.zeros(30, np.float32), "dtype torch.float32 .* one integer class index is required"),
        (np.zeros(29, int), "required for each of the 30 images"),
        (np.full(30, -1), "at least two classes"),
        (np.zeros(30, int), "at least two classes"),
    ],
)
def test_invalid_labels_are_refused(labels, message):
    with pytest.raises(VariedError, match=message):
        train_classifier(bars(30)[0], labels)


@pytest.mark.parametrize("shape", [(4, 3, 10, 12), (4, 10, 12), (4, 1, 12, 10), (0, 1, 10, 12)])
def test_images_of_another_shape_are_refused(classifier, shape):
    with pytest.raises(VariedError, match=r"training images, \(N, 1, 10, 12\)"):
        classifier.features(torch.zeros(shape))


# Without labels


def oriented(n, seed=0, side=12):
    """Noisy images with a bright upper edge and a vertical bar."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 120, (n, 1, side, side), dtype=np.uint8)
    x[:, :, :2] = 230
    for image, column in zip(x, rng.integers(3, side - 2, n), strict=True):
        image[:, 2:, column] = 200
    return torch.from_numpy(x)


@pytest.fixture(scope="module")
def encoder():
    return train_encoder(oriented(700), data_name="arrows", epochs=4)


def test_encoder_predicts_rotations_and_reports_its_accuracy(encoder):
    x = oriented(100, seed=1)
    for k in range(4):
        assert (encoder.predict(torch.rot90(x, k, (2, 3))) == k).double().mean() > 0.9
    assert (encoder.classes, encoder.accuracy.n) == (4, 70)
    accuracy = f"{100 * encoder.accuracy.value:.1f}% test accuracy (chance level 25%)"
    assert encoder.name == f"network trained to predict rotations of arrows, {accuracy}"
    assert encoder.features(x).shape == (100, WIDTH)


def test_features_of_the_encoder_detect_noise(encoder):
    x = oriented(400, seed=1)
    real = encoder.features(x)
    near = frechet(real[:200], real[200:])
    assert 10 * near < frechet(real, encoder.features(noise_like(x)))


def test_images_without_orientation_have_chance_accuracy():
    net = train_encoder(noise_like(torch.empty(400, 1, 8, 8)), epochs=2)
    assert net.accuracy.value == pytest.approx(0.25, abs=0.1)


def test_each_image_has_its_rotation():
    x = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    x = torch.cat([x, x + 500])
    rotated = feature_nets._rotate(x, torch.arange(4))
    assert all(torch.equal(rotated[k], torch.rot90(x[k], k, (1, 2))) for k in range(4))


def test_each_epoch_rotates_all_training_images(monkeypatch):
    calls, rotated = [], feature_nets._rotate

    def record(x, rotations):
        calls.append(torch.stack([x.flatten(1)[:, 0].long(), rotations]))
        return rotated(x, rotations)

    monkeypatch.setattr(feature_nets, "_rotate", record)
    x = torch.arange(200).byte()[:, None, None, None].expand(200, 1, 8, 8)
    train_encoder(x, epochs=4)
    images, rotations = torch.cat(calls, 1).reshape(2, 4, 180)
    order = images.argsort(1)
    assert torch.equal(images.gather(1, order), images[0].sort().values.expand(4, 180))
    assert len(images[0].unique()) == 180  # without held-out images
    held_out = torch.ones(200, dtype=torch.bool).scatter(0, images[0], False).nonzero()[:, 0]
    assert not torch.equal(held_out, torch.arange(180, 200))
    first, *others = rotations.gather(1, order)
    assert all(0.1 < (first == other).double().mean() < 0.4 for other in others)
    assert rotations.flatten().bincount().min() > 140


def test_encoder_is_deterministic():
    state, x = torch.get_rng_state(), oriented(120)
    first, again, other = (train_encoder(x, epochs=1, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.features(x), again.features(x))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert torch.equal(state, torch.get_rng_state())


def test_encoder_with_labels_is_the_classifier():
    x, y = bars(200)
    encoder = train_encoder(x, y, data_name="bars", epochs=1, seed=3)
    classifier = train_classifier(x, y, epochs=1, seed=3)
    assert torch.equal(encoder.last.weight, classifier.last.weight)
    assert encoder.name.startswith("classifier trained on bars")
    assert train_encoder(x, y, test=bars(40, seed=1), epochs=0).accuracy.n == 40


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(200, 1, 10, 12), "square images"),
        (torch.zeros(200, 12), "square images"),
        (torch.zeros(99, 1, 8, 8), "99 images without labels are too few"),
    ],
)
def test_encoder_refuses_with_a_remedy(x, message):
    with pytest.raises(VariedError, match=message) as error:
        train_encoder(x)
    assert "extractor_from(net, name)" in str(error.value)


@pytest.mark.slow
def test_classifier_of_mnist():
    items = read("mnist")
    x, is_test = torch.from_numpy(items.x)[:, None], np.isin(np.arange(70_000), items.test)
    y = items.labels
    test = (x[is_test], y[is_test])
    net = train_classifier(x[~is_test], y[~is_test], data_name="mnist", test=test)
    assert net.accuracy.value > 0.985
    features = net.features(x[is_test])
    assert frechet(features[::2], features[1::2]) < 5
