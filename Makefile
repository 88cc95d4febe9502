# The commands of developers and CI. Each target prepares what it needs; a second run starts at once.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOGS := .cache/logs
COLLECTION := .cache/collections/ansible_collections/consulops/failover
CONSUL := .cache/bin/consul
# Stages that run side by side, their logs, second attempts and the closing table: tests/workshop/run.py.
RUN = $(BIN)/python -m tests.workshop.run

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
demo: $(VENV)/.ready $(COLLECTION) $(CONSUL) ## Save, restore, copy, watch and alert on real local datacenters (about a minute)
	@PYTHONPATH=$(CURDIR)/.cache/collections $(BIN)/python -m tests.demo.demo

.PHONY: test
test: machine ready ## Every stage: what CI runs, side by side; ends with a table of times and flaky tests
	@$(RUN)

.PHONY: lint
lint: machine-for-lint ready ## ruff, mypy, ansible-lint, documentation and changelog
	@$(RUN) format ruff mypy ansible-lint docs changelog

.PHONY: unit
unit: machine-for-unit ready ## Unit and property tests
	@$(RUN) unit

.PHONY: integration
integration: machine-for-integration ready ## Tests against real Consul servers
	@$(RUN) integration

.PHONY: hosts
hosts: machine-for-hosts ready ## Tests on real systemd hosts; needs root
	@$(RUN) hosts

.PHONY: drills
drills: machine-for-hosts ready ## Every drill of the catalogue, every case of failover and of recovery on real hosts (an hour; RAFT_MULTIPLIER=5 takes longer); needs root
	@CONSULOPS_ALL_DRILLS=1 CONSULOPS_RAFT_MULTIPLIER=$(RAFT_MULTIPLIER) $(BIN)/python -m pytest -q -rA tests/hosts/test_drills.py \
		tests/hosts/test_failover.py tests/hosts/test_recover_primary.py tests/hosts/test_recover_quorum.py tests/hosts/test_restore_fresh_servers.py

.PHONY: molecule
molecule: machine-for-molecule-restore ready ## The roles on real systemd hosts; needs root
	@$(RUN) $(patsubst molecule/%/molecule.yml,molecule-%,$(wildcard molecule/*/molecule.yml))

.PHONY: py-consul
py-consul: machine-for-py-consul ready ## Tests of the client library with py-consul instead of python-consul2
	@$(RUN) py-consul

.PHONY: python-consul
python-consul: machine-for-python-consul ready ## Tests of the client library with python-consul instead of python-consul2
	@$(RUN) python-consul

.PHONY: eda
eda: machine-for-eda ready ## The rulebooks in the real ansible-rulebook; needs Java 17
	@$(RUN) eda

.PHONY: pythons
pythons: machine-for-pythons ready ## Modules on Python 3.9, the oldest target; the bundle on bare 3.9 and 3.13
	@$(RUN) pythons

.PHONY: sanity
sanity: machine-for-sanity ready ## ansible-test sanity, every test, nothing ignored
	@$(RUN) sanity

.PHONY: importer
importer: machine-for-importer ready ## Galaxy's own importer on the built collection
	@$(RUN) importer

.PHONY: bench
bench: $(VENV)/.ready $(COLLECTION) $(CONSUL) ## Times and memory beside what people use now (takes a quarter of an hour)
	@for one in snapshot snapshot_stores rehearsal replicate replication_agent alerts alerting alert_rounds drill_client drill_checkers bundle_and_agents; do \
	  PYTHONPATH=$(CURDIR)/.cache/collections $(BIN)/python -m tests.bench.$$one; done

.PHONY: docs
docs: $(VENV)/.ready $(COLLECTION) ## HTML reference into docs/_build/html
	@$(BIN)/python tests/workshop/docs.py

.PHONY: compat
compat: $(VENV)/.ready $(COLLECTION) ## Renew the list of what users rely on, after a change of options, results or commands
	@PYTHONPATH=$(CURDIR)/.cache/collections $(BIN)/python -m tests.compat

.PHONY: build
build: $(VENV)/.ready ## The collection's tarball into build/
	@rm -rf build && mkdir -p build
	@$(BIN)/ansible-galaxy collection build --output-path build . | tail -n 1

.PHONY: release
release: $(VENV)/.ready $(COLLECTION) ## Tarball, bundle, wheelhouse, SBOM, licences and digests into build/release; DRAFT=1 of what is not ready
	@PYTHONPATH=$(CURDIR)/.cache/collections $(BIN)/python -m tests.workshop.release $(if $(DRAFT),--draft)

.PHONY: format
format: $(VENV)/.ready ## Let ruff put the sources in order
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

.PHONY: clean
clean: ## Remove everything that make made
	@rm -rf $(VENV) .venv-* .cache build docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .ansible

# ---------------------------------------------------------------------------------------------------------------

# What the machine lacks is installed or said before anything else is done.
.PHONY: machine
machine:
	@$(PYTHON) tests/workshop/machine.py

machine-for-%:
	@$(PYTHON) tests/workshop/machine.py $*

.PHONY: ready
ready: $(VENV)/.ready $(COLLECTION)

$(VENV)/.ready: requirements-dev.txt | machine-for-venv
	@echo "-- preparing $(VENV) (a minute or two, once)"
	@mkdir -p $(LOGS)
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements-dev.txt >$(LOGS)/pip.log 2>&1 \
	  || { tail -n 20 $(LOGS)/pip.log; echo "pip could not install requirements-dev.txt; see $(LOGS)/pip.log"; exit 1; }
	@touch $@

# The other client libraries and ansible-rulebook: .venv-pyconsul, .venv-python-consul and .venv-eda hold these alone and find
# everything else in $(VENV). What a virtual environment holds itself is found first.
.venv-%/.ready: requirements-%.txt $(VENV)/.ready
	@mkdir -p $(LOGS)
	@$(BIN)/python -m venv --clear --without-pip .venv-$*
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  >"$$(.venv-$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/the-rest.pth"
	@$(BIN)/python -m pip --disable-pip-version-check --python .venv-$*/bin/python install -q --no-deps -r requirements-$*.txt \
	  >$(LOGS)/pip-$*.log 2>&1 || { tail -n 20 $(LOGS)/pip-$*.log; echo "pip could not install requirements-$*.txt"; exit 1; }
	@touch $@

$(COLLECTION):
	@mkdir -p $(dir $@)
	@ln -sfn ../../../.. $@

$(CONSUL):
	@echo "-- looking for Consul"
	@mkdir -p $(dir $@)
	@found=$$($(PYTHON) tests/workshop/debian.py consul) && ln -sfn "$$found" $@
