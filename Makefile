# One command for each job; each does its own set-up on a fresh Debian machine.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CODE := proto pollinatord executors cli tests typings

.PHONY: test gates unit demo clean

test: gates unit

# Installed anew when what it is made from changes.
$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

gates: $(VENV)/.installed
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python proto/generate.py --check

unit: $(VENV)/.installed components
	$(BIN)/pytest

# The real servers that tests start. Without them those tests are skipped and say so; they fail where
# POLLINATOR_REQUIRE names the server. Tests name their packages as well: see tests/support/ceph.py.
SERVERS := ceph-base ceph-common ceph-mon ceph-osd radosgw openssl
.PHONY: components
components:
	@if type ceph ceph-mon ceph-osd radosgw openssl >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" != 0 ] || ! type apt-get >/dev/null 2>&1; then \
		echo "Some tests will be skipped: only root on Debian can install $(SERVERS) here."; \
	else \
		apt-get update --quiet && DEBIAN_FRONTEND=noninteractive \
		apt-get install --quiet --yes --no-install-recommends $(SERVERS); \
	fi

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
