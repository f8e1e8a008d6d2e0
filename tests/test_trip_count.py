"""Trip counts against loops that are run in Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.trip_count import _COMPARISONS, while_trip_count
from refmicro.types import DType, Tensor


def scalar(value: int | None) -> Tensor:
    data = None if value is None else np.int32(value).tobytes()
    return Tensor("", DType.INT32, (1,), data=data)


def loop(start, step, comparison, limit, *, mirrored=False, subtract=False) -> Model:
    flag = Tensor("", DType.BOOL, (1,))
    order = (1, 0) if mirrored else (0, 1)
    test = Operator(OperatorCode(comparison), order, (2,))
    condition = Subgraph((scalar(None), scalar(limit), flag), (0,), (2,), (test,))
    count = Operator(OperatorCode("SUB" if subtract else "ADD"), (0, 1), (2,))
    body = Subgraph((scalar(None), scalar(step), scalar(None)), (0,), (2,), (count,))
    options = {"cond_subgraph_index": 1, "body_subgraph_index": 2}
    run = Operator(OperatorCode("WHILE"), (0,), (1,), options, "WhileOptions")
    main = Subgraph((scalar(start), scalar(None)), (), (1,), (run,))
    return Model((main, condition, body))


def count(model: Model) -> int | None:
    graph = model.subgraphs[0]
    return while_trip_count(model, graph, graph.operators[0])


@given(
    st.integers(-20, 20),
    st.integers(-7, 7),
    st.sampled_from(sorted(_COMPARISONS)),
    st.integers(-20, 20),
    st.booleans(),
)
def test_count_equals_a_loop_that_runs(start, step, comparison, limit, mirrored):
    holds = _COMPARISONS[comparison]
    value, trips = start, 0
    while trips < 200 and (holds(limit, value) if mirrored else holds(value, limit)):
        value += step
        trips += 1
    want = None if trips == 200 else trips
    assert count(loop(start, step, comparison, limit, mirrored=mirrored)) == want


def test_subtraction_counts_down():
    assert count(loop(10, 3, "GREATER", 0, subtract=True)) == 4


def test_a_start_that_is_computed_is_unknown():
    assert count(loop(None, 1, "LESS", 9)) is None


@pytest.mark.parametrize("index", [-1, 7])
def test_a_missing_subgraph_is_unknown(index):
    model = loop(0, 1, "LESS", 9)
    model.subgraphs[0].operators[0].options["body_subgraph_index"] = index
    assert count(model) is None
