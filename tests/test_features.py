"""Features: a classifier, a net that tells turns, a person's own net, and the plain data."""

import numpy as np
import pytest
import torch
from torch import nn

from varied.data import read
from varied.errors import VariedError
from varied.evaluate import feature_extractors as extractors
from varied.evaluate import feature_nets as f
from varied.evaluate.frechet import frechet

# The classifier


def bars(n, seed=0):
    """Noisy pictures with a bar across, or down, or neither."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 120, (n, 1, 10, 12), dtype=np.uint8), rng.integers(0, 3, n)
    x[y == 0, :, 4:6] = 250
    x[y == 1, :, :, 4:6] = 250
    return torch.from_numpy(x), y


@pytest.fixture(scope="module")
def seen():
    return f.train_classifier(*bars(900), of="bars", epochs=4)


def test_a_classifier_learns_and_says_how_well(seen):
    x, y = bars(300, seed=1)
    assert (seen.predict(x).numpy() == y).mean() > 0.95
    assert seen.accuracy.n == 90
    wanted = f"classifier trained on bars, {100 * seen.accuracy.value:.1f} % test accuracy"
    assert seen.name == wanted


def test_features_are_what_the_last_layer_reads(seen):
    x = bars(1100, seed=1)[0]
    found = seen.features(x)
    assert (found.shape, found.dtype, found.requires_grad) == ((1100, 128), torch.float32, False)
    assert found.min() >= 0
    assert torch.equal(seen.last(found).argmax(1), seen.predict(x))
    assert torch.allclose(seen.features(x.float() / 255), found, atol=1e-5)


def test_the_distance_of_features_tells_real_from_noise(seen):
    x = bars(800, seed=1)[0]
    real = seen.features(x)
    noise = torch.randint(0, 256, x.shape, generator=torch.Generator().manual_seed(0)).byte()
    blurred = torch.nn.functional.avg_pool2d(x.float() / 255, 3, 1, 1)
    near = frechet(real[:400], real[400:])
    assert 10 * near < frechet(real, seen.features(blurred))
    assert 10 * near < frechet(real, seen.features(noise))


def test_the_same_arguments_give_the_same_classifier():
    state = torch.get_rng_state()
    one, again = (f.train_classifier(*bars(200), epochs=1) for _ in range(2))
    other = f.train_classifier(*bars(200), epochs=1, seed=1)
    x = bars(20, seed=1)[0]
    assert torch.equal(one.features(x), again.features(x))
    assert not torch.equal(one.features(x), other.features(x))
    assert torch.equal(state, torch.get_rng_state())


def test_a_classifier_is_kept_as_tensors(seen):
    again = f.FeatureNet(seen.shape, seen.classes, seen.name)
    again.load_state_dict(seen.state_dict())
    x = bars(20, seed=1)[0]
    assert torch.equal(again.features(x), seen.features(x))


def test_test_rows_are_not_trained_on_and_the_unlabeled_are_left_out():
    x, y = bars(300)
    y[::3] = -1
    wrong = bars(60, seed=2)
    one = f.train_classifier(x, y, test=(wrong[0], (wrong[1] + 1) % 3), epochs=6)
    assert one.accuracy.n == 60
    assert one.accuracy.value < 0.2  # what it learnt is right, and these labels are not
    assert (one.predict(wrong[0]).numpy() == wrong[1]).mean() > 0.8
    known = y >= 0
    same = f.train_classifier(x[known], y[known], test=wrong, epochs=6)
    assert torch.equal(one.features(x), same.features(x))


def test_held_out_rows_are_not_trained_on():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(0, 2, (200, 1, 10, 12), dtype=np.uint8) * 255)
    y = rng.integers(0, 2, 200)
    found = f.train_classifier(x, y, epochs=40)
    assert found.accuracy.n == 20
    assert found.accuracy.value < 0.85  # there is nothing to learn, only to know by heart
    assert (found.predict(x).numpy() == y).mean() > 0.9


def test_no_epochs_leave_it_as_it_began():
    one, other = (f.train_classifier(*bars(50), epochs=0, seed=seed) for seed in (0, 1))
    assert one.accuracy.value < 0.8
    assert not torch.equal(one.last.weight, other.last.weight)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "The pictures have no labels"),
        (np.zeros((30, 5), np.float32), "name a factor"),
        (np.zeros(30, np.float32), "are no classes"),
        (np.zeros(29, int), "are no classes of 30"),
        (np.full(30, -1), "at least two classes"),
        (np.zeros(30, int), "at least two classes"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, message):
    with pytest.raises(VariedError, match=message):
        f.train_classifier(bars(30)[0], labels)


@pytest.mark.parametrize("shape", [(4, 3, 10, 12), (4, 10, 12), (4, 1, 12, 10), (0, 1, 10, 12)])
def test_pictures_of_another_shape_are_refused(seen, shape):
    with pytest.raises(VariedError, match=r"knows \(N, 1, 10, 12\)"):
        seen.features(torch.zeros(shape))


# Without labels


def arrows(n, seed=0, side=12):
    """Noisy pictures whose upper edge is bright, with a bar at some place."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 120, (n, 1, side, side), dtype=np.uint8)
    x[:, :, :2] = 230
    for picture, place in zip(x, rng.integers(3, side - 2, n), strict=True):
        picture[:, 2:, place] = 200
    return torch.from_numpy(x)


@pytest.fixture(scope="module")
def turned():
    return f.train_encoder(arrows(700), of="arrows", epochs=4)


def test_turns_are_told_and_the_name_says_how_well(turned):
    x = arrows(100, seed=1)
    for k in range(4):
        assert (turned.predict(torch.rot90(x, k, (2, 3))) == k).double().mean() > 0.9
    assert (turned.classes, turned.accuracy.n) == (4, 70)
    told = f"{100 * turned.accuracy.value:.1f} % of turns told (25 % by chance)"
    assert turned.name == f"net trained to tell turns of arrows, without labels, {told}"
    assert turned.features(x).shape == (100, f.WIDTH)


def test_features_by_turns_tell_real_from_noise(turned):
    x = arrows(400, seed=1)
    real = turned.features(x)
    noise = torch.randint(0, 256, x.shape, generator=torch.Generator().manual_seed(0)).byte()
    near = frechet(real[:200], real[200:])
    assert 10 * near < frechet(real, turned.features(noise))


def test_what_has_no_direction_is_told_by_chance():
    x = torch.randint(0, 256, (400, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    found = f.train_encoder(x, epochs=2)
    assert found.accuracy.value == pytest.approx(0.25, abs=0.1)


def test_turns_are_those_of_each_picture():
    x = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    x = torch.cat([x, x + 500])
    found = f._turned(x, torch.arange(4))
    assert all(torch.equal(found[k], torch.rot90(x[k], k, (1, 2))) for k in range(4))


def test_each_epoch_turns_each_picture_anew_but_for_those_held_out(monkeypatch):
    met, turned = [], f._turned

    def watched(x, turns):
        met.append(torch.stack([x.flatten(1)[:, 0].long(), turns]))
        return turned(x, turns)

    monkeypatch.setattr(f, "_turned", watched)
    x = torch.arange(200).byte()[:, None, None, None].expand(200, 1, 8, 8)
    f.train_encoder(x, epochs=4)
    which, turns = torch.cat(met, 1).reshape(2, 4, 180)
    order = which.argsort(1)
    assert torch.equal(which.gather(1, order), which[0].sort().values.expand(4, 180))
    assert len(which[0].unique()) == 180  # no picture that is held out is ever seen
    held = torch.ones(200, dtype=torch.bool).scatter(0, which[0], False).nonzero()[:, 0]
    assert not torch.equal(held, torch.arange(180, 200))
    turns = turns.gather(1, order)
    assert all(0.1 < (turns[0] == other).double().mean() < 0.4 for other in turns[1:])
    assert turns.flatten().bincount().min() > 140


def test_the_same_arguments_give_the_same_turns():
    state, x = torch.get_rng_state(), arrows(120)
    one, again, other = (f.train_encoder(x, epochs=1, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.features(x), again.features(x))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert torch.equal(state, torch.get_rng_state())


def test_with_labels_the_encoder_is_the_classifier():
    x, y = bars(200)
    one, other = (
        f.train_encoder(x, y, of="bars", epochs=1, seed=3),
        f.train_classifier(x, y, epochs=1, seed=3),
    )
    assert torch.equal(one.last.weight, other.last.weight)
    assert one.name.startswith("classifier trained on bars")
    assert f.train_encoder(x, y, test=bars(40, seed=1), epochs=0).accuracy.n == 40


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(200, 1, 10, 12), "must be square"),
        (torch.zeros(200, 12), "must be square"),
        (torch.zeros(99, 1, 8, 8), "99 pictures without labels are too few"),
    ],
)
def test_what_cannot_be_turned_is_refused_with_the_way_out(x, message):
    with pytest.raises(VariedError, match=message) as error:
        f.train_encoder(x)
    assert "features_by(net, name)" in str(error.value)


# A person's own net


class Own(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.5))
        self.layers[2].eval()
        self.seen = []

    def forward(self, x):
        self.seen.append((tuple(x.shape), x.dtype, torch.is_grad_enabled()))
        return self.layers(x).mean((2, 3))


def test_a_net_is_run_in_batches_at_rest_and_put_back():
    net, x = Own(), torch.rand(25, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    modes, weights = (
        [m.training for m in net.modules()],
        extractors.extractor_from(net, "own").fingerprint,
    )
    found = extractors.extractor_from(net, " own ", batch=10)
    assert found.name == "own"
    seen = found.features(x)
    assert net.seen == [((n, 3, 8, 8), torch.float32, False) for n in (10, 10, 5)]
    assert [m.training for m in net.modules()] == modes == [True, True, True, True, False]
    assert found.fingerprint == weights  # running means are as they were
    wanted = net.eval()(x).detach()
    assert torch.allclose(seen, wanted, atol=1e-6)
    assert not seen.requires_grad


def test_a_net_that_fails_is_put_back():
    net = Own()
    with pytest.raises(RuntimeError):
        extractors.extractor_from(net, "own").features(torch.zeros(2, 1, 8, 8))
    assert net.training and net.layers[1].training and not net.layers[2].training


def test_bytes_arrays_and_numbers_are_the_same():
    net = extractors.extractor_from(lambda x: x.flatten(1), "pixels")
    x = np.random.default_rng(0).integers(0, 256, (7, 1, 4, 4), dtype=np.uint8)
    for same in (x, torch.tensor(x), x / 255):
        assert torch.allclose(net.features(same), torch.tensor(x / 255).float().flatten(1))
    assert net.features(x).max() <= 1


def test_what_a_net_draws_is_no_business_of_others():
    net, state = (
        extractors.extractor_from(lambda x: torch.rand(len(x), 3), "seeded"),
        torch.get_rng_state(),
    )
    x = torch.zeros(4, 1, 2, 2)
    assert torch.equal(net.features(x), net.features(x))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", ["", "  ", None])
def test_a_net_without_a_name_is_refused(name):
    with pytest.raises(VariedError, match="need a name"):
        extractors.extractor_from(nn.Flatten(), name)


def test_what_gives_no_features_is_refused():
    with pytest.raises(VariedError, match="A str gives no features"):
        extractors.extractor_from("inception", "inception")
    with pytest.raises(VariedError, match="batch=0"):
        extractors.extractor_from(nn.Flatten(), "pixels", batch=0)
    x = torch.zeros(4, 1, 2, 2)
    for net, said in ((lambda x: x, r"gives \(4, 1, 2, 2\)"), (lambda x: [x], "gives list")):
        with pytest.raises(VariedError, match=said):
            extractors.extractor_from(net, "odd").features(x)
    with pytest.raises(VariedError, match=r"gives \(1, 4\) for 4"):
        extractors.extractor_from(lambda x: x.mean(0).flatten(1), "mean").features(x)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(4, 8, 8), "put the channels before"),
        (torch.zeros(0, 1, 8, 8), "one picture at least"),
        (torch.full((4, 1, 8, 8), 255.0), "scale or convert"),
        (torch.full((4, 1, 8, 8), torch.nan), "scale or convert"),
        (torch.zeros(4, 1, 8, 8).long(), "scale or convert"),
    ],
)
def test_what_is_no_picture_is_refused(x, message):
    with pytest.raises(VariedError, match=message):
        extractors.extractor_from(nn.Flatten(), "pixels").features(x)


# The data themselves


def test_plain_features_are_the_standardised_columns():
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, [1, 1e4, 1e-4], (200, 3)), rng.normal(size=(50, 3))
    found = extractors.standardized(x)
    seen = found.features(torch.tensor(x))
    assert seen.dtype == torch.float64
    assert torch.allclose(seen.mean(0), torch.zeros(3).double(), atol=1e-9)
    assert torch.allclose(seen.var(0, correction=0), torch.ones(3).double())
    # What is measured later is scaled by the training rows, not by itself.
    assert np.allclose(found.features(y), (y - x.mean(0)) / x.std(0))
    assert found.features(torch.rand(5, 3, 1)).shape == (5, 3)
    assert found.name == "standardized data"


def test_constant_columns_keep_their_unit():
    x = np.full((30, 2), 0.1)
    x[:, 1] = range(30)
    found = extractors.standardized(x)
    assert found.features(x)[:, 0].eq(0).all()
    assert found.features(np.array([[0.6, 0]]))[0, 0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(5), "have no columns"),
        (np.zeros((1, 5)), "One row has no spread"),
        (np.full((4, 5), np.nan), "fill them in"),
    ],
)
def test_what_cannot_be_standardised_is_refused(x, message):
    with pytest.raises(VariedError, match=message):
        extractors.standardized(x)


def test_other_columns_are_refused():
    with pytest.raises(VariedError, match="4 columns and the training rows had 3"):
        extractors.standardized(np.zeros((5, 3))).features(np.zeros((5, 4)))


# What they share


def test_all_keep_to_one_protocol(seen, turned):
    for one in (
        seen,
        turned,
        extractors.extractor_from(Own(), "own"),
        extractors.standardized(np.eye(3)),
    ):
        assert isinstance(one, f.Extractor)
        assert one.name and len(one.fingerprint) == 12
        assert int(one.fingerprint, 16) >= 0
    assert not isinstance(nn.Flatten(), f.Extractor)


def test_fingerprints_are_equal_where_features_are(seen):
    again = f.FeatureNet(seen.shape, seen.classes)
    assert again.fingerprint != seen.fingerprint
    again.load_state_dict(seen.state_dict())
    assert again.fingerprint == seen.fingerprint
    with torch.no_grad():
        again.last.bias[0] = torch.nextafter(again.last.bias[0], torch.tensor(9.0))
    assert again.fingerprint != seen.fingerprint


def test_fingerprints_tell_nets_apart():
    def told(net, name="own"):
        return extractors.extractor_from(net, name).fingerprint

    half = Own().to(torch.bfloat16)
    kinds = [Own(), Own(1), half, nn.Sequential(nn.Flatten()), nn.Sequential(nn.ReLU()), torch.abs]
    assert len({told(net) for net in kinds}) == len(kinds)
    assert told(Own()) == told(Own()) == told(Own().eval())
    assert told(Own()) != told(Own(), "other")
    x = np.eye(3)
    assert (
        extractors.standardized(x).fingerprint
        == extractors.standardized(torch.eye(3)).fingerprint
        != extractors.standardized(2 * x).fingerprint
    )


def test_a_fingerprint_stays_what_it_is():
    # Written down on the day it was made: kept figures are compared by it.
    assert extractors.standardized(np.array([[0.0], [2.0]])).fingerprint == "2ad521c3f7ec"


@pytest.mark.slow
def test_digits_are_told_apart():
    items = read("mnist")
    x, held = torch.from_numpy(items.x)[:, None], np.isin(np.arange(70_000), items.test)
    y = items.labels
    found = f.train_classifier(x[~held], y[~held], of="mnist", test=(x[held], y[held]))
    assert found.accuracy.value > 0.985
    seen = found.features(x[held])
    assert frechet(seen[::2], seen[1::2]) < 5
