"""VAR_HANDLE against the real TFLM; see also test_read_variable."""

import pytest

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops import graphs
from tests.ops.harness import compare, tensor
from tests.ops.test_read_variable import assign, handle, read

pytestmark = pytest.mark.oracle


def shared(first, second):
    """Writes through one handle, then reads through the other."""
    ops, identifiers = zip(first, second, strict=True)
    x, y = tensor(DType.INT8, (3,)), tensor(DType.INT8, (3,))
    body = [
        *ops,
        read(identifiers[1], y),
        assign(identifiers[0], x),
        assign(identifiers[1], x),
    ]
    return graphs.model(graphs.subgraph([x], [y], body))


@pytest.mark.parametrize(
    ("one", "two"),
    [("box", "box"), ("box", "other"), ("box", ""), ("", "")],
)
def test_containers(one, two):
    compare(shared(handle("v", one), handle("v", two)), steps=True, expect="run")


def test_without_container_any_fits():
    built = shared(handle("v"), handle("v", None))
    assert len(prepare_model(built, TflmBuild()).resources) == 1
    compare(built, steps=True, expect="run")


def test_the_id_takes_no_memory_of_its_own():
    """The output lies in the operator's data, so that the head holds the other tensors alone."""
    give, identifier = handle("v")
    x, y = tensor(DType.INT8, (16,)), tensor(DType.INT8, (16,))
    body = [give, assign(identifier, x), read(identifier, y)]
    compare(graphs.model(graphs.subgraph([x], [y], body)), expect="run")


def test_shared_name_must_be_given():
    give, identifier = handle(None)
    x = tensor(DType.INT8, (2,))
    built = graphs.model(graphs.subgraph([x], [x], [give, assign(identifier, x)]))
    with pytest.raises(InvalidModelError, match="shared_name"):
        prepare_model(built, TflmBuild())


@pytest.mark.parametrize(
    "wrong",
    [
        tensor(DType.RESOURCE, (2,)),
        tensor(DType.INT64, ()),
        tensor(DType.RESOURCE, (), variable=True),
    ],
    ids=["two ids", "int64", "variable"],
)
def test_output_must_hold_one_id(wrong):
    give = graphs.op("VAR_HANDLE", [], [wrong], {"container": "", "shared_name": "v"})
    x = tensor(DType.INT8, (2,))
    with pytest.raises(InvalidModelError, match="one computed resource id"):
        prepare_model(graphs.model(graphs.subgraph([x], [x], [give])), TflmBuild())
