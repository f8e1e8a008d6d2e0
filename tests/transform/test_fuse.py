"""Fusing: the same bytes with fewer operators and tensors, on real models and on random graphs."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.interpreter import Interpreter
from refmicro.memory.arena import model_arena
from refmicro.model.graph import OFFLINE_PLAN_METADATA, Model
from refmicro.model.reader import parse_model, read_model
from refmicro.model.writer import write_model
from refmicro.program import prepare_model
from refmicro.transform.fuse import fuse, per_channel_to_per_tensor
from refmicro.transform.proof import prove_equal
from refmicro.types import DType, Tensor, TflmBuild
from refmicro.vectors import random_inputs
from tests.models import ALL, MAMBA, REFUSED
from tests.ops.graphs import int32, model, op, subgraph
from tests.ops.harness import tensor

NO_MASKS = dict.fromkeys(
    ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0
)


def i8(*shape: int, scale: float = 0.05, zero_point: int = 3, **more) -> Tensor:
    return tensor(DType.INT8, shape, scale=scale, zero_point=zero_point, **more)


def f32(*shape: int) -> Tensor:
    return tensor(DType.FLOAT32, shape)


def names(source: Model) -> list[str]:
    return [item.name for item in source.subgraphs[0].operators]


def assert_same(source: Model, result: Model, rows: int = 16) -> None:
    """Both give the same bytes in refmicro."""
    graph = source.subgraphs[0]
    inputs = random_inputs([graph.tensors[i] for i in graph.inputs], rows, 1)
    runs = [Interpreter(parse_model(write_model(m))).invoke_batch(inputs) for m in (source, result)]
    for want, got in zip(*runs, strict=True):
        assert want.shape == got.shape
        assert want.tobytes() == got.tobytes()


def required(source: Model) -> int:
    return model_arena(prepare_model(source, TflmBuild.firmware())).required_bytes


@pytest.mark.oracle
@pytest.mark.parametrize("name", sorted(set(ALL) - REFUSED))
def test_real_models_are_proven_equal_and_smaller(name: str) -> None:
    source = read_model(ALL[name])
    result = fuse(source)
    assert result.operators_after <= result.operators_before
    assert result.tensors_after <= result.tensors_before
    assert not result.changes
    if source.metadata_value(OFFLINE_PLAN_METADATA) is None:
        assert required(result.model) <= required(source)
    proof = prove_equal(source, result.model, count=3)
    assert proof.equal, proof


def test_a_fused_model_has_nothing_left_to_fuse() -> None:
    result = fuse(read_model(MAMBA["m_elu_inplace2_off_int8"]))
    assert any("offline plan" in text for text in result.removed)
    again = fuse(result.model)
    assert again.removed == ()
    assert again.model == result.model


# Float functions


def float_chain(name: str, x: Tensor, y: Tensor, options: dict | None = None) -> Model:
    inner, outer = f32(*x.shape), f32(*x.shape)
    return model(
        subgraph(
            [x],
            [y],
            [
                op("DEQUANTIZE", [x], [inner]),
                op(name, [inner], [outer], options),
                op("QUANTIZE", [outer], [y]),
            ],
        )
    )


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("ELU", i8(4, 64), i8(4, 64, scale=0.02, zero_point=-60)),
        ("ELU", i8(64, scale=0.1), i8(64, scale=0.1, zero_point=-118)),
        ("RELU", i8(64), i8(64)),
        ("RELU", i8(64), i8(64, scale=0.03, zero_point=-20)),
    ],
)
def test_a_float_function_becomes_one_integer_operator(name: str, x: Tensor, y: Tensor) -> None:
    source = float_chain(name, x, y)
    result = fuse(source)
    assert names(result.model) == [name]
    assert prove_equal(source, result.model, count=8).equal


def test_a_function_that_would_change_numbers_needs_leave() -> None:
    y = i8(64, scale=1 / 256 + 1e-6, zero_point=-128)
    source = float_chain("LOGISTIC", i8(64, scale=0.013), y)
    result = fuse(source)
    assert names(result.model) == names(source)
    assert len(result.kept) == 1
    assert "differs for" in result.kept[0]
    changed = fuse(source, changes=True)
    assert names(changed.model) == ["LOGISTIC"]
    assert changed.changes == result.kept
    values = np.arange(-128, 128, dtype=np.int64).astype(np.int8).reshape(4, 64)
    a, b = (Interpreter(m).invoke_batch([values])[0].astype(int) for m in (source, changed.model))
    count, most = np.count_nonzero(a != b), np.abs(a - b).max()
    assert f"differs for {count} of 256 values by up to {most} of" in changed.changes[0]


def test_an_operator_that_is_another_function_is_never_taken() -> None:
    """The int8 LOGISTIC of TFLM does not look at its output's scale."""
    source = float_chain("LOGISTIC", i8(64), i8(64, scale=1 / 128, zero_point=-128))
    result = fuse(source, changes=True)
    assert names(result.model) == names(source)
    assert not result.changes
    assert len(result.kept) == 1


def test_functions_without_an_integer_kernel_stay_float() -> None:
    source = float_chain("EXP", i8(64), i8(64))
    assert names(fuse(source).model) == names(source)


def test_a_dequantized_tensor_that_others_read_stays() -> None:
    x, inner, other, outer = i8(8), f32(8), f32(8), f32(8)
    y = i8(8, scale=0.02, zero_point=-60)
    source = model(
        subgraph(
            [x],
            [y, other],
            [
                op("DEQUANTIZE", [x], [inner]),
                op("ELU", [inner], [outer]),
                op("QUANTIZE", [outer], [y]),
                op("NEG", [inner], [other]),
            ],
        )
    )
    result = fuse(source).model
    assert sorted(names(result)) == ["DEQUANTIZE", "ELU", "NEG"]
    assert_same(source, result)


# Copies


def test_a_reshape_between_elementwise_operators_goes() -> None:
    x, a, b, y = i8(2, 6), i8(2, 6), i8(3, 4), i8(3, 4, scale=0.03, zero_point=-60)
    last = i8(12, scale=0.03, zero_point=-60)
    source = model(
        subgraph(
            [x],
            [last],
            [
                op("RELU", [x], [a]),
                op("RESHAPE", [a, int32(3, 4)], [b], {"new_shape": (3, 4)}),
                op("ELU", [b], [y]),
                op("RESHAPE", [y, int32(12)], [last], {"new_shape": (12,)}),
            ],
        )
    )
    result = fuse(source).model
    # One stays: input and output keep their shapes.
    assert sorted(names(result)) == ["ELU", "RELU", "RESHAPE"]
    assert len(result.subgraphs[0].tensors) == 4
    assert_same(source, result)


@pytest.mark.parametrize("goes", [True, False])
def test_a_reshape_before_broadcasting_goes_where_the_index_map_stays(goes: bool) -> None:
    a, b = i8(2, 6), i8(1, 2, 6) if goes else i8(3, 4)
    factor = i8(6, data=np.arange(6)) if goes else i8(4, data=np.arange(4))
    x, y = i8(2, 6), i8(*b.shape)
    total = i8(*b.shape)
    source = model(
        subgraph(
            [x],
            [total],
            [
                op("RELU", [x], [a]),
                op("RESHAPE", [a, int32(*b.shape)], [b], {"new_shape": b.shape}),
                op("MUL", [b, factor], [y], {"fused_activation_function": 0}),
                op("ADD", [y, y], [total], {"fused_activation_function": 0}),
            ],
        )
    )
    result = fuse(source).model
    assert ("RESHAPE" in names(result)) is not goes
    assert_same(source, result)


def test_copies_of_inputs_to_outputs_stay() -> None:
    x, y = i8(2, 6), i8(12)
    source = model(subgraph([x], [y], [op("RESHAPE", [x, int32(12)], [y], {"new_shape": (12,)})]))
    result = fuse(source).model
    assert names(result) == ["RESHAPE"]
    assert len(result.subgraphs[0].tensors) == 2
    assert_same(source, result)


def test_a_copy_that_tells_other_numbers_stays() -> None:
    """RESHAPE between two scales: the bytes stay, their meaning does not."""
    x, a, b, y = i8(12), i8(12), i8(12, scale=0.1), i8(12, scale=0.1)
    source = model(
        subgraph(
            [x],
            [y],
            [
                op("RELU", [x], [a]),
                op("RESHAPE", [a, int32(12)], [b], {"new_shape": (12,)}),
                op("RELU", [b], [y]),
            ],
        )
    )
    result = fuse(source).model
    assert "RESHAPE" in names(result)
    assert_same(source, result)


def test_a_copy_of_a_variable_stays() -> None:
    """It holds the state of the step before, after the variable has been written."""
    state, old = i8(1, 6, variable=True), i8(6)
    x, y = i8(1, 6), i8(6)
    source = model(
        subgraph(
            [x],
            [y],
            [
                op("RESHAPE", [state, int32(6)], [old], {"new_shape": (6,)}),
                op("RELU", [x], [state]),
                op("RELU", [old], [y]),
            ],
        )
    )
    result = fuse(source).model
    assert "RESHAPE" in names(result)
    values = np.arange(12, dtype=np.int8).reshape(2, 1, 6)
    runs = [Interpreter(m).invoke_sequence([values])[0] for m in (source, result)]
    assert runs[0].tobytes() == runs[1].tobytes()


def test_rows_and_a_computed_filter_change_places_where_that_saves_a_reshape() -> None:
    h, c, y, row = i8(8, 4), i8(1, 4), i8(8, 1), i8(1, 8)
    x, z, total = i8(8, 4), i8(1, 4), i8(1, 8)
    other = i8(1, 8)
    source = model(
        subgraph(
            [x, z, other],
            [total],
            [
                op("RELU", [x], [h]),
                op("RELU", [z], [c]),
                op("FULLY_CONNECTED", [h, c, None], [y], {"fused_activation_function": 0}),
                op("RESHAPE", [y, int32(1, 8)], [row], {"new_shape": (1, 8)}),
                op("ADD", [row, other], [total], {"fused_activation_function": 0}),
            ],
        )
    )
    result = fuse(source).model
    assert "RESHAPE" not in names(result)
    assert_same(source, result, rows=64)


# Constants, equal computations, activations


def test_what_depends_on_constants_alone_is_computed_once() -> None:
    x, y = i8(4), i8(4)
    weight = tensor(DType.FLOAT32, (4,), data=np.linspace(-1, 1, 4))
    folded = i8(4)
    source = model(
        subgraph(
            [x],
            [y],
            [
                op("QUANTIZE", [weight], [folded]),
                op("ADD", [x, folded], [y], {"fused_activation_function": 0}),
            ],
        )
    )
    result = fuse(source).model
    assert names(result) == ["ADD"]
    assert_same(source, result)


def test_equal_computations_are_shared_and_unused_ones_dropped() -> None:
    x, a, b, unused, y = i8(4), i8(4), i8(4), i8(4), i8(4)
    source = model(
        subgraph(
            [x],
            [y],
            [
                op("RELU", [x], [a]),
                op("RELU", [x], [b]),
                op("RELU", [a], [unused]),
                op("MUL", [a, b], [y], {"fused_activation_function": 0}),
            ],
        )
    )
    result = fuse(source).model
    assert names(result) == ["RELU", "MUL"]
    assert_same(source, result)


def test_reads_around_a_write_of_a_variable_are_not_shared() -> None:
    state, x = i8(4, variable=True), i8(4)
    before, after, y = i8(4), i8(4), i8(4)
    source = model(
        subgraph(
            [x],
            [y],
            [
                op("RELU", [state], [before]),
                op("ADD", [x, before], [state], {"fused_activation_function": 0}),
                op("RELU", [state], [after]),
                op("SUB", [after, before], [y], {"fused_activation_function": 0}),
            ],
        )
    )
    result = fuse(source).model
    assert names(result) == ["RELU", "ADD", "RELU", "SUB"]


def test_slices_share_their_parameters() -> None:
    x, a, b, y = i8(4, 8), i8(3, 8), i8(3, 8), i8(3, 8)
    masks = NO_MASKS | {"begin_mask": 2, "end_mask": 3}
    source = model(
        subgraph(
            [x],
            [y],
            [
                op("STRIDED_SLICE", [x, int32(1, 0), int32(4, 8), int32(1, 1)], [a], masks),
                op("RELU", [a], [b]),
                op("ADD", [a, b], [y], {"fused_activation_function": 0}),
            ],
        )
    )
    result = fuse(source).model
    slice_op = result.subgraphs[0].operators[0]
    assert len(set(slice_op.inputs[1:])) == 1
    assert_same(source, result)


@pytest.mark.parametrize(("name", "code"), [("RELU", 1), ("RELU6", 3)])
def test_an_activation_joins_the_operator_before(name: str, code: int) -> None:
    x, z, a, y = i8(4), i8(4), i8(4), i8(4)
    source = model(
        subgraph(
            [x, z],
            [y],
            [
                op("ADD", [x, z], [a], {"fused_activation_function": 0}),
                op(name, [a], [y]),
            ],
        )
    )
    result = fuse(source).model
    assert names(result) == ["ADD"]
    assert result.subgraphs[0].operators[0].options["fused_activation_function"] == code
    assert_same(source, result, rows=64)


def test_an_activation_to_another_scale_stays() -> None:
    x, z, a, y = i8(4), i8(4), i8(4), i8(4, scale=0.025, zero_point=-128)
    source = model(
        subgraph(
            [x, z],
            [y],
            [
                op("ADD", [x, z], [a], {"fused_activation_function": 0}),
                op("RELU", [a], [y]),
            ],
        )
    )
    assert names(fuse(source).model) == ["ADD", "RELU"]


# Per-channel weights


@pytest.mark.oracle
def test_one_scale_for_all_channels_saves_arena_and_says_what_moves() -> None:
    source = read_model(MAMBA["s_elu_stream_int8"])
    result = per_channel_to_per_tensor(source)
    assert len(result.changes) == 8
    assert "weights move by up to" in result.changes[0]
    assert required(source) - required(result.model) == 8 * 548
    proof = prove_equal(source, result.model, count=4)
    assert proof.sound
    assert proof.mismatches > 0


# Random graphs


class Grower:
    """Random graphs of element-wise operators, copies and products on 24 values."""

    SHAPES = ((24,), (2, 12), (4, 6), (1, 24), (1, 4, 6), (4, 1, 6), (24, 1), (2, 3, 4))

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.inputs = [i8(*self.rng.choice(self.SHAPES)) for _ in range(2)]
        self.values = list(self.inputs)
        self.operators: list[tuple] = []

    def grow(self) -> None:
        rng = self.rng
        x = rng.choice(self.values[-4:])
        kind = rng.choice(["copy", "copy", "copy", "one", "two", "scale", "product", "turn"])
        if kind == "copy":
            self.copy(x)
        elif kind == "one":
            self.add(rng.choice(["RELU", "ELU"]), [x], i8(*x.shape))
        elif kind == "two":
            others = [v for v in self.values if v.shape == x.shape]
            y = i8(*x.shape, scale=0.08)
            name = rng.choice(["ADD", "MUL"])
            self.add(name, [x, rng.choice(others)], y, {"fused_activation_function": 0})
        elif kind == "scale":
            shape = x.shape[-rng.randint(0, len(x.shape)) :]
            size = int(np.prod(shape))
            factor = i8(*shape, data=np.arange(size).reshape(shape) - 9)
            self.add("MUL", [x, factor], i8(*x.shape), {"fused_activation_function": 0})
        elif kind == "product":
            depth = rng.choice([2, 4, 12])
            filled = np.random.default_rng(depth).integers(-9, 9, (depth, depth))
            weights = i8(depth, depth, zero_point=0, data=filled)
            y = i8(24 // depth, depth, scale=0.2)
            options = {"fused_activation_function": 0}
            self.add("FULLY_CONNECTED", [x, weights, None], y, options)
        elif len(x.shape) == 2:
            y = i8(*x.shape[::-1])
            self.add("TRANSPOSE", [x, int32(1, 0)], y, {})

    def copy(self, x: Tensor) -> None:
        if self.rng.random() < 0.7:
            shape = self.rng.choice(self.SHAPES)
            self.add("RESHAPE", [x, int32(*shape)], i8(*shape), {"new_shape": shape})
        else:
            rank = len(x.shape)
            parameters = [int32(*[0] * rank), int32(*x.shape), int32(*[1] * rank)]
            self.add("STRIDED_SLICE", [x, *parameters], i8(*x.shape), NO_MASKS)

    def add(self, name: str, inputs: list, y: Tensor, options: dict | None = None) -> None:
        self.operators.append(op(name, inputs, [y], options))
        self.values.append(y)

    def model(self) -> Model:
        for _ in range(self.rng.randint(2, 12)):
            self.grow()
        outputs = self.rng.sample(self.values[2:], min(2, len(self.values) - 2))
        return model(subgraph(self.inputs, outputs, self.operators))


@given(st.integers(0, 2**32))
def test_random_graphs_keep_their_bytes(seed: int) -> None:
    grower = Grower(seed)
    source = grower.model()
    result = fuse(source)
    assert result.operators_after <= result.operators_before
    assert_same(source, result.model, rows=6)


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(6))
def test_random_graphs_are_proven_equal_in_tflm(seed: int) -> None:
    source = Grower(1000 + seed).model()
    assert prove_equal(source, fuse(source).model, count=4).equal
