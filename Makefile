# Every command brings its own environment first, see scripts/setup; nothing is installed outside of
# the checkout. PYTHON chooses the Python, ARGS is passed on: make test PYTHON=python3.12 ARGS="-k filters"

MAKEFLAGS += --no-print-directory
# Settings of a shell's own environment that would reach into ours.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV

PYTHON ?=
export PYTHON
ARGS ?=
bin := .venv/bin

.PHONY: help setup demo cluster test lint types bench check-docs check-foreign check-page notebooks pictures docs clean

help:  ## List the commands
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1	/p' Makefile | while IFS='	' read -r name text; do \
		printf '  make %-13s  %s\n' "$$name" "$$text"; done

setup:
	@scripts/setup

# The embedded model, whatever keys the environment holds; and no traces sent anywhere.
demo: export TOKENWEIR_MODEL := local:smollm2
demo: export LANGSMITH_TRACING := false
demo:  ## A joke and a poem, token by token, from a real model on this machine
	@scripts/setup .venv demo
	@printf '\n%s\n\n' '$$ tokenweir run joke_poem topic=cats --stats'
	@$(bin)/tokenweir run joke_poem topic=cats --stats
	@printf '\n%s\n\n' '$$ tokenweir run joke_poem topic=cats --only tag:joke'
	@$(bin)/tokenweir run joke_poem topic=cats --only tag:joke

cluster: export LANGSMITH_TRACING := false
cluster:  ## Three servers on one Postgres, one killed while it streams: every text exact
	@scripts/setup .venv cluster
	@$(bin)/python scripts/cluster.py

test:  ## The test suite
	@scripts/setup .venv test
	@$(bin)/python -m pytest $(ARGS)

lint: setup  ## Style: ruff check and ruff format
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .

types: setup  ## Types: mypy, strict; and what users' type checkers see
	@$(bin)/python -m mypy $(ARGS)
	@$(bin)/python -m pytest --quiet --numprocesses=0 tests/typing

bench: setup  ## The benchmarks
	@scripts/setup .venv bench
	@$(bin)/python -m benchmarks $(ARGS)

check-docs: setup  ## Run the documentation's code, the notebooks, and build the site
	@$(bin)/python -m pytest -m docs --numprocesses=2 $(ARGS)

check-foreign: setup  ## Run other packages' own tests on Tokenweir; they are fetched
	@$(bin)/python -m pytest -m foreign --numprocesses=0 $(ARGS)

check-page: setup  ## Drive the page in Chromium, if it is installed
	@$(bin)/python -m pytest -m browser --numprocesses=0 $(ARGS)

notebooks: setup  ## Execute the notebooks; ARGS=--write keeps their outputs
	@$(bin)/python notebooks/execute.py $(ARGS)

pictures: setup  ## Make README's moving pictures anew, from real runs
	@$(bin)/python scripts/pictures.py

docs: setup  ## Build the documentation into site/; any warning is an error
	@NO_MKDOCS_2_WARNING=1 $(bin)/python -m mkdocs build --strict --quiet

clean:  ## Remove all that these commands made here
	@rm -rf .venv .venvs .uv site .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
