# make lab   see a live connection change hands; needs nothing but Go
# make test  every test; installs the Debian packages that it needs
SHELL    := /bin/bash
GO       ?= go
SEEDS    ?= 2000
FUZZTIME ?= 10s

.PHONY: help build lab test lint unit seeds fuzz e2e e2e-full mutants packages bench bench-quick bench-docs bench-packages

help:
	@echo 'make lab       see a live connection change hands; needs nothing but Go'
	@echo 'make test      every test, as CI runs them; needs root for Debian packages and namespaces'
	@echo 'make e2e-full  the same at full size: all seeds, all transfers, a minute of each fuzz target'
	@echo 'make mutants   takes one rule out at a time: the test that stands for it has to fail'
	@echo 'make bench     Sleight beside the kernel, HAProxy and others, ten minutes; make bench-quick: two'
	@echo 'make build     bin/sleight'
	@echo
	@echo 'The parts of make test, in its order:'
	@echo '  packages     the Debian packages with the real clients and servers'
	@echo '  lint         gofmt, go vet, staticcheck'
	@echo '  unit         every package but e2e, under the race detector'
	@echo '  seeds        SEEDS=$(SEEDS) conversations drawn from seeds, in virtual time'
	@echo '  fuzz         each fuzz target for FUZZTIME=$(FUZZTIME), two at a time'
	@echo '  e2e          the built program among real kernels; and the layering test'

build:
	$(GO) build -o bin/sleight ./cmd/sleight

lab: build
	./bin/sleight lab

test: packages lint unit seeds fuzz e2e

packages:
	e2e/packages.sh

# Linters have a module of their own, so that go.mod names what the program needs.
lint:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "not as gofmt writes it: $$bad"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool -modfile=.tools/go.mod staticcheck ./...

unit:
	$(GO) test -race $$($(GO) list ./... | grep -v '^sleight/e2e')

# Conversations drawn from a seed, through the whole gateway in virtual time.
seeds:
	$(GO) test ./redirect/sim -run Conversations -seeds $(SEEDS) -timeout 30m

# Each fuzz target for a while, two at a time.
fuzz:
	@grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's,/[^/]*:func , ,' | sort | \
	xargs -P 2 -L 1 .tools/fuzz $(FUZZTIME)

# Real kernels, real clients, real servers, in network namespaces.
e2e:
	$(GO) test -count=1 -timeout 15m ./e2e/...

e2e-full:
	$(MAKE) seeds SEEDS=100000
	@echo '100000 conversations drawn from seeds: no fault'
	SLEIGHT_FULL=1 $(GO) test -count=1 -v -timeout 90m ./e2e/...
	SLEIGHT_OFFLOAD=off SLEIGHT_KERNEL=off $(GO) test -count=1 -timeout 20m ./e2e
	$(MAKE) fuzz FUZZTIME=60s

# Each rule of e2e/mutants taken out, one at a time: its test fails, or it proves
# nothing. Part of it: make mutants ONLY=tsecr
mutants:
	$(GO) run ./e2e/mutants -run '$(ONLY)'

# Sleight beside what else carries connections, in one run: docs/benchmarks.md. A peer
# that is not installed is left out, and the report says so.
bench: build
	$(GO) build -o bin/bench ./e2e/bench
	./bin/bench

bench-quick: build
	$(GO) build -o bin/bench ./e2e/bench
	./bin/bench -quick

# The same as bench, and the figures go into the documentation.
bench-docs: build
	$(GO) build -o bin/bench ./e2e/bench
	./bin/bench -docs docs/benchmarks.md

bench-packages:
	e2e/bench/packages.sh
