# Everything here needs nothing but Python >= 3.11; what needs more (root, Debian, Go) says so itself.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
VENV := .venv/.complete
RAGAS := .venv-ragas/.complete
LOCKS := requirements/uv.txt requirements/dev.txt requirements/collection.txt

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

.PHONY: demo
demo: $(VENV) ## Start the stack and watch the service at work
	$(BIN)/python -m dev demo

.PHONY: test
test: check e2e ## Everything: the checks, then end to end on the real stack

.PHONY: up
up: $(VENV) ## Start the development stack, or heal it (CLUSTERS=2, KUBECONFIG=…)
	$(BIN)/python -m dev up

.PHONY: down
down: $(VENV) ## Stop the stack and remove all it made
	$(BIN)/python -m dev down

.PHONY: chaos
chaos: $(VENV) ## Evaluate while everything is killed, on a stack of its own (SEED=1 EVALUATIONS=200 FAULTS=100 REPORT=file)
	$(BIN)/python -m dev chaos

.PHONY: bench-scoring
bench-scoring: $(VENV) $(RAGAS) ## Measure the scoring engines anew: speed, cost, agreement (half an hour; PARTS=speed)
	$(BIN)/python -m benchmarks.scoring $(PARTS)

.PHONY: status
status: $(VENV) ## Show every part of the stack, and why one is not healthy
	@$(BIN)/python -m dev status

.PHONY: setup
setup: $(VENV) ## Make the Python environment

$(VENV): $(LOCKS) dev/collection.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed; set PYTHON=…")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/python dev/collection.py requirements/collection.txt "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@touch $@

.PHONY: ragas
ragas: $(RAGAS) ## Make the environment of the scoring engine `ragas`

$(RAGAS): requirements/ragas.txt | $(VENV)
	$(PYTHON) -m venv --clear .venv-ragas
	$(BIN)/uv pip install --quiet --python .venv-ragas/bin/python --require-hashes -r requirements/ragas.txt
	@touch $@

.PHONY: check
check: $(VENV) ## Format, lint, types, import contracts, playbooks, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	ANSIBLE_COLLECTIONS_PATH=budeval/ansible/collections $(BIN)/ansible-playbook --syntax-check budeval/ansible/playbooks/*.yml
	ANSIBLE_COLLECTIONS_PATH=budeval/ansible/collections PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline budeval/ansible/playbooks
	$(BIN)/python -m pytest -m "not e2e"

.PHONY: fast
fast: $(VENV) ## Only the fast tests
	$(BIN)/python -m pytest -m "not e2e"

.PHONY: e2e
e2e: $(VENV) $(RAGAS) ## Only the tests on the real stack
	$(BIN)/python -m pytest -m e2e

.PHONY: format
format: $(VENV) ## Format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: openapi
openapi: $(VENV) ## Write docs/openapi.json anew
	BUDEVAL_SEAL_KEYS="$$($(BIN)/python -m budeval new-key)" $(BIN)/python -c 'import json; from budeval.main import create_app; print(json.dumps(create_app().openapi(), indent=1))' > docs/openapi.json

.PHONY: lock
lock: $(VENV) ## Resolve the dependencies anew into requirements/*.txt
	$(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes pyproject.toml -o requirements/budeval.txt
	$(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes -c requirements/budeval.txt --extra stack --extra test pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile -q --no-deps --generate-hashes --python-version 3.11 requirements/build.in -o requirements/build.txt
	$(BIN)/uv pip compile -q --no-deps --generate-hashes --python-version 3.11 requirements/uv.in -o requirements/uv.txt
	$(BIN)/uv pip compile -q --no-deps --generate-hashes --python-version 3.11 requirements/model.in -o requirements/model.txt
	$(BIN)/uv pip compile -q --no-deps --generate-hashes --python-version 3.12 requirements/collection.in -o requirements/collection.txt
	$(BIN)/uv pip compile -q --no-deps --generate-hashes --python-version 3.11 --python-platform linux requirements/opencompass.in -o requirements/opencompass.txt
	$(BIN)/uv pip compile -q --generate-hashes --python-version 3.11 --python-platform linux requirements/lm-eval.in -o requirements/lm-eval.txt
	$(BIN)/uv pip compile -q --generate-hashes --python-version 3.11 --universal requirements/ragas.in -o requirements/ragas.txt
