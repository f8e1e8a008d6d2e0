"""Memory plans: at the bound, obeyed by TFLM, and never worse than TFLM's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.memory.arena import Arena, model_arena
from refmicro.memory.offline_plan import offline_plan, with_offline_plan
from refmicro.model.graph import Model
from refmicro.model.reader import read_model
from refmicro.program import prepare_model
from refmicro.transform.plan import plan_offsets
from refmicro.transform.proof import prove_equal, written
from refmicro.transform.reorder import reorder
from refmicro.types import DType, Tensor, TflmBuild
from tests.models import ALL, MAMBA, REFUSED, TFLM
from tests.ops import test_while as loops
from tests.ops.graphs import model, op, subgraph
from tests.ops.harness import tensor

PLAIN = {"fused_activation_function": 0}
LARGE = {"u2_split_int8", "u2_split_int8_reord", "u3_elu_trained_int8"}


def i8(*shape: int, **more) -> Tensor:
    return tensor(DType.INT8, shape, scale=0.05, zero_point=0, **more)


def arena_of(made: Model, build: TflmBuild | None = None) -> Arena:
    return model_arena(prepare_model(made, build or TflmBuild.firmware()))


@pytest.mark.oracle
@pytest.mark.parametrize("name", sorted(ALL.keys() - REFUSED - LARGE))
def test_real_models(name: str) -> None:
    source = read_model(ALL[name])
    result = plan_offsets(source)
    before, after = arena_of(source), arena_of(result.model)
    assert after.required_bytes <= before.required_bytes
    assert result.head_bytes == after.head_bytes
    assert result.optimal
    proof = prove_equal(source, written(result.model), count=4)
    assert proof.equal, (proof.first, proof.faults)


@pytest.mark.parametrize("name", sorted(TFLM.keys() - REFUSED))
def test_convolution_networks_are_at_the_bound(name: str) -> None:
    """Apart where they must be, in place where they may: nothing is left to gain."""
    source = read_model(TFLM[name])
    result = plan_offsets(source, in_place=False)
    arena = arena_of(result.model)
    assert arena.head_bytes == arena.lower_bound_bytes == result.lower_bound_bytes


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "head_bytes"),
    [("u2_split_int8", 28224), ("u2_split_int8_reord", 28224), ("u3_elu_trained_int8", 31808)],
)
def test_unrolled_models(name: str, head_bytes: int) -> None:
    """The last one's order stays: TFLM's planner itself needs more than any plan could save."""
    source = read_model(MAMBA[name])
    ordered = reorder(source, in_place=True, time_limit_s=30).model
    result = plan_offsets(ordered)
    assert (result.head_bytes, result.optimal) == (head_bytes, True)
    assert arena_of(result.model).required_bytes <= arena_of(source).required_bytes
    proof = prove_equal(source, written(result.model), count=2)
    assert proof.equal, (proof.first, proof.faults)


def test_a_plan_that_gains_nothing_is_not_written() -> None:
    source = read_model(ALL["person_detect"])
    result = plan_offsets(source)
    assert result.model is source
    assert not result.changed


def test_the_source_plan_is_replaced_where_a_better_one_is() -> None:
    source = read_model(ALL["s_elu_back_int8"])
    apart = [[64 * 16 * i for i in range(len(source.subgraphs[0].tensors))]]
    wasteful = with_offline_plan(source, apart)
    result = plan_offsets(wasteful)
    assert result.head_bytes == plan_offsets(source).head_bytes == 448
    assert [name for name, _ in result.model.metadata].count("OfflineMemoryAllocation") == 1


def test_in_place_only_where_asked() -> None:
    source = read_model(ALL["simple_add_model"])
    assert plan_offsets(source, in_place=False).head_bytes == 49152
    in_place = plan_offsets(source)
    assert (in_place.head_bytes, in_place.shared) == (32768, 1)


def stateful(*, others: int) -> Model:
    """A large variable and many small tensors, for which TFLM's planner needs memory of its own."""
    x, state = i8(4), i8(2048, variable=True)
    row = i8(2048)
    fill = i8(2048, data=np.arange(2048) % 100)
    y = i8(2048)
    ops = [op("ADD", [fill, state], [row], PLAIN), op("ADD", [row, state], [state], PLAIN)]
    small = x
    for _ in range(others):
        small, before = i8(4), small
        ops.append(op("ADD", [before, x], [small], PLAIN))
    ops.append(op("ADD", [row, state], [y], PLAIN))
    return model(subgraph([x], [y, small], ops))


@pytest.mark.oracle
@pytest.mark.parametrize(("others", "planned"), [(2, False), (120, True)])
def test_variables_move_to_the_head_where_that_helps(others: int, planned: bool) -> None:
    """They are then out of the way while TFLM plans; they keep their values all the same."""
    source = stateful(others=others)
    assert (arena_of(source).decisive.phase == "plan") is planned
    result = plan_offsets(source)
    assert result.variables_planned is planned
    assert arena_of(result.model).required_bytes < arena_of(source).required_bytes
    proof = prove_equal(written(source), written(result.model), count=6)
    assert proof.equal, (proof.first, proof.faults)


@pytest.mark.oracle
def test_variables_of_later_subgraphs_keep_their_memory() -> None:
    """TFLM looks for their offset in the wrong place; that place must then say the right thing."""
    flags, x = loops.vector(DType.BOOL, loops.TURNS), i8(64)
    next_flags, y, state = loops.vector(DType.BOOL, loops.TURNS), i8(64), i8(64, variable=True)
    count = i8(64, variable=True)
    ops = [
        *loops.drop_first(flags, next_flags),
        op("ADD", [x, state], [y], PLAIN),
        op("ADD", [y, count], [count], PLAIN),
        op("ADD", [y, count], [state], PLAIN),
    ]
    body = subgraph([flags, x], [next_flags, y], ops)
    start, values = loops.vector(DType.BOOL, loops.TURNS), i8(64)
    bent, more, end = i8(64), i8(64), i8(64)
    ends = loops.vector(DType.BOOL, loops.TURNS), i8(64)
    options = {"cond_subgraph_index": 1, "body_subgraph_index": 2}
    main_ops = [
        op("ADD", [values, values], [bent], PLAIN),
        op("ADD", [bent, values], [more], PLAIN),
        op("WHILE", [start, more], ends, options),
        op("ADD", [ends[1], more], [end], PLAIN),
    ]
    main = subgraph([start, values], [end], main_ops)
    flag, z, first = loops.vector(DType.BOOL, loops.TURNS), i8(64), loops.vector(DType.BOOL, 1)
    condition = subgraph([flag, z], [first], [loops.graphs.take(flag, first, 0, 1)])
    source = model(main, condition, body)
    result = plan_offsets(source)
    assert result.changed
    offsets = offline_plan(result.model)
    flat = [offset for graph in offsets for offset in graph]
    for index, item in enumerate(body.tensors):
        if item.is_variable:
            assert flat[index] == offsets[2][index] == -1
    proof = prove_equal(written(source), written(result.model), count=6)
    assert proof.equal, (proof.first, proof.faults)


@pytest.mark.oracle
def test_scratch_buffers_are_fitted_in() -> None:
    """SVDF and MEAN ask for scratch memory, which TFLM places around the plan."""
    source = read_model(ALL["keyword_scrambled_8bit"])
    assert arena_of(source).scratch
    spread = [
        [4096 + 16 * 256 * i for i in range(len(graph.tensors))] for graph in source.subgraphs
    ]
    variables = [[item.is_variable for item in graph.tensors] for graph in source.subgraphs]
    spread = [
        [-1 if variable else offset for offset, variable in zip(*rows, strict=True)]
        for rows in zip(spread, variables, strict=True)
    ]
    result = plan_offsets(with_offline_plan(source, spread))
    assert result.head_bytes == arena_of(source).head_bytes == 672
    assert prove_equal(source, written(result.model), count=4).equal


@pytest.mark.oracle
def test_both_kernel_libraries() -> None:
    """CMSIS-NN has scratch buffers of its own; the plan is made for those."""
    source = read_model(ALL["person_detect"])
    build = TflmBuild.firmware(kernels="cmsis-nn")
    result = plan_offsets(source, build=build)
    before, after = arena_of(source, build), arena_of(result.model, build)
    assert after.required_bytes <= before.required_bytes
    assert prove_equal(source, written(result.model), count=2).equal


@st.composite
def networks(draw: Callable) -> Model:
    """Element-wise operators, reshapes and joins in any shape of graph, with any outputs."""
    flat, square = (16,), (4, 4)
    x = i8(*square)
    tensors, ops = [x], []
    for _ in range(draw(st.integers(1, 9))):
        one = tensors[draw(st.integers(max(0, len(tensors) - 4), len(tensors) - 1))]
        kind = draw(st.sampled_from(["RELU", "RESHAPE", "RESHAPE", "MUL", "ADD", "MEAN"]))
        if kind == "RELU":
            y = i8(*one.shape)
            ops.append(op("RELU", [one], [y]))
        elif kind == "RESHAPE":
            y = i8(*(flat if one.shape == square else square))
            shape = tensor(DType.INT32, (len(y.shape),), data=np.array(y.shape))
            ops.append(op("RESHAPE", [one, shape], [y], {"new_shape": y.shape}))
        elif kind == "MEAN":
            y = i8(1, *one.shape[1:])
            axis = tensor(DType.INT32, (1,), data=np.array([0]))
            ops.append(op("MEAN", [one, axis], [y], {"keep_dims": True}, "ReducerOptions"))
            wide, ones = i8(*one.shape), i8(*one.shape, data=np.ones(one.shape))
            ops.append(op("MUL", [y, ones], [wide], PLAIN))
            y = wide
        else:
            same = [t for t in tensors if t.shape == one.shape]
            other = same[draw(st.integers(0, len(same) - 1))]
            y = i8(*one.shape)
            ops.append(op(kind, [one, other], [y], PLAIN))
        tensors.append(y)
    chosen = draw(st.sets(st.integers(1, len(tensors) - 1), max_size=3))
    outputs = [tensors[i] for i in sorted(chosen | {len(tensors) - 1})]
    return model(subgraph([x], outputs, ops))


@pytest.mark.oracle
@given(networks())
def test_any_network(source: Model) -> None:
    """Ordered and planned: smaller or equal, at the bound, and the same bytes."""
    ordered = reorder(source, in_place=True).model
    result = plan_offsets(ordered)
    assert result.optimal
    assert arena_of(result.model).required_bytes <= arena_of(source).required_bytes
    proof = prove_equal(written(source), written(result.model), count=5)
    assert proof.equal, (proof.first, proof.faults)


def test_a_copy_of_a_model_gets_the_same_plan() -> None:
    source = read_model(ALL["s_elu_stream_int8"])
    first = plan_offsets(source, time_limit_s=60).model
    assert first == plan_offsets(dataclasses.replace(source), time_limit_s=60).model
