# One environment, made once from the pinned set and reused. CPU builds of torch need nothing but pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Small models: threads that wait for each other cost more than they bring.
export OMP_NUM_THREADS ?= 1
JOBS ?= 2
DEMO := runs/demo
SEEDS := 0 1 2

.PHONY: help demo test test-slow lint bench fashion clean
help:
	@echo "make demo       SAAL beside Random on scikit-learn's digits, 3 seeds: a table and a picture (minutes)"
	@echo "make test       the tests          make test-slow   the slow ones too"
	@echo "make lint       ruff, mypy, import-linter"
	@echo "make fashion    the Fashion-MNIST small recipes, 3 seeds (half an hour on 2 cores)"

$(BIN)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# Runs that were finished before are not run again: --resume returns their history.
demo: $(BIN)/installed
	@for seed in $(SEEDS); do for method in SAAL Random; do echo $$method $$seed; done; done | \
	xargs -P $(JOBS) -L 1 sh -c '$(BIN)/lightning-al run -c recipes/quickstart.yaml \
	  --trainer.callbacks=$$0 --loop.seed=$$1 --loop.dirpath=$(DEMO)/$$0/seed_$$1 --resume 2>&1 | \
	  sed -n "s/^\(round\|finished\|.*Error\)/$$0 seed $$1: \1/p"'
	$(BIN)/lightning-al compare $(DEMO)

FASHION := random entropy saal saal_kmeans saal_sam
fashion: $(BIN)/installed
	@for seed in $(SEEDS); do for method in $(FASHION); do echo $$method $$seed; done; done | \
	xargs -P $(JOBS) -L 1 sh -c '$(BIN)/lightning-al run -c recipes/fashion_mnist/small/$$0.yaml \
	  --loop.seed=$$1 --loop.dirpath=runs/fashion_mnist_small/$$0/seed_$$1 --resume 2>&1 | \
	  sed -n "s/^\(round\|finished\|.*Error\)/$$0 seed $$1: \1/p"'
	$(BIN)/lightning-al compare runs/fashion_mnist_small

test: $(BIN)/installed
	$(BIN)/python -m pytest -n $(JOBS)

test-slow: $(BIN)/installed
	$(BIN)/python -m pytest -n $(JOBS) -m "slow or not slow"

lint: $(BIN)/installed
	$(BIN)/ruff check lightning_al tests
	$(BIN)/ruff format --check lightning_al tests
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) runs
