# make quickstart   from nothing to a better model, on a CPU, in minutes
# make test         everything the software promises
# make docs         a page for every method, from the recipes and the code (docs/methods)
# make parity       losses and gradients of other systems, by their own code, against ours (docs/parity.md)
PYTHON ?= python3
RECIPE ?= examples/quickstart.py

.PHONY: quickstart test docs parity lint format clean

quickstart: .venv/.installed
	.venv/bin/groupwise run $(RECIPE)

test: .venv/.installed-dev
	.venv/bin/python -m pytest -n 2 --dist loadfile

docs: .venv/.installed-dev
	.venv/bin/python benchmarks/method_docs.py

parity: .venv-parity/.installed
	PYTHONPATH=src .venv-parity/bin/python benchmarks/parity

lint: .venv/.installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: .venv/.installed-dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv .venv-parity build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

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

.venv-parity/.installed: benchmarks/parity/requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Groupwise needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv-parity
	.venv-parity/bin/pip install --quiet --upgrade pip
	.venv-parity/bin/pip install --quiet "torch>=2.11,<2.14"
	.venv-parity/bin/pip install --quiet --requirement benchmarks/parity/requirements.txt
	.venv-parity/bin/pip install --quiet --no-deps "trl==1.16.*" "verl==0.9.*" "openrlhf==0.11.*"
	touch $@
