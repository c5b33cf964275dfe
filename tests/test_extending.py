"""The page on extending is true: its parts are run as they stand, and need one row each."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import test_likelihoods as laws
import torch
from torch import distributions as td

from varied.data.batches import Batches
from varied.errors import VariedError
from varied.likelihoods import LIKELIHOODS, Likelihood
from varied.objectives import OBJECTIVES
from varied.schema import settings, summary
from varied.spec import AXES, Plan, Spec, compose
from varied.training_loop import Step, train

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
TABLES = {
    "likelihood": "LIKELIHOODS",
    "posterior": "POSTERIORS",
    "prior": "PRIORS",
    "net": "NETS",
    "objective": "OBJECTIVES",
    "schedule": "SCHEDULES",
    "zoo": "ZOO",
    "data": "CODECS",
}


def blocks():
    """Return the names that each Python example of the page defines."""
    made = []
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S):
        names = {"__name__": "page"}
        exec(compile(code, PAGE.name, "exec", dont_inherit=True), names)
        made.append(names)
    return made


@pytest.fixture(scope="module")
def page():
    return {name: thing for names in blocks() for name, thing in names.items()}


@pytest.fixture
def student(page, monkeypatch):
    """The likelihood of the page, put in by its one row."""
    monkeypatch.setitem(LIKELIHOODS, "student-t", page["StudentT"])
    return page["StudentT"]


def rows(student):
    return {
        "student-t": laws.Case(student, -1),
        "student-t-each": laws.Case(partial(student, scale="heteroscedastic", df=3.0), -1),
        "student-t-fixed": laws.Case(partial(student, scale=0.5), -1),
    }


@pytest.mark.parametrize("name", ["student-t", "student-t-each", "student-t-fixed"])
@pytest.mark.parametrize("event", laws.EVENTS, ids=str)
@pytest.mark.parametrize(
    "law",
    [
        laws.check_shapes,
        laws.check_every_parameter_has_a_gradient,
        laws.check_samples_are_in_the_domain,
        laws.check_extreme_parameters_are_finite,
        laws.check_examples_are_independent,
    ],
)
def test_the_example_keeps_the_laws_of_every_likelihood(law, event, name, student):
    law(rows(student)[name], event)


@pytest.mark.parametrize("name", ["student-t", "student-t-each", "student-t-fixed"])
def test_the_example_adds_up_to_one(name, student):
    laws.check_probability_sums_to_one(rows(student)[name])


def test_the_example_is_the_distribution_that_it_says(student):
    x = torch.randn(4, 3)
    px = student((3,), df=7.0, scale=0.5)(torch.zeros(4, 3))
    wanted = td.StudentT(7.0, 0.0, 0.5).log_prob(x).sum(-1)
    torch.testing.assert_close(px.log_prob(x), wanted)


def spec_of_the_example():
    return Spec.parse(
        net={"name": "mlp", "width": 8},
        likelihood={"name": "student-t", "df": 5},
        latent=2,
        plan=Plan(steps=2, batch_size=8, precision="float32", compile="no", threads=1),
    )


def test_one_row_is_enough_to_compose_it_by_name_and_train(student):
    spec = spec_of_the_example()
    assert Spec.from_toml(spec.to_toml()) == spec
    model, objective = compose(spec, (6,), "real")
    assert isinstance(model.decoder.head, student)
    assert model.decoder.head.df == 5.0
    batches = Batches(torch.randn(32, 6), size=8, seed=0)
    events = list(train(Step(model, objective), batches, spec.plan))
    assert len(events) == 2
    assert all(event.parts["loss"].isfinite() for event in events)
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_one_row_is_enough_to_be_known_everywhere(student):
    assert AXES["likelihood"] is LIKELIHOODS
    assert list(settings(student)) == ["df", "scale"]
    assert settings(student)["df"].description.startswith("The degrees of freedom")
    assert summary(student).endswith(".")
    assert issubclass(student, Likelihood)
    with pytest.raises(VariedError, match="did you mean 'student-t'"):
        Spec.parse(likelihood="studnet-t")
    with pytest.raises(VariedError, match="did you mean 'df'"):
        Spec.parse(likelihood={"name": "student-t", "dof": 3})
    with pytest.raises(VariedError, match="is not a number"):
        Spec.parse(likelihood={"name": "student-t", "df": "some"})
    with pytest.raises(VariedError, match=r"df=1\.0 must be above 2"):
        compose(Spec.parse(likelihood={"name": "student-t", "df": 1}), (6,))


def test_without_its_row_nothing_knows_it():
    # No other file names it: the row is all that there is between the class and its name.
    with pytest.raises(VariedError, match="There is no likelihood 'student-t'"):
        spec_of_the_example()
    package = PAGE.parent.parent / "varied"
    sources = [path.read_text("utf-8").lower() for path in package.rglob("*.py")]
    assert not [source for source in sources if "student-t" in source or "studentt" in source]


def test_the_objective_of_the_page_trains_by_its_row(page, monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "bounded", page["bounded"])
    spec = Spec.parse(objective={"name": "bounded", "gamma": "linear(0, 1, 4)"}, latent=2)
    model, objective = compose(spec, (6,))
    loss, parts = objective(model(torch.rand(5, 6).round()), 2)
    assert {"reconstruction", "surprise", "kl"} <= parts.keys()
    torch.testing.assert_close(loss.detach(), parts["reconstruction"] + 0.5 * parts["surprise"])
    with pytest.raises(VariedError, match="use posterior='gaussian'"):
        compose(Spec.parse(objective="bounded", posterior="deterministic"), (6,))


@pytest.mark.parametrize(("axis", "table"), TABLES.items())
def test_every_axis_has_its_section_and_its_table(axis, table):
    sections = PAGE.read_text("utf-8").split("\n## ")[1:]
    (section,) = [s for s in sections if axis in s.partition("\n")[0].lower()]
    assert table in section


@pytest.mark.parametrize(
    "path", re.findall(r"`((?:varied|tests)/[\w/]+\.py)`", PAGE.read_text("utf-8"))
)
def test_every_file_that_the_page_names_is_there(path):
    assert (PAGE.parent.parent / path).is_file()
