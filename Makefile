# Everything a new machine needs is Python 3.11 and the package registry.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/digits

.PHONY: help venv search test slow lint nni tpu qnn

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(BIN)/raysearch: setup.cfg constraints.txt litert.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt --config-settings editable_mode=compat -e ".[dev,vision]"
	$(BIN)/pip install -q --no-deps -r litert.txt
	@touch $@

venv: $(BIN)/raysearch  ## set up .venv with the tested versions

search: venv  ## search the embedded data set; ends by printing where the report is
	$(BIN)/raysearch run examples/digits.yaml --out $(OUT)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: venv lint  ## lint, types, tests
	$(BIN)/pytest -n 2 --dist worksteal

slow: venv  ## the tests that take long: kills, clusters that grow, limits that change, all pairs
	$(BIN)/pytest -m slow

nni:  ## test NNI's pruners and spaces, in an environment of their own
	$(PYTHON) -m venv $(VENV)-nni
	$(VENV)-nni/bin/pip install -q -c constraints.txt -e ".[nni]" hypothesis pytest pytest-timeout
	$(VENV)-nni/bin/pytest tests/trainables/models/test_nni_hub.py tests/trainables/pruning/test_nni_votes.py

tpu:  ## test the TPUs' compiler, in an environment of its own (1.1 GB)
	$(PYTHON) -m venv $(VENV)-tpu
	$(VENV)-tpu/bin/pip install -q -c constraints.txt -e ".[tpu]" hypothesis pytest pytest-timeout
	$(VENV)-tpu/bin/pytest tests/backends/runtimes/tpu
	$(VENV)-tpu/bin/pytest tests/testing/test_target_contract.py -k tpu

qnn:  ## test Qualcomm's NPU, emulated on x86, in an environment of its own
	$(PYTHON) -m venv $(VENV)-qnn
	$(VENV)-qnn/bin/pip install -q -c constraints.txt -e ".[qnn]" hypothesis pytest pytest-timeout
	$(VENV)-qnn/bin/pytest tests/backends/runtimes/qnn
	$(VENV)-qnn/bin/pytest tests/testing/test_target_contract.py -k qnn
