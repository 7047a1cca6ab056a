# make demo: export the demo reader and ask it a question.  make test: run the tests.
# Both make a virtual environment first and install what they need, at the versions of constraints.txt.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
QUESTION := Who led the building of the Suez Canal?

.PHONY: demo test check bench clean

demo: $(VENV)/demo.done
	$(BIN)/dpr-export demo/reader --force
	@echo
	$(BIN)/dpr-runtime answer reader-onnx --passages exporter/demo/passages.jsonl --question "$(QUESTION)"

test: $(VENV)/test.done
	$(BIN)/python -m pytest

check: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/types && $(PIP) install --quiet --no-deps --target build/types .
	MYPYPATH=build/types $(BIN)/mypy -p dpr_export

bench: $(VENV)/bench.done
	$(BIN)/python -m benchmarks.cpu

$(VENV)/%.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dpr-export needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): a minute or two, more where PyTorch has to be downloaded"
	$(PIP) install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
