# The verbs. Each does its own set-up first and is one line; what it does is in scripts/.
# Arguments go through ARGS: make test ARGS="tests/unit -k packet"
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench field images lock clean

help:  ## print these verbs
	@scripts/help

demo:  ## send an honest and a cheating change to a real library through the platform
	@scripts/demo $(ARGS)

test:  ## run all tests
	@scripts/test $(ARGS)

lint:  ## ruff, mypy strict, and the import contracts
	@scripts/lint

bench:  ## measure what the platform costs, as ratios; writes build/bench.json
	@scripts/bench $(ARGS)

field:  ## judge changes of well-known projects (docs/field.md); writes build/field.json
	@scripts/field $(ARGS)

images:  ## build the runner images that are missing
	@scripts/images $(ARGS)

lock:  ## pin every dependency again, with hashes
	@scripts/lock $(ARGS)

clean:  ## remove what the verbs made here; ARGS=--all: also the virtual environment and the images
	@scripts/clean $(ARGS)
