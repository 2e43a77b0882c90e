# Every target sets up what it needs: a virtual environment in .venv with the pinned versions.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
STUDY ?= demo-study

.PHONY: demo test test-slow lint install clean

demo: $(INSTALLED)  ## slide to image-mask pairs, every stage, on a slide that the demo makes
	$(BIN)/hdgan demo --study $(STUDY)

test: $(INSTALLED) lint  ## all tests at minute scale
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(INSTALLED)  ## kill and multi-process matrices
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)  ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(INSTALLED)

# torch comes first, alone and at the pinned version: where pip is told of a CPU build of it (PIP_FIND_LINKS), it takes
# that one, and what follows does not fetch another.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	touch $@

clean:
	rm -rf .venv $(STUDY) build dist
