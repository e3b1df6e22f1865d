# make help lists the targets. PYTHON chooses the interpreter that .venv is made with.
PYTHON ?= python3
BIN := .venv/bin
# uv is faster, where it is installed
UV := $(shell command -v uv)
INSTALL := $(if $(UV),uv pip install --python .venv,$(BIN)/python -m pip install) --quiet --constraint constraints.txt

.PHONY: help setup train test test-fast new test-resume bench check docs format clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

setup: .venv/installed ## .venv with the pinned dependencies and this project, editable

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make setup PYTHON=python3.12")'
	$(if $(UV),uv venv --quiet --seed --allow-existing --python $(PYTHON) .venv,$(PYTHON) -m venv .venv)
	$(INSTALL) torch
	$(INSTALL) --editable '.[dev]'
	@touch $@

train: setup ## the quickstart: MiniLM on movie reviews, a few minutes on a laptop
	$(BIN)/python train.py $(ARGS)

test: setup ## the whole suite, on up to four cores
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal $(ARGS)

test-fast: setup ## what needs no training, in a minute or two, for people at work
	$(BIN)/python -m pytest -n logical --maxprocesses 4 -m 'not (matrix or slow)' $(ARGS)

new: setup ## a project of your own in projects/: make new NAME=acme_reviews
	@test -n "$(NAME)" || { echo "Which name? make new NAME=acme_reviews"; exit 1; }
	$(BIN)/lightune new projects/$(NAME) --source .
	$(INSTALL) --no-deps --editable projects/$(NAME)

test-resume: setup ## every way to stop a run and go on with it, half an hour
	$(BIN)/python -m pytest -m matrix -v $(ARGS)

bench: setup ## training speed beside the Trainer's: make bench DATA=FOLDER_OF_IMDB
	@test -n "$(DATA)" || { echo "Which data? make bench DATA=FOLDER, with text and label in the Hub's layout"; exit 1; }
	$(INSTALL) --editable '.[bench]'
	$(BIN)/python benchmarks/speed.py $(DATA) $(ARGS)

check: setup ## format, lint, types and layers, as CI does
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: setup ## the documentation as pages in site/; a dead link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: setup ## put the code in its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove .venv and caches; runs in outputs/ and multirun/ stay
	rm -rf .venv site .mypy_cache .ruff_cache .pytest_cache
