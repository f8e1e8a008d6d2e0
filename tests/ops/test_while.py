"""WHILE against the real TFLM."""

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UsageError
from refmicro.interpreter import Interpreter
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops import graphs
from tests.ops.harness import compare, tensor

pytestmark = pytest.mark.oracle

TURNS = 5


def vector(dtype, size):
    return tensor(dtype, (size,))


def condition(size=4):
    """True while the first of the flags is set."""
    flags, x = vector(DType.BOOL, TURNS), vector(DType.INT8, size)
    first = vector(DType.BOOL, 1)
    return graphs.subgraph([flags, x], [first], [graphs.take(flags, first, 0, 1)])


def drop_first(flags, next_flags):
    """Operators that shift the flags."""
    less = vector(DType.BOOL, TURNS - 1)
    off = tensor(DType.BOOL, (1,), data=np.array([False]))
    return [graphs.take(flags, less, 1, TURNS), graphs.join([less, off], next_flags)]


def body(size=4):
    """Drops the first flag and rotates the values."""
    flags, x = vector(DType.BOOL, TURNS), vector(DType.INT8, size)
    next_flags, y = vector(DType.BOOL, TURNS), vector(DType.INT8, size)
    ops = [*drop_first(flags, next_flags), *graphs.rotate(x, y)]
    return graphs.subgraph([flags, x], [next_flags, y], ops)


def main(size=4, inputs=None, outputs=None, indices=(1, 2)):
    """The loop, on free inputs."""
    flags, x = inputs or (vector(DType.BOOL, TURNS), vector(DType.INT8, size))
    flags_out, y = outputs or (vector(DType.BOOL, TURNS), vector(DType.INT8, size))
    options = {"cond_subgraph_index": indices[0], "body_subgraph_index": indices[1]}
    loop = graphs.op("WHILE", [flags, x], [flags_out, y], options)
    return graphs.subgraph([flags, x], [flags_out, y], [loop])


def flags_of(turns):
    """Flags that let each row turn so often."""
    return np.arange(TURNS) < np.array(turns)[:, None]


@given(st.lists(st.integers(0, TURNS), min_size=1, max_size=8), st.integers(0, 99))
def test_every_row_has_its_own_number_of_turns(turns, seed):
    x = np.random.default_rng(seed).integers(-128, 127, (len(turns), 4), dtype=np.int8)
    compare(graphs.model(main(), condition(), body()), [flags_of(turns), x], expect="run")


def test_turns_are_counted_by_the_values():
    interpreter = Interpreter(graphs.model(main(), condition(), body()))
    x = np.tile(np.arange(4, dtype=np.int8), (6, 1))
    flags, y = interpreter.invoke_batch([flags_of(range(6)), x])
    assert not flags.any()
    assert y[:, 0].tolist() == [turns % 4 for turns in range(6)]


def test_constant_inputs():
    flags = tensor(DType.BOOL, (TURNS,), data=flags_of([2])[0])
    x = vector(DType.INT8, 4)
    flags_out, y = vector(DType.BOOL, TURNS), vector(DType.INT8, 4)
    options = {"cond_subgraph_index": 1, "body_subgraph_index": 2}
    loop = graphs.op("WHILE", [flags, x], [flags_out, y], options)
    built = graphs.model(graphs.subgraph([x], [flags_out, y], [loop]), condition(), body())
    compare(built, expect="run")


def test_another_shape_inside_the_loop():
    flags, next_flags = vector(DType.BOOL, TURNS), vector(DType.BOOL, TURNS)
    x, flat, y = tensor(DType.INT8, (2, 1, 2)), vector(DType.INT8, 4), vector(DType.INT8, 4)
    shape = graphs.op("RESHAPE", [x], [flat], {"new_shape": [4]})
    ops = [shape, *drop_first(flags, next_flags), *graphs.rotate(flat, y)]
    turned = graphs.subgraph([flags, x], [next_flags, y], ops)
    values = np.arange(8, dtype=np.int8).reshape(2, 4)
    compare(graphs.model(main(), condition(), turned), [flags_of([0, 3]), values], expect="run")


def test_loop_in_a_loop():
    """Each turn of the outer loop runs the inner loop, whose flags are handed on unchanged."""

    def values():
        return vector(DType.BOOL, TURNS), vector(DType.BOOL, TURNS), vector(DType.INT8, 4)

    inputs, outs = values(), values()
    options = {"cond_subgraph_index": 1, "body_subgraph_index": 2}
    outer_main = graphs.subgraph(inputs, outs, [graphs.op("WHILE", inputs, outs, options)])
    flags, second, x = values()
    first = vector(DType.BOOL, 1)
    decide = graphs.subgraph([flags, second, x], [first], [graphs.take(flags, first, 0, 1)])
    flags, second, x = values()
    next_flags, used, y = values()
    options = {"cond_subgraph_index": 3, "body_subgraph_index": 4}
    inner = graphs.op("WHILE", [second, x], [used, y], options)
    turn = graphs.subgraph(
        [flags, second, x], [next_flags, second, y], [*drop_first(flags, next_flags), inner]
    )
    rng = np.random.default_rng(5)
    start = rng.integers(-128, 127, (5, 4), dtype=np.int8)
    compare(
        graphs.model(outer_main, decide, turn, condition(), body()),
        [flags_of([0, 1, 2, 3, 2]), flags_of([3, 0, 5, 1, 2]), start],
        expect="run",
    )


@pytest.mark.parametrize(
    "refused",
    [
        graphs.model(main(indices=(1, 3)), condition(), body()),
        graphs.model(main(indices=(3, 2)), condition(), body()),
        graphs.model(main(size=3), condition(), body(3)),
        graphs.model(main(size=3), condition(3), body()),
        graphs.model(
            main(outputs=(vector(DType.BOOL, TURNS), vector(DType.INT8, 3))), condition(), body()
        ),
    ],
    ids=["no body", "no condition", "condition size", "body size", "output size"],
)
def test_refused(refused):
    compare(
        refused,
        [flags_of([1, 1]), np.zeros((2, refused.subgraphs[0].tensors[1].elements), np.int8)],
        expect="refuse",
    )


def test_count_of_values_must_agree():
    flags = vector(DType.BOOL, TURNS)
    out = vector(DType.BOOL, TURNS)
    options = {"cond_subgraph_index": 1, "body_subgraph_index": 2}
    loop = graphs.op("WHILE", [flags], [out], options)
    built = graphs.model(graphs.subgraph([flags], [out], [loop]), condition(), body())
    compare(built, [flags_of([1])], expect="refuse")


def test_condition_must_be_bool():
    flags, x, first = vector(DType.BOOL, TURNS), vector(DType.INT8, 4), vector(DType.INT8, 1)
    decide = graphs.subgraph([flags, x], [first], [graphs.take(x, first, 0, 1)])
    with pytest.raises(InvalidModelError, match="the condition must be bool"):
        prepare_model(graphs.model(main(), decide, body()), TflmBuild())


def test_circle_is_refused():
    with pytest.raises(InvalidModelError, match="circle"):
        prepare_model(graphs.model(main(indices=(0, 1)), body()), TflmBuild())


def test_endless_loop_is_stopped(monkeypatch):
    module = importlib.import_module("refmicro.ops.while")
    monkeypatch.setattr(module, "MAX_ITERATIONS", 50)
    flags, x = vector(DType.BOOL, TURNS), vector(DType.INT8, 4)
    same = graphs.subgraph([flags, x], [flags, x], [])
    interpreter = Interpreter(graphs.model(main(), condition(), same))
    interpreter.set_input(flags_of([1])[0])
    with pytest.raises(UsageError, match="within 50 iterations"):
        interpreter.invoke()
