# With Python 3.11 or newer, make and a package index, every target works in a fresh clone, any number of times.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test format docs model clean

help:  ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/demo  ## make .venv, install, and run every step on photographs that come with dependencies: see demo/report.html
	$(BIN)/blurgate demo --output demo --overwrite

test: .venv/test  ## make .venv, install, and run format check, lint, types, tests and doctests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest

format: .venv/test  ## format the code and fix what lint can fix
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: .venv/test  ## regenerate docs/commands.md from --help, and docs/gallery.md
	$(BIN)/python docs/write_commands.py
	$(BIN)/python docs/write_gallery.py

DATA ?= ../shared/data
WORK ?= work
PLAN ?= research

model: .venv/net  ## make the shipped model again from the photos in DATA (about four hours on two cores)
	$(BIN)/python models/make_default.py $(DATA) --work $(WORK) --plan $(PLAN) --output src/blurgate/judging/shipped/default.blurgate
	$(BIN)/python models/make_explainer.py $(DATA)/train --work $(WORK) --plan $(PLAN) --into src/blurgate/judging/shipped/default.blurgate

clean:  ## remove .venv and all that was made in it
	rm -rf .venv demo dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/pip:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, %s is %s: name one, as in make PYTHON=python3.12 $(MAKECMDGOALS)" % (sys.executable, sys.version.split()[0]) if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip
	@touch $@

.venv/demo: .venv/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	@touch $@

.venv/test: .venv/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,blurgenerator,parquet,fast,heif,serve,remote,ray]' --group dev
	@touch $@

.venv/net: .venv/test
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(shell grep '^torch==' constraints.txt)
	@touch $@
