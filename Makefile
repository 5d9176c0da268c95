# The verbs. `make demo` and `make test` each work as the first command in a fresh clone.
# What is installed, and where from: README.md.

SHELL := /bin/bash
PYTHON := .venv/bin/python
ONEHOP := .venv/bin/onehop
STAMP := .venv/setup.stamp
BPF_OBJECT := src/onehop/adapters/bpf/lb.bpf.o
CODE := src tests tools bench fuzz
PYTEST_ARGS ?=
TOUR_ARGS ?=
BENCH ?= all
PEERS_BENCH ?= kube kube_large kube_speaker kube_failover kube_rest kube_outage
SECONDS_EACH ?= 30

.DEFAULT_GOAL := help
.PHONY: help setup demo lab test check fmt bench peers fuzz docs bpf kafka kube lock clean root

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(STAMP) $(BPF_OBJECT) kafka ## install what is missing, once

$(STAMP): tools/setup.sh tools/uv.lock requirements.lock pyproject.toml
	@tools/setup.sh
	@touch $@

bpf: $(BPF_OBJECT) ## compile the datapath
$(BPF_OBJECT): $(STAMP) $(wildcard bpf/*.c bpf/*.h) tools/build_bpf.py
	@$(PYTHON) tools/build_bpf.py
	@touch $@

kafka: $(STAMP) ## fetch Kafka's artifacts and build its class-data archive
	@$(PYTHON) tools/setup_kafka.py # quick when all is there; they lie outside this folder

kube: $(STAMP) ## build Kubernetes' and MetalLB's programs (`make test` does it while it runs)
	@$(PYTHON) tools/kube_setup.py server metallb # quick when all is there

root:
	@[ "$$(id -u)" = 0 ] || { \
	  echo "make $(MAKECMDGOALS) needs root, for network namespaces and BPF: run it as root."; exit 1; }

demo: root setup ## play the article's scenes on real kernel tables, then measure
	@$(ONEHOP) lab tour $(TOUR_ARGS)

lab: root setup ## the tests that build a lab; a skip is a failure
	@CI=true $(PYTHON) -m pytest -m 'lab or kafka' $(PYTEST_ARGS)

test: root setup ## the whole suite
	@$(PYTHON) -m pytest $(PYTEST_ARGS)

peers: root setup kube ## compare with MetalLB and kube-proxy themselves: decisions, then figures
	@CI=true $(PYTHON) -m pytest -m peers $(PYTEST_ARGS)
	@$(PYTHON) -m bench $(PEERS_BENCH)

check: $(STAMP) ## format, lint, types, layers, house rules, unit tests
	@.venv/bin/ruff format --check --quiet $(wildcard $(CODE))
	@.venv/bin/ruff check --quiet $(wildcard $(CODE))
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PYTHON) -m pytest -q -m 'not root and not lab and not kafka and not kube' tests/test_house.py \
	  $(wildcard tests/unit tests/conformance tests/pipeline) $(PYTEST_ARGS)

fmt: $(STAMP) ## format the code
	@.venv/bin/ruff format --quiet $(wildcard $(CODE))
	@.venv/bin/ruff check --quiet --fix $(wildcard $(CODE))

bench: root setup ## measure against bench/budgets.toml (BENCH=name for one)
	@$(PYTHON) -m bench $(BENCH)

fuzz: $(STAMP) ## throw random and mutated packets at every decoder
	@$(PYTHON) -m fuzz --seconds $(SECONDS_EACH)

docs: $(STAMP) ## generate docs/reference and docs/conformance
	@$(PYTHON) tools/docs.py

COMPILE := build/uv/bin/uv pip compile --python-version 3.11 --generate-hashes --quiet \
  --no-emit-index-url --no-header
# What stands in the image is what is tested: its versions are those of requirements.lock.
COMPILE_IMAGE := $(COMPILE) --python-platform linux --no-annotate --constraint requirements.lock

lock: ## resolve pyproject.toml anew into requirements.lock and the image's two
	@$(COMPILE) --universal --upgrade --extra lab --group dev \
	  pyproject.toml --output-file requirements.lock
	@$(COMPILE_IMAGE) --upgrade pyproject.toml --output-file deploy/requirements.lock
	@$(PYTHON) -c 'import tomllib; \
	  print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	  | $(COMPILE_IMAGE) --upgrade - --output-file deploy/requirements-build.lock

clean: ## remove what was built and installed inside this folder
	@rm -rf .venv build dist $(BPF_OBJECT) .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	@find src tests tools bench fuzz -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
