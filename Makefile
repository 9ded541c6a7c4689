# `make` lists the targets. Every one that needs the environment sets it up first, once per change of the lock file.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Test processes. They share one database server; a file of tests, which has a database of its own, stays in one of them.
# Half of the time of a test is waiting for a process, a timeout or a disk, so there is one more than processors.
WORKERS ?= 3
# `make check` measures coverage and keeps its floor; it costs a third of the time.
COVERAGE ?=
EXAMPLES := examples/support_faq.csv examples/error_codes.jsonl examples/policies.json

# 5 is pytest's exit code for "no test matches".
any_test_marked = $(BIN)/pytest -m $(1) --collect-only -qq >/dev/null 2>&1; [ $$? -ne 5 ]

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-recovery test-system campaign check format lock clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## create .venv from requirements.lock
	@# Bytecode for a quick start, whatever PYTHONDONTWRITEBYTECODE says; a syntax error is the linter's to report.
	@$(BIN)/python -m compileall -qq helix_pipelines || true

$(INSTALLED): requirements.lock pyproject.toml setup.py
	@[ -x $(BIN)/pip ] || .ci/make-venv "$(PYTHON)" $(VENV)
	@echo "Installing the locked packages into $(VENV) (once per lock file, 1-3 minutes) ..."
	@$(BIN)/pip install -qq --disable-pip-version-check --only-binary :all: --require-hashes -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## import the example files of three formats, then search them
	$(BIN)/helix import $(EXAMPLES) --collection demo
	$(BIN)/helix search "I forgot my password, what now?" -k 3 --collection demo
	$(BIN)/helix search "what does HX-4102 mean?" -k 3 --collection demo
	$(BIN)/helix search "Wie viele Urlaubstage habe ich im Jahr?" -k 3 --collection demo
	$(BIN)/helix status

test: setup ## the tests
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(COVERAGE)

test-recovery: setup ## kills, outages and shared budgets
	$(BIN)/pytest -m "recovery and alone and not campaign"
	@# Most of their time is waiting for processes and leases.
	$(BIN)/pytest -m "recovery and not alone and not campaign" -n 2 --dist loadfile --no-loadscope-reorder

test-system: setup ## the tests that need root and Debian packages (a browser, LibreOffice)
	@if ! { $(call any_test_marked,system); }; then echo "No test is marked system."; exit 0; fi; \
	if [ "$$(id -u)" -ne 0 ]; then echo "make test-system installs Debian packages: run it as root." >&2; exit 1; fi; \
	set -e; \
	if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null || ! command -v soffice >/dev/null; then \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
			chromium chromium-driver libreoffice-calc-nogui; \
	fi; \
	$(BIN)/pytest -m system

campaign: setup ## long kill, fuzz and soak runs
	@if ! { $(call any_test_marked,campaign); }; then echo "No test is marked campaign."; exit 0; fi; \
	$(BIN)/pytest -m campaign --timeout=0

check: setup ## format, lint, types, Dagster's definitions, then the tests with the coverage floor
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@# In an empty DAGSTER_HOME: dagster.yaml, which would be found here, needs a database.
	@home=$$(mktemp -d) && trap "rm -rf $$home" EXIT && echo "$(BIN)/dagster definitions validate -w workspace.yaml" && \
	DAGSTER_HOME=$$home $(BIN)/dagster definitions validate -w workspace.yaml
	$(MAKE) --no-print-directory test COVERAGE="--cov --cov-report=term"

format: setup ## format the code and apply the linter's safe fixes
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lock: setup ## write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--no-strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --quiet --output-file requirements.lock

clean: ## remove the environment and caches; the data in var/ stays
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find helix_pipelines helix_pipelines_tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
