# make demo   environment, the embedded experiment, the report
# make test   environment, lint, types, the whole test suite
# make gpu-check   whether all is right and how fast on this machine's CUDA card: logs/gpu_check.json
#
# Every path below is relative: `make` cannot quote the folder of a checkout, whose name may hold spaces.
# Programs are started as modules of Python: pip's scripts name that folder, and a shell would expand it.
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export HF_HUB_DISABLE_TELEMETRY := 1

ifeq ($(wildcard dvc.yaml),)
  $(error run make in the folder of the checkout (cd there, or make -C FOLDER): no dvc.yaml here)
endif
ifneq ($(findstring :,$(CURDIR)),)
  $(error the folder of this checkout has a colon in its name, which no PATH can hold: rename or move it)
endif

.PHONY: demo validation edits gpu-check test lint types environment clean
.DEFAULT_GOAL := demo

demo: environment
	python -m dvc repro
	@echo
	@python -c 'import pathlib; print("The report:", pathlib.Path("results/report.html").resolve().as_uri())'

validation: environment # planted truth, null pairs and seeds for every variant: results/validation.json
	python -m stages.validation

edits: environment # pairs with known edits, and null pairs: results/edit_study.json
	python -m stages.edit_study

gpu-check: environment # at most 8 minutes on a card; exit status 1: not right, 2: no card
	python -m benchmarks.gpu_check --json logs/gpu_check.json

test: environment lint types
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: environment
	python -m ruff check .
	python -m ruff format --check .

types: environment
	python -m basedpyright

environment: $(INSTALLED)

$(INSTALLED): requirements.lock
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is no Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
