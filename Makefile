# Everything sets itself up: a .venv made by uv (installed by pip when it is missing), from locked, hashed requirements.
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo $(CURDIR)/.venv-uv/bin/uv)
BIN := .venv/bin
RUN := $(CURDIR)/$(BIN)

.PHONY: demo test check bench bench-features bench-serving lock setup clean soak services

demo: setup
	$(BIN)/skyloom demo

test: setup
	$(BIN)/pytest -n 2 --dist loadgroup

check: setup
	$(BIN)/ruff format --check src tests bench
	$(BIN)/ruff check --no-cache src tests bench
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m bench

# Beside DuckDB, Polars and Feast, which get environments of their own in the cache folder at the first run.
bench-features: setup
	$(BIN)/python -m bench features

# Beside FastAPI, BentoML, MLServer, LitServe, Ray Serve, MLflow and KServe, likewise: servers on core 0, the load on core 1.
bench-serving: setup
	$(BIN)/python -m bench serving

# The same tests with many more random histories, requests, ends of servers, release swaps and hostile files: some hours.
soak: setup
	SKYLOOM_HISTORIES=20000 $(BIN)/pytest -n 2 --dist loadgroup --timeout 3600 tests/features
	SKYLOOM_SOAK=25 $(BIN)/pytest --timeout 7200 tests/serving/test_ends.py tests/serving/test_overload.py tests/serving/test_slow_clients.py \
		tests/serving/test_batching.py tests/serving/test_batching_served.py tests/serving/test_grpc_wire.py tests/runtime/test_scoring_killed.py
	SKYLOOM_ROTATIONS=100 $(BIN)/pytest --timeout 3600 tests/serving/test_tls.py
	SKYLOOM_HOSTILE_REQUESTS=100000 $(BIN)/pytest --timeout 3600 tests/serving/test_hostile.py
	SKYLOOM_HOSTILE=210 SKYLOOM_SWAPS=1000 $(BIN)/pytest --timeout 3600 tests/package/test_trial.py tests/serving/test_releases.py tests/serving/test_memory.py

# Redis, Kafka and PostgreSQL until Ctrl-C, from this machine's own programs; `docker compose up` does the same by compose.yaml.
services: setup
	$(BIN)/python -m tests.services

setup: .venv/ready

.venv/ready: requirements/dev.txt pyproject.toml
	@command -v uv >/dev/null 2>&1 || test -x $(UV) || ($(PYTHON) -m venv .venv-uv && .venv-uv/bin/pip install --quiet uv)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	$(BIN)/python -m compileall -q src/skyloom
	$(BIN)/python -m skyloom.features.warm
	@touch .venv/ready

lock:
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra demo \
		pyproject.toml -o requirements/base.txt
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra demo --extra aws --extra grpc --extra kafka --extra otel --extra redis --extra sql --group dev \
		pyproject.toml -o requirements/dev.txt

clean:
	rm -rf .venv .venv-uv .pytest_cache .ruff_cache .hypothesis
