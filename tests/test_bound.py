"""Subgraphs bound to memory: the same bits as evaluated ones, and when nothing may be bound."""

import numpy as np
import pytest

from refmicro import Interpreter
from refmicro._bound import BIND_AFTER, BOUND_BYTES
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.model.writer import write_model
from refmicro.types import DType
from refmicro.vectors import random_inputs
from tests.models import ALL, REFUSED
from tests.ops.elementwise import pair_model
from tests.ops.harness import compare, tensor

INT8 = {"scales": (0.05, 0.04, 0.1), "points": (3, -7, 5), "activation": 0}
MODELS = sorted(ALL.keys() - set(REFUSED))


def inputs_of(interpreter, rows):
    graph = interpreter.program.model.subgraphs[0]
    return random_inputs([graph.tensors[i] for i in graph.inputs], rows, 0)


def bound_of(interpreter, rows=1):
    return interpreter._bound[-1]._bound.get((0, rows)) if interpreter._bound else None


@pytest.mark.parametrize("name", MODELS)
def test_bound_equals_evaluated(name):
    """A trace keeps a graph from being bound."""
    bound, evaluated = (Interpreter.from_file(ALL[name]) for _ in range(2))
    inputs = inputs_of(bound, BIND_AFTER[0] + 3)
    for row in range(len(inputs[0])):
        for index, values in enumerate(inputs):
            bound.set_input(values[row], index)
            evaluated.set_input(values[row], index)
        bound.invoke()
        evaluated.invoke(lambda *_: None)
        for index in range(bound.output_count):
            assert (bound.get_output(index) == evaluated.get_output(index)).all()
    assert bound_of(bound) is not None
    assert bound_of(evaluated) is None


@pytest.mark.parametrize(
    "name",
    ["s_elu_stream_int8", "g_elu_while_int8", "g_elu_resvar_int8", "audio_preprocessor_int8"],
)
def test_streams_of_several_rows(name):
    model = Interpreter.from_file(ALL[name])
    steps = BIND_AFTER[0] + 2
    streams = [np.stack([values, values[::-1]]) for values in inputs_of(model, steps)]
    together = model.invoke_sequence(streams)
    assert bound_of(model, rows=2) is not None
    for row in range(2):
        alone = model.invoke_sequence([stream[row] for stream in streams])
        for one, many in zip(alone, together, strict=True):
            assert (one == many[row]).all()


def test_tables_take_over():
    """With every binding an operator knows better how much it has to do."""
    shapes = (1, 64, 64), (1, 64, 64), (1, 64, 64)
    model = Interpreter(pair_model("MUL", DType.INT8, shapes, **INT8))
    inputs = inputs_of(model, 1)
    want = model.invoke_batch(inputs, lambda *_: None)[0]
    kernels = set()
    for _ in range(BIND_AFTER[6] + 2):
        assert (model.invoke_batch(inputs)[0] == want).all()
        if bound_of(model):
            ((function, _),) = bound_of(model)._steps
            kernels.add(function)
    assert len(kernels) == 3


def test_results_are_arrays_of_their_own():
    model = Interpreter.from_file(ALL["hello_world_int8"])
    results = [model.invoke_batch([np.full((1, 1, 1), i, np.int8)])[0] for i in range(6)]
    assert len({int(result[0, 0, 0]) for result in results}) > 1
    again = [model.invoke_batch([np.full((1, 1, 1), i, np.int8)])[0] for i in range(6)]
    assert [int(a[0, 0, 0]) for a in results] == [int(b[0, 0, 0]) for b in again]


def reshapes(*pairs, tensors, outputs):
    code = OperatorCode("RESHAPE", "", 1)
    operators = tuple(Operator(code, (a,), (b,), {}, "ReshapeOptions") for a, b in pairs)
    return Model((Subgraph(tensors, (0,), outputs, operators),), description="reshapes")


def test_an_output_may_be_the_input():
    tensors = tuple(tensor(DType.INT8, shape) for shape in ((1, 6), (2, 3), (3, 2)))
    model = reshapes((0, 1), (1, 2), tensors=tensors, outputs=(1, 2, 0))
    compare(model, rows=6, expect="run")


def test_a_tensor_written_twice_is_not_bound():
    """Its first value would be gone where a view of it is read later."""
    tensors = tuple(tensor(DType.INT8, shape) for shape in ((1, 6), (2, 3), (3, 2)))
    model = Interpreter.from_bytes(
        write_model(reshapes((0, 1), (0, 1), (1, 2), tensors=tensors, outputs=(2,)))
    )
    for _ in range(BIND_AFTER[0] + 1):
        model.invoke()
    assert bound_of(model) is None


def test_values_of_a_variable_that_is_written_later():
    """A RESHAPE keeps what was there before; the output in between is a copy, not a view."""
    item, state = tensor(DType.INT8, (2, 3)), tensor(DType.INT8, (2, 3), variable=True)
    kept = tensor(DType.INT8, (6,))
    last = tensor(DType.INT8, (3, 2))
    model = reshapes((1, 2), (0, 1), (2, 3), tensors=(item, state, kept, last), outputs=(2, 3, 1))
    compare(model, rows=BIND_AFTER[0] + 4, steps=True, expect="run")
    compare(model, rows=3, expect="run")


@pytest.mark.parametrize("name", ["kws_mamba_int8", "audio_preprocessor_int8"])
def test_streams_in_turn_keep_their_state(name):
    """Bound memory serves a batch of one row between two steps of a stream; the state is variables
    in one model, what operators keep in the other."""
    model, alone = (Interpreter.from_file(ALL[name]) for _ in range(2))
    inputs = inputs_of(model, BIND_AFTER[0] + 4)
    for row in range(len(inputs[0])):
        for one in (model, alone):
            for index, values in enumerate(inputs):
                one.set_input(values[row], index)
            one.invoke()
        model.invoke_batch([values[:1] for values in inputs])
        for index in range(model.output_count):
            assert (model.get_output(index) == alone.get_output(index)).all()


def test_large_batches_are_not_bound():
    size = 1 << 20
    item = tensor(DType.INT8, (1, size))
    model = Interpreter.from_bytes(
        write_model(reshapes((0, 1), tensors=(item, tensor(DType.INT8, (size,))), outputs=(1,)))
    )
    rows = BOUND_BYTES // size
    steps = BIND_AFTER[0] + 1
    inputs = np.zeros((rows, steps, 1, size), np.int8)
    model.invoke_sequence([inputs])
    assert bound_of(model, rows) is None
    model.invoke_sequence([inputs[0]])
    assert bound_of(model) is not None


def test_two_numbers_of_rows_are_kept():
    model = Interpreter.from_file(ALL["hello_world_int8"])
    for rows in (1, 2, 3):
        for _ in range(BIND_AFTER[0]):
            model.invoke_batch([np.zeros((rows, 1, 1), np.int8)])
    assert [bound_of(model, rows) is not None for rows in (1, 2, 3)] == [False, True, True]


def test_threads_have_memory_of_their_own(monkeypatch):
    monkeypatch.setattr("refmicro.interpreter.THREAD_WORK", 1)
    model = Interpreter.from_file(ALL["s_elu_stream_int8"])
    inputs = inputs_of(model, 90)
    want = model.invoke_batch(inputs)
    for _ in range(3 * BIND_AFTER[0]):
        got = model.invoke_batch(inputs, threads=3)
        assert [a.tobytes() for a in got] == [a.tobytes() for a in want]
    assert 1 <= len(model._bound) <= 3


def test_an_error_leaves_what_was_bound():
    """A WHILE that never ends is stopped in the middle of its loop."""
    model = Interpreter.from_file(ALL["hello_world_int8"])
    x = np.zeros((1, 1, 1), np.int8)
    for _ in range(BIND_AFTER[0]):
        want = model.invoke_batch([x])[0]
    function, arguments = bound_of(model)._steps[0]
    bound_of(model)._steps[0] = (int, ("no number",))
    with pytest.raises(ValueError, match="no number"):
        model.invoke_batch([x])
    bound_of(model)._steps[0] = (function, arguments)
    assert (model.invoke_batch([x])[0] == want).all()
