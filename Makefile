# Everything happens in $(VENV), which the targets make for themselves; nothing needs root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PINNED ?=
OLDEST ?=
NEWEST ?=
REFERENCE ?= $(LATENTGEN_CI)
PYTEST_ARGS ?=
WORKERS ?= 2
WHEELS ?= build/wheels
ACCELERATOR_ARGS ?=
FROM_WHEEL := build/wheel-check
BENCHMARKS := training importance_sampling frechet population sweeps reading startup overhead growth \
	convolution

# The virtual environment is ours alone: another one may be active, or PYTHONPATH set.
# Bytecode is kept: without it each process of the tests compiles the package anew.
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH PYTHONDONTWRITEBYTECODE
export PIP_REQUIRE_VIRTUALENV := 1
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

KIND := $(if $(PINNED),pinned,$(if $(OLDEST),oldest,$(if $(NEWEST),newest,free)))
CONSTRAINTS := $(if $(filter-out free,$(KIND)),-c experiments/$(KIND).txt)
TESTED := $(VENV)/.stamp-$(if $(REFERENCE),reference,dev)-$(KIND)
AT_ONCE := $(if $(filter-out 1,$(WORKERS)),-n $(WORKERS) --dist loadfile --no-loadscope-reorder)
PYTEST = $(BIN)/python -m pytest $(AT_ONCE)
INSTALL = $(BIN)/python -m pip install --quiet $(CONSTRAINTS)
# Tests of make check: those that import no command and no benchmark.
STATIC := test_project and not (a_command or a_log or slurm or study) or test_versions \
	or a_document_points_to or readme_is_short

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help run install test test-long check lint style format docs bench accelerator wheels \
	wheel-check ledger clean

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PINNED=1 installs the exact versions of experiments/pinned.txt"
	@echo "  NEWEST=1 installs those of experiments/newest.txt, on Python 3.13"
	@echo "  OLDEST=1 installs the oldest versions that are supported, experiments/oldest.txt"
	@echo "  PYTHON=python3.12 chooses the Python (3.11 or newer)"
	@echo "  PYTEST_ARGS='-k kl' narrows the tests, PYTEST_ARGS=-x ends them at the first failure"
	@echo "  WORKERS=1 runs one test file at a time, for one core and 4 GiB of memory (2)"
	@echo "  REFERENCE=1 installs PyTorch, torch-fidelity and lpips-jax too, which some tests compare with"
	@echo "  BENCHMARKS='training frechet' narrows make bench; figures go to runs/benchmarks/"

run: $(VENV)/.stamp-base-$(KIND) ## Train a VAE and a GAN on the embedded digits; say where the pictures are
	$(BIN)/python -m latentgen.run --config experiments/vae.py --workdir runs/vae
	$(BIN)/python -m latentgen.run --config experiments/gan.py --workdir runs/gan
	@echo
	@echo "Pictures:"
	@for method in vae gan; do ls runs/$$method/samples/step_*.png | tail -n 1; done

install: $(TESTED) ## Install what the tests need, all that needs a package registry

test: $(TESTED) ## Run the tests: every unit, every promise once; ten minutes on two cores
	$(PYTEST) -m "not long" $(PYTEST_ARGS)

test-long: $(TESTED) ## Run the others: every variant, browsers, Slurm, many devices, many kills
	$(PYTEST) -m long $(PYTEST_ARGS)

check: style ## Check style, types, layers and documents before a commit: 7 seconds, 25 at first
	$(BIN)/python -m pytest -q -k "$(STATIC)" \
		tests/test_project.py tests/test_readme.py tests/test_versions.py

lint: style ## Check style and format, and types as on Linux and on macOS
	$(BIN)/python -m mypy --platform darwin --cache-dir .mypy_cache/darwin latentgen

style: $(VENV)/.stamp-dev-$(KIND) ## Check style and format, and types as on Linux
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy --platform linux latentgen

format: $(VENV)/.stamp-dev-$(KIND) ## Format the code, and mend what lint can mend
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

docs: $(VENV)/.stamp-docs-$(KIND) ## Write the pages of the API, build/docs/index.html; 20 seconds
	rm -rf build/docs
	$(BIN)/python -W error::UserWarning .ci/docs build/docs

bench: $(VENV)/.stamp-benchmark-$(KIND) ## Run every benchmark against other libraries
	set -e; for name in $(BENCHMARKS); do \
		echo "== $$name"; \
		$(BIN)/python -m experiments.benchmarks.$$name --json runs/benchmarks/$$name.json; done

accelerator: $(VENV)/.stamp-$(if $(shell command -v nvidia-smi),cuda,base)-$(KIND) ## Check and time latentgen on a GPU, beside PyTorch if there (8 minutes)
	$(BIN)/python -m experiments.benchmarks.accelerator $(ACCELERATOR_ARGS)

wheels: $(VENV)/.stamp-base-$(KIND) ## Fetch what make accelerator needs on a machine without a registry
	$(BIN)/python -m experiments.benchmarks.accelerator --fill-wheels $(WHEELS)

wheel-check: ## Build the sdist, the wheel from it, and train from that alone; a minute and 1.1 GB
	rm -rf $(FROM_WHEEL)
	mkdir -p $(FROM_WHEEL)/empty
	$(PYTHON) -m venv $(FROM_WHEEL)/tools
	$(FROM_WHEEL)/tools/bin/python -m pip install --quiet build
	$(FROM_WHEEL)/tools/bin/python -m build --outdir $(FROM_WHEEL)/dist .
	$(PYTHON) -m venv $(FROM_WHEEL)/venv
	$(FROM_WHEEL)/venv/bin/python -m pip install --quiet $(CONSTRAINTS) $(FROM_WHEEL)/dist/*.whl
	cd $(FROM_WHEEL)/empty && ../venv/bin/python -m latentgen.run --config=latentgen:vae \
		--config.steps=2 --workdir=run
	cd $(FROM_WHEEL)/empty && ../venv/bin/latentgen report run
	cp experiments/extending/*.py $(FROM_WHEEL)/empty
	cd $(FROM_WHEEL)/empty && ../venv/bin/latentgen run config.py --config.steps=20 --workdir=own
	cd $(FROM_WHEEL)/empty && ../venv/bin/latentgen evaluate --workdir=own --metrics=contrast
	cd $(FROM_WHEEL)/empty && ../venv/bin/python -c \
		"import latentgen; print(latentgen.load('own').sample(3).shape)"
	rm -rf $(FROM_WHEEL)/tools $(FROM_WHEEL)/venv
	@ls $(FROM_WHEEL)/dist/*

ledger: $(VENV)/.stamp-base-$(KIND) ## Write the table of baselines into experiments/baselines/README.md
	$(BIN)/python -m latentgen.reproduce --ledger experiments/baselines/README.md

clean: ## Delete the virtual environment and the caches; runs/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist
	find latentgen experiments tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says: this extra was installed from this pyproject.toml: free, pinned,
# newest or oldest.
$(VENV)/.stamp-base-%: $(VENV)/.stamp-venv pyproject.toml \
	experiments/pinned.txt experiments/newest.txt experiments/oldest.txt
	$(INSTALL) -e .
	@rm -f $(filter-out %-$*,$(wildcard $(VENV)/.stamp-*-*)); touch $@

$(VENV)/.stamp-dev-%: $(VENV)/.stamp-base-%
	$(INSTALL) -e '.[dev]'
	@touch $@

# torch-fidelity asks for torchvision, which its formulas do not need.
$(VENV)/.stamp-reference-%: $(VENV)/.stamp-dev-%
	$(INSTALL) -e '.[reference,perceptual]'
	$(BIN)/python -m pip install --quiet --no-deps torch-fidelity==0.4.0
	@touch $@

$(VENV)/.stamp-docs-%: $(VENV)/.stamp-base-%
	$(INSTALL) -e '.[docs]'
	@touch $@

$(VENV)/.stamp-benchmark-%: $(VENV)/.stamp-base-%
	$(INSTALL) -e '.[benchmark]'
	@touch $@

$(VENV)/.stamp-cuda-%: $(VENV)/.stamp-base-%
	$(INSTALL) -e '.[cuda]'
	@touch $@

$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "latentgen needs Python 3.11 or newer; choose one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@
