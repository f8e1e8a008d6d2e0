"""`check` finds equality where there is equality, and differences where they are planted."""

import dataclasses

import numpy as np
import pytest

from refmicro import _run, compare
from refmicro.compare import check_model
from refmicro.model.reader import read_model
from tests.models import ALL, REFUSED

pytestmark = pytest.mark.oracle

MODELS = sorted(set(ALL) - REFUSED)
HOLES = {"audio_preprocessor_int8"}
"""Models with an operator that leaves a part of its output unwritten (SignalEnergy)."""


@pytest.mark.parametrize("name", MODELS)
def test_real_models_are_equal(name):
    check = check_model(read_model(ALL[name]), name, count=3, seed=7)
    assert check.refused is None
    assert check.first is None
    assert check.arena.predicted == check.arena.measured
    assert check.equal
    assert check.values > 0
    assert (check.undefined > 0) == (name in HOLES)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_models_are_refused_by_both(name):
    check = check_model(read_model(ALL[name]), name)
    assert check.equal
    assert check.refused.refmicro
    assert check.refused.tflm


def test_lstm_multipliers_to_the_last_bit():
    """Vector 12 of this seed meets an accumulator near a tie, see decision 0004."""
    check = check_model(read_model(ALL["trained_lstm_int8"]), "lstm", count=16, seed=0)
    assert check.equal


def test_a_wrong_value_is_found_and_named(monkeypatch):
    model = read_model(ALL["hello_world_int8"])
    whole = _run.Context.set_output

    def wrong(self, index, values):
        if self.node.outputs[index] == model.subgraphs[0].operators[1].outputs[0]:
            values = values.copy()
            values.reshape(-1)[5] ^= 1
        whole(self, index, values)

    monkeypatch.setattr(_run.Context, "set_output", wrong)
    check = check_model(model, "hello", count=2)
    assert not check.equal
    assert check.mismatches >= 2
    assert (check.first.subgraph, check.first.operator) == (0, 1)
    assert check.first.name == "FULLY_CONNECTED"
    assert check.first.index == 5
    assert abs(check.first.want - check.first.got) == 1


def test_a_wrong_arena_is_found(monkeypatch):
    whole = compare.model_arena

    def wrong(program):
        arena = whole(program)
        return dataclasses.replace(arena, required_bytes=arena.required_bytes + 16)

    monkeypatch.setattr(compare, "model_arena", wrong)
    check = check_model(read_model(ALL["hello_world_int8"]), "hello", count=1)
    assert not check.equal
    assert not check.arena.equal
    assert check.arena.predicted["required_bytes"] - check.arena.measured["required_bytes"] == 16


def test_streams_are_compared_where_there_is_state():
    model = read_model(ALL["g_elu_inplacevar_int8"])
    one = check_model(model, "", count=2)
    stateless = check_model(read_model(ALL["s_elu_stream_int8"]), "", count=2)
    assert one.values > 1.5 * stateless.values
    assert np.isfinite(one.values)
