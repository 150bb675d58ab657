# `make` alone lists what there is. The environment is built once, by the first target that needs it.
SHELL  := /bin/bash
PYTHON ?= python3
VENV   ?= .venv
# of `make notebook`, for example --no-browser
LAB_FLAGS ?=
PY     := $(VENV)/bin/python

export MPLBACKEND := Agg
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.PHONY: help env notebook demo test test-slow lint docs bench lock clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

env: $(VENV)/.package ## Build .venv from requirements.lock and install this library into it, editable

notebook: $(VENV)/.package ## The quick start tutorial in JupyterLab; its kernel draws inline, so no MPLBACKEND
	env -u MPLBACKEND $(VENV)/bin/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_FLAGS) \
	    --LabApp.default_url=/lab/tree/nbs/tutorials/quickstart.ipynb

demo: $(VENV)/.package ## Train on drawn scenes: score, pictures, an exported captioner (5 minutes on 2 cores)
	$(PY) -m imcap_fastai.demo

test: $(VENV)/.package ## Notebooks clean and exported, lint, docs, every notebook and test without the slow cells
	$(PY) tools/run_tests.py

test-slow: $(VENV)/.package ## The same with the cells marked `#| slow`
	$(PY) tools/run_tests.py --flags slow --timeout 7200

lint: $(VENV)/.package ## Only the checks that run nothing: notebooks clean, export, ruff
	$(PY) tools/run_tests.py clean export lint

docs: $(VENV)/.package ## The documentation site, offline, in _docs/html; links and references are checked
	$(PY) tools/run_tests.py docs

bench: $(VENV)/.package ## Every benchmark: tables, and JSON beside them
	@for f in benchmarks/[a-z]*.py; do \
	    [ -e "$$f" ] || { echo "there are no benchmarks yet"; break; }; \
	    echo "== $$f"; $(PY) -m "$$(echo "$${f%.py}" | tr / .)" || exit 1; \
	done

lock: $(VENV)/.locked ## Renew requirements.lock from requirements.in (needs the network)
	$(VENV)/bin/uv pip compile --universal --python-version 3.10 --upgrade requirements.in -o requirements.lock

clean: ## Remove what builds, tests and the demo left behind; .venv stays
	rm -rf build dist demo _docs *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -print0 | xargs -0 -r rm -rf
	rm -f $(VENV)/.package

$(VENV)/.locked: requirements.lock tools/environment.sh
	@tools/environment.sh $(VENV) $(PYTHON)
	@touch $@

$(VENV)/.package: $(VENV)/.locked setup.py settings.ini
	@if [ -x $(VENV)/bin/uv ]; then $(VENV)/bin/uv pip install -q --python $(PY) --no-deps --no-build-isolation -e . ; \
	 else $(PY) -m pip install -q --no-deps --no-build-isolation -e . ; fi
	@touch $@
