# Two targets for users: demo and test. Each installs and fetches what it needs first.

export CGO_ENABLED := 0
export PATH := $(PATH):/usr/sbin:/sbin

BUILD  := build
KERNEL ?= 6.12
# Those of test-matrix, and what runs on them. What observes packets runs in VMs, where function probes are allowed; there, a
# skip that the list of kernels does not explain is a failure.
KERNELS ?= 6.1 6.12 7.2 7.3
TIMES   ?= 20
SUITES  ?= ./bpf ./harness ./suites/... ./ci/template
# Their tests are about Waybill itself, and run under the stable kernel only.
STABLE  := ./suites/examples ./suites/lab ./suites/mutation ./suites/parallel ./suites/words ./ci/template
# SMOKE=1: under kernels other than the stable one, of the suites only what is labelled smoke, and of Waybill's own tests those of
# the tracker.
SMOKE   ?=
ifneq ($(SMOKE),)
STABLE  += ./harness
endif
MATRIX  := $(BUILD)/matrix --timeout 20m --waybill $(BUILD)/waybill --report $(BUILD)/report --bin nft \
	--bin $(abspath $(BUILD))/ginkgo --env GINKGO=$(abspath $(BUILD))/ginkgo
# The linter is built from its module once and kept.
LINT   := $(BUILD)/golangci-lint
LINT_VERSION := v2.15.0

.DEFAULT_GOAL := help
# Two of these at once would share build/, and the one VM that may run.
.NOTPARALLEL:
.PHONY: help demo test test-unit test-suites test-matrix mutation flake setup waybill matrix generate lint fmt bench bench-packet soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: waybill ## install what is missing, and fetch the kernel
	@./ci/setup
	@$(BUILD)/waybill kernel fetch $(KERNEL)

# Without symbols for debuggers it is a third smaller, and so are the VMs that it boots.
waybill: ## build the command, static, into build/
	@go build -ldflags '-s -w' -o $(BUILD)/waybill ./cmd/waybill

demo: setup ## show the journey of one dropped packet
	@$(BUILD)/waybill demo --kernel $(KERNEL)

# make test test-matrix runs the suites under the stable kernel once, not twice.
test: setup test-unit $(if $(filter test-matrix,$(MAKECMDGOALS)),,test-suites) ## unit tests here, the suites in a VM

test-unit: ## tests that this machine's own kernel can run
	go test -timeout 30m $$(go list ./... | grep -v -e /suites/ -e /ci/template)

test-suites: setup matrix ## the suites in VMs with a stock kernel; the report is in build/report
	@$(MATRIX) --kernel $(KERNEL) $(SUITES)

test-matrix: setup matrix ## the suites under every kernel of the matrix; SMOKE=1 for less of them
	@$(MATRIX) $(KERNELS:%=--kernel %) $(STABLE:%=--stable %) $(if $(SMOKE),--smoke) $(SUITES)

mutation: setup ## change examples by one word at a time: each must turn a spec red, for the right reason
	go test -v -count=1 ./suites/mutation \
		-exec '$(abspath $(BUILD))/waybill vm --kernel $(KERNEL) --env CI=true --env WAYBILL_STRICT=1 --bin nft --'
	go run ./ci/mutate --waybill $(BUILD)/waybill --kernel $(KERNEL) suites/examples

flake: setup matrix ## everything under the stable kernel, TIMES times (20), with eight processes at once: one failure ends it
	@for n in $$(seq $(TIMES)); do \
		echo "=== $$n of $(TIMES)"; \
		$(MATRIX) --kernel $(KERNEL) --env WAYBILL_PARALLEL_PROCESSES=8 $(SUITES) || exit; \
	done

matrix:
	@go build -o $(BUILD)/matrix ./ci/matrix
	@go build -o $(BUILD)/ginkgo github.com/onsi/ginkgo/v2/ginkgo

generate: ## compile the BPF programs (needs clang; ci/setup --generate installs it)
	go generate ./...

lint: $(LINT) ## static checks
	go vet ./...
	$(LINT) run ./...
	go tool actionlint ci/github/*.yml

$(LINT):
	GOBIN=$(abspath $(BUILD)) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

fmt: ## format Go
	gofmt -w $$(git ls-files '*.go')

BENCH_KERNELS ?= $(KERNEL)
BENCH_FLAGS   ?=
bench-packet: setup ## what observing a packet costs; BENCH_KERNELS, BENCH_FLAGS=-v, PWRU
	@go build -o $(BUILD)/bench ./bench
	@$(BUILD)/bench run --waybill $(BUILD)/waybill $(BENCH_KERNELS:%=--kernel %) $(BENCH_FLAGS)

bench: bench-packet ## all benchmarks; RETIS names the program to compare waybill sort with
	go test -run '^$$' -bench . -benchmem ./bpf/filter ./journey ./topology ./internal/netns ./vm ./cmd/waybill
	go test -run '^$$' -bench . -exec '$(abspath $(BUILD))/waybill vm --kernel $(KERNEL) --' ./harness

SOAK_FLAGS ?=
soak: setup ## prove identity and loss on two million packets, in some four minutes; KERNEL, SOAK_FLAGS=--packets=N
	@go build -o $(BUILD)/soak ./bench/soak
	@$(BUILD)/waybill vm --kernel $(KERNEL) --timeout 30m -- $(BUILD)/soak $(SOAK_FLAGS)

clean: ## remove build/
	rm -rf $(BUILD)
