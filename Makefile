# Set-up, demo and tests. Everything is installed into .venv, pinned by requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= $(shell $(PYTHON) -c 'import os; print(len(os.sched_getaffinity(0)))')
PARTICIPANTS ?= 26
export NIPYPE_NO_ET := 1
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help
help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

.PHONY: env
env: $(VENV)/.ready  ## create .venv with the pinned packages

$(VENV)/.ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mrsflow needs Python 3.11 or newer; name one: make $@ PYTHON=python3.12")'
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-build-isolation --no-deps --editable .
	@touch $@

.PHONY: demo
demo: env  ## simulate a trial as raw scanner files and analyse it (PARTICIPANTS=26 CORES=all)
	@$(BIN)/python scripts/simulate_trial.py --out demo --participants $(PARTICIPANTS) --cores $(CORES) --anatomy
	@$(BIN)/snakemake --configfile demo/config/config.yaml --cores $(CORES) --quiet rules host reason
	@$(BIN)/python scripts/summarise_demo.py --demo demo

.PHONY: docs
docs: env  ## write the pages that are made from the code, and the site (build/site; opens from disk)
	@PYTHONPATH=scripts $(BIN)/python -m mrsflow.result_tables > docs/tables.md
	@for page in configuration quality; do PYTHONPATH=scripts $(BIN)/python -m mrsflow.command.reference $$page > docs/$$page.md; done
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo build/site/index.html

.PHONY: test
test: lint  ## what continuous integration runs: linters, fast tests, dry and small real runs
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow and not slurm" $(PYTEST_OPTIONS)

.PHONY: test-all
test-all: lint  ## every test, the slow ones and Slurm included
	@$(BIN)/python -m pytest

.PHONY: lint
lint: env
	@$(BIN)/ruff check scripts tests benchmarks
	@$(BIN)/ruff format --check --quiet scripts tests benchmarks
	@$(BIN)/snakefmt --check --compact-diff Snakefile rules
	@$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md config scripts rules tests benchmarks

.PHONY: lock
lock: env  ## resolve requirements.lock again from pyproject.toml (needs uv)
	@uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --no-emit-index-url \
	  --no-annotate --upgrade --output-file requirements.lock pyproject.toml

.PHONY: audit
audit: env  ## ask PyPI's advisories about the pinned packages (needs internet)
	@$(BIN)/pip-audit --disable-pip --require-hashes --requirement requirements.lock

.PHONY: clean
clean:  ## remove the demo (not .venv)
	@rm -rf demo
