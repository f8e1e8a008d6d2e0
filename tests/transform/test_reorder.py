"""Orders of operators of real models and small graphs: smaller, never worse, equal."""

from __future__ import annotations

import dataclasses

import pytest

from refmicro.memory.arena import model_arena
from refmicro.memory.offline_plan import offline_plan, with_offline_plan
from refmicro.model.graph import Model
from refmicro.model.reader import read_model
from refmicro.program import prepare_model
from refmicro.transform.proof import prove_equal, written
from refmicro.transform.reorder import reorder
from refmicro.types import DType, Tensor, TflmBuild
from tests.models import ALL, REFUSED
from tests.ops import test_while as loops
from tests.ops.graphs import model, op, subgraph
from tests.ops.harness import tensor
from tests.transform.unrolled import unrolled

PLAIN = {"fused_activation_function": 0}
SMALL = sorted(
    ALL.keys() - REFUSED - {"u2_split_int8", "u2_split_int8_reord"} - {"u3_elu_trained_int8"}
)


def i8(*shape: int, **more) -> Tensor:
    return tensor(DType.INT8, shape, scale=0.05, zero_point=0, **more)


def required(made: Model, build: TflmBuild | None = None) -> int:
    return model_arena(prepare_model(made, build or TflmBuild.firmware())).required_bytes


@pytest.mark.oracle
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("in_place", [False, True])
def test_real_models(name: str, in_place: bool) -> None:
    source = read_model(ALL[name])
    result = reorder(source, in_place=in_place, time_limit_s=20)
    assert result.lower_bound_bytes <= result.peak_bytes <= result.source_peak_bytes
    if not in_place:
        assert required(result.model) <= required(source)
    proof = prove_equal(source, written(result.model), count=4)
    assert proof.equal, (proof.first, proof.faults)


@pytest.mark.oracle
def test_the_unrolled_mamba() -> None:
    """From 189,024 bytes alive to the least there is."""
    source = read_model(ALL["u2_split_int8"])
    result = reorder(source, time_limit_s=20)
    assert (result.source_peak_bytes, result.peak_bytes) == (189024, 29232)
    assert result.optimal
    used = model_arena(prepare_model(result.model, TflmBuild.wheel(recording=True))).used_bytes
    assert used <= 118_000
    proof = prove_equal(source, written(result.model), count=2)
    assert proof.equal, (proof.first, proof.faults)


def test_thousands_of_operators_get_their_best_order() -> None:
    """Products of all frames come first in the source; proven least is one frame at a time."""
    result = reorder(unrolled(300, depth=8, size=4), in_place=True, time_limit_s=20)
    assert (result.source_peak_bytes, result.peak_bytes) == (19184, 7200)
    assert result.optimal


def test_an_order_that_is_best_stays() -> None:
    source = read_model(ALL["person_detect"])
    result = reorder(source)
    assert result.model is source
    assert (result.moved, result.optimal) == (0, True)


def test_the_same_model_gives_the_same_order() -> None:
    source = read_model(ALL["g_elu_resvar_int8"])
    assert reorder(source, time_limit_s=60).model == reorder(source, time_limit_s=60).model


def wide_then_narrow() -> Model:
    """Two branches, each wide in between: one after the other is half of both at a time."""
    x = i8(16)
    ops, ends, middles = [], [], []
    shape = [1, 16]
    for _ in range(2):
        wide, end = i8(64, 16), i8(1, 16)
        fill = tensor(DType.INT8, (64, 16), scale=0.05, zero_point=0, data=[[1] * 16] * 64)
        ops.append(op("ADD", [x, fill], [wide], PLAIN))
        middles.append(wide)
        ends.append(end)
    axis = tensor(DType.INT32, (1,), data=[0])
    for wide, end in zip(middles, ends, strict=True):
        ops.append(op("MEAN", [wide, axis], [end], {"keep_dims": True}, "ReducerOptions"))
    total = i8(*shape)
    ops.append(op("ADD", ends, [total], PLAIN))
    return model(subgraph([x], [total], ops))


@pytest.mark.oracle
def test_branches_one_after_the_other() -> None:
    source = wide_then_narrow()
    result = reorder(source)
    names = [item.name for item in result.model.subgraphs[0].operators]
    assert names == ["ADD", "MEAN", "ADD", "MEAN", "ADD"]
    scratch = model_arena(prepare_model(source, TflmBuild.firmware())).scratch
    own = max(sum(-(-b.bytes // 16) * 16 for b in buffers) for buffers in scratch.values())
    assert result.peak_bytes == 16 + 1024 + 16 + own
    assert result.optimal
    assert prove_equal(written(source), written(result.model), count=4).equal


def test_a_plan_of_the_source_does_not_survive_a_new_order() -> None:
    source = wide_then_narrow()
    count = len(source.subgraphs[0].tensors)
    planned = with_offline_plan(source, [[-1] * count])
    assert offline_plan(planned) is not None
    assert offline_plan(reorder(planned).model) is None


def test_a_planned_source_that_is_best_is_kept() -> None:
    """Its plan writes in place, which no order can make up for."""
    source = read_model(ALL["m_elu_inplace2_off_int8"])
    result = reorder(source)
    assert result.model is source


@pytest.mark.oracle
def test_state_keeps_its_order() -> None:
    """The variable is read before and after it is written; all orders but one are wrong."""
    x, old, new, end = (i8(8) for _ in range(4))
    state = i8(8, variable=True)
    ops = [
        op("ADD", [x, state], [old], PLAIN),
        op("ADD", [old, x], [state], PLAIN),
        op("ADD", [state, old], [new], PLAIN),
        op("ADD", [new, old], [end], PLAIN),
    ]
    source = model(subgraph([x], [end], ops))
    result = reorder(source, in_place=True)
    assert [o.outputs for o in result.model.subgraphs[0].operators] == [
        o.outputs for o in source.subgraphs[0].operators
    ]
    assert prove_equal(written(source), written(result.model)).equal


@pytest.mark.oracle
def test_bodies_of_loops_are_ordered_too() -> None:
    """The same wide branches, in the body of a WHILE."""
    flags, x = loops.vector(DType.BOOL, loops.TURNS), i8(16)
    next_flags = loops.vector(DType.BOOL, loops.TURNS)
    inner = wide_then_narrow().subgraphs[0]
    body_ops = [*loops.drop_first(flags, next_flags)]
    y, shape = i8(16), tensor(DType.INT32, (1,), data=[16])
    names = dict(enumerate(inner.tensors))
    names[inner.inputs[0]] = x
    for item in inner.operators:
        inputs = [names[i] for i in item.inputs]
        outputs = [names[i] for i in item.outputs]
        body_ops.append((item.name, tuple(inputs), tuple(outputs), item.options, item.options_type))
    body_ops.append(op("RESHAPE", [names[inner.outputs[0]], shape], [y], {"new_shape": (16,)}))
    start, values = loops.vector(DType.BOOL, loops.TURNS), i8(16)
    ends = loops.vector(DType.BOOL, loops.TURNS), i8(16)
    options = {"cond_subgraph_index": 1, "body_subgraph_index": 2}
    main = subgraph([start, values], ends, [op("WHILE", [start, values], ends, options)])
    flag, z = loops.vector(DType.BOOL, loops.TURNS), i8(16)
    first = loops.vector(DType.BOOL, 1)
    condition = subgraph([flag, z], [first], [loops.graphs.take(flag, first, 0, 1)])
    source = model(main, condition, subgraph([flags, x], [next_flags, y], body_ops))
    result = reorder(source)
    wide = [o.name for o in result.model.subgraphs[2].operators if o.name in ("ADD", "MEAN")]
    assert wide == ["ADD", "MEAN", "ADD", "MEAN", "ADD"]
    assert result.optimal
    assert required(result.model) < required(source)
    assert prove_equal(written(source), written(result.model), count=4).equal


@pytest.mark.oracle
def test_a_long_recurrence() -> None:
    source = unrolled(20)
    result = reorder(source, in_place=True, time_limit_s=30)
    assert result.optimal
    assert 2 * result.peak_bytes < result.source_peak_bytes
    assert prove_equal(written(source), written(result.model), count=2).equal


def test_unused_subgraphs_are_left_alone() -> None:
    source = wide_then_narrow()
    other = dataclasses.replace(source, subgraphs=(*source.subgraphs, *source.subgraphs))
    no_scratch = [op("RELU", [a := i8(4)], [b := i8(4)])]
    other = dataclasses.replace(
        source, subgraphs=(*source.subgraphs, subgraph([a], [b], no_scratch))
    )
    result = reorder(other)
    assert result.model.subgraphs[1] == other.subgraphs[1]
    assert result.moved > 0
