# Every target sets up what it needs. `make` alone prints this help.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST ?= $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo up check format docs test test-slow fuzz chaos bench lock licences sbom wheel release clean

help: ## Print this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(READY) ## Start the service, animate the sample pair over HTTP, save demo/result.mp4 and a picture
	$(BIN)/animato demo --output demo

up: $(READY) ## Run the whole service here: queue, worker and API (http://127.0.0.1:8000)
	$(BIN)/animato up

check: $(READY) docs ## Format, lint, types, import rules, the documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m release.audit

docs: $(READY) ## Build the documentation site (build/docs/site); dead links and the like fail
	$(BIN)/python -m docs.site

format: $(READY) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: $(READY) ## The test suite (about 10 minutes on 2 cores; starts what it needs itself)
	$(PYTEST) -m "not slow" -n 4 --dist loadfile $(T)

test-slow: $(READY) ## The tests that take minutes: memory on a long clip, the crash of a worker with real leases
	$(PYTEST) -m slow --timeout=1800 $(T)

FUZZ ?= --copies 10000
fuzz: $(READY) ## 10,000 damaged files through the probe (an hour; FUZZ="--copies 500 --seed 1")
	$(BIN)/python -m tests.media_fuzz $(FUZZ)

SIZE ?= small
chaos: $(READY) ## Break the running service in twelve ways and count (SIZE=large SEED=7 ONLY=R1,R3)
	$(BIN)/python -m tests.chaos --size $(SIZE) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

bench: $(READY) ## Measure the model here: frames/s, where the time goes, share of the machine's peak (B="..." options)
	$(BIN)/python -m benchmarks.pipeline --save $(or $(B),--bundle avatars-256)

lock: $(READY) ## Write requirements.lock from what is installed
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu//' | grep -vE '^(animato|pip)( @|==)' > requirements.lock

licences: $(READY) ## Write docs/licences.md from what the locked packages say of themselves
	$(BIN)/python -m release.licences

sbom: $(READY) ## Write the bill of materials of the locked packages (dist/animato.cdx.json, CycloneDX)
	$(BIN)/python -m release.sbom dist/animato.cdx.json

wheel: $(READY) ## Build wheel and source archive of the commit into dist/, two times, and compare
	$(BIN)/python -m release.building

release: $(READY) ## Make a release: VERSION=1.2.3, DRY_RUN=1 to only try (CONTRIBUTING.md)
	$(BIN)/python -m release $(VERSION) $(if $(DRY_RUN),--dry-run)

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache build *.egg-info

# The set-up: a virtual environment, the locked dependencies, a Redis server from a wheel or the system.
$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Animato needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); $(MAKE) --no-print-directory system-venv; }
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[worker,train,evaluate,embedded,dev]'
	@$(BIN)/python -c 'from worker.embedded_redis import find_redis_server as find; find()' 2>/dev/null \
		|| $(MAKE) --no-print-directory system-redis
	@touch $@

.PHONY: system-venv system-redis
system-venv: # Debian and Ubuntu ship python3 without its venv module
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		|| { echo "Python's venv module is missing: sudo apt-get install python3-venv"; exit 1; }
	apt-get update -qq && apt-get install -y -qq python3-venv
	$(PYTHON) -m venv $(VENV)

system-redis: # no wheel with a server for this Python
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		|| { echo "A Redis server is missing: sudo apt-get install redis-server"; exit 1; }
	apt-get update -qq && apt-get install -y -qq redis-server
