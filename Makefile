# make setup | demo | test | lint | train-setup
# Another interpreter: make PYTHON=python3.12 setup

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# The stamps are newer than pyproject.toml once its packages are installed.
SETUP := $(VENV)/.setup
TRAIN_SETUP := $(VENV)/.train-setup

.DELETE_ON_ERROR:
.PHONY: setup train-setup demo test lint

setup: $(SETUP)

train-setup: $(TRAIN_SETUP)

# Debian's python3 without python3-venv has no ensurepip: the system's pip then fills the environment.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { \
		$(PYTHON) -m venv --clear --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(BIN)/python install pip; }

$(SETUP): pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) ..."
	@$(PIP) install -qq --editable '.[cli,test,lint]'
	@touch $@

$(TRAIN_SETUP): $(SETUP)
	@echo "Adding the training packages to $(VENV) ..."
	@$(PIP) install -qq --editable '.[train]'
	@touch $@

demo: $(SETUP)
	$(BIN)/openeo-superres demo --output demo

test: $(SETUP)
	$(BIN)/python -m pytest

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
