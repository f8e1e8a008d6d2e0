"""SELECTIVE_SCAN as C: its variants, compiled and compared with the interpreter."""

from __future__ import annotations

import pytest

from refmicro.emit.emitter import emit
from refmicro.emit.proof import prove
from refmicro.ops.selective_scan import (
    COLUMNS,
    DRIVEN,
    MINUS_A,
    MINUS_DELTA,
    SERIAL,
    SKIP,
    SUM,
    UNIT,
    Scan,
)
from tests.ops.test_selective_scan import model_of_scan, random_scan


def check(scan: Scan, *, state: str = "variable", shared_a: bool = False) -> None:
    model = model_of_scan(scan, state=state, shared_a=shared_a)
    proof = prove(emit(model, "host", name="scan"), model, count=3)
    assert proof.values > 0
    assert proof.equal, proof.first


@pytest.mark.parametrize(
    ("bits", "state"), [(8, "variable"), (8, "absent"), (16, "input"), (16, "absent")]
)
def test_states(bits: int, state: str) -> None:
    check(random_scan(bits, bits=bits, steps=3), state=state)


@pytest.mark.parametrize(
    ("bits", "flags"),
    [
        (8, DRIVEN | UNIT),
        (8, COLUMNS | SKIP),
        (8, SUM | MINUS_DELTA | SKIP),
        (16, 0),
        (16, SUM | MINUS_A | DRIVEN),
    ],
)
def test_optional_inputs(bits: int, flags: int) -> None:
    check(random_scan(3, bits=bits, flags=flags, gate=bool(flags & SKIP)), shared_a=True)


def test_own_parameters_for_each_step() -> None:
    check(random_scan(4, steps=4, many=True, fresh=True), state="absent")


def test_one_step_after_another_with_its_number() -> None:
    check(random_scan(5, steps=3, flags=SKIP | SERIAL, many=True, fresh=True), state="input")


def test_the_text_is_the_same_each_time() -> None:
    model = model_of_scan(random_scan(8))
    assert (
        emit(model, "cortex-m4", name="scan").files == emit(model, "cortex-m4", name="scan").files
    )
