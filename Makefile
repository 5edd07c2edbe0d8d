# make demo: the main job on the embedded sample.   make test: everything, with real contracts on a local chain.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
OUT ?= out

.PHONY: demo test fast-test check format devnet sample lock bench clean

demo: .venv/run.stamp ## set up and run the main job on the embedded sample
	$(BIN)/defi-leverage run --output $(OUT)

test: .venv/dev.stamp devnet ## every test, with real contracts on anvil
	$(BIN)/python -m pytest -n 2 --dist loadfile

fast-test: .venv/dev.stamp ## the tests that need neither Node nor the chain
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not devnet"

check: .venv/dev.stamp ## style, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

devnet: .venv/dev.stamp ## fetch anvil and the contracts' bytecode from npm and PyPI
	$(BIN)/python tests/devnet/fetch.py

sample: .venv/dev.stamp devnet ## record the embedded sample again: same seed, same bytes
	$(BIN)/python -m tests.devnet.record_sample

bench: .venv/dev.stamp ## how fast, as ratios measured in one run
	mkdir -p $(OUT)
	$(BIN)/python -m tests.benchmarks.bench --output $(OUT)/bench.json
	$(BIN)/python -m tests.benchmarks.bench_graph --output $(OUT)/bench_graph.json
	$(BIN)/python -m tests.benchmarks.bench_clusters --output $(OUT)/bench_clusters.json

lock: .venv/dev.stamp ## pin what .venv installs
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --extra plots --extra build -o .ci/requirements.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --extra plots --extra build --extra dev -o .ci/requirements-dev.txt pyproject.toml

clean:
	rm -rf .venv $(OUT) build dist tests/devnet/node_modules tests/devnet/packages tests/devnet/cache

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv

.venv/run.stamp: .ci/requirements.txt pyproject.toml | .venv/bin/python
	$(PIP) install --require-hashes -r .ci/requirements.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	touch $@

.venv/dev.stamp: .ci/requirements-dev.txt pyproject.toml | .venv/bin/python
	$(PIP) install --require-hashes -r .ci/requirements-dev.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	touch $@ .venv/run.stamp
