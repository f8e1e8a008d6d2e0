"""Tests that hold for two operators of two inputs each: a file of an operator inherits them.

`NAME` is the operator's.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import (
    ACTIVATIONS,
    PAIR_SHAPES,
    POINTS,
    SCALES,
    SHAPES,
    WIDE_SHAPES,
    broadcast_shapes,
    every_pair,
    floats,
    operand,
    pair_model,
)
from tests.ops.harness import compare, model_of

INT8 = {"scales": (0.05, 0.04, 0.1), "points": (3, -7, 5), "activation": 0}

INTEGERS = [DType.INT8, DType.INT16, DType.INT32, DType.INT64]


TABLE = ((37, 1), (1, 41), (37, 41))
"""Shapes of which each input is spread over the other."""


class SumCases:
    """ADD and SUB."""

    NAME = ""

    @pytest.mark.parametrize("shapes", [*SHAPES, *WIDE_SHAPES[:2]])
    def test_shapes(self, shapes):
        compare(pair_model(self.NAME, DType.INT8, shapes, **INT8), expect="run")

    @given(
        st.tuples(SCALES, SCALES, SCALES),
        st.tuples(POINTS, POINTS, POINTS),
        ACTIVATIONS,
    )
    def test_int8_all_pairs(self, scales, points, activation):
        model = pair_model(
            self.NAME, DType.INT8, PAIR_SHAPES, scales=scales, points=points, activation=activation
        )
        compare(model, every_pair(), expect="run")

    @pytest.mark.parametrize("ratio", [1.0, 0.5, 2.0, 2.0**-10, 2.0**10])
    @pytest.mark.parametrize("points", [(-128, 127, 0), (127, 127, -128), (0, 0, 127)])
    def test_scales_that_are_powers_of_two_round_on_ties(self, ratio, points):
        model = pair_model(
            self.NAME,
            DType.INT8,
            PAIR_SHAPES,
            scales=(0.25 * ratio, 0.25, 0.5),
            points=points,
            activation=0,
        )
        compare(model, every_pair(), expect="run")

    @given(broadcast_shapes(), st.integers(0, 9), st.booleans())
    def test_broadcast(self, shapes, seed, constant):
        values = np.random.default_rng(seed).integers(-128, 128, shapes[1])
        compare(
            pair_model(
                self.NAME, DType.INT8, shapes, constant=values if constant else None, **INT8
            ),
            seed=seed,
            expect="run",
        )

    def test_a_table_of_rows_and_columns(self):
        compare(pair_model(self.NAME, DType.INT8, TABLE, **INT8), expect="run")

    @given(
        broadcast_shapes(),
        st.tuples(SCALES, SCALES, SCALES),
        st.tuples(*[st.integers(-32768, 32767)] * 3),
        ACTIVATIONS,
        st.integers(0, 9),
    )
    def test_int16(self, shapes, scales, points, activation, seed):
        model = pair_model(
            self.NAME, DType.INT16, shapes, scales=scales, points=points, activation=activation
        )
        compare(model, seed=seed, expect="run")

    @pytest.mark.parametrize("scales", [(0.7, 0.9, 1.7), (0.013, 0.4, 0.8), (0.31, 0.3, 0.55)])
    def test_int16_many_values(self, scales):
        """Enough of them to tell multipliers from doubles and from float32 steps."""
        model = pair_model(self.NAME, DType.INT16, ((30000,),) * 3, scales=scales, activation=0)
        compare(model, expect="run")

    @pytest.mark.parametrize("activation", range(5))
    def test_float32(self, activation):
        shapes = ((97, 1), (1, 89), (97, 89))
        model = pair_model(self.NAME, DType.FLOAT32, shapes, activation=activation)
        compare(model, [floats(1, 97, 1), floats(1, 1, 89, seed=1)], expect="run")

    @pytest.mark.parametrize("dtype", [DType.UINT8, DType.INT64, DType.BOOL])
    def test_other_types_are_refused(self, dtype):
        model = pair_model(self.NAME, dtype, SHAPES[1], scales=(0.1, 0.1, 0.1), activation=0)
        compare(model, rows=1, expect="refuse")

    def test_a_tensor_with_itself(self):
        x = operand(DType.INT8, (1, 64), 0.1, 3)
        out = operand(DType.INT8, (1, 64), 0.15, -3)
        model = model_of(self.NAME, [x, x], [out], {"fused_activation_function": 1})
        compare(model, expect="run")

    @pytest.mark.parametrize(
        ("shapes", "scales"),
        [
            (((2, 3), (2, 4), (2, 3)), (0.1, 0.1, 0.1)),
            (((3,), (3,), (3,)), (0.1, 0.1, 0.0)),
            (((3,), (3,), (3,)), (0.0, 0.0, 0.1)),
            (((3,), (3,), (3,)), (0.0, 0.1, 0.1)),
            (((3,), (3,), (3,)), (1.0, 1.0, 2.0**-20)),
        ],
    )
    def test_models_that_would_end_tflm(self, shapes, scales):
        with pytest.raises((InvalidModelError, UnsupportedError)):
            Interpreter(pair_model(self.NAME, DType.INT8, shapes, scales=scales, activation=0))


class ExtremumCases:
    """MAXIMUM and MINIMUM."""

    NAME = ""

    def test_int8_all_pairs(self):
        """Scales do not matter."""
        quantized = {"scales": (0.1, 0.2, 0.3), "points": (1, 2, 3)}
        model = pair_model(self.NAME, DType.INT8, PAIR_SHAPES, **quantized)
        compare(model, every_pair(), expect="run")

    @pytest.mark.parametrize("shapes", [*SHAPES, *WIDE_SHAPES[:2]])
    def test_shapes(self, shapes):
        compare(pair_model(self.NAME, DType.INT16, shapes), expect="run")

    @pytest.mark.parametrize("dtype", INTEGERS)
    def test_a_table_of_rows_and_columns(self, dtype):
        compare(pair_model(self.NAME, dtype, TABLE), expect="run")

    @given(st.sampled_from(INTEGERS), broadcast_shapes(), st.integers(0, 9))
    def test_integers(self, dtype, shapes, seed):
        compare(pair_model(self.NAME, dtype, shapes), seed=seed, expect="run")

    def test_float32(self):
        model = pair_model(self.NAME, DType.FLOAT32, ((97, 1), (1, 89), (97, 89)))
        compare(model, [floats(1, 97, 1), floats(1, 1, 89)], expect="run")

    @pytest.mark.parametrize("dtype", [DType.UINT8, DType.BOOL])
    def test_other_types_are_refused(self, dtype):
        compare(pair_model(self.NAME, dtype, SHAPES[1]), rows=1, expect="refuse")

    def test_models_that_would_overrun_tflm(self):
        shape = (3,)
        mixed = [operand(DType.INT8, shape), operand(DType.INT32, shape)]
        for model in (
            pair_model(self.NAME, DType.INT8, ((2, 3), (2, 4), (2, 3))),
            model_of(self.NAME, mixed, [operand(DType.INT32, shape)]),
            model_of(self.NAME, mixed[:1], [operand(DType.INT8, shape)]),
        ):
            with pytest.raises(InvalidModelError):
                Interpreter(model)


class LogicalCases:
    """LOGICAL_AND and LOGICAL_OR."""

    NAME = ""

    @pytest.mark.parametrize("shapes", [*SHAPES, *WIDE_SHAPES[:2]])
    def test_shapes(self, shapes):
        compare(pair_model(self.NAME, DType.BOOL, shapes), expect="run")

    def test_a_table_of_rows_and_columns(self):
        compare(pair_model(self.NAME, DType.BOOL, TABLE), expect="run")

    @given(broadcast_shapes(), st.integers(0, 9))
    def test_broadcast(self, shapes, seed):
        compare(pair_model(self.NAME, DType.BOOL, shapes), seed=seed, expect="run")

    def test_types_that_tflm_would_misread(self):
        for kinds in ((DType.INT8, DType.BOOL), (DType.BOOL, DType.INT8)):
            with pytest.raises(InvalidModelError):
                Interpreter(pair_model(self.NAME, kinds[0], SHAPES[1], output=kinds[1]))


def divisors(*shape, seed=0):
    """Like `floats`, without zeros."""
    values = floats(*shape, seed=seed)
    return np.where(values == 0, np.float32(0.75), values)


class FloorCases:
    """FLOOR_DIV and FLOOR_MOD."""

    NAME = ""

    @pytest.mark.parametrize("shapes", [*SHAPES, *WIDE_SHAPES[:2]])
    def test_shapes(self, shapes):
        inputs = [floats(2, *shapes[0]), divisors(2, *shapes[1], seed=1)]
        compare(pair_model(self.NAME, DType.FLOAT32, shapes), inputs, expect="run")

    @given(broadcast_shapes(), st.integers(0, 9))
    def test_whole_numbers(self, shapes, seed):
        rng = np.random.default_rng(seed)
        a, b = (rng.integers(-9, 10, (3, *shape)).astype(np.float32) for shape in shapes[:2])
        b[b == 0] = 4
        compare(pair_model(self.NAME, DType.FLOAT32, shapes), [a, b], expect="run")

    def test_special_values(self):
        model = pair_model(self.NAME, DType.FLOAT32, ((97, 1), (1, 89), (97, 89)))
        compare(model, [floats(1, 97, 1), divisors(1, 1, 89, seed=1)], expect="run")

    def test_a_table_of_rows_and_columns(self):
        inputs = [floats(2, *TABLE[0]), divisors(2, *TABLE[1], seed=1)]
        compare(pair_model(self.NAME, DType.FLOAT32, TABLE), inputs, expect="run")

    @pytest.mark.parametrize("dtype", [DType.INT8, DType.INT32, DType.INT64])
    def test_other_types_are_refused(self, dtype):
        compare(pair_model(self.NAME, dtype, SHAPES[1]), rows=1, expect="refuse")
