# Every target works in .venv, which the first one creates.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
-include .env
# A portal may take minutes to count its whole history; Dagster's own limit is one.
export DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS ?= 300
# Processes are many and short here: without cached bytecode each compiles its libraries anew, 4 s.
unexport PYTHONDONTWRITEBYTECODE
export DAGSTER_HOME ?= $(or $(CITY311_DAGSTER_HOME),$(abspath $(or $(CITY311_DATA_DIR),data))/dagster)

# The sample city has a model service of its own, free; live, a model is asked only where named.
ifneq ($(CITY311_SOURCE),live)
# Half the usual records, so that photos and all fit into minutes.
demo demo-keyless dev: export CITY311_SAMPLE_RECORDS_PER_DAY ?= 200
# Without a model every case has a text, ten times as many as have photos: a sample of them is mapped.
demo-keyless: export CITY311_ATLAS_MAX_CASES ?= 3000
demo dev: export CITY311_CAPTION_METHOD ?= openai
demo dev: export CITY311_EMBEDDING_METHOD ?= openai
demo dev: export CITY311_CLUSTER_NAME_METHOD ?= openai
endif

.PHONY: help demo demo-keyless test check trials faults dev console pictures bench clean docs lock
help:
	@echo "make demo    the sample city through the whole graph, offline, in minutes"
	@echo "make demo-keyless  the same without any model"
	@echo "make test    every check and every test"
	@echo "make check   format, lint, types, import rules, definitions, docs in step"
	@echo "make dev     the Dagster UI on http://127.0.0.1:3000, with schedules and sensors"
	@echo "make console the console and the API on http://127.0.0.1:8311"
	@echo "make trials  the long tests; writes docs/trials.md"
	@echo "make faults  what every fault of a source leads to; writes docs/faults.md"
	@echo "make bench   the measurements; writes docs/benchmarks.md"
	@echo "make pictures  the README's pictures, of what the demo made"
	@echo "make docs    the data dictionary, from the declared tables"
	@echo "make lock    constraints.txt, from pyproject.toml"
	@echo "make clean   empties data/, whatever its records are; other folders are left alone"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else 'Python 3.11 to 3.13 is needed, this is ' + sys.version)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable . --group dev
	touch $(READY)

demo: $(READY)
	$(BIN)/city311 demo

demo-keyless: $(READY)
	CITY311_CAPTION_METHOD=case_text CITY311_EMBEDDING_METHOD=local CITY311_CLUSTER_NAME_METHOD=c_tf_idf $(BIN)/city311 demo

dev: $(READY)
	mkdir -p $(DAGSTER_HOME)
	test -f $(DAGSTER_HOME)/dagster.yaml || cp data/dagster/dagster.yaml $(DAGSTER_HOME)/
	$(BIN)/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port 3000

console: $(READY)
	$(BIN)/city311 serve

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/dg check defs
	$(BIN)/python docs/generate.py --check

test: check
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

trials: $(READY)
	$(BIN)/python -m pytest city311_assets_tests/trials -m trial --trials-report=docs/trials.md

faults: $(READY)
	$(BIN)/python -m pytest city311_assets_tests/test_faults.py --faults-page=docs/faults.md

bench: $(READY)
	$(BIN)/python -m benchmarks

pictures: $(READY)
	$(BIN)/python docs/pictures.py

docs: $(READY)
	$(BIN)/python docs/generate.py

lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --upgrade --no-emit-index-url --no-annotate --quiet --output-file constraints.txt

clean:
	rm -rf data/city311.duckdb data/city311.duckdb.wal data/.publishing-*
	rm -rf data/warehouse/warehouse.* data/photos data/text_models data/risk_models data/published data/lake
	find data/dagster -mindepth 1 -maxdepth 1 ! -name dagster.yaml -exec rm -rf {} +
