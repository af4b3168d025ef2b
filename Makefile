# The tasks of this repository; `make` lists them. They need Go 1.26, make and git; with RACE=1 also gcc.
# All other tools are Go programs, pinned in tools/go.mod and built into Go's own cache when they are first used.

SHELL         := /bin/bash
.SHELLFLAGS   := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS     += --no-print-directory

# A go.work of a developer would combine modules that are separate on purpose.
export GOWORK := off
# All targets build with the same settings, so that Go compiles each package once: a test finds in the cache what the demo has compiled.
export GOFLAGS     := -trimpath
export CGO_ENABLED := 0

# The modules of the tree: those with code, and one that is only a list of versions.
CODE_MODULES := . test/infra/cluster test/infra/media hack/image hack/manifests
MODULES      := $(CODE_MODULES) test/infra/cluster/kubelet test/infra/cluster/containerd tools/prometheus tools tools/helm tools/vale

TOOL           := go tool -modfile=$(CURDIR)/tools/go.mod
CONTROLLER_GEN := $(TOOL) controller-gen
CRD_REF_DOCS   := $(TOOL) crd-ref-docs
# golangci-lint with kube-api-linter inside.
GOLANGCI_LINT  := $(TOOL) golangci-lint-kube-api-linter
GOVULNCHECK    := $(TOOL) govulncheck
# In its own module, because it has many dependencies, some of them in other versions. test/infra/helm builds it in the same way.
HELM           := CGO_ENABLED=0 GOFLAGS=-trimpath go tool -modfile=$(CURDIR)/tools/helm/go.mod helm
# The linter of English, in its own module for the same reason. It contains tree-sitter, so no version of it builds without a C compiler.
# This prints the path of the program.
VALE           := CGO_ENABLED=1 go tool -modfile=$(CURDIR)/tools/vale/go.mod -n vale

# Prints the folder of a Kubernetes control plane's binaries. If the cache has none, it downloads or builds them.
CLUSTER_BINARIES := go run -C test/infra/cluster ./build
# The same for a node's binaries.
NODE_BINARIES    := go run -C test/infra/cluster ./build node
# Downloads the Go modules of packages, and prints a counter instead of a line for each module.
GO_MODULES       := go run -C test/infra/cluster ./build modules $(CURDIR)

CHART   := charts/reactor-operator
KUBECTL ?= kubectl
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
# What programs are built with, so that the same source gives the same program in any folder; the Dockerfile has the same.
GO_BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'

# The names of the images: the operator's, and those of the token server and the emulator, which follow from it if they are omitted.
IMAGE              ?= ghcr.io/reactor-operator/reactor-operator:$(VERSION)
TOKEN_SERVER_IMAGE ?= $(call IMAGE_OF,token-server)
EMULATOR_IMAGE     ?= $(call IMAGE_OF,emulator)
IMAGE_OF            = $(if $(findstring reactor-operator:,$(IMAGE)),$(subst reactor-operator:,reactor-$(1):,$(IMAGE)),$(IMAGE)-$(1))
# Its architectures; more than one make an index.
PLATFORMS ?= amd64 arm64
# The commit, and its time, which is that of everything in the image.
REVISION          ?= $(shell git rev-parse HEAD 2>/dev/null)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
# Helm wants a semantic version. What is not tagged comes before all versions.
CHART_VERSION ?= $(shell [[ "$(VERSION)" =~ ^v[0-9]+\.[0-9]+\.[0-9]+ ]] && echo "$(VERSION:v%=%)" || echo "0.0.0-git-$(VERSION)")
# Where charts are pushed to, without oci://.
CHARTS        ?= ghcr.io/reactor-operator/charts
# For make test, make quick and make e2e, such as ARGS='-run Renewal -v', and for make run.
ARGS    ?=
# The packages of make test. With others than all of them, it runs no tests of the other modules.
PKG     ?= ./...
# RACE=1 adds the race detector, which needs gcc, and compiles everything again.
RACE    ?=
GO_TEST  = $(if $(RACE),CGO_ENABLED=1 go test -race,go test)
# The same in the module of a folder; -C must be the first flag.
GO_TEST_IN = $(if $(RACE),CGO_ENABLED=1 go test -C $(1) -race,go test -C $(1))
# For make prose: error or warning.
LEVEL   ?= error
# The packages of make e2e. ARGS goes to each of them, and some flags are of one.
E2E_PACKAGES ?= ./test/infra/node ./test/e2e/...
# Set it, and make e2e is content with a machine that cannot run a node.
E2E_OPTIONAL ?=

# Packs a program for each platform into an image: its name, its title, the program. It runs on this machine, whatever the program is for.
PACK_IMAGE = go run -C hack/image . --name '$(1)' --output $(CURDIR)/bin/$(2).tar --sbom --title $(2) \
  --version '$(VERSION)' --revision '$(REVISION)' --created '$(SOURCE_DATE_EPOCH)' $(PUSH) $(foreach platform,$(PLATFORMS),$(CURDIR)/bin/linux-$(platform)/$(3))
PUSH       =

# Bold and cyan in the help, on a terminal.
ifneq ($(MAKE_TERMOUT),)
BOLD  := \033[1m
NAME  := \033[36m
PLAIN := \033[0m
endif

##@ Start

.PHONY: demo
demo: build ## Watch tokens and sessions, on a real Kubernetes of this machine; no cluster needed. Pods need Linux and root.
	@assets=$$($(CLUSTER_BINARIES)); node=; \
	go build -o bin/demo ./test/demo; go build -o bin/node ./test/infra/node/cmd/node; \
	if bin/node --check >/dev/null 2>&1; then node=$$($(NODE_BINARIES)); fi; \
	KUBEBUILDER_ASSETS=$$assets NODE_ASSETS=$$node bin/demo

.PHONY: quick
quick: ## Run the tests that need no control plane and no simulated cluster: decisions, formats, clients, documentation (seconds).
	$(GO_TEST) -short $(ARGS) ./api/... ./cmd/... ./internal/... ./test/docs

.PHONY: test
test: ## Run the Go tests, on a real control plane (PKG=./internal/... for some packages, RACE=1 for the race detector; minutes).
# -count=1, because Go's cache of results does not know the manifests that kubectl reads.
	@$(GO_MODULES) -test ./...; \
	assets=$$($(CLUSTER_BINARIES)); \
	set -x; \
	$(if $(RACE),CGO_ENABLED=1 go build -race,go build) -o bin/test/manager ./cmd/manager; \
	MANAGER=$(CURDIR)/bin/test/manager KUBEBUILDER_ASSETS=$$assets $(GO_TEST) -count=1 -timeout 20m $(ARGS) $(PKG)$(if $(filter ./...,$(PKG)),; \
	$(call GO_TEST_IN,test/infra/cluster) $(ARGS) ./...; \
	$(call GO_TEST_IN,test/infra/media) $(ARGS) ./...; \
	$(call GO_TEST_IN,hack/image) $(ARGS) ./...; \
	$(call GO_TEST_IN,hack/manifests) $(ARGS) ./...)

.PHONY: lint
lint: ## Run golangci-lint and the linter of Kubernetes' API conventions in every module, and check the manifests and the English.
	@status=0; \
	for module in $(CODE_MODULES); do \
	  echo "lint $$module"; \
	  (cd $$module && $(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml ./...) || status=1; \
	done; \
	$(MAKE) lint-manifests || status=1; \
	$(MAKE) prose || status=1; \
	exit $$status

.PHONY: verify
verify: ## Fail if generated files are not up to date, or a go.mod is not tidy.
	@hack/verify.sh $(MODULES)

.PHONY: build
build: ## Build bin/manager, bin/token-server and bin/reactor-emulator, static, with the version of git describe.
	@$(GO_MODULES) ./...
	$(GO_BUILD) -o bin/ ./cmd/...

.PHONY: run
run: ## Run the operator on this machine, against the cluster of your kubeconfig (ARGS adds flags).
	go run ./cmd/manager --log-format=text --metrics-auth=false $(ARGS)

.PHONY: cluster
cluster: ## Start a control plane with the CRDs, print its KUBECONFIG, and stop it with Ctrl-C.
	@assets=$$($(CLUSTER_BINARIES)); \
	go build -o bin/controlplane ./test/infra/controlplane/cmd/controlplane; \
	KUBEBUILDER_ASSETS=$$assets exec bin/controlplane --crds config/crd/bases

.PHONY: node
node: ## Start an empty cluster with a node, where pods run, for make try and make deploy; print its KUBECONFIG, stop with Ctrl-C. Linux and root.
	@go build -o bin/node ./test/infra/node/cmd/node; bin/node --check; \
	assets=$$($(CLUSTER_BINARIES)); node=$$($(NODE_BINARIES)); \
	KUBEBUILDER_ASSETS=$$assets NODE_ASSETS=$$node exec bin/node $(ARGS)

# hack/deploy installs from this checkout, and removes what it installed (docs/install.md).
DEPLOY = go build -o bin/deploy ./hack/deploy && bin/deploy --version '$(VERSION)' --helm '$(HELM)' --kubectl '$(KUBECTL)' --registry '$(REGISTRY)' $(if $(YES),--yes)
# Where the images of make deploy and make try are pushed to, such as registry.example.com/team, if the cluster is not on this machine.
REGISTRY  ?=
# Set it, and make deploy, undeploy, try and try-down do not ask.
YES       ?=
# More arguments of helm upgrade, for make deploy and make try.
HELM_ARGS ?=
.PHONY: try
try: ## Watch the renewal of a token in a pod of the cluster of your kubeconfig, with an emulator of Reactor: no account needed (REGISTRY, YES).
	@$(DEPLOY) try -- $(HELM_ARGS)

.PHONY: try-down
try-down: ## Remove everything that make try installed (YES).
	@$(DEPLOY) try-down

.PHONY: deploy
deploy: ## Build the operator, and install it into the cluster of your kubeconfig (REGISTRY, YES, HELM_ARGS).
	@$(DEPLOY) deploy -- $(HELM_ARGS)

.PHONY: undeploy
undeploy: ## Remove everything that make deploy installed, including the CRDs and their objects. It ends the sessions first (YES).
	@$(DEPLOY) undeploy

.PHONY: install
install: ## Install the CRDs into the cluster of your kubeconfig.
	$(KUBECTL) apply -k config/crd

.PHONY: uninstall
uninstall: ## Remove the CRDs, and with them every ReactorToken, its Secret and every ReactorSession.
	$(KUBECTL) delete --ignore-not-found -k config/crd

.PHONY: clean
clean: ## Remove all built files from the tree. The caches of Go and of the control plane remain.
	rm -rf bin $(DIST)

.PHONY: help
help: ## Show this list.
	@awk -F ':.*## ' ' \
	  /^##@ /                { printf "\n$(BOLD)%s$(PLAIN)\n", substr($$0, 5) } \
	  /^[a-z][a-z0-9-]*:.*## /  { printf "  $(NAME)%-17s$(PLAIN) %s\n", $$1, $$2 }' Makefile

##@ Test

.PHONY: e2e
e2e: ## Run the tests that need pods, on a node of this machine: Linux and root (docs/contributing/node.md).
# One package at a time, since a machine has one node at a time. -v, because the tests print how long a token takes to a pod.
	@go build -o bin/node ./test/infra/node/cmd/node; \
	bin/node --check || { test -n "$(E2E_OPTIONAL)" && echo 'make e2e: nothing is tested' && exit 0; exit 1; }; \
	assets=$$($(CLUSTER_BINARIES)); node=$$($(NODE_BINARIES)); \
	set -x; \
	E2E=1 KUBEBUILDER_ASSETS=$$assets NODE_ASSETS=$$node $(GO_TEST) -count=1 -timeout 20m -p 1 -v $(ARGS) $(E2E_PACKAGES)

.PHONY: test-alerts
test-alerts: ## Run the tests of alerts and dashboard, with a real Prometheus (built from source; takes minutes).
# With flags and versions that the control plane was built with, so that half of it is in Go's build cache by then.
	go build -C tools/prometheus -tags remove_all_sd -ldflags '-s -w' -o $(CURDIR)/bin/ \
	  github.com/prometheus/prometheus/cmd/prometheus github.com/prometheus/prometheus/cmd/promtool
	@assets=$$($(CLUSTER_BINARIES)); \
	set -x; \
	KUBEBUILDER_ASSETS=$$assets PROMETHEUS_ASSETS=$(CURDIR)/bin $(GO_TEST) -count=1 -timeout 15m -v $(ARGS) ./test/alerts

.PHONY: sdk
sdk: ## Run Reactor's own JavaScript SDK against the emulator (needs Node.js 18 and npm).
	go build -o bin/ ./cmd/reactor-emulator
	npm --prefix test/js/sdk ci
	REACTOR_EMULATOR=$(CURDIR)/bin/reactor-emulator npm --prefix test/js/sdk test

.PHONY: web
web: ## Build the page of examples/web, and test it (needs Node.js 20 and npm).
	npm --prefix examples/web ci
	npm --prefix examples/web test
	npm --prefix examples/web run build

.PHONY: browser-test
browser-test: build web ## Run the page of examples/web in Chromium, on a node of this machine, with video; screenshots in bin/browser-test/.
	npm --prefix test/js/browser ci
	go build -C test/infra/media -o $(CURDIR)/bin/reactor-emulator-media .
	@go build -o bin/node ./test/infra/node/cmd/node; \
	bin/node --check || { test -n "$(E2E_OPTIONAL)" && echo 'make browser-test: nothing is tested' && exit 0; exit 1; }; \
	command -v "$${CHROMIUM:-/usr/bin/chromium}" >/dev/null || { echo 'make browser-test: there is no Chromium. Run: apt-get install --no-install-recommends chromium' >&2; exit 1; }; \
	assets=$$($(CLUSTER_BINARIES)); node=$$($(NODE_BINARIES)); \
	set -x; \
	KUBEBUILDER_ASSETS=$$assets NODE_ASSETS=$$node go run ./test/js/browser

.PHONY: demo-broken
demo-broken: ## The same with a stopped operator. It must fail, or the demo proves nothing.
	@DEMO_BROKEN=1 $(MAKE) demo

.PHONY: ci
ci: ## Run everything that a change must pass: verify, lint, test, sim, sim-mutants-small, bench-small, test-alerts, sdk, e2e, browser-test, demo, release-dry-run, image-twice.
	@.ci/run

##@ Deep tests

# The schedules that make sim plays: how many, from which seed on; FILE plays one that was kept or printed. STRESSED of them are played again
# next to BUSY processes that compete for the processors.
SEEDS ?= 500
FROM  ?= 0
FILE  ?=
STRESSED ?= 60
BUSY     ?= 4
# Without the race detector, which takes five times as long: make test plays a few with it.
SIM = go test -count=1 -timeout 40m -v ./test/sim -from $(FROM)
# Not empty: one schedule is replayed. The test binary then starts itself again with GOMAXPROCS=1 and GODEBUG=asyncpreemptoff=1.
SIM_REPLAY = $(FILE)$(filter 1,$(SEEDS))
SIM_OUTPUT = grep -v -E '^ *(=== |--- PASS)'
.PHONY: sim
sim: ## Play seeded schedules of faults with the whole operator in virtual time (SEEDS, FROM), the kept ones, and STRESSED of the seeds under stress; FILE or SEEDS=1 replays one on one processor.
	$(SIM) -run '$(if $(SIM_REPLAY),^TestSchedules$$,^(TestSchedules|TestKeptSchedules)$$)' -seeds $(SEEDS) $(if $(FILE),-schedule $(abspath $(FILE))) $(ARGS) | $(SIM_OUTPUT)
	$(if $(SIM_REPLAY),,@$(MAKE) sim-stress SEEDS=$(STRESSED))

.PHONY: sim-stress
sim-stress: ## Play seeded schedules (SEEDS, FROM), or FILE, next to BUSY processes that keep the processors busy (stress).
	$(SIM) -run '^TestSchedules$$' -seeds $(SEEDS) -busy $(BUSY) $(if $(FILE),-schedule $(abspath $(FILE))) $(ARGS) | $(SIM_OUTPUT)

# Which of the mutants, by a part of their names.
MUTANTS ?=
.PHONY: sim-mutants
sim-mutants: ## Break the operator in many ways, and fail if the rules of make sim do not notice one of them (MUTANTS for some; 15 minutes).
	go test -count=1 -timeout 2h -v -run '^TestTheRulesNotice$$/($(MUTANTS))' ./test/sim -mutants $(ARGS)

.PHONY: sim-mutants-small
sim-mutants-small: ## The same with three of them: they would double sessions, leave sessions open, or start sessions again.
	@$(MAKE) sim-mutants MUTANTS='a_pod_is|what_has_succeeded'

# The size of make chaos, and what it is drawn from (0: something new each time).
TOKENS   ?= 2000
SESSIONS ?= 50
ROUNDS   ?= 14
SEED     ?= 0
.PHONY: chaos
chaos: build ## Kill, freeze and fill up the components that the operator needs, and judge the result (TOKENS, SESSIONS, ROUNDS, SEED; half an hour).
	@$(GO_BUILD) -o bin/ ./examples/session-worker; \
	go build -o bin/chaos ./test/chaos; go build -o bin/node ./test/infra/node/cmd/node; \
	assets=$$($(CLUSTER_BINARIES)); node=; \
	if bin/node --check >/dev/null 2>&1; then node=$$($(NODE_BINARIES)); fi; \
	KUBEBUILDER_ASSETS=$$assets NODE_ASSETS=$$node bin/chaos --tokens=$(TOKENS) --sessions=$(SESSIONS) --rounds=$(ROUNDS) --seed=$(SEED) $(ARGS)

# How long each target of make fuzz runs, or a number of runs, such as 100000x.
FUZZTIME ?= 1m
# The fuzz targets, each as FOLDER:NAME.
FUZZ_TARGETS = $$(grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9]*' . | sed 's|/[^/]*:func |:|')
.PHONY: fuzz
fuzz: ## Fuzz the code that reads responses, headers, messages, annotations and specs, one target after the other (FUZZTIME for each).
	@for target in $(FUZZ_TARGETS); do \
	  (set -x; go test -run=NONE -fuzz="^$${target#*:}\$$" -fuzztime=$(FUZZTIME) "$${target%:*}"); \
	done

.PHONY: fuzz-keep
fuzz-keep: ## Save the shortest inputs of make fuzz that reached new code as seeds, which every test run reads.
	@for target in $(FUZZ_TARGETS); do \
	  folder=$${target%:*} name=$${target#*:}; \
	  found=$$(go env GOCACHE)/fuzz/$$(go list "$$folder")/$$name; \
	  [ -d "$$found" ] || continue; \
	  mkdir -p "$$folder/testdata/fuzz/$$name"; \
	  find "$$found" -type f -printf '%s %p\n' | sort -n | sed 40q | cut -d' ' -f2- | xargs cp -t "$$folder/testdata/fuzz/$$name"; \
	  echo "$$folder/testdata/fuzz/$$name: $$(find "$$folder/testdata/fuzz/$$name" -type f | wc -l)"; \
	done

##@ Bench

# How many ReactorTokens make bench has, which parts it measures (all short ones by default), and additional arguments (ARGS).
N    ?= 10000
ONLY ?=
BENCH = assets=$$($(CLUSTER_BINARIES)); KUBEBUILDER_ASSETS=$$assets go run ./test/bench
.PHONY: bench
bench: build ## Measure the operator next to its floor, for docs/performance.md (N, ONLY=part,…, ARGS; Linux; more than an hour).
	@$(BENCH) --n=$(N) $(if $(ONLY),--only=$(ONLY)) $(ARGS)

.PHONY: bench-steady
bench-steady: build ## The same for the steady state after ten cycles of six-minute tokens, with and without prompt delivery (an hour).
	@$(BENCH) --n=$(N) --only=steady $(ARGS)

.PHONY: bench-growth
bench-growth: build ## The same in systems of 1,000, 10,000 and 50,000 tokens, with a plot (40 minutes).
	@$(BENCH) --only=growth $(ARGS)

.PHONY: bench-nightly
bench-nightly: build ## All of it: N tokens, the ten cycles, and growth (almost three hours).
	@$(BENCH) --n=$(N) --only=fresh,requests,memory,restart,latency,rotation,sessions,steady,growth $(ARGS)

.PHONY: bench-small
bench-small: build ## All of it with at most 200 tokens. It fails if a count is wrong, but judges no times and fills no table.
	@$(BENCH) --n=200 --rounds=1 --sessions=40 --cycles=1 --prompt-cycles=1 --lifetime=1m --granted=13s --pods=20 --rest=1s --secrets=5 \
	  --latency-time=3s --mint-qps=50 --sizes=50,100 \
	  --only=fresh,requests,memory,restart,latency,rotation,sessions,steady,growth $(ARGS)

.PHONY: bench-docs
bench-docs: ## Write the tables of docs/performance.md, and the plot, from docs/performance/*.json.
	go run ./test/bench --render

.PHONY: measure
measure: build ## Print what memory and processor time the operator takes, as the table in docs/resources.md (Linux; takes a quarter of an hour).
	@assets=$$($(CLUSTER_BINARIES)); \
	KUBEBUILDER_ASSETS=$$assets go run ./test/bench/measure $(ARGS)

##@ Generate

.PHONY: generate
generate: ## Generate the Go code of api/: deep copies and apply configurations.
	$(CONTROLLER_GEN) object paths=./api/...
	$(CONTROLLER_GEN) applyconfiguration paths=./api/...

.PHONY: manifests
manifests: ## Generate the CRDs from api/, and the operator's permissions from the markers next to the code that needs them.
	$(CONTROLLER_GEN) crd:generateEmbeddedObjectMeta=true paths=./api/... output:crd:dir=config/crd/bases
	go run ./hack/trim-crd config/crd/bases/*.yaml
	$(CONTROLLER_GEN) rbac:roleName=reactor-operator paths=./internal/controller/reactortoken output:rbac:dir=config/rbac
	$(CONTROLLER_GEN) rbac:roleName=reactor-operator-sessions,fileName=sessions_role.yaml paths=./internal/controller/reactorsession output:rbac:dir=config/rbac
	@$(MAKE) chart-files

# A packed chart holds its files itself, and follows no links.
.PHONY: chart-files
chart-files: ## Copy the files that config/ and the chart have in common into the chart.
	rm -rf $(CHART)/files && mkdir -p $(CHART)/files/crds $(CHART)/files/rbac $(CHART)/files/prometheus
	cp config/crd/bases/*.yaml $(CHART)/files/crds/
	cp config/rbac/{role,sessions_role,leader_election_role,metrics_reader_role}.yaml $(CHART)/files/rbac/
	cp config/rbac/reactor_operator_edit_role.yaml $(CHART)/files/rbac/edit_role.yaml
	cp config/rbac/reactor_operator_view_role.yaml $(CHART)/files/rbac/view_role.yaml
	cp config/components/restart/role.yaml $(CHART)/files/rbac/restart_role.yaml
	cp config/components/prompt-delivery/role.yaml $(CHART)/files/rbac/prompt_delivery_role.yaml
	cp config/prometheus/{rules.yaml,dashboard.json} $(CHART)/files/prometheus/

.PHONY: chart-docs
chart-docs: ## Generate the table of values in the chart's README from the comments in its values.yaml.
	go run ./hack/chart-docs $(CHART)

.PHONY: api-docs
api-docs: ## Generate docs/api.md from the comments in api/.
	$(CRD_REF_DOCS) --source-path=api --config=hack/api-docs/config.yaml --templates-dir=hack/api-docs/templates \
	  --renderer=markdown --output-path=docs/api.md --log-level=ERROR

.PHONY: fmt
fmt: ## Format all Go code, imports included.
	@for module in $(CODE_MODULES); do (cd $$module && $(GOLANGCI_LINT) fmt --config $(CURDIR)/.golangci.yml); done

.PHONY: tidy
tidy: ## Tidy the go.mod of every module.
	@for module in $(MODULES); do go mod tidy -C $$module; done

##@ Check

.PHONY: lint-manifests
lint-manifests: ## Check chart, config/, samples and examples with kubeconform and kube-score; accepted findings are in hack/manifests/exemptions.go.
	@echo 'lint manifests'
	@go run -C hack/manifests . lint

.PHONY: prose
prose: ## Check the English of docs, comments, and texts that users see with Vale (LEVEL=warning also reports long sentences).
	@echo 'lint prose'
	@if command -v "$$(go env CC)" >/dev/null || [ -n "$${CI:-}" ]; then \
	  vale="$$($(VALE))" && go run ./hack/prose -level $(LEVEL) "$$vale"; \
	else \
	  echo 'Skipped: Vale needs a C compiler to build. The CI runs this check.'; \
	fi

.PHONY: vet
vet: ## Run go vet in every module.
	@for module in $(CODE_MODULES); do (set -x; go vet -C $$module ./...); done

.PHONY: vulncheck
vulncheck: ## Report known vulnerabilities that the code of any module reaches (govulncheck; needs the network, ARGS=-db=… for another database).
	@status=0; \
	for module in $(CODE_MODULES); do \
	  echo "vulncheck $$module"; \
	  $(GOVULNCHECK) -C $$module -test $(ARGS) ./... || status=1; \
	done; \
	exit $$status

.PHONY: cluster-binaries
cluster-binaries: ## Download or build the control plane for tests into a cache, if it does not exist, and print its folder.
	@$(CLUSTER_BINARIES)

.PHONY: node-binaries
node-binaries: ## Download or build kubelet and containerd for tests into a cache, if they do not exist, and print their folder.
	@$(NODE_BINARIES)

.PHONY: cluster-sums
cluster-sums: ## Write the SHA-256 sums that downloads of Kubernetes, etcd and containerd must have, after a change of their versions. It downloads all of them.
	@go run -C test/infra/cluster ./build sums

##@ Release

.PHONY: chart
chart: ## Pack the Helm chart into bin/, with the version of git describe. The same commit gives the same file.
	$(HELM) lint --strict --quiet $(CHART)
	SOURCE_DATE_EPOCH='$(SOURCE_DATE_EPOCH)' $(HELM) package $(CHART) --version "$(CHART_VERSION)" --app-version "$(VERSION)" --destination bin

.PHONY: image
image: ## Write the images of operator, token server and emulator into bin/*.tar, with SBOMs; no container engine (IMAGE, PLATFORMS).
# The settings of a processor are named, because one's own environment may have others.
	@for platform in $(PLATFORMS); do \
	  echo "build linux/$$platform"; \
	  GOOS=linux GOARCH=$$platform GOAMD64=v1 GOARM64=v8.0 GOFLAGS= GOEXPERIMENT= \
	    $(GO_BUILD) -o bin/linux-$$platform/ ./cmd/manager ./cmd/token-server ./cmd/reactor-emulator; \
	done; \
	$(call PACK_IMAGE,$(IMAGE),reactor-operator,manager); \
	$(call PACK_IMAGE,$(TOKEN_SERVER_IMAGE),reactor-token-server,token-server); \
	$(call PACK_IMAGE,$(EMULATOR_IMAGE),reactor-emulator,reactor-emulator)

.PHONY: image-twice
image-twice: image ## The same again in a clone in another folder, and fail if a digest or an archive differs. The clone has only committed files.
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	git clone --quiet . "$$folder"; \
	$(MAKE) -C "$$folder" image IMAGE='$(IMAGE)' TOKEN_SERVER_IMAGE='$(TOKEN_SERVER_IMAGE)' EMULATOR_IMAGE='$(EMULATOR_IMAGE)' VERSION='$(VERSION)' >/dev/null; \
	for image in reactor-operator reactor-token-server reactor-emulator; do \
	  printf 'here       %s\nelsewhere  %s\n' "$$(cat bin/$$image.digest)" "$$(cat "$$folder/bin/$$image.digest")"; \
	  cmp bin/$$image.digest "$$folder/bin/$$image.digest"; \
	  cmp bin/$$image.tar "$$folder/bin/$$image.tar"; \
	done

.PHONY: image-push
image-push: PUSH = --push
image-push: image ## The same, and push them as IMAGE, TOKEN_SERVER_IMAGE and EMULATOR_IMAGE, with the credentials of docker login.

# What a release holds. install.yaml and try.yaml name the images of this build by tag and digest.
DIST := dist
RELEASED_IMAGES := reactor-operator reactor-token-server reactor-emulator
# A flag of hack/manifests for each: the manifests name it ghcr.io/reactor-operator/NAME, and the digest file names it as it is pushed.
RELEASED_IMAGE_FLAGS = --image="ghcr.io/reactor-operator/reactor-operator=$(IMAGE)@$$(sed 's/.*@//' bin/reactor-operator.digest)" \
  --image="ghcr.io/reactor-operator/reactor-token-server=$(TOKEN_SERVER_IMAGE)@$$(sed 's/.*@//' bin/reactor-token-server.digest)" \
  --image="ghcr.io/reactor-operator/reactor-emulator=$(EMULATOR_IMAGE)@$$(sed 's/.*@//' bin/reactor-emulator.digest)"
.PHONY: release-files
release-files: image chart ## Write all files of a release into dist/: images, SBOMs, chart, install.yaml, try.yaml, checksums.
	@rm -rf $(DIST) && mkdir $(DIST)
	@for name in $(RELEASED_IMAGES); do \
	  cp bin/$$name.tar $(DIST)/; \
	  for platform in $(PLATFORMS); do cp bin/$$name-linux-$$platform.cdx.json $(DIST)/; done; \
	done
	@cp 'bin/reactor-operator-$(CHART_VERSION).tgz' $(DIST)/
	@go run -C hack/manifests . build --resource=config/default $(RELEASED_IMAGE_FLAGS) >$(DIST)/install.yaml
	@go run -C hack/manifests . build --resource=config/default --resource=config/try \
	  --component=config/components/prompt-delivery --component=config/components/emulator $(RELEASED_IMAGE_FLAGS) >$(DIST)/try.yaml
	@cd $(DIST) && sha256sum * >SHA256SUMS && cat SHA256SUMS

.PHONY: released-images
released-images: ## Print the images of make image by digest, in one line.
	@cat $(RELEASED_IMAGES:%=bin/%.digest) | paste -s -d ' '

.PHONY: release-dry-run
release-dry-run: release-files ## The same, and check each file: install.yaml, try.yaml and chart on a node of this machine. Linux and root.
	@go build -o bin/node ./test/infra/node/cmd/node; \
	bin/node --check || { test -n "$(E2E_OPTIONAL)" && echo 'make release-dry-run: nothing is installed' && exit 0; exit 1; }; \
	assets=$$($(CLUSTER_BINARIES)); node=$$($(NODE_BINARIES)); \
	set -x; \
	RELEASE_FILES=$(CURDIR)/$(DIST) KUBEBUILDER_ASSETS=$$assets NODE_ASSETS=$$node go test -count=1 -timeout 15m -v $(ARGS) ./test/e2e/release

.PHONY: chart-push
chart-push: chart ## Pack the Helm chart and push it to CHARTS, with the credentials of docker login.
	$(HELM) push 'bin/reactor-operator-$(CHART_VERSION).tgz' 'oci://$(CHARTS)'
