"""Offline plans: reading, writing, and what TFLM refuses."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.memory.offline_plan import encode_offline_plan, offline_plan, with_offline_plan
from refmicro.model.graph import OFFLINE_PLAN_METADATA, Model, Subgraph
from refmicro.types import DType, Tensor


def model_with(*counts):
    """A model of subgraphs with that many tensors."""
    item = Tensor("", DType.INT8, (4,))
    return Model(tuple(Subgraph((item,) * count, (), (), ()) for count in counts))


@given(st.lists(st.lists(st.integers(-1, 2**31 - 1), min_size=1, max_size=5), min_size=1))
def test_round_trip(offsets):
    model = with_offline_plan(model_with(*(len(graph) for graph in offsets)), offsets)
    assert offline_plan(model) == tuple(tuple(graph) for graph in offsets)
    assert offline_plan(with_offline_plan(model, None)) is None


def test_layout():
    assert encode_offline_plan([[-1, 16], [32]]) == struct.pack("<6i", 1, 2, 3, -1, 16, 32)


def test_version_and_subgraph_count_are_ignored_and_the_last_plan_counts():
    first, second = struct.pack("<4i", 9, 9, 1, 16), struct.pack("<5i", 7, 7, 1, 48, 99)
    plans = ((OFFLINE_PLAN_METADATA, first), (OFFLINE_PLAN_METADATA, second))
    assert offline_plan(Model(model_with(1).subgraphs, plans)) == ((48,),)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"", InvalidModelError),
        (struct.pack("<2i", 1, 1), InvalidModelError),
        (struct.pack("<4i", 1, 1, 1, 0), UnsupportedError),
        (struct.pack("<6i", 1, 1, 3, 0, 0, 0), UnsupportedError),
        (struct.pack("<4i", 1, 1, 2, 0), InvalidModelError),
        (struct.pack("<5i", 1, 1, 2, 0, -2), InvalidModelError),
        (struct.pack("<5i", 1, 1, -1, 0, 0), UnsupportedError),
    ],
)
def test_refused(value, error):
    with pytest.raises(error) as caught:
        offline_plan(Model(model_with(2).subgraphs, ((OFFLINE_PLAN_METADATA, value),)))
    assert OFFLINE_PLAN_METADATA in caught.value.hint


def test_a_bad_earlier_plan_is_refused_too():
    plans = tuple((OFFLINE_PLAN_METADATA, encode_offline_plan([o])) for o in ([0], [0, 16]))
    with pytest.raises(UnsupportedError):
        offline_plan(Model(model_with(2).subgraphs, plans))


def test_a_plan_must_fit_the_model():
    with pytest.raises(ValueError, match="plan for"):
        with_offline_plan(model_with(2), [[0]])
