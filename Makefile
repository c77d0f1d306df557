# Two targets for users: demo and test. Each installs and fetches what it needs first.

export CGO_ENABLED := 0
export PATH := $(PATH):/usr/sbin:/sbin

BUILD  := build
KERNEL ?= 6.12
# The linter is built from its module once and kept.
LINT   := $(BUILD)/golangci-lint
LINT_VERSION := v2.15.0

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-suites setup waybill generate lint fmt bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: waybill ## install what is missing, and fetch the kernel
	@./ci/setup
	@$(BUILD)/waybill kernel fetch $(KERNEL)

waybill: ## build the command, static, into build/
	@go build -o $(BUILD)/waybill ./cmd/waybill

demo: setup ## show the journey of one dropped packet
	@$(BUILD)/waybill demo --kernel $(KERNEL)

test: setup test-unit test-suites ## unit tests here, the suites in a VM

test-unit: ## tests that this machine's own kernel can run
	go test $$(go list ./... | grep -v /suites/)

# What observes packets runs in the VM, where function probes are allowed, and where a skip is a failure.
test-suites: ## tests in a VM with a stock kernel
	go test -count=1 -p=1 -exec '$(abspath $(BUILD)/waybill) vm --kernel $(KERNEL) --env WAYBILL_STRICT=1 --env CI=true --bin nft --' \
		./bpf ./harness ./suites/...

generate: ## compile the BPF programs (needs clang; ci/setup --generate installs it)
	go generate ./...

lint: $(LINT) ## static checks
	go vet ./...
	$(LINT) run ./...

$(LINT):
	GOBIN=$(abspath $(BUILD)) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

fmt: ## format Go and C
	gofmt -w $$(git ls-files '*.go')
	clang-format -i bpf/c/*.c bpf/c/include/*.h

bench: setup ## speed and memory, as ratios
	go test -run '^$$' -bench . -benchmem ./journey ./topology

clean: ## remove build/
	rm -rf $(BUILD)
