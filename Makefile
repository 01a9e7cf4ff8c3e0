# Every target works from a fresh clone with Python 3.11 or newer, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test lint soak faults

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
	$(BIN)/python -m pytest -m 'not soak' --ignore tests/faults -n 3 --dist loadfile --cov --cov-report=term

soak: install
	$(BIN)/python -m pytest -m soak --ignore tests/faults --timeout=1500 || test $$? -eq 5

# Not part of `make test` yet: what is survived, and a run with faults at random.
faults: install
	$(BIN)/python -m pytest tests/faults --timeout=600
