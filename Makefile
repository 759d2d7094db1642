# `make demo` and `make test` set up all they need in .venv.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.installed
TEST_READY := $(VENV)/.test-installed
DOCS_READY := $(VENV)/.docs-installed
NOTEBOOK_SECONDS ?= 240
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help demo test notebooks lint types docs clean

help:
	@echo "make demo       simulate, prepare, train, evaluate, export, serve and recommend, on simulated events"
	@echo "make test       run the tests"
	@echo "make notebooks  run the notebooks from top to bottom"
	@echo "make lint       check style"
	@echo "make types      check types"
	@echo "make docs       build the documentation into build/site"
	@echo "make clean      remove the virtual environment and caches"

demo: $(READY)
	@$(VENV)/bin/laclrec-tf demo

# One worker a core; the tests of a file share what they set up.
test: $(TEST_READY)
	@$(VENV)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# Two notebooks at a time, each in its own process; their files are not changed. `-qq` hides pytest's summary line, so
# that a log has only that of the tests. The target fails if the notebooks take longer than NOTEBOOK_SECONDS.
notebooks: $(TEST_READY)
	@start=$$(date +%s); \
	$(VENV)/bin/python -m pytest -qq -n 2 --nbmake --nbmake-timeout=$(NOTEBOOK_SECONDS) \
		--durations=0 --durations-min=1 notebooks || exit 1; \
	took=$$(($$(date +%s) - start)); \
	test $$took -le $(NOTEBOOK_SECONDS) || { echo "the notebooks ran, but took $$took s, more than $(NOTEBOOK_SECONDS): \
	shorten the slowest one above, or, on a slow machine, call make notebooks NOTEBOOK_SECONDS=600" >&2; exit 1; }; \
	echo "all notebooks ran, in $$took s"

lint: $(TEST_READY)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

types: $(TEST_READY)
	@$(VENV)/bin/mypy

# A warning is an error, so this checks every link and docstring too.
docs: $(DOCS_READY)
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	@echo "built build/site/index.html"

# The stamp is written last, so an interrupted installation is repeated.
$(READY): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "laclrec-tf needs Python 3.11 or newer; call make PYTHON=python3.11" >&2; exit 2; }
	@echo "Installing into $(VENV), a few minutes the first time ..."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { echo "No venv module; install it (Debian: python3-venv)" >&2; exit 2; }
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $(READY)

# The tests run everything that is optional, too.
$(TEST_READY): $(READY)
	@echo "Installing what the tests need ..."
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e ".[test,beam,vertex,kubeflow,explore]"
	@touch $(TEST_READY)

$(DOCS_READY): $(READY)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $(DOCS_READY)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info build dist
