# make lab   see a live connection change hands; needs nothing but Go
# make test  every test; installs the Debian packages that it needs
SHELL := /bin/bash
GO    ?= go
SEEDS ?= 2000
FUZZTIME ?= 20s

.PHONY: help build lab test lint unit seeds fuzz e2e e2e-full packages

help:
	@echo 'make lab       see a live connection change hands; needs nothing but Go'
	@echo 'make test      every test, as CI runs them; needs root for Debian packages and namespaces'
	@echo 'make e2e-full  the same at full size: all seeds, all transfers'
	@echo 'make build     bin/sleight'
	@echo 'make lint unit seeds fuzz e2e   the parts of make test'

build:
	$(GO) build -o bin/sleight ./cmd/sleight

lab: build
	./bin/sleight lab

test: packages lint unit seeds fuzz e2e

packages:
	e2e/packages.sh

lint:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$bad" ]; then echo "not gofmt-ed: $$bad"; exit 1; fi
	$(GO) vet ./...

unit:
	$(GO) test -race $$($(GO) list ./... | grep -v '^sleight/e2e')

# Conversations drawn from a seed, through the whole gateway in virtual time.
seeds:
	$(GO) test ./redirect/sim -run Conversations -seeds $(SEEDS) -timeout 30m

# Each fuzz target for a while.
fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "fuzz $$pkg $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; \
	done

# Real kernels, real clients, real servers, in network namespaces.
e2e:
	$(GO) test -count=1 -timeout 15m ./e2e/...

e2e-full:
	$(MAKE) seeds SEEDS=100000
	SLEIGHT_FULL=1 $(GO) test -count=1 -v -timeout 90m ./e2e/...
