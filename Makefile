# One environment, made once from the pinned set and reused. CPU builds of torch need nothing but pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A failed run must fail the target, though its output goes through a filter.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
# Small models: threads that wait for each other cost more than they bring.
export OMP_NUM_THREADS ?= 1
# What Python compiled is kept: else each process of a run of the tests compiles all of them, and the package, anew.
unexport PYTHONDONTWRITEBYTECODE
JOBS ?= 2
SEEDS ?= 0..4
KILLS ?= 100
METHODS := random entropy coreset badge prob_cover typiclust saal saal_kmeans saal_badge learning_loss lplgrad \
  mc_dropout bald batch_bald query_by_committee core_gcn uncertain_gcn vaal_small sraal_small
# Those of the methods that are run with SAM training too.
SAM := saal

.PHONY: help demo test test-slow kills lint bench guard gpu docs pictures fashion clean
help:
	@echo "make demo       five methods on digits with rare classes, 5 seeds: tables, and a report to look at (minutes)"
	@echo "make test       the tests          make test-slow   the slow ones too"
	@echo "make kills      small campaigns killed at KILLS=$(KILLS) points all over, resumed and compared bit by bit (minutes)"
	@echo "make lint       ruff, mypy, import-linter"
	@echo "make bench      exact per-sample scores, selectors and SAM, beside other ways to them"
	@echo "make guard      the same in short, beside the published ratios: printed, not asserted (minutes)"
	@echo "make gpu        all that a GPU should be asked, in under 8 minutes: right, how fast, how large (GPU='--tiny --device cpu': a rehearsal)"
	@echo "make docs       all pages as HTML, into docs/_build/html; examples are run, warnings are errors (minutes)"
	@echo "make pictures   the moving picture of the README"
	@echo "make fashion    the small Fashion-MNIST recipe by every method, 5 seeds (hours on 2 cores; METHODS='saal random' SAM=)"

$(BIN)/installed: pyproject.toml constraints.txt
	@echo "Making $(VENV), an environment of its own: several GB, minutes."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

SWEEP := $(BIN)/lightning-al sweep --seeds $(SEEDS) --jobs $(JOBS)

demo: $(BIN)/installed
	$(SWEEP) -c recipes/quickstart.yaml --methods random,entropy,badge,saal,saal_badge --dirpath runs/demo
	$(BIN)/lightning-al report runs/demo

fashion: $(BIN)/installed
	$(SWEEP) -c recipes/fashion_mnist/small.yaml --methods $(METHODS) $(SAM:=+sam_small)

test: $(BIN)/installed
	$(BIN)/python -m pytest -n $(JOBS)

test-slow: $(BIN)/installed
	$(BIN)/python -m pytest -n $(JOBS) -m "slow or not slow"

kills: $(BIN)/installed
	$(BIN)/python -m tests.reliability.kills $(KILLS)

bench: $(BIN)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python tests/benchmarks/gradients.py
	$(BIN)/python tests/benchmarks/selection.py
	$(BIN)/python tests/benchmarks/sam.py

guard: $(BIN)/installed
	$(BIN)/python tests/benchmarks/guard.py

gpu: $(BIN)/installed
	$(BIN)/python -m tests.gpu $(GPU)

docs: $(BIN)/installed
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env --write-all --quiet docs docs/_build/html
	$(BIN)/python -m pytest -n $(JOBS) -m "slow or not slow" --deselect tests/test_docs_build.py tests/test_docs.py \
	  tests/test_readme.py lightning_al
	@echo "docs/_build/html/index.html"

pictures: $(BIN)/installed
	$(BIN)/python docs/pictures.py

lint: $(BIN)/installed
	$(BIN)/ruff check lightning_al tests docs
	$(BIN)/ruff format --check lightning_al tests docs
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) docs/_build docs/gallery
