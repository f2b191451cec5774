# make quickstart   from nothing to a better model, on a CPU, in minutes
# make test         everything the software promises
PYTHON ?= python3
RECIPE ?= examples/quickstart.py

.PHONY: quickstart test lint format clean

quickstart: .venv/.installed
	.venv/bin/groupwise run $(RECIPE)

test: .venv/.installed-dev
	.venv/bin/python -m pytest

lint: .venv/.installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: .venv/.installed-dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Groupwise needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --upgrade pip
	.venv/bin/pip install --quiet "torch>=2.11,<2.14"

.venv/.installed: .venv/bin/python pyproject.toml
	.venv/bin/pip install --quiet --editable .
	touch $@

.venv/.installed-dev: .venv/bin/python pyproject.toml
	.venv/bin/pip install --quiet --editable ".[dev]"
	touch $@ .venv/.installed
