# leidan: what a developer types. Plain `make` lists the targets; each makes what it needs.
# Paths stay relative and quoted: the checkout may stand in a folder with spaces in its name.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
ARGS ?=
PIP_TOOLS := pip-tools==7.6.2
PIP_AUDIT := pip-audit==2.10.1
# Processes of `make test`: those with a real broker wait more than they work.
JOBS ?= 3

# What starts processes, or goes on for many seeds.
NOT_QUICK := cli mock sim crash fuzz faults security test_fault_matrix.py

PY := .venv/bin/python
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(PY) -m pip
READY := .venv/.ready

.PHONY: help
help: ## list the targets
	@printf 'leidan: cumulative-order rewards from an order log\n\n'
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | awk -F@ '{printf "%-20s %s\n", $$1, $$2}'
	@printf '\nFirst time here: make run\n'

# The environment: made from the lock, every file checked against its hash. Made once; a second
# `make` asks nobody anything and works offline.
.venv/.locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo 'leidan needs Python 3.11 or newer as $(PYTHON) (or PYTHON=...): apt-get install -y make python3-venv' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'leidan needs the venv module of $(PYTHON): apt-get install -y make python3-venv' >&2; exit 2; }
	@echo 'leidan: making .venv from requirements.lock (once; about half a minute)' >&2
	$(PYTHON) -m venv --clear .venv
	$(PIP) install --require-hashes -r requirements.lock
	@touch $@

$(READY): .venv/.locked pyproject.toml
	$(PIP) install --quiet --no-deps --no-build-isolation --no-index --editable .
	@$(PY) -m streams.native.build || true
	@touch $@

# Peers of the benchmark need older clients than the product is locked to: an environment beside it,
# with a lock of its own, that nothing but `make bench` and its smoke test looks at.
PEERS := .venv/peers/.locked
$(PEERS): tests/bench/peers.lock | $(READY)
	@echo 'leidan: making .venv/peers from tests/bench/peers.lock (once; about half a minute)' >&2
	$(PYTHON) -m venv --clear .venv/peers
	PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/peers/bin/python -m pip install --quiet --retries 1 --require-hashes -r tests/bench/peers.lock
	@touch $@

.PHONY: peers
peers: $(PEERS) ## the environment of Quix Streams and Bytewax, for the benchmark (165 MB)

# Schemas of manifests; not in the lock: 108 MB, and one wants a click that Faust does not. Nothing
# but tests/deploy looks at them: where they are they are used, elsewhere two tests skip by name.
VALIDATOR_PINS := kubernetes-validate==1.37.0 check-jsonschema==0.39.0
VALIDATORS := .venv/validators/.made
$(VALIDATORS): | $(READY)
	@echo 'leidan: making .venv/validators: $(VALIDATOR_PINS) (once; about half a minute)' >&2
	$(PYTHON) -m venv --clear .venv/validators
	PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/validators/bin/python -m pip install --quiet --retries 1 $(VALIDATOR_PINS)
	@touch $@

.PHONY: validators
validators: $(VALIDATORS) ## validators of manifests and compose file, which `make test` then uses (150 MB)

# Made anew by each installation; after a change of its sources, by hand.
.PHONY: native
native: $(READY) ## compile the short path of the fold again (needs a C compiler; leidan works without it)
	$(PY) -m streams.native.build

.PHONY: native-check
native-check: $(READY) ## the compiled short path under address and undefined-behaviour sanitizers, fuzzed
	$(PY) -m tests.native.sanitized $(ARGS)

.PHONY: run
run: $(READY) ## four campaigns side by side, a worker, users, summary; ARGS="--orders 50000" goes to the demo
	@$(PY) -m streams demo $(ARGS)

.PHONY: test
test: $(READY) ## every test; those against real Kafka need Java 17 and Maven, else they are skipped by name
	@$(PY) tests/kafka/cluster.py fetch || echo 'leidan: going on without a real broker; its tests are skipped by name' >&2
	@$(MAKE) --no-print-directory peers || echo 'leidan: going on without the benchmark'"'"'s peers; their tests are skipped by name' >&2
	$(PY) -m pytest --numprocesses $(JOBS) --no-loadscope-reorder $(ARGS)

.PHONY: test-long
test-long: $(READY) ## what `make test` leaves out for its minutes: the year record by record, faults, the control in full
	LEIDAN_LONG=1 $(PY) -m pytest -s tests/cli/test_demo.py tests/backfill tests/kafka/test_exactly_once.py tests/kafka/test_worker_faults.py tests/security -k 'same_year or real_year or guilty or faults or listener' $(ARGS)

# One broker, three brokers and long loops of every tier; each line prints its figures. Nothing else
# may run beside it: waits are on conditions, but a starved machine heals late.
.PHONY: test-faults
test-faults: $(READY) kafka-jars ## every row of the fault matrix on real Kafka, about 90 minutes on 2 cores
	$(PY) -m tests.sim --seeds 5000 --jobs 2
	$(PY) -m tests.crash --crashes 200 --damages 10
	LEIDAN_FAULTS=1 LEIDAN_LONG=1 LEIDAN_REQUIRE=kafka $(PY) -m pytest -s -k 'row or guilty or two_minutes or three_brokers' $(ARGS)
	$(PY) -m tests.faults.kills --kills 300

HOURS ?= 1
SEED ?= 1
.PHONY: soak
soak: $(READY) kafka-jars ## HOURS=n SEED=s: 20,000 seeds, 500 crashes, 1,000 kills, a nemesis over three brokers
	$(PY) -m tests.sim --seeds 20000 --jobs 2
	$(PY) -m tests.crash --crashes 500 --seed $(SEED) --damages 30
	$(PY) -m tests.faults.kills --kills 1000 --seed $(SEED)
	$(PY) -m tests.faults.soak --hours $(HOURS) --seed $(SEED) --brokers 3

.PHONY: fuzz
fuzz: $(READY) ## a million spoilt inputs for every decoder
	$(PY) -m tests.fuzz --inputs 1000000 --seed $(SEED)

.PHONY: quick
quick: lint types ## lint, types and the tests of rules, bytes and steps, about a minute
	$(PY) -m pytest -m 'not kafka and not slow' $(NOT_QUICK:%=--ignore=tests/%) $(ARGS)

.PHONY: fmt
fmt: $(READY) ## rewrite the sources in house style
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

.PHONY: lint
lint: $(READY) ## refuse what is not in house style
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

.PHONY: types
types: $(READY) ## strict types for all of streams/
	$(PY) -m mypy

.PHONY: bench
bench: $(READY) $(PEERS) ## the live worker beside its peers and its limits, same real broker, same topics
	$(PY) -m tests.bench $(ARGS)

RESULTS ?= bench-results
.PHONY: bench-report
bench-report: $(READY) ## one HTML page of what benchmarks wrote with --json into RESULTS=bench-results
	$(PY) -m tests.bench.report $(RESULTS)/*.json --out $(RESULTS)/report.html

.PHONY: sizing
sizing: $(READY) ## deploy/sizing.md from deploy/figures.json; ARGS="--measured FILE..." takes new figures first
	$(PY) -m tests.bench.sizing $(ARGS)

.PHONY: kafka
kafka: kafka-jars ## one real Kafka broker (KRaft) in the foreground; Ctrl-C ends it
	$(PY) tests/kafka/cluster.py run

.PHONY: kafka-jars
kafka-jars: $(READY) ## fetch Apache Kafka's jars once, 43 MB (needs Java 17 and Maven, names what is missing)
	$(PY) tests/kafka/cluster.py fetch

# The only writer of both locks. Comments, index addresses and local paths stay out of them: hashes
# say enough. pip-tools lives in an environment of its own, so that it locks itself out.
COMPILE := -m piptools compile --quiet --upgrade --generate-hashes --strip-extras \
  --allow-unsafe --no-header --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
  --no-emit-options
.PHONY: lock
lock: ## write requirements.lock and the peers' lock anew, newest versions, hashes for every platform
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	$(PYTHON) -m venv "$$tmp/venv"; \
	"$$tmp/venv/bin/python" -m pip install --quiet '$(PIP_TOOLS)'; \
	"$$tmp/venv/bin/python" $(COMPILE) --all-extras --output-file "$$tmp/lock" pyproject.toml; \
	{ echo '# Written by `make lock`, read by `pip install --require-hashes`; Python 3.11 to 3.13.'; cat "$$tmp/lock"; } > requirements.lock; \
	"$$tmp/venv/bin/python" $(COMPILE) --output-file "$$tmp/peers" tests/bench/peers.in; \
	{ echo '# Written by `make lock` from peers.in, read by `make peers`; Python 3.11 to 3.13.'; cat "$$tmp/peers"; } > tests/bench/peers.lock
	@grep -c '==' requirements.lock tests/bench/peers.lock

# Advisories are looked up on the network; without --strict a look-up that failed would pass.
.PHONY: audit
audit: ## known vulnerabilities of what requirements.lock names; needs the network
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	$(PYTHON) -m venv "$$tmp/venv"; \
	"$$tmp/venv/bin/python" -m pip install --quiet '$(PIP_AUDIT)'; \
	"$$tmp/venv/bin/python" -m pip_audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements.lock

.PHONY: deploy-check
deploy-check: $(READY) validators ## image, manifests, compose file and units against their schemas: none of it is skipped
	LEIDAN_REQUIRE=kubernetes-validate,check-jsonschema,promtool,$$LEIDAN_REQUIRE $(PY) -m pytest tests/deploy $(ARGS)

.PHONY: wheel-check
wheel-check: $(READY) ## build the wheel, install it outside the checkout, run it there
	.ci/wheel-check

.PHONY: clean
clean: ## remove what make made (the environment too); sources and Kafka's jars stay
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis streams/native/_native*.so
	find streams tests schemas -name __pycache__ -type d -prune -exec rm -rf {} +
