# Everything a contributor types. The environment .venv is made on demand and again only when what it is made from changes.
#
#   make demo      a made-up tomogram, picked by the shipped model and scored, on a CPU, in a minute
#   make test      unit, property, oracle, regression, bad-input and end-to-end tests, with coverage
#   make test-all  the same, slow ones too, and interoperability with the copick package
#   make lint      style, types, layers, spelling
#   make bench     speed of the network, of `cryofind pick`, of location and of the simulation on this computer
#   make bench-speed     every row of the speed table, MONAI beside: JSON and Markdown in scratch/speed/results
#   make bench-realism   simulated tomograms beside a real slice: spectrum, grey values, contrast, picture
#   make bench-quality   shipped models on simulated test sets: rows and leaderboard in benchmarks/quality; 25 minutes, 11 GB
#   make clean     remove what tests and demos leave behind
#
# PYTHON=python3.12 chooses the interpreter; TORCH_INDEX_URL=URL another package index for torch, such as that of its small CPU builds.

PYTHON ?= python3
TORCH_INDEX_URL ?=
DEMO_OUT ?= demo-output
# What bench-speed measures: rows of benchmarks/speed/run.py and its options; all when empty.
ROWS ?=
# What bench-realism looks at: PROJECT=FOLDER, or runs of recipe `czii`, made where they are missing.
REALISM_RUNS := scratch/realism

BIN := .venv/bin
COPICK_BIN := .venv-copick/bin
INDEX := $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL))
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(INDEX) -c constraints.txt
SINGLE_THREADED := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(SINGLE_THREADED) $(BIN)/python -m pytest -n 2 --dist loadfile
COVERAGE := --cov --cov-branch --cov-report=term --cov-fail-under=85

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint bench bench-speed bench-realism bench-quality clean

help:
	@sed -n 's/^#   //p' Makefile

.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv

# The development install contains the core, so it stamps both.
.venv/.core-stamp: constraints.txt pyproject.toml | .venv/pyvenv.cfg
	$(INSTALL) -e .
	@touch $@

.venv/.dev-stamp: constraints.txt pyproject.toml | .venv/pyvenv.cfg
	$(INSTALL) -e '.[dev]'
	@touch .venv/.core-stamp $@

.venv/.bench-stamp: constraints.txt pyproject.toml | .venv/pyvenv.cfg
	$(INSTALL) -e '.[bench]'
	@touch .venv/.core-stamp $@

.venv-copick/.stamp: tests/interop/constraints.txt
	$(PYTHON) -m venv .venv-copick
	$(COPICK_BIN)/python -m pip install --quiet --disable-pip-version-check -c tests/interop/constraints.txt 'copick>=1.31,<2'
	@touch $@

demo: .venv/.core-stamp
	$(BIN)/cryofind demo --out $(DEMO_OUT)

test: .venv/.dev-stamp
	$(PYTEST) -m 'not slow and not interop and not gpu' $(COVERAGE)

test-all: .venv/.dev-stamp .venv-copick/.stamp
	CRYOFIND_COPICK_PYTHON=$(abspath $(COPICK_BIN)/python) $(PYTEST) -m 'not gpu' $(COVERAGE)

lint: .venv/.dev-stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/typos

bench: .venv/.core-stamp
	$(BIN)/python benchmarks/speed/run.py network picks location
	$(BIN)/python benchmarks/speed/simulation.py

bench-speed: .venv/.bench-stamp
	$(BIN)/python benchmarks/speed/run.py $(ROWS)

bench-realism: .venv/.core-stamp
	$(if $(PROJECT),,$(BIN)/cryofind simulate czii --out $(REALISM_RUNS) --runs 6 --seed 73)
	$(BIN)/python benchmarks/realism/compare.py $(or $(PROJECT),$(REALISM_RUNS))

bench-quality: .venv/.core-stamp
	$(BIN)/python benchmarks/quality/run.py model
	$(BIN)/python benchmarks/quality/run.py table

clean:
	rm -rf $(DEMO_OUT) build dist htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache
	rm -rf .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
