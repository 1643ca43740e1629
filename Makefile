# `make demo` and `make test` are all a newcomer needs; both set up what is missing first.
#
#   make demo       generate a video with its cameras, reconstruct a real clip, print where both are
#   make test       lint, type check and all tests but the slow ones
#   make test-all   the same with the slow tests
#   make setup      only the virtual environment in .venv;  PYTHON=python3.12 picks another interpreter
#   make format     bring the sources into shape

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Set up again only when one of the files behind it has changed.
READY := $(VENV)/.ready

# OpenMP threads that spin while they wait cost a busy machine several times the run time.
export GOMP_SPINCOUNT := 0
# The type checker comes with the environment: no look for a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help setup demo test test-all lint types format

help:
	@sed -n 's/^#   //p' Makefile

$(READY): pyproject.toml constraints.txt .ci/setup
	@.ci/setup $(VENV) $(PYTHON)
	@touch $@

setup: $(READY)

demo: setup
	@$(BIN)/jog3r demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: setup
	$(BIN)/pyright

# As many processes as cores, four at most, each with one thread; a file's tests stay together, with what they share.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile

test: lint types
	$(PYTEST)

test-all: lint types
	$(PYTEST) --run-slow

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
