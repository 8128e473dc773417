# minimech. `make` alone prints what there is to do; whatever a target needs, it sets up itself, once.
#
# Variables, which reach the lessons through the environment:
#   MODEL=gpt2    instead of the model that ships with the repo (default: gpt2 once its weights are here)
#   PREDICT=1     asks for your guess before each measurement
# and for the setup alone:
#   PYTHON=python3.12                 the Python that .venv is made with
#   PIP_ARGS="--index-url ADDRESS"    where torch is fetched from (README, "Install")

PYTHON ?= python3
NUMBERS := $(foreach f,$(wildcard lessons/[0-9][0-9]_*.py),$(firstword $(subst _, ,$(notdir $f))))
LESSONS := $(addprefix lesson-,$(NUMBERS))
TESTING := $(if $(filter test lint,$(MAKECMDGOALS)),test)

# An activated environment that fits is used as it is. Otherwise .venv, made from constraints.txt.
ACTIVE := $(or $(VIRTUAL_ENV),$(CONDA_PREFIX))
FITS   := $(if $(ACTIVE),$(shell "$(ACTIVE)/bin/python" .ci/env.py fits $(TESTING) 2>/dev/null))
PY     := $(if $(FITS),"$(ACTIVE)/bin/python",.venv/bin/python)
READY  := $(if $(FITS),,.venv/ready)

export PIP_ARGS
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

.PHONY: help setup lessons $(LESSONS) verify bench weights results test lint clean gone

help:
	@echo 'minimech: a GPT-2 that reads in one sitting, opened at any activation.'
	@echo
	@awk -F ':.*## ' '/^[a-z%-]+:.*## /{gsub("%", "NN", $$1); printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo
	@awk 'FNR == 1 {gsub(/^r?"""|"""$$/, ""); printf "  make lesson-%s  %s\n", substr(FILENAME, 9, 2), $$0}' \
	  $(wildcard lessons/[0-9][0-9]_*.py) /dev/null
	@echo
	@echo '  MODEL=gpt2 runs on GPT-2 small, PREDICT=1 asks you first: make lesson-03 PREDICT=1'

setup: $(READY)  ## the packages, in .venv (every other target does this by itself)
	@$(PY) .ci/env.py report

$(LESSONS): lesson-%: $(READY)
	@$(PY) $(wildcard lessons/$*_*.py)

lesson-%:  ## run lesson NN: the story, its predictions and what came out
	@echo 'There is no lesson-$*. There are: $(LESSONS)' >&2; exit 2

lessons: $(LESSONS)  ## run all lessons in order

verify: $(READY)  ## published numbers against this implementation (MODEL=gpt2: the real one)
	@$(PY) -m minimech verify

weights: $(READY)  ## fetch GPT-2's weights once, checksums held (MODEL=gpt2-medium: another)
	@$(PY) -m minimech fetch $(or $(MODEL),gpt2)

bench: $(READY)  ## how fast, as ratios measured in one run
	@$(PY) tests/bench.py

results: $(READY)  ## every lesson's predicted and measured values, in one ledger
	@$(PY) -m lessons.expect

test: lint  ## style, then all tests, with no network
	@$(PY) -m pytest -q --durations=8

lint: $(READY)  ## style alone
	@$(PY) -m ruff check --output-format=concise && $(PY) -m ruff format --check

clean:  ## remove out/ and caches; .venv, weights and your exercises stay
	@rm -rf out .pytest_cache .ruff_cache build *.egg-info
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# Its stamp comes last, so a setup that was cut short is never taken for a finished one. `gone` is a
# .venv whose Python no longer runs, as after an upgrade of the system's.
.venv/ready: constraints.txt pyproject.toml $(if $(realpath .venv/bin/python),,gone)
	@command -v "$(PYTHON)" >/dev/null || { echo 'There is no $(PYTHON) here; Python 3.10 or newer' \
	  'is needed. Under another name: make setup PYTHON=python3.12' >&2; exit 1; }
	@"$(PYTHON)" .ci/env.py setup
