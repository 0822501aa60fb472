# make demo | test | lint | bench | report | report-full | clean. Each sets up what it needs in .venv, with the python3 that it finds.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
SOURCES := pyproject.toml setup.py $(wildcard fastnn/kernels/*.[hp]* fastnn/kernels/levels/*.pyx)

.PHONY: demo test lint bench report report-full clean

demo: $(VENV)/.plots
	$(BIN)/fastnn demo --output reports/demo

test: $(VENV)/.test
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint fastnn/kernels
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m pytest bench --benchmark-sort=name $(ARGS)

report: $(VENV)/.bench
	$(BIN)/fastnn report $(ARGS)

report-full: $(VENV)/.bench
	$(BIN)/fastnn report --full $(ARGS)

# One stamp for each set of extras; the kernels are built again when their sources change.
$(VENV)/.%: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

clean:
	rm -rf $(VENV) build dist *.egg-info reports/demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find fastnn -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
