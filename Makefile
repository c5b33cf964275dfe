# The index of the work: `make help` lists it. Paths are relative, so that a folder may have spaces.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt
QUICK := OMP_NUM_THREADS=1 $(PY) -m pytest -n 2
# pytest ends with 5 when there was nothing to run, which is no failure.
NOTHING_IS_FINE := || [ $$? -eq 5 ]

.DEFAULT_GOAL := help
.PHONY: help demo test slow lint format bench docs clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

demo: .venv/package ## install and see it work: train on digits, look, measure
	.venv/bin/varied demo

test: .venv/test ## the quick suite
	$(QUICK)

slow: .venv/test ## the checks of minutes
	$(QUICK) -m slow $(NOTHING_IS_FINE)

lint: .venv/lint ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: .venv/lint ## put the code in order
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: .venv/package ## training speed beside Pythae and a plain loop (minutes)
	$(PY) -m benchmarks.throughput

docs: .venv/test ## run the examples of the documentation
	$(PY) -m pytest --doctest-glob='*.md' docs README.md $(NOTHING_IS_FINE)

clean: ## remove the environment and the caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Varied needs Python 3.11 or newer with venv: install it, or name one with make PYTHON=..."; exit 1; }
	"$(PYTHON)" -m venv .venv

.venv/package: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --upgrade pip  # --group, below, came with pip 25.1
	$(PIP) --editable .
	@touch $@

.venv/test .venv/lint: .venv/%: .venv/package
	$(PIP) --group $*
	@touch $@
