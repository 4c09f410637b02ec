# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
EXTRAS ?= dev,docs,age,backbones,identity,insightface,review
BIN := $(VENV)/bin
PIP := -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)

.PHONY: help setup demo test test-slow test-ray lint format docs screenshots bench wheel wheel-check pythons clean

help:
	@echo "make demo         set up, then the whole main job on drawn faces (minutes)"
	@echo "make test         set up, then the tests"
	@echo "make test-slow    the tests that take minutes each"
	@echo "make test-ray     the tests of --engine ray, with its extra"
	@echo "make lint         ruff, mypy, import-linter"
	@echo "make docs         build the site into build/site; a warning is an error"
	@echo "make screenshots  take docs/review.png anew; SHOTS=folder takes every page in every size too"
	@echo "make bench        benchmarks, as ratios measured side by side"
	@echo "make pythons      resolve wheels for Python 3.11 to 3.13"
	@echo "make wheel-check  build the wheel, install it alone, run the small demo from an empty folder"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); this takes minutes and prints nothing."
	$(BIN)/python $(PIP) -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

demo: setup
	$(BIN)/agebench demo

test: setup # one thread a test process: OpenMP's, waiting for a core, would take it from the other
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m "not slow" -n auto --dist worksteal --durations 20

test-slow: setup
	$(BIN)/python -m pytest -m slow

test-ray: setup
	$(BIN)/python $(PIP) -c constraints.txt -e '.[$(EXTRAS),ray]'
	$(BIN)/python -m pytest -m slow tests/curation/observing/test_ray_engine.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

screenshots: setup # needs chromium
	$(BIN)/python docs/screenshots.py $(SHOTS)

bench: setup
	@for file in tests/benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

wheel: setup
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

wheel-check: wheel
	rm -rf build/alone && mkdir -p build/alone/empty
	$(PYTHON) -m venv build/alone/venv
	build/alone/venv/bin/python $(PIP) -c constraints.txt dist/*.whl
	cd build/alone/empty && ../venv/bin/agebench demo --small

pythons: setup
	$(BIN)/python $(PIP) uv
	for v in 3.11 3.12 3.13; do $(BIN)/uv pip compile --quiet --no-header --only-binary :all: --python-version $$v \
		-c constraints.txt pyproject.toml -o build/resolved-$$v.txt && echo "Python $$v: every dependency has a wheel"; done

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
