# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo

.PHONY: demo test test-slow docs notebooks lint format clean

# the stamp keeps make from installing again what has not changed
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,docs]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/neuroalign demo --out $(OUT) --overwrite

test: $(VENV)/.installed lint
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --dist loadfile

# tutorials, pages, the documentation site, whole fits
test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m slow --numprocesses auto --dist loadfile

docs: $(VENV)/.installed
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

notebooks: $(VENV)/.installed
	$(BIN)/python tutorials/make_notebooks.py

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
