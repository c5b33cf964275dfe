"""Run the code of docs/extending.md, block by block, on real data."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import test_likelihoods
import torch
from sklearn.datasets import load_digits
from torch import distributions as td

import varied
from varied.composition import compose
from varied.errors import VariedError
from varied.evaluate.suites import evaluate_all
from varied.registry import TABLES
from varied.schema import settings, summary
from varied.spec import Spec

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")


@pytest.fixture(scope="module")
def page(restored_registry):
    """Return the names that the Python blocks of the page define."""
    names = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(compile(block, "extending.md", "exec", dont_inherit=True), names)
    return names


@pytest.fixture(scope="module")
def run(page, tmp_path_factory):
    """Return a run with the network and the likelihood from the page, selected by name."""
    x = (load_digits().images[:200] / 16).astype(np.float32)
    parts = {"net": "gated", "width": 16, "likelihood": "student-t", "df": 5}
    plan = {"latent": 2, "steps": 20, "batch_size": 32, "threads": 1}
    out = tmp_path_factory.mktemp("runs") / "run"
    run = varied.train(x[:, None], "vae", **parts, **plan, out=out)
    return varied.Run(run.folder, varied.read(x[:, None]))


def cases(page):
    build = page["StudentT"]
    return {
        "learned": test_likelihoods.Case(build, -1),
        "heteroscedastic": test_likelihoods.Case(partial(build, scale="heteroscedastic"), -1),
        "fixed": test_likelihoods.Case(partial(build, scale=0.5), -1),
    }


@pytest.mark.parametrize("name", ["learned", "heteroscedastic", "fixed"])
@pytest.mark.parametrize("event", test_likelihoods.EVENTS, ids=str)
@pytest.mark.parametrize(
    "check",
    [
        test_likelihoods.check_shapes,
        test_likelihoods.check_every_parameter_has_a_gradient,
        test_likelihoods.check_samples_are_in_the_domain,
        test_likelihoods.check_extreme_parameters_are_finite,
        test_likelihoods.check_examples_are_independent,
    ],
)
def test_likelihood_has_the_properties_of_all_likelihoods(check, event, name, page):
    check(cases(page)[name], event)


@pytest.mark.parametrize("name", ["learned", "heteroscedastic", "fixed"])
def test_likelihood_integrates_to_one(name, page):
    test_likelihoods.check_probability_sums_to_one(cases(page)[name])


def test_likelihood_is_a_student_t_distribution(page):
    x = torch.randn(4, 3)
    px = page["StudentT"]((3,), df=7.0, scale=0.5)(torch.zeros(4, 3))
    expected = td.StudentT(7.0, 0.0, 0.5).log_prob(x).sum(-1)
    torch.testing.assert_close(px.log_prob(x), expected)


def test_registered_parts_are_restored_from_the_run_folder(run, page):
    assert isinstance(run.model.encoder.net, page["Gated"])
    assert isinstance(run.model.decoder.head, page["StudentT"])
    assert run.model.decoder.head.df == 5.0
    assert "[origins.likelihood]" in (run.folder / "spec.toml").read_text()


def test_settings_are_read_from_the_signature(page):
    likelihood = page["StudentT"]
    assert list(settings(likelihood)) == ["df", "scale"]
    assert settings(likelihood)["df"].description.startswith("The degrees of freedom")
    assert summary(likelihood).endswith(".")


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [
        ("studnet-t", "did you mean 'student-t'"),
        ({"name": "student-t", "dof": 3}, "did you mean 'df'"),
        ({"name": "student-t", "df": "some"}, "must be a number"),
        ({"name": "student-t", "df": 1}, r"df=1\.0 must be above 2"),
    ],
)
def test_wrong_names_and_values_are_refused(likelihood, message, page):
    with pytest.raises(VariedError, match=message):
        compose(Spec.parse(likelihood=likelihood), (6,))


def test_objective_composes_by_its_name(page):
    spec = Spec.parse(objective={"name": "bounded", "gamma": "linear(0, 1, 4)"}, latent=2)
    model, objective = compose(spec, (6,))
    loss, parts = objective(model(torch.rand(5, 6).round()), 2)
    assert {"reconstruction", "excess", "kl"} <= parts.keys()
    torch.testing.assert_close(loss.detach(), parts["reconstruction"] + 0.5 * parts["excess"])
    with pytest.raises(VariedError, match="use posterior='gaussian'"):
        compose(Spec.parse(objective="bounded", posterior="deterministic"), (6,))


@pytest.mark.slow
def test_suite_is_evaluated(run):
    (group,) = [group for group in evaluate_all(run) if group.title == "Brightness"]
    assert group.metrics[0].name == "brightness ratio"
    assert np.isfinite(group.metrics[0].estimate.value)


def test_use_is_a_method_of_runs(run):
    darker, result = run.darken(amount=0.5, n=3), run.reconstruct(n=3)
    np.testing.assert_allclose(darker.array, result.images * 0.5, atol=0.5)


@pytest.mark.figures
def test_plot_is_written(run, page, tmp_path):
    assert page["plot_kl"](run, tmp_path / "kl.png").stat().st_size > 1000


def test_files_of_the_new_kind_are_a_dataset(page, tmp_path):
    rng = np.random.default_rng(0)
    for i, grid in enumerate(rng.integers(0, 10, (20, 4, 5))):
        lines = ["".join(map(str, line)) for line in grid]
        (tmp_path / f"{i:02d}.grid").write_text("\n".join(lines))
    data = varied.read(tmp_path)
    assert data.kind == "text-grid"
    assert data.x.shape == (20, 1, 4, 5)
    assert data.notes[0].startswith("20 grids of 1x4x5 numbers")
    assert varied.read(tmp_path, rows=3).x.shape == (20, 1, 3, 5)
    run = varied.train(tmp_path, rows=3, steps=2, latent=2, threads=1, out=tmp_path / "run")
    assert run.sample(2).array.shape == (2, 1, 3, 5)
    assert run.reconstruct(tmp_path, n=2).array.shape == (2, 2, 1, 3, 5)
    assert varied.Run(tmp_path / "run").data.x.shape == (20, 1, 3, 5)


def test_every_kind_of_part_is_on_the_page():
    assert [kind for kind in TABLES if f'"{kind}"' not in PAGE] == []
    assert "likelihood, posterior, prior" in PAGE


@pytest.mark.parametrize("path", re.findall(r"`((?:varied|tests)/[\w/]+(?:\.py)?)`", PAGE))
def test_every_path_on_the_page_exists(path):
    assert (ROOT / path).exists()
