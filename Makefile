# Unbroken: `make help` lists the targets. Every target makes .venv when it is missing.
# Settings of the service (docs/settings.md) can be given in the environment or as `make run PORT=8001`.
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help run token signin test faults clients packages operating chaos fleet soak fuzz hostile bench sizing browser lint measures clean failover alerts containers

PYTHON := .venv/bin/python
RUN := .venv/.installed-run
DEV := .venv/.installed-dev
PEERS := .venv/.installed-bench
PACKAGES := app/web/packages/.installed

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

$(RUN): requirements.txt constraints.txt dev/venv.sh
	@sh dev/venv.sh requirements.txt $@

$(DEV): requirements-dev.txt $(RUN)
	@sh dev/venv.sh requirements-dev.txt $@

# The packages that the page loads from npm. Where they cannot be installed, a sentence says so, and the next `make` tries again.
$(PACKAGES): app/web/npm/package-lock.json dev/web_packages.py | $(RUN)
	@$(PYTHON) -m dev.web_packages

run: $(RUN) $(PACKAGES) ## everything on this machine: PostgreSQL, Valkey, a worker, the web server [PORT= DATA_DIR=]
	@exec $(PYTHON) -m dev.run --with-parent

token: $(RUN) ## print a token for the instance in DATA_DIR: make token USER=alice [ROLE=admin] [TTL=3600]
	@exec $(PYTHON) -m dev.token

signin: $(RUN) ## print a link that signs a browser in, once, at the running instance [USER=you] [ROLE=admin]
	@exec $(PYTHON) -m dev.signin $(if $(filter command,$(origin USER)),--named)

# Some environments forbid bytecode files. Each server of the tests, some 150, and each process of pytest would then
# compile everything again.
test faults operating chaos fleet soak clients browser failover alerts containers: export PYTHONDONTWRITEBYTECODE :=
test: $(DEV) $(PACKAGES) ## tests of each part, against a real PostgreSQL and Valkey [ARGS=]
	@exec $(PYTHON) -m pytest --numprocesses 5 --dist worksteal $(ARGS)

faults: $(DEV) ## real processes that are killed, frozen, cut off or starved, one fault a test [ARGS=]
	@exec $(PYTHON) -m pytest tests/faults --numprocesses 5 --dist worksteal $(ARGS)

chaos: $(DEV) ## kill, freeze and cut off parts under load, check that nothing is lost [SEED= SECONDS= JOBS= ARGS=]
	@exec $(PYTHON) -m tests.chaos $(ARGS)

fleet: $(DEV) ## network namespaces as hosts that are lost and parted under load; needs root [SEED= SECONDS= ARGS=--short]
	@exec $(PYTHON) -m tests.fleet $(ARGS)

soak: $(DEV) ## an hour of steady load with a deploy every five minutes: nothing may grow [READERS= GENERATIONS= SECONDS= ARGS=]
	@exec $(PYTHON) -m tests.soak $(ARGS)

fuzz: $(DEV) ## read mutated transcripts of upstreams [COUNT=100000 SEED=]
	@exec $(PYTHON) -m tests.fuzz $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED))

hostile: $(DEV) ## hostile credentials against real processes, and the timing of refusals [COUNT=10000 PAIRS=1500 SEED=]
	@exec $(PYTHON) -m tests.hostile $(if $(COUNT),--count $(COUNT)) $(if $(PAIRS),--pairs $(PAIRS)) \
		$(if $(SEED),--seed $(SEED))

$(PEERS): bench/requirements.txt constraints.txt dev/venv.sh | $(DEV)
	@sh dev/venv.sh bench/requirements.txt $@

bench: $(PEERS) $(DEV) ## measure the service beside other designs [ARGS=]
	@exec $(PYTHON) -m bench $(ARGS)

sizing: $(DEV) ## measure the cost of readers, answers and messages step by step, and size deployments [ARGS=]
	@exec $(PYTHON) -m bench.sizing $(ARGS)

failover: $(DEV) ## cut targets at every event of their answers, for all pairs of kinds [ARGS=--every 10]
	@exec $(PYTHON) -m tests.failover $(ARGS)

alerts: $(DEV) ## make faults in a real deployment with Prometheus, measure when alerts fire [ARGS=--only "Redis full"]
	@exec $(PYTHON) -m tests.alerts $(ARGS)

containers: $(DEV) ## build the image, run docker-compose.yml with Podman, check it from inside and outside [ARGS=--only stores]
	@exec $(PYTHON) -m tests.containers $(ARGS)

browser: $(DEV) $(PACKAGES) ## the page in a real browser [ARGS=]
	@exec $(PYTHON) -m pytest tests/browser --numprocesses 2 --dist worksteal $(ARGS)

clients: $(DEV) ## our packages, the SDKs of OpenAI and Vercel, EventSource and curl against a real instance [ARGS=]
	@$(PYTHON) -m tests.clients.frameworks
	@exec $(PYTHON) -m pytest tests/clients --numprocesses 4 --dist loadfile $(ARGS)

packages: $(DEV) ## build the packages for programs, unbroken-stream (npm) and unbroken-client (pip), in out/packages
	@$(PYTHON) -m dev.client_packages

operating: $(DEV) ## migrations, updates, runbooks, drains, Flower, RabbitMQ, metrics and traces [ARGS=]
	@exec $(PYTHON) -m pytest tests/operating --numprocesses 4 --dist loadfile $(ARGS)

lint: $(DEV) ## style, types, the direction of imports, the limits of `make measures`
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PYTHON) -m dev.measures --check

measures: $(DEV) ## the shape of the code in figures: sizes, parameters, circles, docstrings [ARGS=--places]
	@$(PYTHON) -m dev.measures $(ARGS)

clean: ## remove .venv and caches; the data of the embedded servers stays
	@python3 dev/clean.py
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
