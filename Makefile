# Every target sets itself up; nothing needs to be installed by hand.
PY      ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed

.PHONY: run setup system test lint bench clean help
help:            ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t12

run: setup       ## the demo city: http://127.0.0.1:8080
	$(BIN)/busd demo $(ARGS)

setup: $(STAMP)  ## Python packages into .venv (no root)
$(STAMP): requirements.lock pyproject.toml
	$(PY) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

system: setup    ## browser, redis-server, mosquitto, fonts by apt (root)
	@$(BIN)/python tests/system.py

test: system lint  ## everything that must pass
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup $(ARGS)

lint: setup      ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup     ## the benches; a JSON object each
	$(BIN)/busd bench $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis var
