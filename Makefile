# minimech. `make` alone prints what there is to do; whatever a target needs, it sets up itself, once.
#
# Variables, which reach the lessons through the environment:
#   MODEL=gpt2    instead of the model that ships with the repo (default: gpt2 once its weights are here)
#   PREDICT=1     asks for your guess before each measurement
#   MINE=1        runs the lesson on your own functions, where they are written
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

MAKEFLAGS += -r
.NOTPARALLEL:
.PHONY: help setup lessons $(LESSONS) next progress break-03 predictions prove grok mnist
.PHONY: lesson notebook check hint solution reset verify bench weights results test lint clean gone

# Each target's line is what stands after its ##; a line that begins with ## is a heading.
help:
	@echo 'minimech: a GPT-2 that reads in one sitting, opened at any activation.'
	@echo
	@awk 'FNR == 1 {gsub(/^r?"""|"""$$/, ""); printf "  make lesson-%s  %s\n", substr(FILENAME, 9, 2), $$0}' \
	  $(wildcard lessons/[0-9][0-9]_*.py) /dev/null
	@awk -F ':.*## ' '/^## / {print "\n" substr($$0, 4)} /^[a-z0-9%-]+:.*## / \
	  {sub("%", $$1 ~ /hint|sol/ ? "3.1" : "03", $$1); printf "  make %-13s %s\n", $$1, $$2}' Makefile

## Lessons, here 03 (MODEL=gpt2: on GPT-2 small)
$(LESSONS): lesson-%: $(READY)
	@$(PY) $(wildcard lessons/$*_*.py)

lesson-%:  ## the story, its predictions and what came out (PREDICT=1: yours first)
	@echo 'There is no lesson-$*. There are: $(LESSONS)' >&2; exit 2

lesson notebook check hint solution reset:
	@echo 'Which one? For example: make $@-$(if $(filter hint solution,$@),3.1,03)' >&2; exit 2

lessons: $(LESSONS)  ## all of them, in order

notebook-%: $(READY)  ## the lesson as a notebook, for Jupyter and Colab
	@$(PY) -m lessons.telling.notebook $*

predictions: $(READY)  ## what you predicted, and how far off it was
	@$(PY) -m lessons.telling.predictions

results: $(READY)  ## every lesson's predicted and measured values, in one ledger
	@$(PY) -m lessons.expect

## Exercises: write in lessons/exercises/, then make lesson-03 MINE=1 runs the lesson on your code
next: $(READY)  ## the first exercise that is open
	@$(PY) -m lessons.course next

check-%: $(READY)  ## is it right? If not, why not? (check-3.1: this one alone)
	@$(PY) -m lessons.course check $*

hint-%: $(READY)  ## a hint for exercise 3.1, one more each time
	@$(PY) -m lessons.course hint $*

solution-%: $(READY)  ## how we wrote it
	@$(PY) -m lessons.course solution $*

reset-%: $(READY)  ## start the lesson's file afresh; what you wrote is kept
	@$(PY) -m lessons.course reset $*

progress: $(READY)  ## the whole course at a glance
	@$(PY) -m lessons.course progress

break-03: $(READY)  ## something is wrong with this copy of the model: find it
	@$(PY) -m lessons.breaks

## Models and data
grok: $(READY)  ## a network learns addition before your eyes, in two minutes
	@$(PY) -m lessons.grok

mnist: $(READY)  ## fetch the handwritten digits once, for lesson-00 DATA=mnist
	@$(PY) -m weights.mnist

weights: $(READY)  ## fetch GPT-2's weights once, checksums held (MODEL=gpt2-medium: another)
	@$(PY) -m minimech fetch $(or $(MODEL),gpt2)

verify: $(READY)  ## published numbers against this implementation (MODEL=gpt2: the real one)
	@$(PY) -m minimech verify

bench: $(READY)  ## how fast, as ratios measured in one run
	@$(PY) tests/bench.py

## The clone
setup: $(READY)  ## the packages, in .venv (every other target does this by itself)
	@$(PY) .ci/env.py report

test: lint  ## style, then all tests, with no network
	@$(PY) -m pytest -q --durations=8

lint: $(READY)  ## style alone
	@$(PY) -m ruff check --output-format=concise && $(PY) -m ruff format --check

prove: $(READY)  ## do the exercises' checks catch what they should?
	@$(PY) -m lessons.course prove

clean:  ## remove out/ and caches; .venv, weights and your exercises stay
	@rm -rf out .pytest_cache .ruff_cache build *.egg-info
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# Its stamp comes last, so a setup that was cut short is never taken for a finished one. `gone` is a
# .venv whose Python no longer runs, as after an upgrade of the system's.
.venv/ready: constraints.txt pyproject.toml $(if $(realpath .venv/bin/python),,gone)
	@command -v "$(PYTHON)" >/dev/null || { echo 'There is no $(PYTHON) here; Python 3.11 or newer' \
	  'is needed. Under another name: make setup PYTHON=python3.12' >&2; exit 1; }
	@"$(PYTHON)" .ci/env.py setup
