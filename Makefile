PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help demo test test-all bench docs lint mlflow clean

help:  ## Say what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(INSTALLED)  ## Train and evaluate every method on embedded data, then print the table (15 minutes on 2 cores)
	$(BIN)/bench run --protocol demo
	$(BIN)/bench table

test: $(INSTALLED)  ## Run the fast tests
	$(BIN)/pytest

test-all: $(INSTALLED)  ## Run all tests, the slow ones too
	$(BIN)/pytest -m ''

bench: $(INSTALLED)  ## Measure attention, NLM, sampling and scoring; the figures go to results/bench/ (10 minutes, on an idle machine)
	$(BIN)/python tests/bench_attention.py --csv results/bench/attention.csv
	$(BIN)/python tests/bench_nlm.py --csv results/bench/nlm.csv
	$(BIN)/python tests/bench_sampling.py --csv results/bench/sampling.csv
	$(BIN)/python tests/bench_scoring.py --csv results/bench/scoring.csv

docs: $(INSTALLED)  ## Make docs/conventions.md anew (2 minutes; needs ../shared)
	$(BIN)/python docs/make_conventions.py

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
