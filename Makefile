# What a person runs is what CI runs: `.ci/run` calls `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help deps build test demo bench soak swarm fuzz fmt

# rustup's usual place, for shells that have not read its profile yet.
export PATH := $(HOME)/.cargo/bin:$(PATH)
CARGO ?= cargo
CARGO_FLAGS ?=
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Where the lab finds a router's UPnP; see `.ci/miniupnpd`.
UPNP := $(abspath $(TARGET))/miniupnpd
# A workspace of its own, since it replaces libp2p's timers; its output lies beside the rest, where CI keeps it.
SWARM := CARGO_TARGET_DIR=$(abspath $(TARGET))/swarm $(CARGO)

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

deps: ## install the system packages that are missing (as root or through sudo), check Rust
	@.ci/deps

build: deps ## build every binary into target/debug
	$(CARGO) build --workspace --bins $(CARGO_FLAGS)

test: deps ## format, lints, architecture, then every test, end to end included
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets $(CARGO_FLAGS) -- -D warnings
	$(CARGO) test --workspace --test architecture $(CARGO_FLAGS) --quiet
	$(CARGO) build --workspace --bins $(CARGO_FLAGS)
	@.ci/miniupnpd $(UPNP)
	PATH="$$PATH:$(UPNP)/usr/sbin" $(CARGO) test --workspace $(CARGO_FLAGS)
	cd simulations/swarm && $(CARGO) fmt -p holm-swarm -p futures-timer --check
	cd simulations/swarm && $(SWARM) clippy --workspace --all-targets $(CARGO_FLAGS) -- -D warnings
	cd simulations/swarm && $(SWARM) test --workspace $(CARGO_FLAGS)
	$(TARGET)/debug/holm-sim run simulations/swarm/scenarios/split-plant.toml --seed 1

demo: build ## five nodes, a service, a job, a dead node, a cut cloud, a heal (KEEP=1: leave it up)
	@KEEP=$(KEEP) $(TARGET)/debug/holm-demo

bench: deps ## the benchmark tables (beside etcd and rathole where they can be fetched)
	$(CARGO) build --release --workspace --bins $(CARGO_FLAGS)
	@.ci/etcd $(abspath $(TARGET))/etcd
	@.ci/rathole $(abspath $(TARGET))/rathole
	@$(TARGET)/release/holm-bench

soak: ## the random scenarios of the simulation until one fails (SOAK=10m: for ten minutes; FROM=1000: from that seed)
	$(CARGO) build --package holm-simulations --bin holm-sim $(CARGO_FLAGS)
	@$(TARGET)/debug/holm-sim run random_faults majority_healed --seeds $(or $(FROM),0).. $(if $(SOAK),--for $(SOAK)) --fail-fast

fuzz: ## a million hostile messages and changes (HOSTILE=N: so many; SEED=N: from another seed)
	HOLM_HOSTILE=$(or $(HOSTILE),1000000) HOLM_SEED=$(or $(SEED),1) $(CARGO) test --workspace $(CARGO_FLAGS) --test hostile_bytes --test hostile -- --nocapture

swarm: ## build the program that runs scenarios on the real libp2p stack; holm-sim finds it
	cd simulations/swarm && $(SWARM) build $(CARGO_FLAGS)

fmt: ## format the code
	$(CARGO) fmt --all
