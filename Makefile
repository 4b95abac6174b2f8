# Everything that is done with this repository. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install console screenshots system-packages run test test-fast lint types fix docs openapi bench faults clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: $(STAMP) console ## Make .venv with the package (editable) and its development and test extras

$(STAMP): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cachefleet needs Python 3.11 or newer (set PYTHON=...)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable . --group dev --group test
	@touch $(STAMP)

console: ## Build the web console, where Node.js is there
	@$(PYTHON) dashboard/build.py

screenshots: install system-packages ## Take the pictures of the console that the documentation shows
	$(BIN)/python -m tests.console.screenshots

system-packages: ## Install the engines and tools that tests need, where apt may be used
	@bash tests/system-packages.sh

run: install ## Serve in the foreground: API and nodes
	$(BIN)/cachefleet serve $(ARGS)

test: install system-packages ## Run all tests
	$(if $(ARGS),$(BIN)/python -m pytest $(ARGS),@bash tests/run.sh)

test-fast: install ## Run the tests that take milliseconds
	$(BIN)/python -m pytest -m "not engine and not slow" $(ARGS)

lint: install ## Check format, style, import contracts and generated files
	@if [ -d dashboard/node_modules ]; then cd dashboard && npm run --silent lint && npm run --silent types; fi
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: install ## Check types, strictly
	$(BIN)/mypy

fix: install ## Format, and fix what can be fixed by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install ## Write the generated parts of the documentation
	$(BIN)/python -m tests.docs.reference

openapi: install ## Write the OpenAPI document and the coverage page
	$(BIN)/python -m cachefleet.api.openapi_file
	$(BIN)/python -m cachefleet.api.coverage

faults: install system-packages ## Run the fault scenarios at length, with 1,000 random rounds
	FAULTS_AT_LENGTH=1 $(BIN)/python -m pytest tests/faults $(ARGS)

bench: install system-packages ## Measure; bench/README.md says what and how
	$(BIN)/python -m bench $(ARGS)

clean: ## Remove what was built
	rm -rf .venv build dist src/*.egg-info src/cachefleet/_console dashboard/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
