# Everything that is run by hand or by CI. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: build-tests test-runtimes test-all test-python-all demo-cluster brokers test-brokers test-clients test-chaos chaos help demo demo-python test test-python test-types lint test-docs test-rust test-conformance test-interop \
	test-bench conformance soak bench bench-all bench-cluster bench-report bench-instructions bench-instructions-renew deny docs clean examples package checked

CARGO ?= cargo
PYTHON ?= python3
PORT ?= 8000
SUITE ?= all
# Of bench/, what is ours and no server.
BENCH_TOOLS := -p load -p runner -p instructions
# What lints and tests of bench/ need is mostly built already; servers that are measured have a folder of their own.
SHARED_TARGET := CARGO_TARGET_DIR=$(CURDIR)/target
SOAK_SECONDS ?= 120
# They wait for servers more than they compute.
BROKER_TEST_THREADS ?= 6
ROUNDS ?= 20
SEEDS ?= 2000

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 28

demo: | has-cargo ## Build and serve the chat at http://127.0.0.1:8000 (PORT=… for another)
	$(CARGO) build --release -p nexios --example chat
	target/release/examples/chat --listen 127.0.0.1:$(PORT)

demo-python: | has-cargo ## The same chat, served by Python: builds the package into python/.venv
	PYTHON=$(PYTHON) PROFILE=release python/build
	python/.venv/bin/python examples/python/chat.py --listen 127.0.0.1:$(PORT)

demo-cluster: brokers | has-cargo ## Redis and three nodes of the chat at 8001 to 8003: kill one and watch its page move
	$(CARGO) build --release -p nexios --features redis --example chat
	$(PYTHON) examples/cluster/cluster.py

test: | has-cargo has-python ## All that CI runs: format, lints, docs, Rust tests, quick Autobahn, interop, browser
	@$(PYTHON) scripts/test

test-all: | has-cargo has-python ## The whole: also every case of Autobahn, every Python version, the soak, licences, all of chaos; about three hours
	@$(PYTHON) scripts/test all

lint: | has-cargo has-python ## Format, clippy, and the functions that ARCHITECTURE.md names
	$(PYTHON) scripts/check-architecture
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --test broker -- -D warnings
	cd bench && $(CARGO) fmt --all --check
	cd bench && $(SHARED_TARGET) $(CARGO) clippy $(BENCH_TOOLS) --all-targets -- -D warnings

test-docs: | has-cargo ## Build the documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

brokers: ## Get Redis and NATS for the tests, into .cache/brokers
	@scripts/brokers

test-brokers: brokers | has-cargo ## The contract of brokers: memory, hub, Redis, NATS
	RUST_TEST_THREADS=$(BROKER_TEST_THREADS) $(CARGO) test --workspace --test broker

test-rust: | has-cargo ## Unit, integration, example and documentation tests
	$(CARGO) test --workspace --all-targets
	$(CARGO) test --workspace --doc

# Everything that the steps of `make test` run, so that they wait for no build.
build-tests: brokers package | has-cargo
	$(CARGO) test --workspace --all-targets --test broker --no-run
	cd bench && $(SHARED_TARGET) $(CARGO) test $(BENCH_TOOLS) --no-run

# Examples and programs with all features of the workspace: their libraries are those that `make test-rust` has built.
examples: | has-cargo
	$(CARGO) build --workspace --examples --bins

package: | has-cargo has-python
	@PYTHON=$(PYTHON) python/build --quiet

checked: | has-cargo has-python
	$(CARGO) build --profile checked -p nexios --features redis --example echo --example chat --example live
	@PYTHON=$(PYTHON) PROFILE=checked python/build --quiet

test-chaos: brokers examples ## Three nodes and Redis, each fault once under traffic: nothing is lost without a gap; seventy-five seconds
	$${CARGO_TARGET_DIR:-target}/debug/chaos run --quick --broker redis

chaos: brokers | has-cargo ## Three nodes and each broker in turn, ROUNDS=20 of all faults: under an hour; and SEEDS=2000 of the simulation
	$(CARGO) run -p chaos -- run --rounds $(ROUNDS)
	NEXIOS_SEEDS=$(SEEDS) $(CARGO) test -p nexios-cluster --profile checked --test simulation

test-conformance: examples package ## Autobahn on Rust and Python, fewer sizes, over TLS a sample: about two minutes
	$(PYTHON) conformance/run.py --quick

test-interop: brokers examples package ## websockets, aiohttp, picows, npm ws, our own client, and Chromium on both chats
	PYTHON=$(PYTHON) interop/run

test-python: brokers | has-cargo has-python ## The Python package, on asyncio and uvloop; on every other CPython that is installed a smoke run
	PYTHON=$(PYTHON) python/run-tests --smoke-others -q -n 2

test-python-all: brokers | has-cargo has-python ## All tests of the Python package on every CPython that is installed
	PYTHON=$(PYTHON) python/run-tests --every-version -q -n 2

test-types: | has-cargo has-python ## Python: ruff, mypy on the package and on a typical app, stubtest
	PYTHON=$(PYTHON) python/check-types

test-clients: ## The client for browsers and Node.js: behaviours, types, size; seconds
	@clients/js/run-tests

test-runtimes: ## The packed client for browsers under jest (node and jsdom) and Deno, which are installed where they are missing
	@clients/js/run-runtimes

conformance: checked ## All 535 Autobahn cases on both, plain and TLS; writes docs/conformance.md
	$(PYTHON) conformance/run.py --full

test-bench: | has-cargo ## The bench itself: reading names, statistics, the report; nothing is timed
	cd bench && $(SHARED_TARGET) $(CARGO) test $(BENCH_TOOLS)

bench: | has-cargo has-python ## Measure beside uWebSockets, fastwebsockets, axum, picows and uvicorn: under 25 minutes
	cd bench && $(CARGO) run --release -p runner -- suite quick --fresh

bench-all: | has-cargo has-python ## Measure everything: an hour; goes on where it was interrupted (FRESH=--fresh: not)
	cd bench && $(CARGO) run --release -p runner -- suite all $(FRESH)

bench-cluster: brokers | has-cargo has-python ## Measure two nodes and Redis beside Socket.IO and Channels (FRESH=--fresh: from the start)
	cd bench && $(CARGO) run --release -p runner -- suite cluster $(FRESH)

bench-report: | has-cargo ## Write BENCHMARKS.md and its charts from what bench-all measured (SUITE=quick: bench)
	cd bench && $(CARGO) run --release -p runner -- report $(SUITE)

bench-instructions: | has-cargo has-valgrind ## Count the instructions of the hot paths; over 2 % more is an error
	cd bench && $(CARGO) run --release -p instructions -- check

bench-instructions-renew: | has-cargo has-valgrind ## Take the counts of now as the baseline
	cd bench && $(CARGO) run --release -p instructions -- renew

soak: checked ## The Python package under all kinds of clients, two minutes on each loop: nothing is left
	python/.venv/bin/python python/soak --seconds $(SOAK_SECONDS)

deny: | has-cargo ## Licences and sources of all dependencies
	@command -v cargo-deny >/dev/null || { echo "make: installing cargo-deny"; $(CARGO) install --locked cargo-deny; }
	$(CARGO) deny check licenses sources bans

docs: | has-cargo ## Build the documentation: target/doc/nexios/index.html
	$(CARGO) doc --workspace --no-deps

clean: ## Remove everything that was built or installed here
	rm -rf target .cache .mypy_cache .ruff_cache artefacts interop/.venv interop/ws/node_modules clients/js/node_modules clients/js/runtimes/node_modules python/.venv* python/nexios/*.so
	rm -rf bench/target bench/.cache bench/.venv

.PHONY: has-cargo has-python has-valgrind
has-cargo:
	@command -v $(CARGO) >/dev/null || { echo "make: Rust is missing: install it from https://rustup.rs (1.91 or later)" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "make: a C compiler is missing (cryptography of TLS): apt-get install gcc" >&2; exit 1; }

has-python:
	@$(PYTHON) -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
		|| { echo "make: Python 3.11 or 3.12 with venv is needed: apt-get install python3-venv, or PYTHON=python3.12" >&2; exit 1; }

has-valgrind:
	@command -v valgrind >/dev/null || { echo "make: valgrind is missing: apt-get install valgrind" >&2; exit 1; }
