# Every target makes its own .venv first; nothing has to be done by hand.
#   make demo ARGS=--keep     make test ARGS="-k buffer"     make accept TOPIC=main-job
SHELL := /bin/bash
BIN := .venv/bin
TOPIC ?= main-job
ARGS ?=
PARTS ?=
TEST_PARTS := kafka
.DEFAULT_GOAL := help
.PHONY: help bootstrap provision demo test accept lint format hooks bench docs wheel clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

bootstrap:
	@tools/bootstrap

demo: bootstrap ## a simulated run, streamed through the whole system on this machine
	@$(BIN)/lclstream demo $(ARGS)

test: bootstrap ## every test, the quick ones first
	@tools/provision $(TEST_PARTS) || echo "going on: the tests that need it will skip"
	$(BIN)/pytest $(ARGS)

accept: bootstrap ## the acceptance tests of a TOPIC, with their figures
	$(BIN)/pytest tests/acceptance/$(subst -,_,$(TOPIC)) -s -v $(ARGS)

provision: ## system packages; PARTS="psana slurm kafka postgresql chromium"
	@tools/provision $(PARTS)

lint: bootstrap ## lock file, format, lint, types, layers
	@tools/lint

format: bootstrap ## put every file into the one format
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

hooks: bootstrap ## run the gates before every commit
	$(BIN)/prek install

bench: bootstrap ## every benchmark, beside the peers that are here
	@for program in benchmarks/*.py; do echo "== $$program"; $(BIN)/python $$program $(ARGS) || exit 1; done

docs: bootstrap ## the documentation, into docs/_build/html
	@$(BIN)/sphinx-build --fail-on-warning --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

wheel: bootstrap ## the distribution, into dist/
	@rm -rf dist && tools/uv build --quiet --wheel --out-dir dist

clean: ## remove what builds and runs left behind, but not .venv
	@rm -rf build dist docs/_build .pytest_cache .ruff_cache .import_linter_cache .hypothesis .demo .airflow
