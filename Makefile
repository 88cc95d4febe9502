# Everything a person does here by hand twice. Each target brings what it needs; a second run starts at once.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
PYCONSUL := .venv-pyconsul
BIN := $(VENV)/bin
LOGS := .cache/logs
COLLECTION := .cache/collections/ansible_collections/consulops/failover
CONSUL := .cache/bin/consul

# Real interpreters before any shims, our collection before any installed one, nothing of the user's configuration.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache/collections
export ANSIBLE_CONFIG := $(CURDIR)/tests/ansible.cfg
export PYTHONDONTWRITEBYTECODE := 1
export CONSUL_BIN ?=

.PHONY: help
help: ## Say what can be made
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.PHONY: demo
demo: $(VENV)/.ready $(COLLECTION) $(CONSUL) ## Save, restore and copy between real local datacenters (under a minute)
	@$(BIN)/python -m tests.demo.demo

.PHONY: test
test: lint unit sanity importer integration pythons hosts molecule pyconsul ## Every gate: what CI runs; the quick ones first

.PHONY: lint
lint: $(VENV)/.ready $(COLLECTION) ## ruff, mypy, ansible-lint, documentation and changelog
	@echo "== ruff"; $(BIN)/ruff format --check . && $(BIN)/ruff check .
	@echo "== mypy"; $(BIN)/mypy
	@echo "== ansible-lint"; $(BIN)/ansible-lint --offline --profile production
	@echo "== antsibull-docs"; $(BIN)/antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=all .
	@echo "== antsibull-changelog"; $(BIN)/antsibull-changelog lint

.PHONY: unit
unit: $(VENV)/.ready $(COLLECTION) ## Unit and property tests
	@echo "== unit tests"; $(BIN)/python -m pytest -q tests/unit

.PHONY: integration
integration: $(VENV)/.ready $(COLLECTION) $(CONSUL) ## Tests against real Consul servers
	@echo "== integration tests"; $(BIN)/python -m pytest -q -n 2 tests/integration

.PHONY: hosts
hosts: $(VENV)/.ready $(COLLECTION) $(CONSUL) ## Tests on real systemd hosts; needs root
	@echo "== tests on systemd hosts"; $(BIN)/python tests/workshop/rootfs.py >/dev/null
	@$(BIN)/python -m pytest -q -n 3 --dist loadfile tests/hosts

.PHONY: molecule
molecule: $(VENV)/.ready $(COLLECTION) $(CONSUL) ## The roles on real systemd hosts; needs root
	@echo "== molecule"; $(BIN)/python tests/workshop/rootfs.py >/dev/null
	@env -u ANSIBLE_CONFIG $(BIN)/molecule test --all

.PHONY: pyconsul
pyconsul: $(PYCONSUL)/.ready $(COLLECTION) $(CONSUL) ## Unit and integration tests with py-consul instead of python-consul2
	@echo "== tests with py-consul"; $(PYCONSUL)/bin/python -m pytest -q -n 2 tests/unit tests/integration $(OF_THE_BUNDLE)

.PHONY: pythons
pythons: $(VENV)/.ready $(COLLECTION) $(CONSUL) ## Modules on Python 3.9, the oldest target; the bundle on bare 3.9 and 3.13
	@echo "== Python 3.9 and 3.13"; $(BIN)/python tests/workshop/pythons.py

.PHONY: sanity
sanity: $(VENV)/.ready ## ansible-test sanity, every test, nothing ignored
	@echo "== ansible-test sanity"; $(BIN)/python tests/workshop/sanity.py

.PHONY: importer
importer: build ## Galaxy's own importer on the built collection
	@echo "== galaxy-importer"; $(BIN)/python tests/workshop/importer.py

.PHONY: bench
bench: $(VENV)/.ready $(COLLECTION) $(CONSUL) ## Times and memory beside what people use now (takes a quarter of an hour)
	@for one in snapshot replicate alerts bundle_and_agents; do \
	  PYTHONPATH=$(CURDIR)/.cache/collections $(BIN)/python -m tests.bench.$$one; done

.PHONY: docs
docs: $(VENV)/.ready $(COLLECTION) ## HTML reference into docs/_build/html
	@$(BIN)/python tests/workshop/docs.py

.PHONY: build
build: $(VENV)/.ready ## The collection's tarball into build/
	@rm -rf build && mkdir -p build
	@$(BIN)/ansible-galaxy collection build --output-path build . | tail -n 1

.PHONY: format
format: $(VENV)/.ready ## Let ruff put the sources in order
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

.PHONY: clean
clean: ## Remove everything that make made
	@rm -rf $(VENV) $(PYCONSUL) .cache build docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .ansible

# The bundle has its own library inside: what runs from it is the same with either of them.
OF_THE_BUNDLE := $(foreach name,agent bundle_task cli,--ignore=tests/integration/test_$(name).py)

# ---------------------------------------------------------------------------------------------------------------

$(VENV)/.ready: requirements-dev.txt
	@echo "-- preparing $(VENV) (a minute or two, once)"
	@mkdir -p $(LOGS)
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements-dev.txt >$(LOGS)/pip.log 2>&1 \
	  || { tail -n 20 $(LOGS)/pip.log; echo "pip could not install requirements-dev.txt; see $(LOGS)/pip.log"; exit 1; }
	@touch $@

$(PYCONSUL)/.ready: requirements-pyconsul.txt requirements-dev.txt
	@echo "-- preparing $(PYCONSUL) (half a minute, once)"
	@mkdir -p $(LOGS)
	@$(PYTHON) -m venv --clear $(PYCONSUL)
	@$(PYCONSUL)/bin/python -m pip install --disable-pip-version-check -q -r requirements-pyconsul.txt \
	  -c <(grep -v '^python-consul2' requirements-dev.txt) >$(LOGS)/pip-pyconsul.log 2>&1 \
	  || { tail -n 20 $(LOGS)/pip-pyconsul.log; echo "pip could not install requirements-pyconsul.txt"; exit 1; }
	@touch $@

$(COLLECTION):
	@mkdir -p $(dir $@)
	@ln -sfn ../../../.. $@

$(CONSUL):
	@echo "-- looking for Consul"
	@mkdir -p $(dir $@)
	@found=$$($(PYTHON) tests/workshop/debian.py consul) && ln -sfn "$$found" $@
