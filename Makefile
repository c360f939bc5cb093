# Needs Python >= 3.11, make and git; everything else goes into .venv from the pins in requirements/.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check --no-input

# What may be set on the command line: PYTHON=/path/to/python, WORKERS=4, COVERAGE=1, UPGRADE=1,
# ARGS='-k journal' (for pytest).
PYTHON ?=
WORKERS ?= auto
COVERAGE ?=
UPGRADE ?=
ARGS ?=
SLACK ?= 1.0

CANDIDATES := $(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3 python)
QUICK := not slow and not crash and not fuzz and not browser and not bench
RUN := $(PY) -m $(if $(COVERAGE),coverage run -m)
PYTEST = $(RUN) pytest -n $(WORKERS) --dist loadfile

.PHONY: help picture demo test check quick slow crash lint format bench evidence coverage coverage-report diagram lock clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

picture: $(VENV)/.runtime ## Draws docs/demo.svg, the picture in the README
	@$(BIN)/rollback demo --picture docs/demo.svg

demo: $(VENV)/.runtime ## The whole story, on this machine alone
	@$(BIN)/rollback demo

test: $(VENV)/.dev ## Every test; one whose optional program is missing is skipped and says so
	@$(if $(COVERAGE),$(PY) -m coverage erase)
	@$(PYTEST) $(ARGS)

check: lint quick ## Before each commit: lint and quick tests

quick: $(VENV)/.dev ## The tests that take no time
	@$(PYTEST) -m '$(QUICK)' $(ARGS)

slow: $(VENV)/.dev ## The slow tests and the deep fuzzing
	@$(PYTEST) -m 'slow or fuzz' $(ARGS)

crash: $(VENV)/.dev ## The tests that kill processes
	@$(PYTEST) -m crash $(ARGS)

lint: $(VENV)/.dev ## Style, format, types, import rules
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --check --quiet . || { echo >&2 "Not formatted: run 'make format'"; exit 1; }
	@$(PY) -m mypy
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## Formats the code and mends what ruff can mend
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

bench: $(VENV)/.dev ## Measures how fast off is
	@$(PY) -m tests.bench --slack $(SLACK)

evidence: $(VENV)/.dev ## Simulates how often the gate errs, and writes docs/evidence.md
	@$(PY) -m tests.figures

coverage: $(VENV)/.dev ## Every test, measured, and the gates: 96 % in all, 100 % in the core
	@$(MAKE) test COVERAGE=1
	@$(MAKE) coverage-report

coverage-report: $(VENV)/.dev ## The gates alone, after 'make test COVERAGE=1'
	@$(PY) -m coverage combine --quiet
	@$(PY) -m coverage report
	@$(PY) -m coverage report --include='rollback/core/*' --fail-under=100

diagram: $(VENV)/.runtime ## Draws the states anew from the table of transitions
	@mkdir -p docs
	@$(BIN)/rollback policy diagram > $(VENV)/states.md && mv $(VENV)/states.md docs/states.md

lock: $(VENV)/.made ## Pins again in requirements/; UPGRADE=1 takes newer versions
	@sh requirements/lock $(PY) $(if $(UPGRADE),--upgrade)

clean: ## Removes what was made here
	@rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache \
	  .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment knows its own path: one that came along with a copy of this folder, or whose
# interpreter is gone, is made again.
ifneq ($(shell [ ! -e $(VENV)/.made ] || { [ -x $(PY) ] && [ "$$(cat $(VENV)/.made)" = "$$(pwd)" ]; } || echo stale),)
.PHONY: $(VENV)/.made
endif

# Each candidate is run, not only looked up: some systems have a `python3.x` that is an empty promise.
$(VENV)/.made:
	@for python in $(CANDIDATES); do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$("$$python" --version)"; \
	    "$$python" -m venv --clear $(VENV) && pwd > $@; exit; \
	  fi; \
	done; \
	echo >&2 "No Python >= 3.11 with venv and ensurepip found (tried: $(CANDIDATES))."; \
	echo >&2 "Install one (on Debian also python3-venv), or name it: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3"; \
	exit 1

$(VENV)/.runtime: $(VENV)/.made requirements/runtime.txt pyproject.toml
	@echo "Installing requirements/runtime.txt and rollback"
	@$(PIP) install --require-hashes --requirement requirements/runtime.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# dev.txt holds all of runtime.txt, so both are done.
$(VENV)/.dev: $(VENV)/.made requirements/runtime.txt requirements/dev.txt pyproject.toml
	@echo "Installing requirements/dev.txt and rollback"
	@$(PIP) install --require-hashes --requirement requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.runtime $@
