# Every target works from a fresh clone: the first one builds .venv with the tested versions.
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2
MIN := import sys; sys.exit(sys.version_info < (3, 11))
# The first interpreter that runs and is new enough (a name on PATH may be a broken shim).
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c "$(MIN)" >/dev/null 2>&1 && { echo "$$p"; break; }; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check format bench figures clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

install: $(READY) ## build .venv with the versions in constraints.txt

# torch goes first, pinned: resolving it with the rest may choose another build of several gigabytes.
$(READY): pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "needs python3 >= 3.11; none found: make PYTHON=/path/to/python3" >&2; exit 2; }
	@[ -x $(BIN)/python ] || { echo "creating $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -c "import torch" 2>/dev/null || echo "installing torch (the large download)"
	@$(PIP) install -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	@echo "installing isac_gym and its development tools"
	@rm -rf isac_gym.egg-info # pip keeps a stale one, and its old entry points would win
	@$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(READY) ## a tour: environment, paper's algorithm, exact optimum, trained agent
	@$(BIN)/isac demo

check: $(READY) ## formatting, lint and types
	@$(BIN)/ruff format --check --quiet --output-format concise . || { echo "run 'make format'" >&2; exit 1; }
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/basedpyright --level error

test: check ## check, then all tests but the slow ones
	@$(BIN)/python -m pytest -n $(JOBS)

test-slow: check ## check, then every test that this machine can run
	@$(BIN)/python -m pytest -n $(JOBS) -m "not gpu"

bench: $(READY) ## time ours against the usual alternatives
	@$(BIN)/isac bench

figures: $(READY) ## redraw the papers' figures into build/figures, with a verdict per claim
	@$(BIN)/isac figures --out build/figures

format: $(READY) ## format and apply the safe lint fixes
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --fix --quiet .

clean: ## remove everything that make made
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
