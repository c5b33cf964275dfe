"""Feature extractors: user-provided networks, standardized data, and fingerprints."""

import numpy as np
import pytest
import torch
from torch import nn

from varied.errors import VariedError
from varied.evaluate.feature_extractors import Extractor, extractor_from, fit_standardizer
from varied.evaluate.feature_nets import FeatureNet

# User-provided networks


class ConvNet(nn.Module):
    """A network that records its inputs, with one layer in evaluation mode."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.5))
        self.layers[2].eval()
        self.inputs = []

    def forward(self, x):
        self.inputs.append((tuple(x.shape), x.dtype, torch.is_grad_enabled()))
        return self.layers(x).mean((2, 3))


def test_network_runs_in_batches_in_evaluation_mode_without_side_effects():
    net, x = ConvNet(), torch.rand(25, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    modes, fingerprint = (
        [module.training for module in net.modules()],
        extractor_from(net, "own").fingerprint,
    )
    extractor = extractor_from(net, " own ", batch_size=10)
    assert extractor.name == "own"
    features = extractor.features(x)
    assert net.inputs == [((n, 3, 8, 8), torch.float32, False) for n in (10, 10, 5)]
    assert [m.training for m in net.modules()] == modes == [True, True, True, True, False]
    assert extractor.fingerprint == fingerprint  # the running means are unchanged
    assert torch.allclose(features, net.eval()(x).detach(), atol=1e-6)
    assert not features.requires_grad


def test_modes_are_restored_after_an_error():
    net = ConvNet()
    with pytest.raises(RuntimeError):
        extractor_from(net, "own").features(torch.zeros(2, 1, 8, 8))
    assert net.training and net.layers[1].training and not net.layers[2].training


def test_data_types_do_not_matter():
    pixels = extractor_from(lambda x: x.flatten(1), "pixels")
    x = np.random.default_rng(0).integers(0, 256, (7, 1, 4, 4), dtype=np.uint8)
    for same in (x, torch.tensor(x), x / 255):
        assert torch.allclose(pixels.features(same), torch.tensor(x / 255).float().flatten(1))
    assert pixels.features(x).max() <= 1


def test_random_networks_are_seeded_without_side_effects():
    extractor = extractor_from(lambda x: torch.rand(len(x), 3), "random")
    state, x = torch.get_rng_state(), torch.zeros(4, 1, 2, 2)
    assert torch.equal(extractor.features(x), extractor.features(x))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("net", "name", "options", "message"),
    [
        (nn.Flatten(), "", {}, "require a name"),
        (nn.Flatten(), "  ", {}, "require a name"),
        (nn.Flatten(), None, {}, "require a name"),
        ("inception", "inception", {}, "not str"),
        (nn.Flatten(), "pixels", {"batch_size": 0}, "batch_size=0"),
    ],
)
def test_extractor_from_refuses(net, name, options, message):
    with pytest.raises(VariedError, match=message):
        extractor_from(net, name, **options)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda x: x, r"returns \(4, 1, 2, 2\) for 4"),
        (lambda x: [x], "returns list"),
        (lambda x: x.mean(0).flatten(1), r"returns \(1, 4\) for 4"),
    ],
)
def test_invalid_features_are_refused(net, message):
    with pytest.raises(VariedError, match=message):
        extractor_from(net, "invalid").features(torch.zeros(4, 1, 2, 2))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(4, 8), "put the channels before"),
        (torch.zeros(0, 1, 8, 8), r"got \(0, 1, 8, 8\)"),
        (torch.full((4, 1, 8, 8), 255.0), "rescale or convert"),
        (torch.full((4, 1, 8, 8), torch.nan), "rescale or convert"),
        (torch.zeros(4, 1, 8, 8).long(), "rescale or convert"),
    ],
)
def test_invalid_images_are_refused(x, message):
    with pytest.raises(VariedError, match=message):
        extractor_from(nn.Flatten(), "pixels").features(x)


# Standardized data


def test_standardized_columns():
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, [1, 1e4, 1e-4], (200, 3)), rng.normal(size=(50, 3))
    extractor = fit_standardizer(x)
    features = extractor.features(torch.tensor(x))
    assert features.dtype == torch.float64
    assert torch.allclose(features.mean(0), torch.zeros(3).double(), atol=1e-9)
    assert torch.allclose(features.var(0, correction=0), torch.ones(3).double())
    # Other rows are scaled with the mean and standard deviation of the training rows.
    assert np.allclose(extractor.features(y), (y - x.mean(0)) / x.std(0))
    assert extractor.features(torch.rand(5, 3, 1)).shape == (5, 3)
    assert extractor.name == "standardized data"


def test_constant_columns_are_not_scaled():
    x = np.full((30, 2), 0.1)
    x[:, 1] = range(30)
    extractor = fit_standardizer(x)
    assert extractor.features(x)[:, 0].eq(0).all()
    assert extractor.features(np.array([[0.6, 0]]))[0, 0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(5), r"rows have shape \(5,\)"),
        (np.zeros((1, 5)), "N >= 2"),
        (np.full((4, 5), np.nan), "remove or impute"),
    ],
)
def test_standardized_refuses(x, message):
    with pytest.raises(VariedError, match=message):
        fit_standardizer(x)


def test_other_numbers_of_columns_are_refused():
    with pytest.raises(VariedError, match="4 columns, but the training rows had 3"):
        fit_standardizer(np.zeros((5, 3))).features(np.zeros((5, 4)))


# The protocol and fingerprints


def test_all_extractors_follow_the_protocol():
    extractors = (
        FeatureNet((1, 10, 12), 3),
        extractor_from(ConvNet(), "own"),
        fit_standardizer(np.eye(3)),
    )
    for extractor in extractors:
        assert isinstance(extractor, Extractor)
        assert extractor.name and len(extractor.fingerprint) == 12
        assert int(extractor.fingerprint, 16) >= 0
    assert not isinstance(nn.Flatten(), Extractor)


def test_fingerprint_depends_on_weights():
    net, other = FeatureNet((1, 10, 12), 3), FeatureNet((1, 10, 12), 3)
    assert other.fingerprint != net.fingerprint
    other.load_state_dict(net.state_dict())
    assert other.fingerprint == net.fingerprint
    with torch.no_grad():
        other.last.bias[0] = torch.nextafter(other.last.bias[0], torch.tensor(9.0))
    assert other.fingerprint != net.fingerprint


def test_fingerprint_depends_on_name_layers_and_dtype():
    def fingerprint(net, name="own"):
        return extractor_from(net, name).fingerprint

    half = ConvNet().to(torch.bfloat16)
    flatten, relu = nn.Sequential(nn.Flatten()), nn.Sequential(nn.ReLU())
    nets = [ConvNet(), ConvNet(1), half, flatten, relu, torch.abs]
    assert len({fingerprint(net) for net in nets}) == len(nets)
    assert fingerprint(ConvNet()) == fingerprint(ConvNet()) == fingerprint(ConvNet().eval())
    assert fingerprint(ConvNet()) != fingerprint(ConvNet(), "other")


def test_fingerprint_of_standardized_data():
    x = np.eye(3)
    expected = fit_standardizer(x).fingerprint
    assert fit_standardizer(torch.eye(3)).fingerprint == expected
    assert fit_standardizer(2 * x).fingerprint != expected
    # Stored metrics are compared by their fingerprints, so they must not change.
    assert fit_standardizer(np.array([[0.0], [2.0]])).fingerprint == "2ad521c3f7ec"
