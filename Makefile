# make demo: export the demo reader and ask it a question.  make test: run the tests.
# Both make a virtual environment first and install what they need, at the versions of constraints.txt.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
QUESTION := Who led the building of the Suez Canal?

.PHONY: demo test check bench docs tree clean

demo: $(VENV)/demo.done
	$(BIN)/dpr-export demo/reader --force
	@echo
	$(BIN)/dpr-runtime answer reader-onnx --passages exporter/demo/passages.jsonl --question "$(QUESTION)"

test: $(VENV)/test.done
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/test.done tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=build/types $(BIN)/mypy -p dpr_export

# The documentation as a site, in build/site.
docs: $(VENV)/docs.done tree
	NO_MKDOCS_2_WARNING=1 PATH="$(BIN):$$PATH" $(BIN)/mkdocs build --quiet
	@echo "in build/site: $(BIN)/python -m http.server --directory build/site"

# build/types/dpr_export: links to the four folders, for tools that read the sources without installing them.
tree:
	@mkdir -p build/types/dpr_export
	@for folder in models exporter quantization runtime; do ln -sfn "$$PWD/$$folder" build/types/dpr_export/$$folder; done

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
