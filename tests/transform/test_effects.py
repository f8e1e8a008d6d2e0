"""What keeps its order: variables, resource variables, control flow, tensors written twice."""

from __future__ import annotations

import numpy as np

from refmicro.memory.arena import model_arena
from refmicro.program import prepare_model
from refmicro.transform._effects import forced_order
from refmicro.types import DType, Tensor, TflmBuild
from tests.ops import test_call_once as call_once
from tests.ops import test_while as loops
from tests.ops.graphs import model, op, rotate, subgraph
from tests.ops.harness import tensor
from tests.ops.test_read_variable import assign, handle, read

PLAIN = {"fused_activation_function": 0}


def i8(*shape: int, **more) -> Tensor:
    return tensor(DType.INT8, shape or (4,), scale=0.05, zero_point=0, **more)


def order_of(*graphs) -> list[set[int]]:
    program = prepare_model(model(*graphs), TflmBuild.firmware())
    assert model_arena(program).used_bytes > 0
    return forced_order(program, 0)


def test_operators_without_effects_are_free() -> None:
    x, y, z = i8(), i8(), i8()
    ops = [op("RELU", [x], [y]), op("RELU6", [x], [z])]
    assert order_of(subgraph([x], [y, z], ops)) == [set(), set()]


def test_uses_of_a_variable_keep_their_order() -> None:
    x, y, z = i8(), i8(), i8()
    state, other = i8(variable=True), i8(variable=True)
    ops = [
        op("ADD", [x, state], [y], PLAIN),
        op("ADD", [x, other], [z], PLAIN),
        op("ADD", [y, state], [state], PLAIN),
        op("ADD", [z, other], [other], PLAIN),
    ]
    assert order_of(subgraph([x], [y], ops)) == [set(), set(), {0}, {1}]


def test_a_tensor_that_is_written_twice() -> None:
    """Read between two writes: after the first, before the second."""
    x, y, z, end = i8(), i8(), i8(), i8()
    ops = [
        op("RELU", [x], [y]),
        op("RELU6", [y], [z]),
        op("RELU6", [x], [y]),
        op("ADD", [y, z], [end], PLAIN),
    ]
    assert order_of(subgraph([x], [end], ops)) == [set(), {0}, {0, 1}, {2}]


def test_resource_variables_by_name() -> None:
    """Reads may pass each other and other variables, but no write of their own."""
    give, one = handle("one")
    give_other, other = handle("other")
    x, a, b, c = i8(), i8(), i8(), i8()
    ops = [
        give,
        give_other,
        read(one, a),
        read(other, b),
        read(one, c),
        assign(one, x),
        assign(other, x),
        assign(one, b),
    ]
    forced = order_of(subgraph([x], [a, b, c], ops))
    assert forced == [set(), {0}, set(), set(), set(), {2, 4}, {3}, {5}]


def test_a_constant_id_may_be_any_variable() -> None:
    give, one = handle("one")
    zero = tensor(DType.INT32, (1,), data=np.array([0]))
    x, a = i8(), i8()
    forced = order_of(subgraph([x], [a], [give, read(one, a), assign(zero, x)]))
    assert forced == [set(), {0}, {0, 1}]


def test_control_flow_keeps_its_order() -> None:
    flags, x = (loops.vector(DType.BOOL, loops.TURNS), loops.vector(DType.INT8, 4))
    options = {"cond_subgraph_index": 1, "body_subgraph_index": 2}

    def loop(values: Tensor) -> tuple[tuple, Tensor]:
        end, y = loops.vector(DType.BOOL, loops.TURNS), loops.vector(DType.INT8, 4)
        return op("WHILE", [flags, values], [end, y], options), y

    first, y = loop(x)
    second, z = loop(x)
    free = loops.vector(DType.INT8, 4)
    ops = [first, *rotate(x, free), second]
    main = subgraph([flags, x], [y, z, free], ops)
    forced = order_of(main, loops.condition(), loops.body())
    assert forced == [set(), set(), set(), set(), {0}]


def test_what_a_subgraph_writes_counts_for_its_caller() -> None:
    """CALL_ONCE assigns the variable that the main graph reads."""
    main, inner = call_once.main(), call_once.initialiser()
    names = [item.name for item in main.operators]
    forced = order_of(main, inner)
    assert names.index("CALL_ONCE") in forced[names.index("READ_VARIABLE")]
