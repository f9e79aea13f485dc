# `make demo` and `make test` are all a newcomer needs: both install first. Set PYTHON=python3.12 to choose the interpreter.
PYTHON ?= python3
BIN := .venv/bin
ABLATIONS := $(BIN)/python -m ablations
CORES := $(shell nproc 2>/dev/null || echo 1)

.PHONY: setup demo test test-gpu lint table2 peers clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "error: Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT='$(CURDIR)/constraints.txt' $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,samples]'
	@touch $@

demo: setup  # two ablation grids, their tables here and their pages under runs/
	$(ABLATIONS) run demo_hashes --parallel $(CORES)
	$(ABLATIONS) run demo_memory
	$(ABLATIONS) report demo_hashes demo_memory

table2: setup  # the paper's Table 2 at its own length, three seeds; stop and start it as you like
	$(ABLATIONS) run table2_duplication --parallel $(CORES)
	$(ABLATIONS) report table2_duplication

peers: setup  # the two public Reformers, installed and measured beside this one
	PIP_CONSTRAINT='$(CURDIR)/constraints.txt' $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[peers]'
	$(ABLATIONS) run peers
	$(ABLATIONS) report peers

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES)

test-gpu: setup  # on a CUDA machine; elsewhere every test says that it needs one
	$(BIN)/python -m pytest -m gpu -s -rs tests/test_gpu.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv runs *.egg-info
