# `make demo` and `make test` set up all they need in .venv.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.installed
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help demo test lint types clean

help:
	@echo "make demo   simulate, prepare, train, evaluate, export, serve and recommend, on simulated events"
	@echo "make test   run the tests"
	@echo "make lint   check style"
	@echo "make types  check types"
	@echo "make clean  remove the virtual environment and caches"

demo: $(READY)
	@$(VENV)/bin/laclrec-tf demo

# One worker a core; the tests of a file share what they set up.
test: $(READY)
	@$(VENV)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: $(READY)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

types: $(READY)
	@$(VENV)/bin/mypy

# The stamp is written last, so an interrupted installation is made anew.
$(READY): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "laclrec-tf needs Python 3.11 or newer; call make PYTHON=python3.11" >&2; exit 2; }
	@echo "Installing into $(VENV), a few minutes the first time ..."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { echo "No venv module; install it (Debian: python3-venv)" >&2; exit 2; }
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,beam,vertex,kubeflow,explore]"
	@touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info build dist
