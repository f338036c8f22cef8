# Thin on purpose: CMake builds, tools/*.sh do the rest. Needs make, git and a shell; `packages` brings what is missing.
# Everything that is made lands in build/.
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory --no-builtin-rules
.PHONY: help packages build demo check unit tsan system torture bench lint format clean test-packages test-tools lint-packages
TSAN_ALWAYS := halt_on_error=1 second_deadlock_stack=1
export CTEST_PARALLEL_LEVEL ?= $(shell nproc)
# CI asks for it: a test that fails is run once more, and both runs are shown (tests/README.md).
SECOND_CHANCE := $(if $(TWOKEY_SECOND_CHANCE),--repeat until-pass:2)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 18

packages: ## install the Debian packages that building and running need, if any is missing
	@tools/packages.sh build run

test-packages:
	@tools/packages.sh build run test

test-tools: test-packages
	@tools/test-tools.sh

lint-packages:
	@tools/packages.sh build run test lint

build: packages ## the release build: build/release/twokey
	@tools/build.sh release

demo: build ## a file into a bucket and out again, through two signatures
	@tools/demo.sh build/release/twokey

check: unit tsan system ## every test: unit tests under two kinds of sanitizer, the real binaries, clients and bucket

unit: test-tools ## unit tests, corpora and include rules, with ASan and UBSan
	@tools/build.sh dev
	ctest --preset dev --no-tests=error $(SECOND_CHANCE)
	@tools/token-matrix.sh build/dev/tests/hsm_test_matrix

tsan: test-tools ## unit tests with ThreadSanitizer
	@tools/build.sh tsan
	TSAN_OPTIONS="suppressions=$(CURDIR)/tests/tsan.supp $(TSAN_ALWAYS)" \
		ctest --preset tsan --no-tests=error $(SECOND_CHANCE) -L unit -E '^rpc/'
	TSAN_OPTIONS="suppressions=$(CURDIR)/tests/unit/rpc/tsan.supp $(TSAN_ALWAYS)" \
		ctest --preset tsan --no-tests=error $(SECOND_CHANCE) -L unit -R '^rpc/'

system: test-tools ## real binaries with real tokens, clients and a real S3 server
	@tools/build.sh dev
	@tools/build.sh release
	tools/system-tests.sh
	TWOKEY_TOKEN=cloudhsm tools/system-tests.sh test_grpcurl.py test_dsse.py test_python_client.py test_custody.py

torture: test-tools ## the long ones: a million random rule decisions, a token in a storm, 200 kills under load, 2,000 transfers through faults, 10,000 stolen envelopes, all on a CloudHSM-like token
	@tools/build.sh dev
	@tools/build.sh release
	TWOKEY_TORTURE=1 ctest --preset dev --no-tests=error -R '^policy/test_property/'
	TWOKEY_TORTURE=1 ctest --preset dev --no-tests=error -R '^audit/test_verify/every_change'
	TWOKEY_TORTURE=1 TWOKEY_STORM_S=60 ctest --preset dev --no-tests=error -R '^hsm/test_(storm|faults)/'
	@tools/build.sh tsan
	TWOKEY_STORM_S=60 TSAN_OPTIONS="suppressions=$(CURDIR)/tests/tsan.supp $(TSAN_ALWAYS)" \
		ctest --preset tsan --no-tests=error -R '^hsm/test_storm/'
	TWOKEY_TORTURE=1 tools/system-tests.sh -m torture
	TWOKEY_TOKEN=cloudhsm tools/system-tests.sh

bench: test-tools ## how fast: co-signatures per second, bytes per second
	@tools/build.sh release
	tools/bench.sh

lint: lint-packages test-tools ## format, include rules, clang-tidy, cppcheck
	@tools/build.sh dev
	tools/lint.sh

format: lint-packages ## clang-format every C file in place
	git ls-files -z '*.c' '*.h' | xargs -0 clang-format-14 -i

clean: ## remove everything that was made
	rm -rf build
