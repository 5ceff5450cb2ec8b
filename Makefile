# `make` alone lists the targets. Everything made is kept in $(CACHE), outside the tree.
CACHE := $(or $(MAESTRO_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/maestro)
export MAESTRO_CACHE := $(CACHE)
export PATH := $(PATH):$(CACHE)/bin
VENV = $(shell tests/kind/venv.sh path)
KIND := tests/kind
BENCH_LOCK := requirements-bench.lock
BENCH_VENV = $(shell tests/kind/venv.sh path $(BENCH_LOCK))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help up down install cluster tools images image token worker-key amqp-url venv lock generate \
        test lint types layers unit integration e2e bench bench-service bench-schedules bench-cluster clean-cache

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## a cluster with Maestro on it and a first bot run; needs nothing but this machine
	@$(KIND)/up.sh

down: ## delete the cluster
	@$(KIND)/cluster.sh down

install: ## the cluster and Maestro on it, from this tree
	@$(KIND)/install.sh

cluster: tools ## the cluster alone
	@$(KIND)/engine.sh
	@$(KIND)/images.sh base node
	@$(KIND)/cluster.sh up

image: ## build maestro:dev
	@$(KIND)/engine.sh
	@$(KIND)/images.sh base maestro

token: ## print the admin's bearer token
	@$(KIND)/credentials.sh token

worker-key: ## print the workers' API key
	@$(KIND)/credentials.sh worker-key

amqp-url: ## print the broker's URL for a client on this machine
	@$(KIND)/credentials.sh amqp-url

test: lint types layers unit integration e2e ## all of the below, in this order; what CI runs

lint: venv tools ## style of Python, shell and chart; generated files up to date
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/shellcheck --check-sourced $$(git ls-files | xargs grep -lE '^#!(/bin/|/usr/bin/env )bash')
	helm lint --strict helm/maestro
	helm lint --strict helm/maestro --values $(KIND)/values.yaml
	bash helm/generate.sh --check

types: venv ## mypy, strict
	$(VENV)/bin/mypy

layers: venv ## which package may import which
	$(VENV)/bin/lint-imports

unit: venv ## tests without I/O
	$(VENV)/bin/pytest --numprocesses 2 --dist loadfile tests/unit

integration: venv images ## tests against a real PostgreSQL and RabbitMQ
	$(VENV)/bin/pytest --numprocesses 4 --dist loadfile tests/integration

e2e: venv install ## tests against Maestro on the cluster; first those that bear each other, then the disruptive ones
	$(VENV)/bin/pytest --numprocesses 4 --dist loadfile -m "not disruptive" tests/e2e
	$(VENV)/bin/pytest -m disruptive tests/e2e

bench: bench-service bench-schedules bench-cluster ## all below

# BENCH_FLAGS, such as "--rounds 1 --seconds 2 --output /tmp/benchmarks.md", tries it out.
bench-service: images ## measure the service on loopback beside Celery and procrastinate: docs/benchmarks.md
	@$(KIND)/venv.sh make $(BENCH_LOCK)
	@tests/bench/driver.sh make
	PYTHONPATH=tests $(BENCH_VENV)/bin/python -m bench.service --driver "$$(tests/bench/driver.sh path)" $(BENCH_FLAGS)

# SCHEDULES_FLAGS, such as "--rounds 1 --idle-seconds 10 --output /tmp/benchmarks.md", tries it out.
bench-schedules: venv images ## measure the firing of schedules on loopback: docs/benchmarks.md
	PYTHONPATH=tests $(VENV)/bin/python -m bench.schedules $(SCHEDULES_FLAGS)

bench-cluster: venv install ## measure the main path on the cluster
	PYTHONPATH=tests $(VENV)/bin/python -m bench.cluster

generate: tools ## copy the CRDs into the chart, render manifests/install.yaml
	bash helm/generate.sh

lock: venv ## pin the dependencies again, with hashes
	$(VENV)/bin/uv pip compile pyproject.toml --quiet --upgrade --extra api --extra operator --extra worker --extra bots \
	  --generate-hashes --universal --python-version 3.11 --no-header --output-file requirements.lock
	$(VENV)/bin/uv pip compile pyproject.toml --quiet --upgrade --extra api --extra operator --extra worker --extra bots \
	  --extra dev --constraint requirements.lock \
	  --generate-hashes --universal --python-version 3.11 --no-header --output-file requirements-dev.lock
	$(VENV)/bin/uv pip compile pyproject.toml --quiet --upgrade --extra api --extra bench --constraint requirements.lock \
	  --generate-hashes --universal --python-version 3.11 --no-header --output-file $(BENCH_LOCK)

venv: ## Python's packages; prints where
	@$(KIND)/venv.sh make

tools: ## kind, helm and kubectl
	@$(KIND)/tools.sh

images: ## the images that the tests start
	@$(KIND)/engine.sh
	@$(KIND)/images.sh base postgres rabbitmq

clean-cache: ## delete the cache; Docker keeps its images
	rm -rf "$(CACHE)"
