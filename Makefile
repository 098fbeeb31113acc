# make demo   environment, the embedded experiment, the report
# make test   environment, lint, types, the whole test suite
PYTHON ?= python3
VENV := $(CURDIR)/.venv
INSTALLED := $(VENV)/installed
export PATH := $(VENV)/bin:$(PATH)
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo proof test lint types deps environment clean
.DEFAULT_GOAL := demo

demo: environment
	dvc repro
	@echo
	@echo "The report: file://$(CURDIR)/results/report.html"

proof: environment # planted truth, null pairs and seeds for every variant: results/proof.json
	python -m stages.proof

test: environment lint types
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: environment
	ruff check .
	ruff format --check .

types: environment
	basedpyright

deps: environment # write the files that each stage imports into dvc.yaml
	python tests/code_dependencies.py

environment: $(INSTALLED)

$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), sys.version' || \
	  { echo "error: $(PYTHON) is older than Python 3.11: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
