# `make up` and `make test` are all a stranger needs; the rest is for those who change the code.

CARGO ?= cargo
BIN := target/debug
# `orlopctl dev` keeps everything under these two.
DATA ?= /var/lib/orlop
RUN ?= /run/orlop
# Where the example answers.
HTTP ?= 127.0.0.1:8080
# Further flags of `orlopctl dev`, for up and down alike: `--instance two --cluster-range 10.78.0.0/16`.
DEV ?=
# Flags of both `orlopctl cluster up` and `down`: `--instance two --network 10.98.0.0/24 --data /srv/two --run /run/two`.
CLUSTER ?=

.PHONY: up down cluster cluster-down build hello test test-machine soak chaos lint fmt bench bench-node bench-consensus \
	bench-scale bench-engine clean help

help:
	@echo 'make up      install what is missing, build, start a one-node cluster, deploy examples/hello'
	@echo 'make down    stop it and leave nothing behind (DATA=$(DATA) with images and volumes stays)'
	@echo 'make cluster   the same on three hosts of this machine, each a member and a node, in network namespaces'
	@echo 'make cluster-down  take the hosts away, with their data'
	@echo 'make test    every test, those with real containers included'
	@echo 'make test-machine  tests in emulated machines: cgroup v2, loss of power (minutes; Debian on x86-64)'
	@echo 'make soak    simulated schedules of a control plane for hours (ORLOP_ROUNDS=$(ORLOP_ROUNDS), ORLOP_SEED)'
	@echo 'make chaos   real members in network namespaces through ORLOP_FAULTS=$(ORLOP_FAULTS) faults, every answer judged (ORLOP_SEED)'
	@echo 'make lint    formatting, clippy, dependency rules'
	@echo 'make bench   measure, with the peers beside ours'
	@echo 'make bench-consensus  measure three members beside three of etcd (fetched, not installed)'
	@echo 'make bench-engine  measure durable steps, workflows and tasks'
	@echo 'make bench-scale  measure the control plane under a thousand nodes with ten thousand replicas'

# The image of examples/hello: one static binary.
HELLO_IMAGE := target/hello.orlop.tar

build:
	@scripts/prerequisites
	$(CARGO) build --locked --workspace --bins

hello: build
	$(CARGO) rustc --quiet --locked -p hello --bin hello --target-dir target/static -- -C target-feature=+crt-static
	$(BIN)/orlopctl image pack --name localhost/hello:1 --file target/static/debug/hello:/hello --entrypoint /hello --out $(HELLO_IMAGE)

up: hello
	@scripts/up $(BIN)/orlopctl $(DATA) $(RUN) $(HELLO_IMAGE) $(HTTP) $(DEV)

down:
	@scripts/down $(BIN)/orlopctl $(DATA) $(RUN) $(DEV)

cluster: hello
	@scripts/cluster $(BIN)/orlopctl $(HELLO_IMAGE) $(CLUSTER)

cluster-down:
	$(if $(filter 0,$(shell id -u)),,sudo )$(BIN)/orlopctl cluster down $(CLUSTER)

test:
	@scripts/prerequisites --tests
	@scripts/test

test-machine:
	@scripts/prerequisites --tests --machines
	@scripts/test-machine

# From a seed that is new each time, unless one is given; a failure names the seed that replays it.
ORLOP_ROUNDS ?= 200000
soak:
	ORLOP_ROUNDS=$(ORLOP_ROUNDS) $(CARGO) test --locked -p orlop-simulation --test simulation seeds -- --nocapture

# As root or with sudo; leaves nothing behind. A failure names the seed that gives the same schedule.
ORLOP_FAULTS ?= 100
chaos:
	@scripts/prerequisites --tests
	@scripts/chaos $(ORLOP_FAULTS) $(ORLOP_SEED)

fmt:
	$(CARGO) fmt --all

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) deny --locked check bans licenses sources

bench bench-node:
	@scripts/prerequisites --tests
	@scripts/bench

bench-consensus:
	@scripts/prerequisites
	@scripts/bench-consensus

bench-scale:
	@scripts/prerequisites --tests
	@scripts/bench-scale

bench-engine:
	@scripts/prerequisites
	@scripts/bench-engine

clean:
	$(CARGO) clean
