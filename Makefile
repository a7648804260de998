# Everything that one does with a checkout of Axle. `make help` lists it.
SHELL := bash
.DEFAULT_GOAL := help
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

# Network namespaces, cgroups and eBPF need root. Everything builds as the user; only what is built runs as root.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E)
HOST = $(shell rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
RUNNER = $(if $(SUDO),CARGO_TARGET_$(HOST)_RUNNER="$(SUDO)")
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help setup setup-kubernetes setup-compose build images demo test test-kubernetes test-compose bench bench-kubernetes bench-peers clean

help: ## Lists the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 27

setup: ## Installs what building and testing need; says what it does
	@scripts/setup

setup-kubernetes: ## The part of setup that builds the tests' Kubernetes; needs the Go module proxy
	@scripts/setup-kubernetes

setup-compose: ## What test-compose needs: docker compose from its Go module, and an engine if there is none
	@scripts/setup-compose

build: ## Builds axle, axle-hub and axle-agent into target/release
	@scripts/setup build
	cargo build --release -p axle -p axle-hub -p axle-agent

images: ## Static programs in images from scratch, each with a list of what is in it: target/images
	@scripts/setup images
	@scripts/images

demo: ## Three clusters, real workloads and packets, on this machine (ONESHOT=1: once through, then exit)
	@scripts/setup build
	cargo build --workspace --bins
	@$(SUDO) $(TARGET)/debug/axle-demo $(if $(ONESHOT),--oneshot)

test: ## All tests, on a real kernel and real databases
	@scripts/setup
	cargo build --workspace --all-targets
	$(RUNNER) AXLE_BINARIES=$(abspath $(TARGET))/debug cargo nextest run --workspace

test-kubernetes: ## The tests with whole Kubernetes clusters, also those that 'make test' leaves out
	@scripts/setup
	cargo build --workspace --all-targets
	$(RUNNER) AXLE_BINARIES=$(abspath $(TARGET))/debug cargo nextest run --workspace --run-ignored all -E 'binary(/^(kubernetes|clusters)$$/)'

test-compose: images setup-compose ## docker-compose.yml on an engine of its own: README's walk, tested
	$(SUDO) tests/compose/walk

bench: ## The headline measures: a table, target/bench/results.json and pictures beside it
	@scripts/setup build
	cargo build --release -p axle-benches -p axle-agent
	$(SUDO) $(TARGET)/release/axle-bench $(BENCH)

bench-kubernetes: ## How long pods take to start and what they send meanwhile: with the agent in the CNI chain, beside it, without it
	@scripts/setup
	cargo build --workspace --all-targets
	$(RUNNER) AXLE_BINARIES=$(abspath $(TARGET))/debug AXLE_BENCH_PODS=40 cargo nextest run -p axle-tests --run-ignored all --no-capture -E 'test(/^windows::/)'

bench-peers: ## What the measures are compared with; needs the Go module proxy
	cd benches/peers/cilium-policy && go build -o $(abspath target)/bench/peers/ .

clean: ## Removes what was built here
	cargo clean
	cargo clean --manifest-path spoke-ebpf/Cargo.toml
	rm -rf target
