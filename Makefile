# Unbroken: `make help` lists what there is. Every target makes .venv when it is missing.
# Variables of the service (README.md) can be given in the environment or as `make run PORT=8001`.
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help run token test clients chaos bench browser lint clean

PYTHON := .venv/bin/python
RUN := .venv/.installed-run
DEV := .venv/.installed-dev
PEERS := .venv/.installed-bench

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

$(RUN): requirements.txt constraints.txt dev/venv.sh
	@sh dev/venv.sh requirements.txt $@

$(DEV): requirements-dev.txt $(RUN)
	@sh dev/venv.sh requirements-dev.txt $@

run: $(RUN) ## everything on this machine: PostgreSQL, Valkey, a worker, the web server [PORT= DATA_DIR=]
	@exec $(PYTHON) -m dev.run --with-parent

token: $(RUN) ## print a token for the instance in DATA_DIR: make token USER=alice [ROLE=admin] [TTL=3600]
	@exec $(PYTHON) -m dev.token

test: $(DEV) ## all tests, against a real PostgreSQL and Valkey [ARGS=]
	@exec $(PYTHON) -m pytest --numprocesses 3 --dist worksteal $(ARGS)

chaos: $(DEV) ## kill and cut things under load, check that nothing is lost [SEED= SECONDS= JOBS= ARGS=]
	@exec $(PYTHON) -m tests.chaos $(ARGS)

$(PEERS): bench/requirements.txt constraints.txt dev/venv.sh | $(DEV)
	@sh dev/venv.sh bench/requirements.txt $@

bench: $(PEERS) $(DEV) ## measure, side by side with other designs [ARGS=]
	@exec $(PYTHON) -m bench $(ARGS)

browser: $(DEV) ## the page in a real browser [ARGS=]
	@exec $(PYTHON) -m pytest tests/browser --numprocesses 2 --dist worksteal $(ARGS)

clients: $(DEV) ## the SDKs of others against a real instance [ARGS=]
	@exec $(PYTHON) -m pytest tests/clients --numprocesses 4 --dist loadfile $(ARGS)

lint: $(DEV) ## style, types, and the direction of imports
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

clean: ## remove .venv and caches; the data of the embedded servers stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
