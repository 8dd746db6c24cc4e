# Everything that is done with the project. `make` alone lists it.
.DEFAULT_GOAL := help
PYTHON ?= python3
TENANTS ?= 300
READERS := clients meltano airbyte singer
MINUTES ?= 30
KILLS ?= 200
SEED ?= 1
BIN := .venv/bin
ROOT := $(filter 0,$(shell id -u))
export PATH := $(CURDIR)/$(BIN):$(PATH)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: .venv/.installed ## make .venv with everything locked in requirements/

demo: setup ## play the whole story on this machine, then serve it until Ctrl-C
	@$(BIN)/awssome demo $(OPTIONS)

test: setup browser ## every test: real PostgreSQL, real HTTP, real browser
	$(BIN)/pytest -n 2 --dist loadgroup $(OPTIONS)

check: setup browser ## formatting, lints, types, import contracts, and every test
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(MAKE) test

bench: setup .venv-peers/.installed ## measure beside the peer or the floor, and print ratios (TENANTS=10000 for the whole, KEEP=DIR keeps them)
	$(BIN)/python -m benchmarks --tenants $(TENANTS) $(if $(KEEP),--home $(KEEP))
	$(BIN)/python -m benchmarks.migrate
	$(BIN)/python -m benchmarks.archives
	$(BIN)/python -m benchmarks.neighbours
	$(BIN)/python -m benchmarks.hubspot_rate
	$(BIN)/python -m benchmarks.hubspot_sync
	$(BIN)/python -m benchmarks.mapping
	$(BIN)/python -m benchmarks.moves
	$(BIN)/python -m benchmarks.copying
	$(BIN)/python -m benchmarks.capture

soak: setup ## moves under 200 writes a second with 200 kills, then syncs of 100,000 deals, with faults (KILLS=200 MINUTES=30 SEED=1)
	$(BIN)/python -m tests.workflows.soak_moves --kills $(KILLS) --seed $(SEED)
	$(BIN)/python -m tests.workflows.soak --minutes $(MINUTES) --seed $(SEED)

peers: setup $(READERS:%=.venv-readers/%/.installed) ## let HubSpot's own clients and public extractors read the HubSpot sandbox
	$(BIN)/pytest -n 0 -m peers tests/sandbox/peers $(OPTIONS)

screenshots: setup browser ## every page after the story, light and dark, wide and narrow
	$(BIN)/python -m tests.end_to_end.screenshots

browser:
ifneq ($(ROOT),)
	@test -x /usr/bin/chromium || { echo "Installing Chromium for the browser tests" && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } \
		|| echo "Chromium could not be installed: browser tests will be skipped"
endif
	@test -x /usr/bin/chromium || echo "There is no /usr/bin/chromium: browser tests will be skipped"

.venv/.installed: requirements/development.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
ifneq ($(ROOT),)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv; }
endif
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv is missing; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/development.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv-peers/.installed: requirements/peers.txt .venv/.installed
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/peers.txt
	@touch $@

.venv-readers/%/.installed: requirements/readers-%.txt .venv/.installed
	$(PYTHON) -m venv .venv-readers/$*
	.venv-readers/$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.PHONY: help setup demo test check bench soak peers screenshots browser
