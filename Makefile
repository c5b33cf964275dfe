# `make help` lists the targets. Paths are relative, so that the folder may contain spaces.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt
QUICK := OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadscope
# pytest exits with 5 if no test was selected, which is not a failure.
ALLOW_NO_TESTS := || [ $$? -eq 5 ]

.DEFAULT_GOAL := help
.PHONY: help demo studio test slow lint format bench fuzz chaos scale web docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

demo: .venv/package ## install, train on MNIST for a minute, evaluate and write a report
	.venv/bin/varied demo

studio: .venv/package ## open a page to explore the runs below this folder, and to train
	.venv/bin/varied studio

test: .venv/test ## run the quick tests
	$(QUICK)

slow: .venv/test ## run the tests of minutes
	$(QUICK) -m slow $(ALLOW_NO_TESTS)

lint: .venv/lint ## run ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: .venv/lint ## format the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: .venv/package ## compare the training speed with Pythae and a plain loop (minutes)
	$(PY) -m benchmarks.throughput

fuzz: .venv/test ## read 20,000 randomly damaged files of every format (minutes)
	$(PY) -m benchmarks.fuzz

scale: .venv/test ## compare one process with two, and up to six million images (an hour)
	$(PY) -m benchmarks.scale
	$(PY) -m benchmarks.growth

chaos: .venv/test ## let disk operations fail, and kill 3,000 processes at random (an hour)
	$(PY) -m benchmarks.chaos

web: ## build the page of the studio with Node.js
	cd web && npm ci --ignore-scripts && npx svelte-check --fail-on-warnings && npx vite build

docs: .venv/test ## run the examples of the documentation
	$(PY) -m pytest --doctest-glob='*.md' docs README.md $(ALLOW_NO_TESTS)

clean: ## remove the environment and the caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Varied needs Python 3.11 or newer with venv: install it, or set make PYTHON=..."; exit 1; }
	"$(PYTHON)" -m venv .venv

.venv/package: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --upgrade pip  # --group, below, came with pip 25.1
	$(PIP) --editable '.[studio]'
	@touch $@

.venv/test .venv/lint: .venv/%: .venv/package
	$(PIP) --group $*
	@touch $@
