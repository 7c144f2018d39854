# Build, test and demonstrate capmon. `make help` lists the targets.

PREFIX ?= /usr/local
ENGINE ?= docker
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

# The committed BPF objects are built with this version of clang (Debian 12). Other versions generate
# equivalent but different code, which check-generate could not distinguish from stale code.
CLANG_MAJOR := 14

GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT := .cache/bin/golangci-lint-$(GOLANGCI_LINT_VERSION)
VALE_VERSION := v3.7.1
VALE := .cache/bin/vale-$(VALE_VERSION)

# The standard library of this version has no known vulnerability that capmon calls (make vulncheck).
export GOTOOLCHAIN := go1.26.11

C_SOURCES := $(wildcard bpf/*.c bpf/*.h scripts/workloads/*.c scripts/workloads/*.h)
SHELL_SCRIPTS := $(wildcard scripts/*.sh corpus/*.sh corpus/workloads/*/*.sh corpus/workloads/*/files/usr/local/bin/*) .ci/run

# Runs a private Docker daemon. Its directory has a short path, since paths of unix sockets are limited.
PRIVATE_DOCKERD := scripts/dockerd.sh run --purge $$(mktemp -d /var/tmp/capmon.XXXXXX) --

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: build
build: ## build bin/capmon
	CGO_ENABLED=0 go build -trimpath -buildvcs=false \
		-ldflags "-X main.version=$(VERSION) -X main.commit=$(COMMIT)" -o bin/capmon ./cmd/capmon

.PHONY: install
install: build ## install capmon below PREFIX (/usr/local)
	install -D -m 755 bin/capmon $(DESTDIR)$(PREFIX)/bin/capmon

.PHONY: image
image: build ## build the container image capmon (ENGINE=podman builds it with podman)
	$(ENGINE) build --tag capmon --file $(CURDIR)/packaging/container/Dockerfile $(CURDIR)/bin

.PHONY: demo
demo: root-demo setup-demo build ## show which capabilities ping needs, with a private Docker daemon if none runs
	@if docker version >/dev/null 2>&1; then \
		$(RUN_DEMO); \
	else \
		$(PRIVATE_DOCKERD) sh -ec '$(RUN_DEMO)'; \
	fi

RUN_DEMO = scripts/images.sh demo && bin/capmon profile -- docker run --rm --name pinger bb ping -c1 127.0.0.1

# These tests run first: they cause losses, so they wait until no other test runs (internal/testutil/testlock).
LOSSES := WrongCachedCallSitesAreDetected|TooDeepContainersAreCounted|BesideAHostileContainer|FloodsOfArguments|LossesRaiseAlerts|ContainersThatEndedAreCounted

# The packages with the longest tests come first; the others run in parallel with them.
.PHONY: test
test: root-test setup-test build check-generate lint vulncheck test-compat ## run all tests, with a private Docker daemon
	CAPMON_E2E=1 scripts/test-settings.sh $(PRIVATE_DOCKERD) sh -ec 'scripts/images.sh; scripts/corpus-images.sh fast; \
		go test -race -count=1 -timeout 30m -p 1 -run "$(LOSSES)" ./monitor ./test/e2e; \
		go test -race -count=1 -timeout 80m -parallel 4 -skip "$(LOSSES)" ./test/e2e ./test/soak ./monitor ./...; \
		scripts/test-engine.sh containerd; scripts/test-engine.sh podman; \
		scripts/test-kernels.sh --short'

.PHONY: test-compat
test-compat: setup-test ## compare output with the libraries and tools that read it (test/compat is another module)
	go test -C test/compat -race -count=1 ./...

.PHONY: unit
unit: ## run the tests that need neither root nor Docker, and say how many others were skipped
	scripts/unit.sh

.PHONY: test-docker
test-docker: root-test-docker setup-docker ## run the main tests with a current Docker daemon (TESTS="Verify Audit" selects tests)
	scripts/test-settings.sh scripts/test-docker.sh $(TESTS)

.PHONY: test-containerd test-podman
test-containerd: root-test-containerd setup-test ## run the tests of containerd and Kubernetes with a current containerd (TESTS="Pods" selects tests)
test-podman: root-test-podman setup-test ## run the tests of Podman with a current Podman (TESTS="Pod" selects tests)
test-containerd test-podman: test-%:
	CAPMON_E2E=1 scripts/test-settings.sh $(PRIVATE_DOCKERD) sh -ec 'scripts/images.sh; scripts/test-engine.sh $* $(TESTS)'

.PHONY: test-kubelet
test-kubelet: root-test-kubelet setup-kubelet ## run the tests with the pods of a real kubelet (the first time, the build of the kubelet takes 10 minutes)
	CAPMON_E2E=1 CAPMON_KUBELET=$(CURDIR)/.cache/bin/kubelet scripts/test-settings.sh $(PRIVATE_DOCKERD) sh -ec 'scripts/images.sh; \
		go test -count=1 -timeout 30m -v -run Kubelet ./test/e2e'

.PHONY: test-kernels
test-kernels: root-test-kernels setup-test ## run the workloads under other kernels, with every hook (an hour; GUESTS="6.1 7.3" selects kernels)
	scripts/test-kernels.sh $(GUESTS)

.PHONY: bench
bench: root-bench setup-bench build ## measure the cost of capmon next to bpftrace, the delay of watch, and what serve uses (20 minutes)
	$(PRIVATE_DOCKERD) sh -ec 'scripts/images.sh; go run ./bench --with=--outcomes=false; go run ./bench latency; go run ./bench serve'

.PHONY: bench-scale
bench-scale: root-bench-scale setup-test build ## measure what capmon itself uses with up to 1000 containers (20 minutes)
	$(PRIVATE_DOCKERD) sh -ec 'scripts/images.sh; go run ./bench scale'

.PHONY: soak
soak: root-soak setup-test build ## verify that capmon loses and miscounts nothing: 200 million checks, short containers, serve with faults (30 minutes), ten containers next to hostile ones (10 minutes)
	CAPMON_E2E=1 scripts/test-settings.sh $(PRIVATE_DOCKERD) sh -ec 'scripts/images.sh; \
		go test ./monitor -count=1 -v -timeout 30m -run TestManyChecks -checks 200000000; go run ./bench churn; \
		go test ./test/soak -count=1 -v -timeout 60m -run TestServeSoak -soak 30m; \
		go test ./test/e2e -count=1 -v -timeout 30m -run TestHonestRecordsBesideAHostileContainer -hostile 10m'

.PHONY: corpus
corpus: root-corpus setup-test build ## compare capmon's lists with the needs of real software, and with the stored results (an hour)
	scripts/test-settings.sh $(PRIVATE_DOCKERD) sh -ec 'scripts/corpus-images.sh all; go run ./corpus compare -verify'

.PHONY: corpus-truth
corpus-truth: root-corpus-truth setup-test ## find the needs of real software again, by trial (an hour)
	scripts/test-settings.sh $(PRIVATE_DOCKERD) sh -ec 'scripts/corpus-images.sh all; go run ./corpus truth'

.PHONY: lint
lint: $(GOLANGCI_LINT) $(VALE) ## check the style of Go, C and shell, and the prose
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w: $$unformatted" >&2; exit 1; fi
	go vet ./...
	go vet -C test/compat ./...
	$(GOLANGCI_LINT) run --allow-parallel-runners
	cd test/compat && $(CURDIR)/$(GOLANGCI_LINT) run --allow-parallel-runners
	clang-format --dry-run -Werror $(C_SOURCES)
	shellcheck --external-sources $(SHELL_SCRIPTS)
	scripts/prose.sh $(VALE)

$(GOLANGCI_LINT):
	GOBIN=$(CURDIR)/.cache/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv .cache/bin/golangci-lint $@

$(VALE):
	GOBIN=$(CURDIR)/.cache/bin go install github.com/errata-ai/vale/v3/cmd/vale@$(VALE_VERSION)
	mv .cache/bin/vale $@

.PHONY: vulncheck
vulncheck: ## find known vulnerabilities in the code that capmon calls
	scripts/vulncheck.sh $(VULNDB)

.PHONY: generate
generate: ## regenerate the BPF objects and their Go bindings (needs clang)
	go generate ./...

# Compares the work tree before and after generating, not with the last commit: uncommitted changes are
# allowed, and only changes by generating are an error.
.PHONY: check-generate
check-generate: ## check that the generated files are up to date
	@major=$$(clang -dumpversion 2>/dev/null | cut -d. -f1); \
	if [ "$$major" != $(CLANG_MAJOR) ]; then \
		echo "check-generate: skipped: it needs clang $(CLANG_MAJOR), found $${major:-none}"; \
		exit 0; \
	fi; \
	before=$$(git diff --binary HEAD | sha256sum); \
	$(MAKE) --no-print-directory generate || exit 1; \
	if [ "$$before" != "$$(git diff --binary HEAD | sha256sum)" ]; then \
		git --no-pager diff --stat HEAD; \
		echo "check-generate: generated files were stale: commit the new files" >&2; \
		exit 1; \
	fi

.PHONY: setup-demo setup-test setup-docker setup-kubelet setup-bench
setup-demo setup-test setup-docker setup-kubelet setup-bench: setup-%:
	@scripts/setup.sh $*

# eBPF programs and Docker daemons need root. sudo drops PATH, which may have Go.
.PHONY: root-demo root-test root-test-docker root-test-containerd root-test-podman root-test-kubelet root-test-kernels root-bench root-bench-scale root-soak root-corpus root-corpus-truth
root-demo root-test root-test-docker root-test-containerd root-test-podman root-test-kubelet root-test-kernels root-bench root-bench-scale root-soak root-corpus root-corpus-truth: root-%:
	@if [ "$$(id -u)" != 0 ]; then \
		echo 'make $* needs root, to load eBPF programs: sudo env "PATH=$$PATH" make $*' >&2; exit 2; \
	fi

.PHONY: clean
clean: ## remove the files that the other targets made
	rm -rf bin .cache
