# make quickstart   a complete search on real data on this computer: report and exported winner
# make test         lint, types, import rules, tests
# make test-emulated  tests on an emulated 64-bit Arm board, which is built first (Debian or Ubuntu)

PYTHON ?= python3
# one thread per process: the matrices are small, and tests run in two processes
export OMP_NUM_THREADS ?= 1
# what tests need; executorch beside it takes 300 MB, and its tests are skipped without it
EXTRAS ?= dev
BIN := .venv/bin

.PHONY: quickstart test test-emulated lint format clean

quickstart: .venv/installed
	$(BIN)/hwnas search experiments/quickstart.yaml $(if $(wildcard runs/quickstart/manifest.json),--resume)
	rm -rf runs/quickstart/export
	$(BIN)/hwnas export runs/quickstart

test: .venv/installed-$(EXTRAS) lint
	$(BIN)/pytest -n 2 --dist loadfile -m 'not emulated and not alone'
	$(BIN)/pytest -m alone

test-emulated: .venv/installed-$(EXTRAS)
	$(BIN)/pytest -m emulated tests/emulated

lint: .venv/installed-$(EXTRAS)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed-$(EXTRAS)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv runs predictors dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@command -v cc >/dev/null || \
	  { echo "A C compiler is needed: TVM links its code with it. Install one, such as Debian's package g++."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/installed-$(EXTRAS): pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	touch $@ .venv/installed
