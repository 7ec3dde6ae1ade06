# Everything lives in .venv and in chaosd's own cache folder: no root, no system packages, and a second run is quick.
# Another interpreter: make env PYTHON=/path/to/python3.12. A report for CI: make test JUNIT=junit.xml.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JUNIT ?=
JOBS ?= 4
POINTS ?= 100
SEED ?=
PYTEST_ARGS ?=
STACK ?= embedded
INFRASTRUCTURE := test-infrastructure
COMPOSE := docker-compose.test-infrastructure.yml
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help env stack demo test check format bench chaos-self clean constraints \
  test-infrastructure-start test-infrastructure-stop

help:
	@echo "make env      Python environment in $(VENV), with everything chaosd and its tests need"
	@echo "make stack    the real parts (Redis, Kafka, PostgreSQL, Toxiproxy), once, without root or Docker"
	@echo "make demo     both of these, then the first experiment: Redis answers late"
	@echo "make check    format, lint, types, import contracts, tests that need no stack"
	@echo "make test     the whole suite, on the real parts"
	@echo "make format   put the sources into form"
	@echo "make bench    the benchmarks"
	@echo "make chaos-self POINTS=100   kill chaosd's own processes at random moments, and see everything healed"
	@echo "make clean    remove what was built (runs and $(VENV) stay)"
	@echo "make test-infrastructure-start, …-stop   a stack to work with by hand: Redis 6380, Kafka 19092, PostgreSQL 5433"

env: $(STAMP)

# A stamp is written last, so whatever was broken off is done again; pip keeps what it already had.
$(STAMP): pyproject.toml requirements.txt constraints.txt
	@set -eu; \
	usable() { command -v "$$1" >/dev/null 2>&1 && \
	  "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  found=; \
	  for candidate in $(or $(PYTHON),python3.11 python3.12 python3.13 python3); do \
	    if usable "$$candidate"; then found=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "chaosd needs Python 3.11 or newer; tried: $(or $(PYTHON),python3.11 python3.12 python3.13 python3)" >&2; \
	    echo "  remedy: install one, or name it: make env PYTHON=/path/to/python3.12" >&2; exit 2; \
	  fi; \
	  echo "environment: $(VENV) with $$found ($$("$$found" -V))"; \
	  rm -rf $(VENV); \
	  "$$found" -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "$$found cannot make a virtual environment" >&2; \
	    echo "  remedy: install its venv module (Debian: python3-venv), or name another: make env PYTHON=…" >&2; exit 2; }; \
	fi; \
	echo "environment: installing (the first time takes a few minutes)"; \
	$(BIN)/python -m pip install --quiet -r requirements.txt -c constraints.txt; \
	touch $(STAMP)

stack: env
	@$(BIN)/chaosd stack install

demo: env stack
	@$(BIN)/chaosd run experiment redis-latency

# Tests of the real parts mostly wait, so there are more workers than cores; each has a stack of its own. Files in
# their order: the longest first (tests/conftest.py), then all others, of which the unit tests fill the end.
# Compiled once beforehand: the tests start hundreds of processes, and an environment may forbid them to keep bytecode.
# So may it forbid pytest to keep the tests as it rewrote them, which costs every worker seconds in every run.
test: env stack
	@$(BIN)/python -m compileall -q chaosd verifiers
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(if $(JUNIT),--junitxml=$(JUNIT)) $(PYTEST_ARGS)

check: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/unit tests/contracts tests/schemas

format: env
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

# Kills chaosd's own processes at random moments of faults, many times: make chaos-self POINTS=100 SEED=1
chaos-self: env stack
	@$(BIN)/python tests/chaos_self.py --points $(POINTS) $(if $(SEED),--seed $(SEED))

bench: env stack
	@set -e; for file in benchmarks/[!_]*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

# A stack to work with by hand, on ports that stay: embedded, or with STACK=docker the same in containers. The tests
# need neither: each session starts its own on free ports.
test-infrastructure-start: $(if $(filter docker,$(STACK)),,env stack)
ifeq ($(STACK),docker)
	@docker compose -f $(COMPOSE) up -d --wait
else
	@$(BIN)/chaosd stack up --name $(INFRASTRUCTURE) --port-redis 6380 --port-kafka 19092 --port-postgres 5433 \
	  --port-toxiproxy 8474 --port-redis-proxied 26379 --port-kafka-proxied 29092 --port-postgres-proxied 25432
endif

test-infrastructure-stop: $(if $(filter docker,$(STACK)),,env)
ifeq ($(STACK),docker)
	@docker compose -f $(COMPOSE) down -v
else
	@$(BIN)/chaosd stack down $(INFRASTRUCTURE)
endif

# After an upgrade, once the whole suite has passed with it.
constraints: env
	@sed -n '/^#/p' constraints.txt > constraints.txt.new
	@$(BIN)/python -m pip freeze --exclude-editable >> constraints.txt.new
	@mv constraints.txt.new constraints.txt

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
