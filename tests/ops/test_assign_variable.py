"""ASSIGN_VARIABLE against the real TFLM; see also test_read_variable."""

import numpy as np
import pytest

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import Abi, DType, TflmBuild
from tests.ops import graphs
from tests.ops.harness import compare, tensor
from tests.ops.test_read_variable import assign, handle, read

pytestmark = pytest.mark.oracle


def test_constant_id():
    """An int32 constant may name a variable; ids count from 0."""
    give, identifier = handle("v")
    zero = tensor(DType.INT32, (1,), data=np.array([0]))
    x, y = tensor(DType.INT8, (5,)), tensor(DType.INT8, (5,))
    body = [give, read(identifier, y), assign(zero, x)]
    compare(graphs.model(graphs.subgraph([x], [y], body)), rows=4, steps=True, expect="run")


@pytest.mark.parametrize("number", [-1, 1, 99])
def test_no_such_variable(number):
    give, _ = handle("v")
    other = tensor(DType.INT32, (1,), data=np.array([number]))
    x, y = tensor(DType.INT8, (5,)), tensor(DType.INT8, (5,))
    built = graphs.model(graphs.subgraph([x], [y], [give, assign(other, x), *graphs.rotate(x, y)]))
    compare(built, expect="refuse")


def test_constant_value_for_every_row():
    give, identifier = handle("v")
    fixed = tensor(DType.INT8, (2,), data=np.array([1, 2]))
    x, y = tensor(DType.INT8, (2,)), tensor(DType.INT8, (2,))
    body = [give, assign(identifier, fixed), read(identifier, y), assign(identifier, x)]
    compare(graphs.model(graphs.subgraph([x], [y], body)), rows=4, expect="run")


@pytest.mark.parametrize(
    "wrong",
    [tensor(DType.FLOAT32, (1,)), tensor(DType.INT32, (2,), data=np.array([0, 0]))],
    ids=["float", "two ids"],
)
def test_refused_ids(wrong):
    x, y = tensor(DType.INT8, (2,)), tensor(DType.INT8, (2,))
    inputs = [x] if wrong.is_constant else [wrong, x]
    give, _ = handle("v")
    ops = [give, assign(wrong, x), *graphs.rotate(x, y)]
    compare(graphs.model(graphs.subgraph(inputs, [y], ops)), expect="refuse")


def test_outputs_are_refused():
    give, identifier = handle("v")
    x, y = tensor(DType.INT8, (2,)), tensor(DType.INT8, (2,))
    wrong = graphs.op("ASSIGN_VARIABLE", [identifier, x], [y], {})
    compare(graphs.model(graphs.subgraph([x], [y], [give, wrong])), expect="refuse")


def test_two_sizes_are_refused():
    give, identifier = handle("v")
    x, y = tensor(DType.INT8, (4,)), tensor(DType.INT8, (3,))
    body = [give, graphs.take(x, y, 0, 3), assign(identifier, x), assign(identifier, y)]
    with pytest.raises(InvalidModelError, match="holds 4 bytes: 3 bytes"):
        prepare_model(graphs.model(graphs.subgraph([x], [y], body)), TflmBuild())


@pytest.mark.parametrize(("compression", "init"), [(True, (4,)), (False, ())])
def test_only_the_first_assign_takes_memory(compression, init):
    give, identifier = handle("v")
    x = tensor(DType.INT8, (5,))
    body = [give, assign(identifier, x), assign(identifier, x)]
    built = graphs.model(graphs.subgraph([x], [x], body))
    nodes = prepare_model(built, TflmBuild(Abi.LP64, compression)).nodes[0]
    assert [node.persistent_bytes for node in nodes] == [(), (5,), ()]
    assert [node.init_bytes for node in nodes] == [(4,), init, init]
