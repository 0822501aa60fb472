# make demo | test | lint | bench | report | report-full | gpu | clean. Each sets up what it needs in .venv, with the
# python3 that it finds.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
SOURCES := pyproject.toml setup.py $(wildcard fastnn/kernels/*.[hp]* fastnn/kernels/levels/*.pyx)

.PHONY: demo test lint bench report report-full gpu clean

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

# Where there is a GPU (CUDA=cuda13 for CUDA 13): the array backend's tests on it, and a report against PyTorch there.
CUDA ?= cuda12
gpu: $(VENV)/.test $(VENV)/.bench $(VENV)/.$(CUDA)
	$(BIN)/python -c "from fastnn.backends.array import array_module; array_module('cupy')"
	$(BIN)/python -m pytest -q -k cupy
	$(BIN)/python -m pytest -q bench/test_gpu.py --benchmark-json reports/gpu.json $(ARGS)
	$(BIN)/fastnn report reports/gpu.json

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
