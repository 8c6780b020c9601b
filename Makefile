PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BROWSER := $(VENV)/.browser
RAY := $(VENV)/.ray
# For a GPU: where gpu-pack/ lies, the machine's own Python with what the pack brings; elsewhere the environment of all.
PACK := gpu-pack
GPU_READY := $(if $(wildcard $(PACK)/wheels),$(PACK)/site,$(INSTALLED))
GPU_PYTHON := $(if $(wildcard $(PACK)/wheels),PYTHONPATH=$(CURDIR)/$(PACK)/site $(PYTHON),$(BIN)/python)
# Tests start hundreds of processes: what one has compiled, the others need not.
unexport PYTHONDONTWRITEBYTECODE
GPU_RUN := timeout 480 env $(GPU_PYTHON)

.PHONY: help demo test test-long test-servers test-browser test-ray test-all faults bench gpu-pack gpu-test gpu-bench gpu-train docs lint mlflow clean

help:  ## Say what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true  # on all cores; pip takes one. Some files fail
	touch $@

$(BROWSER): $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[browser]'
	touch $@

$(RAY): $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[ray]'
	touch $@

demo: $(INSTALLED)  ## Train and evaluate every method on embedded data: a table, a figure, a page (6 minutes on 2 cores)
	$(BIN)/bench run --protocol demo
	$(BIN)/bench table
	$(BIN)/bench figure visual -o results/visual.png
	$(BIN)/bench report -o results/page

test: $(INSTALLED)  ## Run the fast tests, on all cores
	$(BIN)/pytest -n auto --dist worksteal

test-long: $(INSTALLED)  ## Run the other tests that CI runs: whole programs, killed and interrupted, and longer trainings
	$(BIN)/pytest -n auto --dist worksteal -m 'long and not slow and not gpu'

test-servers: $(INSTALLED)  ## Run the tests on an MLflow server on PostgreSQL (apt-get install postgresql; some minutes)
	$(BIN)/pytest -m servers -rs tests/test_servers.py

test-browser: $(BROWSER)  ## Run the tests of the page in Chromium (apt-get install chromium; a minute)
	$(BIN)/pytest -n auto --dist worksteal -m browser -rs tests/test_browser.py

test-ray: $(RAY)  ## Run the tests on Ray clusters of this machine: nodes, workers and drivers killed (some minutes)
	$(BIN)/pytest -m ray -rs tests/test_ray.py

test-all: $(BROWSER) $(RAY)  ## Run all tests, the slow ones too
	$(BIN)/pytest -n auto --dist worksteal -m ''

faults: $(INSTALLED)  ## Three runs at once, then 200 kills, stops, full disks and damaged files (an hour; again: SEED=1)
	PYTHONPATH=tests $(BIN)/python -m faults --trials 12 --faults 200 --lockless 40 --seed $(or $(SEED),0)

bench: $(INSTALLED)  ## Measure training, attention, NLM, sampling, scoring, starts, pairs of trainings, many cells and the page into results/bench/ (50 minutes, on an idle machine)
	$(BIN)/python tests/bench_training.py --csv results/bench/training.csv
	$(BIN)/python tests/bench_outside.py --csv results/bench/outside.csv
	$(BIN)/python tests/bench_precision.py --csv results/bench/precision.csv
	$(BIN)/python tests/bench_attention.py --csv results/bench/attention.csv
	$(BIN)/python tests/bench_nlm.py --csv results/bench/nlm.csv
	$(BIN)/python tests/bench_sampling.py --csv results/bench/sampling.csv
	$(BIN)/python tests/bench_scoring.py --csv results/bench/scoring.csv
	$(BIN)/python tests/bench_start.py --csv results/bench/start.csv
	$(BIN)/python tests/bench_parallel.py --csv results/bench/parallel.csv
	$(BIN)/python tests/bench_many.py --csv results/bench/many.csv
	$(BIN)/python tests/bench_page.py --csv results/bench/page.csv

gpu-pack: $(INSTALLED)  ## Fill gpu-pack/ with what a GPU machine without network lacks (Python 3.12, PyTorch there)
	$(BIN)/python tests/gpu_pack.py fill $(PACK)

$(PACK)/site: $(wildcard $(PACK)/wheels)
	$(PYTHON) tests/gpu_pack.py install $(PACK)

gpu-test: $(GPU_READY)  ## On a GPU machine: does it give what the CPU gives? Into results/gpu/, like the next two
	$(GPU_RUN) -m pytest -m gpu -rs -W default tests/test_gpu.py

gpu-bench: $(GPU_READY)  ## On a GPU machine: training speed, share of its peak, attention, bf16 against float32
	$(GPU_RUN) tests/bench_gpu.py

gpu-train: $(GPU_READY)  ## On a GPU machine: a real training on real people
	$(GPU_RUN) tests/gpu_train.py

docs: $(BROWSER)  ## Make the computed parts of docs/ and results/reference/ again (5 minutes; two pages need ../shared)
	$(BIN)/python docs/make_records.py
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_statistics.py
	$(BIN)/python docs/make_protocols.py
	$(BIN)/python docs/make_conventions.py
	$(BIN)/python docs/make_null_space.py
	$(BIN)/python docs/make_gallery.py
	$(BIN)/python docs/make_page.py

lint: $(INSTALLED)  ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	rm -rf .typed build && $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target .typed .
	cd .typed && ../$(BIN)/mypy --config-file ../pyproject.toml -p mrsr_bench

mlflow: $(INSTALLED)  ## Serve MLflow's page on the runs in results/
	@echo 'Open http://127.0.0.1:5000/#/experiments?workflowType=machine_learning'
	$(BIN)/mlflow server --backend-store-uri sqlite:///results/mlflow.db --host 127.0.0.1 --port 5000

clean:  ## Remove the environment and what tools left; results stay
	rm -rf $(VENV) .typed build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
