# Everything installs into .venv; PYTHON names the interpreter that makes it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VIDEO ?= $(firstword $(wildcard $(or $(STEMSEG_SHARED),../shared)/data/videos/*.mp4))

.PHONY: demo test test-slow docs dist fuzz parity parity_metrics clean

# make demo [VIDEO=clip.mp4]: and, if a real video is named, the weights that come along.
demo: $(VENV)/installed
	$(BIN)/python -m stemseg_jax.main --config=configs/moving_shapes.py --mode=demo --workdir=runs/demo
ifneq ($(VIDEO),)
	$(BIN)/python -m stemseg_jax.main --mode=predict "--input=$(VIDEO)" --output=runs/real
else
	@echo "A real video is labelled by: make demo VIDEO=clip.mp4"
endif

test: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m slow

# docs/site/index.html; a warning is an error.
docs: $(VENV)/installed-dev
	$(BIN)/python -m sphinx --fail-on-warning --quiet docs docs/site

# dist/: what is uploaded to PyPI, the wheel being made of the sdist.
dist: $(VENV)/installed-dev
	$(BIN)/python -m build --no-isolation

# make fuzz [CASES=1000]: so many broken and odd inputs of each form, by how they ended.
fuzz: $(VENV)/installed-dev
	STEMSEG_FUZZ=$(or $(CASES),1000) $(BIN)/python -m pytest tests/fuzz

# make parity GOLDENS=DIR [JSON=FILE]
parity: $(VENV)/installed-dev
	$(BIN)/python -m tests.parity.run --goldens=$(GOLDENS) $(if $(JSON),--json=$(JSON))

# make parity_metrics CASES=DIR [JSON=FILE]
parity_metrics: $(VENV)/installed-dev
	$(BIN)/python -m tests.parity_metrics --cases=$(CASES) $(if $(JSON),--json=$(JSON))

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "No venv module; on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/installed: setup.py $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: setup.py $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist docs/api docs/site *.egg-info
