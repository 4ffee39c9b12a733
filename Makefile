# The commands people and scripts type. What they do stands in tools/ and CMakePresets.json.
WEIR_DATA ?= weir-data
WEIR_LISTEN ?= 127.0.0.1:8080
export WEIR_DATA WEIR_LISTEN

.DEFAULT_GOAL := help
.PHONY: help run build install check fast asan tsan crash model recall fuzz-smoke clients schemathesis deps clean

help: ## print this list
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | sed 's/%/NAME/' | \
	while IFS='|' read -r name text; do printf '%-20s %s\n' "$$name" "$$text"; done
	@echo "  WEIR_DATA=$(WEIR_DATA) and WEIR_LISTEN=$(WEIR_LISTEN) are what 'make run' serves."

run: build ## install what is missing, build, serve on WEIR_LISTEN
	@exec build/release/weir serve --data "$$WEIR_DATA" --listen "$$WEIR_LISTEN"

build: ## leave the program in build/release/weir
	@tools/deps.sh run
	@tools/build.sh release weir

install: ## build and install below PREFIX (/usr/local), staged in DESTDIR
	@tools/deps.sh run
	@tools/build.sh release weir packaging
	@cmake --install build/release --prefix "$(or $(PREFIX),/usr/local)"

check: ## run every test and check; the last line counts them
	@tools/deps.sh check
	@python3 tools/check.py

fast: ## unit and HTTP tests only, for before a commit
	@tools/deps.sh check
	@python3 tools/check.py --fast

asan: ## unit, model and crash tests under the address and undefined-behaviour sanitizers
	@tools/deps.sh check
	@tools/build.sh asan
	@ctest --test-dir build/asan --output-on-failure --no-tests=error

tsan: ## the same under the thread sanitizer
	@tools/deps.sh check
	@tools/build.sh tsan
	@ctest --test-dir build/tsan --output-on-failure --no-tests=error

fuzz-smoke: ## each fuzz target for FUZZ_SECONDS (20) from its corpus
	@tools/deps.sh check
	@tools/build.sh fuzz
	@tools/fuzz_smoke.sh

crash: ## long crash tests: the power lost at every sync, and ROUNDS (200) of kill -9
	@tools/deps.sh check
	@tools/build.sh dev test_service_power
	@build/dev/tests/crash/test_service_power all
	@CRASH_ROUNDS=$(or $(ROUNDS),200) python3 tools/check.py --only '^crash\.test_kill9'

model: ## the model test of hunting for FOR_SECONDS (300), with the lots of SEED if given
	@tools/deps.sh check
	@MODEL_SECONDS=$(or $(FOR_SECONDS),300) MODEL_SEED=$(SEED) python3 tools/check.py --only '^model\.test_hunt'

recall: ## rules by lot against a plain scan of every file, for FOR_SECONDS (3600), with the lots of SEED if given
	@tools/deps.sh check
	@RECALL_SECONDS=$(or $(FOR_SECONDS),3600) RECALL_SEED=$(SEED) python3 tools/check.py --only '^model\.test_(retrohunt|index)_model'

bench-%: ## the benchmark NAME; ends with one line 'NAME key=value ...'
	@tools/deps.sh check
	@if [ -f bench/$*.sh ]; then tools/build.sh release && exec bash bench/$*.sh; \
	else tools/build.sh release bench_$* && exec build/release/bench_$*; fi

clients: ## get and build the programs of others that the tests run, from SOURCES if given
	@tools/clients.sh $(SOURCES)

schemathesis: ## schemathesis against a server of its own for EXAMPLES (500) requests an operation
	@SCHEMATHESIS_EXAMPLES=$(or $(EXAMPLES),500) python3 tools/check.py --only '^http\.test_schemathesis'

deps: ## install the packages that building and testing need
	@tools/deps.sh check

clean: ## remove build/ (the engine's cache outside the clone stays)
	rm -rf build
