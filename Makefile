# `make demo` and `make test` are all a newcomer needs: both install first. Set PYTHON=python3.12 to choose the interpreter.
PYTHON ?= python3
BIN := .venv/bin
ABLATIONS := $(BIN)/python -m ablations
CORES := $(shell n=$$(nproc 2>/dev/null || echo 1); echo $$((n < 8 ? n : 8)))
TEX := texlive-latex-base texlive-latex-recommended texlive-fonts-recommended poppler-utils
FIGURES := fig3_shared_qk fig3_reversible fig4_hash_rounds fig5_depth
RECALL := recall_rounds seed_question
BUDGET := budget_recall budget_text
MEMORY := memory_axes

.PHONY: setup demo gallery test test-browser test-latex test-slurm test-gpu gpu test-triton lint table2 peers clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "error: Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT='$(CURDIR)/constraints.txt' $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,samples,slurm,style]'
	@touch $@

demo: setup  # two ablation grids, their tables here and their pages under runs/
	$(ABLATIONS) run demo_hashes --parallel $(CORES)
	$(ABLATIONS) run demo_memory
	$(ABLATIONS) report demo_hashes demo_memory

table2: setup  # the paper's Table 2 at its own length, three seeds; stop and start it as you like
	$(ABLATIONS) run table2_duplication --parallel $(CORES)
	$(ABLATIONS) report table2_duplication

gallery: setup  # the paper's Figures 3, 4 and 5 (left), small, associative recall, an equal budget of keys, and memory by axis; their tables and figures go into docs/gallery
	$(ABLATIONS) run $(FIGURES) $(RECALL) $(BUDGET) $(MEMORY) --parallel $(CORES)
	$(ABLATIONS) report $(FIGURES) $(RECALL) $(BUDGET) $(MEMORY)
	for study in $(FIGURES) $(RECALL) $(BUDGET) $(MEMORY); do \
		mkdir -p docs/gallery/$$study && \
		cp runs/$$study/report/*.csv runs/$$study/report/*.md runs/$$study/report/*.png docs/gallery/$$study/ || exit 1; done

peers: setup  # the two public Reformers, installed and measured beside this one
	PIP_CONSTRAINT='$(CURDIR)/constraints.txt' $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[peers]'
	$(ABLATIONS) run peers
	$(ABLATIONS) report peers

test: setup  # each worker runs its half in order, then takes from the other; bytecode is kept for the processes that tests start
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(CORES) --dist worksteal

test-browser: setup  # the report's page in headless Chromium, which is installed on Debian and Ubuntu if there is none
	@if ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } > /dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium > /dev/null; \
		else echo "error: no Chromium is installed: install it (on Debian, as root: apt-get install chromium)"; exit 2; fi; fi
	$(BIN)/python -c 'import playwright, axe_playwright_python' 2> /dev/null || \
		PIP_CONSTRAINT='$(CURDIR)/constraints.txt' $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[browser]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser tests/test_browser.py tests/test_browser_grid.py

test-latex: setup  # the tables and figures in a paper; TeX is installed on Debian and Ubuntu if there is none
	@if ! { command -v pdflatex && command -v pdffonts; } > /dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(TEX) > /dev/null; \
		else echo "error: no pdflatex or pdffonts is installed: install them (on Debian, as root: apt-get install $(TEX))"; exit 2; fi; fi
	$(BIN)/python -c 'import tueplots' 2> /dev/null || \
		PIP_CONSTRAINT='$(CURDIR)/constraints.txt' $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[style]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m latex tests/test_latex_compiled.py

test-slurm: setup  # on a SLURM of two nodes that is started here, as root, and stopped again; Debian's packages of it are installed if missing
	OMP_NUM_THREADS=1 bash tests/slurm_cluster.sh $(BIN)/python -m pytest -m slurm tests/test_slurm_cluster.py

test-gpu: setup  # on a CUDA machine; elsewhere every test says that it needs one
	$(BIN)/python -m pytest -m gpu -n 4 --dist worksteal -rsP tests/test_gpu.py

gpu:  # all that a CUDA machine can tell, within 10 minutes of its time: one folder, gpu_report/, to be sent back
	@command -v nvidia-smi > /dev/null || { echo "error: make gpu needs a CUDA device, and this machine has no nvidia-smi"; exit 2; }
	@$(MAKE) --no-print-directory setup
	$(BIN)/python tests/gpu_report.py

test-triton: setup  # the Triton kernels without a GPU: interpreted on the CPU, and compiled for two kinds of GPU
	$(BIN)/python -c 'import triton' 2> /dev/null || \
		PIP_CONSTRAINT='$(CURDIR)/constraints.txt' $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[triton]'
	OMP_NUM_THREADS=1 TRITON_INTERPRET=1 $(BIN)/python -m pytest -n $(CORES) -m triton -rs tests/test_triton.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv runs *.egg-info
