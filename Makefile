# Every target works by itself in a fresh clone: it makes .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RECIPE := recipes/cyclegan_openmoji_64_neighbours.yaml
RUN := runs/cyclegan_openmoji_64_neighbours
DATA := datasets/openmoji
LIKE := $(addprefix $(DATA)/trainB/,1f353.png 1f34f.png 1f98a.png 1f437.png)  # strawberry, apple, fox, pig
LANDSCAPES := cyclegan_landscapes

.PHONY: demo page test lint schema docs site toy figures began setup clean
.DEFAULT_GOAL := demo

setup: $(VENV)/.installed

# One pip call for torch and torchvision, so that they fit each other.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "progcycle needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# Train the translator between drawings and coloured pictures, translate the held-out ones, measure against the truth.
demo: setup
	$(BIN)/python -m progcycle.train $(RECIPE) --run-dir $(RUN)
	$(BIN)/python -m progcycle.translate $(RUN) $(DATA)/testA $(RUN)/translated/coloured --direction ab --grid
	$(BIN)/python -m progcycle.translate $(RUN) $(DATA)/testA $(RUN)/translated/coloured_like --direction ab --like $(LIKE) --grid
	$(BIN)/python -m progcycle.translate $(RUN) $(DATA)/testB $(RUN)/translated/drawn --direction ba --grid
	$(BIN)/python -m progcycle.evaluate $(RUN) --metrics kid-resnet two-sample

# The page of that translator, for a browser: build/page/index.html.
page: setup
	test -d $(RUN)/snapshots || $(MAKE) demo
	$(BIN)/python -m progcycle page $(RUN) --out build/page --overwrite --title "Emoji, coloured" --names drawing coloured

# Three processes for two cores: some tests wait for other processes. Bytecode is kept, for tests start Python often.
test: setup
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# The JSON Schema that editors check recipes against.
schema: setup
	$(BIN)/python -c 'import json; from progcycle.recipe import json_schema; print(json.dumps(json_schema(), indent=1))' > recipes/schema.json

# The figures of the studies that the documents show, from the published rows in docs/studies.
docs: setup
	$(BIN)/python docs/study_figures.py

# The documentation as a site, in build/site; broken links and other warnings fail.
site: setup
	$(BIN)/python -c 'import furo, myst_parser, sphinx' 2>/dev/null || $(BIN)/python -m pip install --quiet -e '.[docs]'
	$(BIN)/python docs/site/build.py

# The toy experiments of WGAN-GP, which docs/dcgan_wgan.md shows: under a minute of training.
toy: setup
	$(BIN)/python docs/toy_points.py

# The pictures of the README, from the runs that they show: half an hour of training where these are not there yet.
figures: demo
	$(BIN)/python -m progcycle.train recipes/$(LANDSCAPES).yaml --run-dir runs/$(LANDSCAPES)
	$(BIN)/python -m progcycle.plan recipes/$(LANDSCAPES).yaml --out docs/images/plan.png
	test -d runs/large_landscapes || $(BIN)/python datasets/landscapes/prepare.py --large runs/large_landscapes
	$(BIN)/python docs/figures.py $(RUN) runs/$(LANDSCAPES) --large runs/large_landscapes

# The studies of docs/began.md, and samples of their runs.
began: setup
	$(BIN)/python -m progcycle.study began began_gamma
	$(BIN)/python docs/began_figures.py runs/studies

clean:
	rm -rf $(VENV) build *.egg-info
