# `make` or `make help` tells what there is.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-slow test-faults check bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

quickstart: $(INSTALLED)  ## run a small study of batch sizes on MNIST, two to three minutes, and report
	$(BIN)/batchgap run quickstart
	$(BIN)/batchgap report quickstart

test: $(INSTALLED)  ## the tests, about ten minutes on two free cores
	$(BIN)/pytest

test-slow: $(INSTALLED)  ## what takes longer: recorded results, every preset at its smallest scale
	$(BIN)/pytest -m slow

test-faults: $(INSTALLED)  ## kills, hangs, full disks and damage, in whole runs
	$(BIN)/pytest -m faults

check: $(INSTALLED)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)  ## what is fast, each beside a peer, as ratios: about three quarters of an hour
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	for name in loop optimizers layers study_cost sharpness hessian spectrum interpolation startup \
			planning scale; do \
		$(BIN)/python benchmarks/$$name.py || exit 1; done

clean:  ## remove the environment; studies/ stays
	rm -rf .venv

# torch comes as the CUDA build, also on a machine without a GPU: several GB, once.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "batchgap needs Python 3.11 or later; try: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv: a few minutes and several GB the first time."
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
