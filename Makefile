# Plangate. `make` lists the targets; every target that needs an environment makes it, once.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# With everything for development; RUN_STAMP: what users need.
STAMP := $(VENV)/.installed
RUN_STAMP := $(VENV)/.installed-to-run
comma := ,
PROMPT ?=
PROTOS := $(shell find protos/plangate -name '*.proto' 2>/dev/null)
# What clients of the last release were made from: `buf build protos --exclude-source-info -o FILE` at each release.
RELEASED_CONTRACT := contract-0.2.0.binpb
SERVICE_PROTOS := $(shell grep -l '^service ' $(PROTOS) /dev/null 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help demo up test clients robustness check protos protos-check lint types imports statements format bench clean constraints

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv takes seconds where it finds the packages; pip, with its own settings, takes a minute or two.
define install
@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 14) else "plangate needs Python 3.11 to 3.14, and $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.12 ...")'
@test -x $(BIN)/python || { echo "making the environment in $(VENV) (once)"; $(PYTHON) -m venv $(VENV); }
@echo "installing what $(2) needs (once)"
@$(BIN)/python -m pip install -qq --disable-pip-version-check uv 2>/dev/null \
  && $(BIN)/python -m uv pip install --python $(BIN)/python --constraint constraints.txt --compile-bytecode --editable '$(1)' \
  || { echo "with pip instead: a minute or two"; \
       $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '$(1)'; }
@touch $@
endef

$(STAMP): pyproject.toml constraints.txt
	$(call install,.[embedded$(comma)postgres$(comma)dev],development)

$(RUN_STAMP): pyproject.toml constraints.txt
	$(if $(wildcard $(STAMP)),@$(MAKE) --no-print-directory $(STAMP) && touch $@,$(call install,.[embedded],this))

# Handed over by the environment as it was written: quotes and dollars are the request's own.
demo: override export PROMPT := $(value PROMPT)
demo: $(RUN_STAMP) ## a sentence becomes a plan, is divided, approved, executed and proved (PROMPT="..." for your own)
	@$(BIN)/python -m examples.demo

up: $(RUN_STAMP) ## run both servers with the embedded defaults and the example catalogue until Ctrl-C
	@test -n "$(PLANGATE_MODEL)" || $(BIN)/plangate model status >/dev/null 2>&1 \
	  || { echo "fetching the embedded model (once)"; $(BIN)/plangate model pull; }
	@PLANGATE_CATALOGUE_FILE="$${PLANGATE_CATALOGUE_FILE:-examples/ops/catalogue.yaml}" \
	  PLANGATE_POLICY_FILE="$${PLANGATE_POLICY_FILE:-examples/ops/policy.yaml}" $(BIN)/plangate up

# In the order of their folders: else files of few tests come last, which start whole servers and take longest.
test: $(STAMP) ## run all tests, WORKERS=3 files at a time
	@$(BIN)/python -m pytest --numprocesses=$(or $(WORKERS),3) --dist=loadfile --no-loadscope-reorder

clients: $(STAMP) ## run the examples in other languages against both servers, those whose tools are installed
	@$(BIN)/python -m pytest -m 'clients or not clients' -rs tests/integration/plangate_client/test_language_examples.py

robustness: $(STAMP) ## abuse both servers on the wire for an hour (SECONDS=3600)
	@ROBUSTNESS_SECONDS=$(or $(SECONDS),3600) $(BIN)/python -m pytest -s tests/e2e/test_wire_robustness.py

check: lint types imports statements protos-check ## everything CI checks besides the tests

protos: $(STAMP) ## generate the stubs from the .proto files
	@find protos/plangate -name '*_pb2*' -delete
	@$(BIN)/python -m grpc_tools.protoc -I protos --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --python_out=protos --mypy_out=quiet:protos $(PROTOS)
	@$(BIN)/python -m grpc_tools.protoc -I protos --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --grpc_python_out=protos --mypy_grpc_out=quiet:protos $(SERVICE_PROTOS)

protos-check: $(STAMP) ## the contract is lint-clean, breaks no released client, and the committed stubs are current
	@cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf format --diff --exit-code
	@cd protos && ../$(BIN)/buf breaking --against $(RELEASED_CONTRACT)
	@rm -rf build/stubs && mkdir -p build/stubs
	@$(BIN)/python -m grpc_tools.protoc -I protos --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --python_out=build/stubs --mypy_out=quiet:build/stubs $(PROTOS)
	@$(BIN)/python -m grpc_tools.protoc -I protos --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --grpc_python_out=build/stubs --mypy_grpc_out=quiet:build/stubs $(SERVICE_PROTOS)
	@diff -r -q --exclude='*.proto' --exclude=service_config.json --exclude=py.typed --exclude='__pycache__' protos/plangate build/stubs/plangate || { echo "the stubs are stale: run make protos"; exit 1; }
	@echo "protos: lint clean, nothing broken, stubs current"

lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP) ## mypy --strict
	@$(BIN)/mypy

imports: $(STAMP) ## the import contracts
	@PYTHONPATH=.:protos $(BIN)/lint-imports

statements: ## no SQL in strings outside migrations; ruff forbids sqlalchemy.text there
	@! grep -rnE --include='*.py' --exclude-dir=migrations 'SELECT |INSERT INTO|UPDATE .* SET|DELETE FROM|noqa: S608' store_service || { echo "statements are constructs of SQLAlchemy: see docs/decisions/0033-the-async-orm.md"; exit 1; }

format: $(STAMP) ## reformat and fix what can be fixed
	@$(BIN)/ruff check --fix-only --quiet . ; $(BIN)/ruff format . ; cd protos && ../$(BIN)/buf format -w

bench: $(STAMP) ## measure, and write tables and pictures to docs/
	@$(BIN)/python -m bench

constraints: ## renew constraints.txt from pyproject.toml (needs uv)
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --all-extras pyproject.toml -o constraints.txt

clean: ## remove everything that was made here
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
