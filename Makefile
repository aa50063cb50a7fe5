# One environment, made once from the pinned set and reused. CPU builds of torch need nothing but pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A failed run must fail the target, though its output goes through a filter.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
# Small models: threads that wait for each other cost more than they bring.
export OMP_NUM_THREADS ?= 1
JOBS ?= 2
SEEDS := 0 1 2
KILLS ?= 100
METHODS := random entropy coreset badge prob_cover typiclust saal saal_kmeans saal_badge learning_loss lplgrad \
  mc_dropout bald batch_bald query_by_committee core_gcn uncertain_gcn vaal_small sraal_small
# Those of the methods that are run with SAM training too.
SAM := saal

.PHONY: help demo test test-slow kills lint bench fashion clean
help:
	@echo "make demo       SAAL beside Random on scikit-learn's digits, 3 seeds: a table and a picture (minutes)"
	@echo "make test       the tests          make test-slow   the slow ones too"
	@echo "make kills      small campaigns killed at KILLS=$(KILLS) points all over, resumed and compared bit by bit (minutes)"
	@echo "make lint       ruff, mypy, import-linter"
	@echo "make bench      exact per-sample scores, and selectors, beside other ways to them"
	@echo "make fashion    the small Fashion-MNIST recipe by every method, 3 seeds (hours on 2 cores; METHODS='saal random' SAM=)"

$(BIN)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# $(call campaigns,METHODS,FOLDER,COMMAND): every method with every seed, JOBS at a time, a line a round on the screen and
# the rest in FOLDER/METHOD/seed_N.log. Runs that were finished before are not run again: --resume returns their history.
define campaigns
@for method in $(1); do mkdir -p $(2)/$$method; for seed in $(SEEDS); do echo $$method $$seed; done; done | \
xargs -P $(JOBS) -L 1 bash -o pipefail -c '$(BIN)/lightning-al run $(3) \
  --loop.seed=$$1 --loop.dirpath=$(2)/$$0/seed_$$1 --resume 2>&1 | tee $(2)/$$0/seed_$$1.log | \
  sed -un "s/^\(round\|finished\|.*Error\)/$$0 seed $$1: \1/p" || { tail -n 20 $(2)/$$0/seed_$$1.log; exit 1; }'
$(BIN)/lightning-al compare $(2)
endef

demo: $(BIN)/installed
	$(call campaigns,SAAL Random,runs/demo,-c recipes/quickstart.yaml --trainer.callbacks=$$0)

fashion: $(BIN)/installed
	$(call campaigns,$(METHODS),runs/fashion_mnist/small,-c recipes/fashion_mnist/small.yaml -c recipes/acquisitions/$$0.yaml)
	$(if $(SAM),$(call campaigns,$(SAM:=_sam_small),runs/fashion_mnist/small,-c recipes/fashion_mnist/small.yaml \
	  -c recipes/acquisitions/$${0%_sam_small}.yaml -c recipes/training/sam_small.yaml))

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

lint: $(BIN)/installed
	$(BIN)/ruff check lightning_al tests
	$(BIN)/ruff format --check lightning_al tests
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV)
