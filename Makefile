# Every command a contributor needs. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build demo test soak check bench fuzz

# Build products stay out of the tree, so that a clone stays small.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/exeat/target
export EXEAT_CACHE ?= $(HOME)/.cache/exeat

# What only some machines can build: with the TSS libraries (Debian: libtss2-dev), keys in a TPM.
FEATURES := $(shell pkg-config --exists tss2-esys 2>/dev/null && echo --features exeat/tpm)

# The demo and the tests are built the same way, so that neither builds a dependency twice: naming one test switches on
# the features that tests need.
BUILD := cargo build --locked --workspace $(FEATURES) --bin exeat --test command_line

help: ## list these commands
	@sed -nE 's/^([a-z]+):.*## (.*)$$/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: ## install what a bare Debian 12 lacks; elsewhere say what is missing
	scripts/setup

build: ## build the binary
	scripts/setup build
	$(BUILD)

demo: build ## a one-minute tour, offline: allowed, denied, bad arguments, bypass, verified
	"$$CARGO_TARGET_DIR/debug/exeat" demo

test: setup ## everything, with the time of each area
	scripts/test

soak: build ## one gate under mixed load for 30 minutes; SOAK_MINUTES changes that
	tests/soak/run.py --minutes $(or $(SOAK_MINUTES),30)

check: ## formatting, lints, documentation, and the repository's own rules
	cargo fmt --all --check
	cargo clippy --locked --workspace $(FEATURES) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace $(FEATURES) --no-deps --document-private-items --quiet
	cargo test --locked --workspace $(FEATURES) --bin xtask

bench: setup ## compare with a plain Pingora proxy, in ratios; and what credentials and proofs cost
	cargo run --locked --release -p exeat-bench
	for one in prepare_speed proof_speed sigv4_speed; do cargo run --locked --release -p exeat-custody --example $$one; done

fuzz: setup ## every fuzz target for a minute; FUZZ_SECONDS changes that
	scripts/fuzz $(FUZZ_SECONDS)
