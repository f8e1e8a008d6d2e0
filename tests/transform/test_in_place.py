"""In place: TFLM gives the same bits when an operator writes over its input, and the rules hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from refmicro.memory.arena import model_arena
from refmicro.memory.offline_plan import with_offline_plan
from refmicro.model.graph import Model
from refmicro.program import prepare_model
from refmicro.transform.in_place import (
    ELEMENTWISE,
    OWN_SLOTS,
    allowed_overlaps,
    in_place_pairs,
    memory_faults,
)
from refmicro.transform.proof import prove_equal, written
from refmicro.types import DType, Tensor, TflmBuild
from tests.ops.graphs import model, op, subgraph
from tests.ops.harness import tensor

SHAPE = (3, 5, 7)
PLAIN = {"fused_activation_function": 0}
F32, I8, I16, BOOL = DType.FLOAT32, DType.INT8, DType.INT16, DType.BOOL


def act(dtype: DType, shape: Sequence[int] = SHAPE, **more) -> Tensor:
    """An activation; 16 bits are symmetric."""
    if dtype in (I8, I16) and "scale" not in more:
        more |= {"scale": 0.05 if dtype is I8 else 0.001, "zero_point": 4 if dtype is I8 else 0}
    return tensor(dtype, shape, **more)


OUTPUTS = {
    ("LOGISTIC", I8): {"scale": 1 / 256, "zero_point": -128},
    ("LOGISTIC", I16): {"scale": 1 / 32768, "zero_point": 0},
    ("TANH", I8): {"scale": 1 / 128, "zero_point": 0},
    ("TANH", I16): {"scale": 1 / 32768, "zero_point": 0},
}

UNARY = {
    "ABS": (F32, I8, I16),
    "CEIL": (F32,),
    "COS": (F32,),
    "ELU": (F32, I8),
    "EXP": (F32,),
    "FLOOR": (F32,),
    "HARD_SWISH": (F32, I8),
    "LEAKY_RELU": (F32, I8, I16),
    "LOG": (F32,),
    "LOGICAL_NOT": (BOOL,),
    "LOGISTIC": (F32, I8, I16),
    "NEG": (F32,),
    "QUANTIZE": (I8, I16),
    "RELU": (F32, I8, I16),
    "RELU6": (F32, I8),
    "ROUND": (F32,),
    "RSQRT": (F32, I8),
    "SIN": (F32,),
    "SQRT": (F32,),
    "SQUARE": (F32,),
    "TANH": (F32, I8, I16),
}

BINARY = {
    "ADD": (F32, I8, I16),
    "DIV": (F32,),
    "FLOOR_DIV": (F32,),
    "FLOOR_MOD": (F32,),
    "LOGICAL_AND": (BOOL,),
    "LOGICAL_OR": (BOOL,),
    "MAXIMUM": (F32, I8),
    "MINIMUM": (F32, I8),
    "MUL": (F32, I8, I16),
    "PRELU": (F32, I8),
    "SQUARED_DIFFERENCE": (F32, I8),
    "SUB": (F32, I8, I16),
}

OPTIONS = {"ADD": PLAIN, "SUB": PLAIN, "MUL": PLAIN, "DIV": PLAIN, "LEAKY_RELU": {"alpha": 0.2}}


def single(name: str, inputs: Sequence[Tensor], output: Tensor) -> Model:
    """A model of one operator."""
    item = op(name, inputs, [output], OPTIONS.get(name))
    return model(subgraph([x for x in inputs if x.data is None], [output], [item]))


def laid_over(source: Model, slot: int) -> Model:
    """The model with its output where input `slot` is, and the other inputs behind."""
    graph = source.subgraphs[0]
    operator = graph.operators[0]
    end = 0
    offsets = [-1] * len(graph.tensors)
    first = operator.inputs[slot]
    for index in dict.fromkeys([first, *graph.inputs]):
        offsets[index] = end
        end += -(-graph.tensors[index].nbytes // 16) * 16
    offsets[operator.outputs[0]] = offsets[first]
    return written(with_offline_plan(source, [offsets]))


def check(source: Model, slot: int) -> None:
    """TFLM computes in place what it computes apart, and the rule allows this pair."""
    result = laid_over(source, slot)
    assert model_arena(prepare_model(result, TflmBuild.wheel())).head_bytes < (
        model_arena(prepare_model(source, TflmBuild.wheel())).head_bytes
    )
    proof = prove_equal(written(source), result, count=8)
    assert proof.equal, (proof.first, proof.faults)


def output_like(name: str, dtype: DType, shape: Sequence[int] = SHAPE) -> Tensor:
    return act(dtype, shape, **OUTPUTS.get((name, dtype), {}))


def test_every_operator_is_tried() -> None:
    other = {"CAST", "EXPAND_DIMS"}
    assert UNARY.keys() | BINARY.keys() | other == ELEMENTWISE


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "dtype"), [(name, dtype) for name, dtypes in UNARY.items() for dtype in dtypes]
)
def test_one_input(name: str, dtype: DType) -> None:
    source = act(dtype)
    if name == "RSQRT" and dtype is I8:
        source = act(dtype, scale=0.05, zero_point=-128)
    output = output_like(name, dtype)
    if name == "QUANTIZE":
        output = act(dtype, scale=0.07, zero_point=-9 if dtype is I8 else 0)
    check(single(name, [source], output), 0)


def binary_cases() -> list[tuple[str, DType, tuple[int, ...], int]]:
    """PRELU broadcasts its second input only, and wants equal ranks."""
    return [
        (name, dtype, other, slot)
        for name, dtypes in BINARY.items()
        for dtype in dtypes
        for other in (SHAPE, (1,), (7,), (3, 1, 7))
        for slot in (0, 1)
        if name != "PRELU" or (slot == 0 and len(other) == len(SHAPE))
    ]


@pytest.mark.oracle
@pytest.mark.parametrize(("name", "dtype", "other", "slot"), binary_cases())
def test_two_inputs(name: str, dtype: DType, other: tuple[int, ...], slot: int) -> None:
    inputs = [act(dtype), act(dtype, other)]
    if dtype is I8:
        inputs[1] = act(dtype, other, scale=0.03, zero_point=-7)
    if slot:
        inputs.reverse()
    source = single(name, inputs, output_like(name, dtype))
    program = prepare_model(source, TflmBuild.wheel())
    pairs = in_place_pairs(program, model_arena(program).lifetimes)
    assert any(pair.input == slot for pair in pairs)
    check(source, slot)


@pytest.mark.oracle
def test_conversions_of_one_width() -> None:
    numbers = tensor(DType.INT32, SHAPE)
    check(single("CAST", [numbers], tensor(F32, SHAPE)), 0)
    axis = tensor(DType.INT32, (1,), data=np.array([1]))
    check(single("EXPAND_DIMS", [act(I8), axis], act(I8, (3, 1, 5, 7))), 0)


@pytest.mark.oracle
def test_a_reshape_shares_its_input_while_both_live() -> None:
    x, y, shape = act(I8), act(I8, (7, 15)), tensor(DType.INT32, (2,), data=np.array([7, 15]))
    bent, total = act(I8, scale=0.06, zero_point=1), act(I8, (7, 15), scale=0.05, zero_point=0)
    flat = act(I8, (7, 15), scale=0.06, zero_point=1)
    made = model(
        subgraph(
            [x],
            [total],
            [
                op("RESHAPE", [x, shape], [y], {"new_shape": (7, 15)}),
                op("QUANTIZE", [x], [bent]),
                op("RESHAPE", [bent, shape], [flat], {"new_shape": (7, 15)}),
                op("ADD", [y, flat], [total], PLAIN),
            ],
        )
    )
    index = {id(item): number for number, item in enumerate(made.subgraphs[0].tensors)}
    places = {x: 0, y: 0, bent: 112, flat: 112, total: 112}
    offsets = [-1] * len(index)
    for item, offset in places.items():
        offsets[index[id(item)]] = offset
    result = written(with_offline_plan(made, [offsets]))
    proof = prove_equal(written(made), result, count=8)
    assert proof.equal, (proof.first, proof.faults)


def rules(made: Model) -> set[tuple[int, int]]:
    program = prepare_model(made, TflmBuild.firmware())
    return {(p.input, p.output) for p in in_place_pairs(program, model_arena(program).lifetimes)}


def test_an_input_that_is_read_later_is_left_alone() -> None:
    x, y, z = act(I8), act(I8), act(I8)
    made = model(subgraph([x], [z], [op("RELU", [x], [y]), op("ADD", [x, y], [z], PLAIN)]))
    assert rules(made) == {(0, 2), (1, 2)}  # x and y under z; x is not under y


def test_graph_outputs_variables_and_other_sizes_are_left_alone() -> None:
    x, y, wide = act(I8), act(I8), act(I16)
    state = act(I8, variable=True)
    made = model(
        subgraph(
            [x],
            [y, wide],
            [
                op("ADD", [x, state], [state], PLAIN),
                op("RELU", [x], [y]),
                op("QUANTIZE", [y], [wide]),
            ],
        )
    )
    assert rules(made) == {(0, 2)}  # x under y; not the variable, not y under a wider one


def test_outputs_of_the_graph_do_not_die_with_its_last_operator() -> None:
    """The clock ends there, but the caller reads them."""
    x, y, z = act(I8), act(I8), act(I8)
    made = model(subgraph([x], [y, z], [op("RELU", [x], [y]), op("RELU6", [y], [z])]))
    assert rules(made) == {(0, 1)}
    inner = act(I8)
    kept = model(
        subgraph([x], [x, z], [op("RELU", [x], [inner]), op("ADD", [x, inner], [z], PLAIN)])
    )
    assert rules(kept) == {(1, 2)}


def test_only_the_declared_inputs_of_an_operator_of_ours() -> None:
    assert {slot for slot, _ in OWN_SLOTS["SELECTIVE_SCAN"]} == {0, 1, 6, 7}


def test_an_overlap_that_no_rule_allows_is_a_fault() -> None:
    x, y, z = act(I8), act(I8), act(I8)
    made = model(subgraph([x], [z], [op("RELU", [x], [y]), op("ADD", [x, y], [z], PLAIN)]))
    planned = with_offline_plan(made, [[0, 0, 112]])
    faults = memory_faults(planned)
    assert len(faults) == 2  # once a build
    assert "tensor 0:0 and tensor 0:1 must not share memory" in faults[0]
    assert not memory_faults(with_offline_plan(made, [[0, 112, 0]]))
    shifted = with_offline_plan(made, [[0, 112, 16]])
    assert memory_faults(shifted), "a pair may share one offset only"


def test_allowed_overlaps_are_those_at_one_offset() -> None:
    x, y = act(I8), act(I8)
    made = single("RELU", [x], y)
    for offset, allowed in ((0, 1), (112, 0)):
        planned = with_offline_plan(made, [[0, offset]])
        program = prepare_model(planned, TflmBuild.firmware())
        assert len(allowed_overlaps(program, model_arena(program))) == allowed


def test_lifetimes_decide_and_not_the_file() -> None:
    """The same operators in another order make another input die."""
    x, y, end = act(I8), act(I8), act(I8)
    z = act(I8, scale=1 / 128, zero_point=0)
    ops = [op("RELU", [x], [y]), op("TANH", [x], [z]), op("ADD", [y, z], [end], PLAIN)]
    made = model(subgraph([x], [end], ops))
    graph = made.subgraphs[0]
    turned = (graph.operators[1], graph.operators[0], graph.operators[2])
    swapped = dataclasses.replace(made, subgraphs=(dataclasses.replace(graph, operators=turned),))
    assert rules(made) == {(1, 3), (2, 3), (0, 2)}
    assert rules(swapped) == {(1, 3), (2, 3), (0, 1)}
