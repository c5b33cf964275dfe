"""Calibration of class probabilities with a temperature."""

import pytest
import torch

from varied.functional import apply_temperature, calibration_temperature


def labeled_logits(n, classes=3):
    """Return logits, and labels drawn from the probabilities that they define."""
    logits = 2 * torch.randn(n, classes).double()
    return logits, torch.distributions.Categorical(logits=logits).sample()


@pytest.mark.parametrize("factor", [0.5, 1, 3])
def test_temperature_undoes_overconfidence(factor):
    logits, labels = labeled_logits(20_000)
    probabilities = (factor * logits).softmax(-1)
    temperature = calibration_temperature(probabilities, labels)
    assert temperature == pytest.approx(factor, rel=0.05)
    calibrated = apply_temperature(probabilities, temperature)
    torch.testing.assert_close(calibrated, logits.softmax(-1), atol=0.02, rtol=0)


def test_unlabeled_rows_are_ignored():
    logits, labels = labeled_logits(50)
    probabilities = (5 * logits).softmax(-1)
    partly = torch.where(torch.arange(50) < 30, labels, -1)
    expected = calibration_temperature(probabilities[:30], labels[:30])
    assert calibration_temperature(probabilities, partly) == expected
    assert calibration_temperature(probabilities, torch.full((50,), -1)) == 1


def test_few_correct_rows_do_not_imply_certainty():
    probabilities = torch.full((10, 2), 1e-30)
    probabilities[:, 0] = 1
    labels = torch.zeros(10, dtype=torch.long)
    temperature = calibration_temperature(probabilities, labels)
    calibrated = apply_temperature(probabilities, temperature)
    assert calibrated[:, 0].tolist() == pytest.approx([1 - 1 / 24] * 10, abs=2e-3)


def test_probability_of_zero_stays_finite():
    certain = torch.tensor([[1.0, 0, 0]])
    assert apply_temperature(certain, 2.0).isfinite().all()
    assert torch.equal(apply_temperature(certain, 1.0), certain)
