"""READ_VARIABLE against the real TFLM, and resource variables as a whole."""

import numpy as np
import pytest

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops import graphs
from tests.ops.harness import compare, tensor

pytestmark = pytest.mark.oracle


def handle(name, container="box"):
    """A VAR_HANDLE and the tensor with its id."""
    identifier = tensor(DType.RESOURCE, ())
    options = {"container": container, "shared_name": name}
    return graphs.op("VAR_HANDLE", [], [identifier], options), identifier


def read(identifier, y):
    """y = the variable."""
    return graphs.op("READ_VARIABLE", [identifier], [y], {})


def assign(identifier, x):
    """The variable = x."""
    return graphs.op("ASSIGN_VARIABLE", [identifier, x], [], {})


def delay(x_type=DType.INT8, **quantization):
    """Gives what the last invocation got."""
    give, identifier = handle("v")
    x, y = tensor(x_type, (2, 3), **quantization), tensor(x_type, (2, 3), **quantization)
    return graphs.model(
        graphs.subgraph([x], [y], [give, read(identifier, y), assign(identifier, x)])
    )


@pytest.mark.parametrize("steps", [True, False])
@pytest.mark.parametrize("zero_point", [0, -128, 5, 127])
def test_starts_at_the_zero_point(zero_point, steps):
    compare(delay(scale=0.5, zero_point=zero_point), rows=5, steps=steps, expect="run")


@pytest.mark.parametrize(
    ("dtype", "quantization"),
    [
        (DType.INT16, {"scale": 0.5, "zero_point": 0}),
        (DType.INT16, {"scale": 0.5, "zero_point": 3}),
        (DType.INT32, {"scale": 0.5, "zero_point": -2}),
        (DType.INT32, {"scale": 0.5, "zero_point": 300}),
        (DType.FLOAT32, {}),
        (DType.BOOL, {}),
        (DType.INT64, {}),
    ],
)
def test_reset_fills_bytes(dtype, quantization):
    """Elements wider than a byte start as the zero point's byte repeated."""
    compare(delay(dtype, **quantization), rows=3, steps=True, expect="run")


def test_two_variables_and_two_handles_of_one():
    ops, identifiers = zip(*(handle(name) for name in ("a", "b", "a")), strict=True)
    a, b, again = identifiers
    x = tensor(DType.INT8, (4,))
    outs = [tensor(DType.INT8, (4,)) for _ in range(3)]
    body = [
        *ops,
        assign(a, x),
        read(again, outs[0]),
        read(b, outs[1]),
        *graphs.rotate(x, outs[2]),
        assign(b, outs[2]),
    ]
    compare(graphs.model(graphs.subgraph([x], outs, body)), rows=4, steps=True, expect="run")


def test_containers_tell_variables_apart():
    first, a = handle("v", "one")
    second, b = handle("v", "two")
    x, y, z = (tensor(DType.INT8, (2,)) for _ in range(3))
    body = [first, second, assign(a, x), read(a, y), read(b, z), assign(b, y)]
    compare(graphs.model(graphs.subgraph([x], [y, z], body)), steps=True, expect="run")


def test_id_handed_to_another_subgraph():
    """The loop's body writes the variable whose id it is given."""
    give, identifier = handle("v")
    flags, x = tensor(DType.BOOL, (1,)), tensor(DType.INT8, (3,))
    outs = [tensor(DType.BOOL, (1,)), tensor(DType.RESOURCE, ()), tensor(DType.INT8, (3,))]
    y = tensor(DType.INT8, (3,))
    options = {"cond_subgraph_index": 1, "body_subgraph_index": 2}
    loop = graphs.op("WHILE", [flags, identifier, x], outs, options)
    # The size is fixed where the handle is known, before the loop.
    main = graphs.subgraph(
        [flags, x], [y], [give, assign(identifier, x), loop, read(identifier, y)]
    )

    def locals_of():
        return tensor(DType.BOOL, (1,)), tensor(DType.RESOURCE, ()), tensor(DType.INT8, (3,))

    c_flags, c_id, c_x = locals_of()
    first = tensor(DType.BOOL, (1,))
    condition = graphs.subgraph([c_flags, c_id, c_x], [first], [graphs.take(c_flags, first, 0, 1)])
    b_flags, b_id, b_x = locals_of()
    off = tensor(DType.BOOL, (1,), data=np.array([False]))
    next_flags, turned = tensor(DType.BOOL, (1,)), tensor(DType.INT8, (3,))
    body = graphs.subgraph(
        [b_flags, b_id, b_x],
        [next_flags, b_id, turned],
        [graphs.join([off], next_flags), *graphs.rotate(b_x, turned), assign(b_id, turned)],
    )
    values = np.arange(12, dtype=np.int8).reshape(4, 3)
    on = np.array([[True], [False], [True], [False]])
    compare(graphs.model(main, condition, body), [on, values], expect="run")


def test_room_for_variables():
    def many(count):
        ops, identifiers = zip(*(handle(f"v{i}") for i in range(count)), strict=True)
        x, y = tensor(DType.INT8, (2,)), tensor(DType.INT8, (2,))
        body = [*ops, *(assign(identifier, x) for identifier in identifiers)]
        return graphs.model(graphs.subgraph([x], [y], [*body, read(identifiers[0], y)]))

    compare(many(16), expect="run")
    compare(many(17), expect="refuse")
    with pytest.raises(UnsupportedError, match="at most 2"):
        prepare_model(many(3), TflmBuild(), resource_variables=2)
    with pytest.raises(UnsupportedError, match="resource variables"):
        prepare_model(many(1), TflmBuild(), resource_variables=0)


def test_other_size_is_refused():
    give, identifier = handle("v")
    x, y = tensor(DType.INT8, (4,)), tensor(DType.INT8, (3,))
    body = [give, assign(identifier, x), read(identifier, y)]
    interpreter = Interpreter(graphs.model(graphs.subgraph([x], [y], body)))
    with pytest.raises(InvalidModelError, match="the variable has 4"):
        interpreter.invoke()


def test_never_assigned():
    give, identifier = handle("v")
    y = tensor(DType.INT8, (3,))
    interpreter = Interpreter(graphs.model(graphs.subgraph([], [y], [give, read(identifier, y)])))
    with pytest.raises(InvalidModelError, match="assigned somewhere"):
        interpreter.invoke()


def test_id_must_be_one_id():
    x, y = tensor(DType.FLOAT32, ()), tensor(DType.INT8, (3,))
    with pytest.raises(InvalidModelError, match="resource id"):
        prepare_model(
            graphs.model(graphs.subgraph([x], [y], [read(x, y)])),
            TflmBuild(),
            resource_variables=1,
        )
