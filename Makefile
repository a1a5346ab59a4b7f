# Each target does its own set-up, and leaves nothing outside this folder except pip's download cache: .venv holds the
# packages, .chat-api the data of `make dev`. Written for POSIX sh and GNU make 3.81 (macOS).

SHELL = /bin/sh
.DEFAULT_GOAL = help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV = .venv
BIN = $(VENV)/bin
# Twice the cores of a small machine: tests wait for servers more than they compute. A browser computes.
JOBS = 4
BROWSERS = 2
ARGS =
# The tests start the service hundreds of times. Each start would compile it again where the environment says so.
unexport PYTHONDONTWRITEBYTECODE

# PYTHON=… that names another interpreter than the one that made $(VENV) makes $(VENV) again.
ifneq ($(PYTHON),)
IDENTITY = -c 'import sys; print(sys.base_prefix, sys.version)' 2>/dev/null
ifneq ($(shell "$(PYTHON)" $(IDENTITY)),$(shell $(BIN)/python $(IDENTITY)))
.PHONY: $(VENV)/made
endif
endif

.PHONY: help dev test test-pg15 test-api test-browser chaos bench audit vendor screenshots schema packages node-packages browser lint format lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s%s\n", $$1, $$2 }' Makefile

dev: $(VENV)/dev-installed ## run everything on this machine and print the page's URL (make dev ARGS="--port 9000")
	@exec $(BIN)/python -m chat_api dev $(ARGS)

test: $(VENV)/test-installed ## run the tests (make test ARGS="-k relay"; JOBS=0: in one process)
	@exec $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 --dist worksteal $(ARGS)

# What depends on the server's version: the schema, each query with its plans and races, and the service's use of them.
# Left out: the buffers of a large history (sql/README.md says what differs), and commands that start their own server.
POSTGRES15 = /usr/lib/postgresql/15/bin
test-pg15: $(VENV)/test-installed ## run the tests of schema and queries on Debian's PostgreSQL 15
	@test -x $(POSTGRES15)/postgres || { echo "No PostgreSQL in $(POSTGRES15): make packages," \
		"or name the folder of its programs: make test-pg15 POSTGRES15=..." >&2; exit 1; }
	@POSTGRES=$(POSTGRES15) exec $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8 --dist worksteal \
		--deselect tests/sql/test_every_statement.py::test_the_readmes_commands_work_and_show_every_name_in_pg_stat_statements \
		--deselect tests/sql/test_buffers.py \
		--ignore tests/migrate/test_backup.py --ignore tests/migrate/test_rolling.py \
		tests/migrate tests/sql tests/settings/test_database_url.py \
		$(addprefix tests/commands/test_sql_,command.py health.py describe.py) tests/http/test_conversations.py \
		$(addprefix tests/answers/test_,send.py attach.py stop.py regenerate.py) $(ARGS)

# `make test` leaves this folder out. Each file limits its own time.
test-api: $(VENV)/test-api-installed ## send thousands of odd requests, and check the responses against the API's description
	@exec $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 2 -o faulthandler_timeout=330 \
		$(ARGS) tests/fuzz

# One event loop for all tests: the one on which the browser was started. What measures the page's speed runs alone.
# Status 5 says that ARGS chose no test of one of the two parts, which is fine; of both, it is an error.
IN_BROWSER = $(BIN)/python -m pytest -o asyncio_default_fixture_loop_scope=session \
	-o asyncio_default_test_loop_scope=session
SPEED = tests/browser/test_page_speed.py
test-browser: browser $(VENV)/browser-test-installed ## run the tests in a real browser (make test-browser ARGS="-k client")
	@$(IN_BROWSER) -n 0 $(ARGS) $(SPEED); alone=$$?; \
	$(IN_BROWSER) -n $(BROWSERS) --dist worksteal --ignore $(SPEED) $(ARGS) tests/browser; rest=$$?; \
	case "$$alone $$rest" in "0 0" | "0 5" | "5 0") ;; *) exit 1 ;; esac

chaos: $(VENV)/test-installed ## kill, hang, lock and cut at random under load, and count what is lost (ARGS="--help")
	@exec $(BIN)/python -m tests.chaos $(ARGS)

bench: packages $(VENV)/test-installed ## measure what a token, a request and a stream cost (ARGS="--write" fills bench/README.md)
	@exec $(BIN)/python -m bench $(ARGS)

# Not part of .ci/run: an advisory published tomorrow must not fail today's commit. Run it on a timer.
audit: $(VENV)/audit-installed ## check the pinned packages for known flaws (status 1: some found; 2: not all checked)
	@exec $(BIN)/python -m tools.audit $(ARGS)

vendor: $(VENV)/test-installed ## fetch the page's libraries again from npm, as listed in chat_api/web/vendor/vendor.json
	@$(BIN)/python -m tools.vendored

screenshots: browser $(VENV)/browser-test-installed ## take the README's screenshots again
	@SCREENSHOTS=docs/screenshots $(MAKE) --no-print-directory test-browser ARGS="-k screenshot -q"

schema: $(VENV)/test-installed ## write down the schema that the migrations make (after a new migration)
	@exec $(BIN)/python -m tools.schema

# Debian's package creates and starts a database unless its configuration says otherwise, so it says so meanwhile.
NO_CLUSTER = /etc/postgresql-common/createcluster.d/chat-api.conf
packages: ## install what the tests need and pip lacks: nginx, prometheus and more (Debian, as root)
	@PATH="$$PATH:/usr/sbin"; missing=; \
	for each in pgbouncer nginx curl git jq prometheus; do command -v $$each >/dev/null || missing="$$missing $$each"; done; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || missing="$$missing libfaketime"; \
	test -x $(POSTGRES15)/postgres || missing="$$missing postgresql-15"; \
	test -z "$$missing" || { \
		trap 'rm -f $(NO_CLUSTER)' EXIT; \
		mkdir -p $(dir $(NO_CLUSTER)) && echo 'create_main_cluster = false' >$(NO_CLUSTER) && \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing; }

node-packages: ## install npm's package openai for the tests that run OpenAI's library in Node, where npm is
	@! command -v npm >/dev/null || npm --prefix tests/responses/node ci --ignore-scripts --no-fund --no-audit --silent

# Without Chromium's own windows, which nobody sees, a test takes half the time.
browser: ## install what tests/browser needs and pip lacks: Chromium without windows (Debian, as root)
	@command -v $${CHROMIUM:-chromium-headless-shell} >/dev/null || { \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium-headless-shell; }

lint: $(VENV)/test-installed ## check format, style, types and SQL; report every problem, not just the first
	@status=0; \
	$(BIN)/ruff format --check . || status=1; \
	$(BIN)/ruff check . || status=1; \
	$(BIN)/mypy || status=1; \
	$(BIN)/sqlfluff lint --disable-progress-bar sql migrations chat_api/commands/sql || status=1; \
	$(BIN)/squawk $(filter-out %.rollback.sql,$(wildcard migrations/*.sql)) || status=1; \
	exit $$status

format: $(VENV)/test-installed ## format Python and SQL
	@$(BIN)/ruff check --fix-only --select I .
	@$(BIN)/ruff format .
	@$(BIN)/sqlfluff format --disable-progress-bar sql migrations chat_api/commands/sql

lock: $(VENV)/made ## pin the packages of setup.cfg in constraints.txt (make lock ARGS="--upgrade")
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.14'
	@cp constraints.txt $(VENV)/lock.txt
	@$(BIN)/uv pip compile setup.cfg --all-extras --universal --python-version 3.11 --no-header --no-annotate \
		--quiet --output-file $(VENV)/lock.txt $(ARGS)
	@{ sed -n '/^#/p' constraints.txt; cat $(VENV)/lock.txt; } >$(VENV)/constraints.txt
	@mv $(VENV)/constraints.txt constraints.txt

clean: ## remove what make and the tools created; the data in .chat-api stays
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/made:
	@for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
		if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			echo "Making $(VENV) with $$("$$python" --version)"; \
			"$$python" -m venv --clear $(VENV) && touch $@; \
			exit; \
		fi; \
	done; \
	echo "No Python 3.11 or newer with its venv module among: $(or $(PYTHON),python3.13 python3.12 python3.11 python3)." >&2; \
	echo "Install one (Debian, Ubuntu: apt install python3-venv), or name it: make PYTHON=/path/to/python3 ..." >&2; \
	exit 1

$(VENV)/dev-installed: EXTRAS = dev-stack
$(VENV)/test-installed: EXTRAS = dev-stack,test
$(VENV)/test-api-installed: EXTRAS = dev-stack,test,test-api
$(VENV)/browser-test-installed: EXTRAS = dev-stack,test,browser-test
$(VENV)/audit-installed: EXTRAS = audit

# Before pip fetches anything, look for what pip can't install. Tests that need it skip without it.
$(VENV)/dev-installed: LOOK = $(BIN)/python -P chat_api/dev/system_libraries.py $(ARGS)

# Of pip's output, show errors and each download, so that a slow connection is seen to make progress.
$(VENV)/dev-installed $(VENV)/test-installed $(VENV)/test-api-installed $(VENV)/browser-test-installed \
		$(VENV)/audit-installed: \
		$(VENV)/made setup.cfg pyproject.toml constraints.txt
	@rm -f $@
	@$(or $(LOOK),:)
	@echo "Installing [$(EXTRAS)] into $(VENV)"
	@pip="$(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar off -c constraints.txt"; \
	{ $$pip setuptools && $$pip --no-build-isolation --editable '.[$(EXTRAS)]' && touch $@; } \
		| sed -n 's/^ *\(Downloading .*)\).*/  \1/p'; \
	test -e $@
