# `make` prints this menu.
PYTHON ?= python3

.PHONY: help setup check lint test golden record ops sweep bench nojit

help:  ## print this menu
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

setup:  ## install refmicro with all that tests need into the active environment
	$(PYTHON) -m pip install -e '.[dev]'

lint:  ## formatting and style, a few seconds
	ruff format --check .
	ruff check .

test:  ## the whole suite
	$(PYTHON) -m pytest -n auto -q

check: lint test  ## what must pass before every commit

nojit:  ## the operators' tests in plain Python and with bounds checks
	REFMICRO_JIT=off $(PYTHON) -m pytest -n auto -q tests/ops tests/test_fixedpoint.py
	REFMICRO_JIT=boundscheck $(PYTHON) -m pytest -n auto -q tests/ops tests/test_fixedpoint.py

EXAMPLES ?= 2000
TESTS ?= tests/ops

sweep:  ## long differential tests: EXAMPLES=2000 of each property, TESTS=tests/ops
	HYPOTHESIS_PROFILE=sweep REFMICRO_EXAMPLES=$(EXAMPLES) $(PYTHON) -m pytest -n auto -q $(TESTS)

record:  ## count what the differential tests compare, for docs/ops.md
	rm -rf .record
	REFMICRO_RECORD=.record $(PYTHON) -m pytest -n auto -q tests/ops
	$(PYTHON) -m tests.ops.record .record
	rm -rf .record

ops:  ## write docs/ops.md and the list in docs/limits.md from operators and record
	$(PYTHON) docs/write.py

golden:  ## write the golden vectors again (after a change of the TFLM pin)
	$(PYTHON) golden/write.py

bench:  ## ratios against mcufit, the wheel and LiteRT, side by side, into docs/results
	$(PYTHON) benchmarks/estimate_against_mcufit.py
	$(PYTHON) benchmarks/estimate_scaling.py
	$(PYTHON) benchmarks/speed.py
