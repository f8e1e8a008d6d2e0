"""CALL_ONCE against the real TFLM."""

import numpy as np
import pytest

from refmicro.errors import InvalidModelError
from refmicro.interpreter import Interpreter
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops import graphs
from tests.ops.harness import compare, tensor
from tests.ops.test_read_variable import assign, handle, read

pytestmark = pytest.mark.oracle

START = tensor(DType.INT8, (3,), data=np.array([5, -6, 7]), scale=0.5, zero_point=-9)


def value():
    return tensor(DType.INT8, (3,), scale=0.5, zero_point=-9)


def initialiser():
    """Sets the variable."""
    give, identifier = handle("v")
    return graphs.subgraph([], [], [give, assign(identifier, START)])


def main(index=1):
    """Initialises the variable once, gives its value and replaces it by the input."""
    give, identifier = handle("v")
    x, y = value(), value()
    once = graphs.op("CALL_ONCE", [], [], {"init_subgraph_index": index})
    return graphs.subgraph([x], [y], [once, give, read(identifier, y), assign(identifier, x)])


def test_only_the_first_invocation():
    compare(graphs.model(main(), initialiser()), rows=5, steps=True, expect="run")


def test_reset_does_not_run_it_again():
    from refmicro.bridge import oracle_run
    from refmicro.model.writer import write_model

    built = graphs.model(main(), initialiser())
    interpreter = Interpreter(built)
    rows = np.array([[1, 2, 3], [4, 5, 6]], np.int8)
    mine = []
    for row in rows:
        interpreter.set_input(row)
        interpreter.invoke()
        mine.append(interpreter.get_output().tolist())
        interpreter.reset()
    assert mine == [[5, -6, 7], [-9, -9, -9]]
    result = oracle_run(write_model(built), [[row] for row in rows], reset_between=True)
    assert [step[0].tolist() for step in result.outputs] == mine


def test_every_row_of_a_batch_is_a_first_one():
    interpreter = Interpreter(graphs.model(main(), initialiser()))
    (out,) = interpreter.invoke_batch([np.ones((4, 3), np.int8)])
    assert out.tolist() == [[5, -6, 7]] * 4


def test_no_such_subgraph():
    compare(graphs.model(main(2), initialiser()), rows=1, expect="refuse")


def test_inputs_are_refused():
    x, y = value(), value()
    once = graphs.op("CALL_ONCE", [x], [], {"init_subgraph_index": 1})
    built = graphs.model(graphs.subgraph([x], [y], [once, *graphs.rotate(x, y)]), initialiser())
    compare(built, rows=1, expect="refuse")


def test_subgraph_must_have_no_inputs():
    x, y = value(), value()
    takes = graphs.subgraph([x], [y], graphs.rotate(x, y))
    with pytest.raises(InvalidModelError, match="no inputs"):
        prepare_model(graphs.model(main(), takes), TflmBuild())
