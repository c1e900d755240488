# Everything sets itself up: the first target run makes .venv from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint bench bench-smoke wheel-smoke soak clean
demo: $(STAMP)
	$(BIN)/rxotlp demo

test: $(STAMP)
	$(BIN)/python -m pytest -n logical --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks

bench-smoke: $(STAMP)
	$(BIN)/python -m pytest benchmarks --benchmark-disable -o addopts='--import-mode=importlib'
	$(BIN)/python -m benchmarks --smoke

soak: $(STAMP)
	$(BIN)/python -m benchmarks.memory
	RXOTLP_SOAK=1 $(BIN)/python -m pytest tests/test_fuzz.py tests/test_fuzz_sockets.py \
		tests/test_books_under_fire.py
	sh fuzz/run $(BIN)/python
	$(BIN)/python -m benchmarks.faults
	$(BIN)/python -m benchmarks.overload

wheel-smoke: $(STAMP)
	sh .ci/wheel-smoke $(BIN)/python

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
