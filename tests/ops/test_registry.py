"""refmicro has the operators that the wheel's resolver has, and knows which it has not."""

from __future__ import annotations

import pytest

from refmicro.bridge import OracleCrash, oracle_run
from refmicro.model import _schema
from refmicro.model.writer import write_model
from refmicro.ops import registry
from tests.ops.malformed import plain

NAMES = sorted(_schema.enum_codes("BuiltinOperator"))

UNKNOWN = "Failed to get registration from op code"
"""How TFLM's refusal begins where its resolver has no such operator."""


def is_known_to_tflm(name: str) -> bool:
    """Whether the wheel's resolver has the operator, whatever it says to a bare model of it."""
    try:
        result = oracle_run(write_model(plain(name)), [])
    except OracleCrash:
        return True
    return result.refused is None or UNKNOWN not in result.refused


@pytest.mark.oracle
def test_builtin_operators_are_those_of_the_wheel():
    ours = set(registry.names())
    wrong = [n for n in NAMES if n != "CUSTOM" and is_known_to_tflm(n) != (n in ours)]
    assert not wrong


@pytest.mark.oracle
def test_custom_operators_are_those_of_the_wheel():
    custom = set(registry.names()) - set(NAMES)
    assert {name for name in custom if not is_known_to_tflm(name)} == {"SELECTIVE_SCAN"}
    assert is_known_to_tflm("TFLM_DECODE")
    assert not is_known_to_tflm("ethos-u")


def test_names_and_files_belong_together():
    names = registry.names()
    assert len(names) == len(set(names)) > 100
    for name in names:
        assert registry.find(name).name == name
    assert registry.find("ADD_") is None
    assert registry.find("add") is None
    assert registry.find("registry") is None
