# The commands of the project. What they do is in scripts/; each may be run as often as you like.
#   make demo ARGS=--help      make bench ARGS=...      PYTHON=python3.12 make test

ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup test lint demo bench clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name what; do \
	    printf '  make %-6s  %s\n' "$$name" "$$what"; done

setup:  ## make .venv with everything the work needs
	@scripts/setup dev

test:  ## check everything: lint, types, the suite with coverage, the suite on every other Python here
	@scripts/test

lint:  ## ruff, mypy and pyright
	@scripts/lint

demo:  ## see the pool at work (needs no server)
	@scripts/setup demo
	@.venv/bin/cenote demo $(ARGS)

bench:  ## measure the pool beside its peers
	@scripts/setup bench
	@.venv/bin/python -m benches $(ARGS)

clean:  ## remove what the commands above made
	rm -rf .venv .venv-* .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
