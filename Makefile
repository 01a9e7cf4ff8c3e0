# Every target works from a fresh clone with Python 3.11 or newer, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test lint soak chaos bench

# The stamp makes a second `make install` cost nothing until the requirements change.
install: $(VENV)/installed
$(VENV)/installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "datarun needs Python 3.11 or newer; name one: make PYTHON=python3.13 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/datarun demo

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -m 'not soak' -n 3 --dist loadfile --cov --cov-report=term

soak: install
	$(BIN)/python -m pytest -m soak --timeout=1500 || test $$? -eq 5

# Everything breaks at random; the tests hold a short run and three long ones.
SEED ?= 1
FOLDS ?= 500
FAULTS ?= 100
chaos: install
	$(BIN)/python -m tests.faults.chaos --seed $(SEED) --folds $(FOLDS) --faults $(FAULTS)

# QUICK=1 leaves out the slow peers and compares with benchmarks/reference.json; SAVE=1 with it makes
# a new one. README=1 puts the table of folds into README.md. BENCHES='folds latency' runs those.
bench: $(VENV)/benched
	$(BIN)/python -m benchmarks $(BENCHES) $(if $(QUICK),--quick) $(if $(SAVE),--save-reference) \
	  $(if $(README),--readme) $(if $(REPEATS),--repeats $(REPEATS))
$(VENV)/benched: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@
