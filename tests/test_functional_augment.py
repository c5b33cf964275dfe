"""Classical augmentation, and the gain in accuracy from additional training data."""

from __future__ import annotations

import pytest
import torch

from varied import functional
from varied.errors import VariedError
from varied.functional import augment


def test_class_counts():
    assert functional.class_counts([90, 10, 0], 5) == [5, 5, 0]
    assert functional.class_counts([90, 10, 0], balance=True) == [0, 80, 0]
    assert functional.class_counts([90, 10, 40], 50, balance=True) == [0, 40, 10]


@pytest.mark.parametrize(
    ("per_class", "balance", "message"),
    [
        (None, True, "larger per_class"),
        (None, False, "per_class=500"),
        (4, True, "larger per_class"),
    ],
)
def test_class_counts_refuse_to_generate_nothing(per_class, balance, message):
    with pytest.raises(VariedError, match=message):
        functional.class_counts([9, 9], per_class, balance=balance)


def test_random_shift_moves_images_within_its_limits(monkeypatch):
    x = torch.zeros(200, 1, 32, 24, dtype=torch.uint8)
    x[:, :, 14:18, 10:14] = 200
    shifted = augment.random_shift(x, seed=3)
    assert torch.equal(shifted, augment.random_shift(x, seed=3))
    assert shifted.dtype == torch.uint8
    mass = shifted.float().sum((1, 2, 3))
    assert torch.allclose(mass, x[0].float().sum(), rtol=0.05)
    rows = (shifted.float().sum((1, 3)) * torch.arange(32)).sum(1) / mass
    columns = (shifted.float().sum((1, 2)) * torch.arange(24)).sum(1) / mass
    assert 1.5 < (rows - 15.5).abs().max() < 0.08 * 32 + 0.2
    assert 1.2 < (columns - 11.5).abs().max() < 0.08 * 24 + 0.2
    monkeypatch.setattr(augment, "MAX_SHIFT", 0.0)
    monkeypatch.setattr(augment, "MAX_DEGREES", 0.0)
    noise = torch.randint(0, 256, (5, 3, 9, 7), dtype=torch.uint8)
    assert torch.equal(augment.random_shift(noise), noise)


def test_random_shift_rotates_rectangular_images_correctly(monkeypatch):
    monkeypatch.setattr(augment, "MAX_SHIFT", 0.0)
    monkeypatch.setattr(augment, "MAX_DEGREES", 90.0)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.ones(shape))
    x = torch.zeros(1, 1, 20, 10, dtype=torch.uint8)
    x[0, 0, 6:14, 4:6] = 100  # 8 pixels high and 2 pixels wide
    rotated = augment.random_shift(x)[0, 0]
    assert (rotated[9:11, 1:9] > 90).all()
    assert rotated.sum() == x.sum()


def test_smote_interpolates_within_a_class():
    line = torch.rand(60, 1) * torch.tensor([1.0, 2.0])
    x = torch.cat([line, line + torch.tensor([0.02, 0.0])])  # two close parallel lines
    y = torch.arange(2).repeat_interleave(60)
    index = torch.cat([torch.randint(60, (300,)), 60 + torch.randint(60, (300,))])
    rows = augment.smote(x, y, index)
    assert torch.allclose(rows[:300, 1], 2 * rows[:300, 0], atol=1e-5)
    assert torch.allclose(rows[300:, 1], 2 * (rows[300:, 0] - 0.02), atol=1e-5)
    assert ((rows[:300] >= x[:60].amin(0)) & (rows[:300] <= x[:60].amax(0))).all()
    assert 0 < (rows - x[index]).norm(dim=1).mean() < 0.3
    repeated = augment.smote(x[:1], y[:1], torch.zeros(4, dtype=torch.int64))
    assert torch.equal(repeated, x[:1].expand(4, -1))


def test_gains_reflect_the_quality_of_the_generated_data():
    x = torch.randn(2000, 2)
    y = (x.sum(1) > 0).long()
    real, test = (x[:40], y[:40]), (x[1000:], y[1000:])
    generated = {"right": (x[40:1000], y[40:1000]), "wrong": (x[40:1000], 1 - y[40:1000])}
    gains = functional.gains(real, generated, test, seeds=2)
    results = {(gain.classifier, gain.training_data): gain for gain in gains}
    for classifier in ("logistic", "forest"):
        right, wrong = (results[classifier, f"real + {name}"] for name in generated)
        assert right.accuracy.value > 0.95
        assert wrong.accuracy.value < 0.3
        baseline = results[classifier, "real"]
        assert baseline.gain.value == 0
        difference = right.accuracy.value - baseline.accuracy.value
        assert right.gain.value == pytest.approx(difference)
        assert abs(results[classifier, "real + plain"].gain.value) < 0.2
        assert (baseline.rows, right.rows) == (40, 1000)
