"""Checks that hold for all six comparisons."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import (
    PAIR_SHAPES,
    POINTS,
    SHAPES,
    WIDE_SHAPES,
    broadcast_shapes,
    every_pair,
    floats,
    operand,
    pair_model,
)
from tests.ops.harness import compare, model_of

SCALES = st.floats(2.0**-12, 1 - 2.0**-10, width=32)
INT8 = {"scales": (0.05, 0.04, 0.0), "points": (3, -7, 0), "output": DType.BOOL}


def check_all(name: str, types: list[DType]) -> list[Callable[[], None]]:
    """Functions to call, one a property; `types` are the input types that TFLM takes."""

    @given(st.tuples(SCALES, SCALES), st.tuples(POINTS, POINTS), st.booleans())
    def int8_all_pairs(scales, points, same):
        scales = (scales[0],) * 2 if same else scales
        points = (points[0],) * 2 if same else points
        model = pair_model(
            name,
            DType.INT8,
            PAIR_SHAPES,
            scales=(*scales, 0.0),
            points=(*points, 0),
            output=DType.BOOL,
        )
        compare(model, every_pair(), expect="run")

    @given(broadcast_shapes(), st.integers(0, 9))
    def int8_broadcast(shapes, seed):
        compare(pair_model(name, DType.INT8, shapes, **INT8), seed=seed, expect="run")

    def other_types_and_shapes():
        for kind in types:
            if kind is DType.INT8:
                continue
            for shapes in [*SHAPES, *WIDE_SHAPES[:2]]:
                inputs = None
                if kind in (DType.INT32, DType.INT64):
                    rng = np.random.default_rng(1)
                    inputs = [
                        rng.integers(-2, 3, (3, *shape)).astype(kind.numpy) for shape in shapes[:2]
                    ]
                model = pair_model(name, kind, shapes, output=DType.BOOL)
                compare(model, inputs, expect="run")

    def float32_specials():
        model = pair_model(name, DType.FLOAT32, ((97, 1), (1, 89), (97, 89)), output=DType.BOOL)
        compare(model, [floats(1, 97, 1), floats(1, 1, 89)], expect="run")

    def int64_beyond_32_bits():
        values = np.array([[-(2**62), -(2**33), -1, 0, 1, 2**33, 2**62]])
        model = pair_model(name, DType.INT64, ((7, 1), (1, 7), (7, 7)), output=DType.BOOL)
        compare(model, [values.reshape(1, 7, 1), values.reshape(1, 1, 7)], expect="run")

    def other_types_are_refused():
        for kind in (DType.UINT8, DType.BOOL):
            if kind not in types:
                model = pair_model(name, kind, SHAPES[1], output=DType.BOOL)
                compare(model, rows=1, expect="refuse")

    def models_that_would_end_or_overrun_tflm():
        _check_refusals(name)

    return [
        int8_all_pairs,
        int8_broadcast,
        other_types_and_shapes,
        float32_specials,
        int64_beyond_32_bits,
        other_types_are_refused,
        models_that_would_end_or_overrun_tflm,
    ]


def _check_refusals(name: str) -> None:
    for shapes, scales in (
        (((2, 3), (2, 4), (2, 3)), (0.1, 0.1)),
        (((3,), (3,), (3,)), (1.0, 0.1)),
        (((3,), (3,), (3,)), (0.0, 0.1)),
        (((1,) * 7, (1,) * 7, (1,) * 7), (0.1, 0.1)),
    ):
        model = pair_model(name, DType.INT8, shapes, scales=(*scales, 0.0), output=DType.BOOL)
        with pytest.raises((InvalidModelError, UnsupportedError)):
            Interpreter(model)
    mixed = [operand(DType.INT8, (3,), 0.1), operand(DType.FLOAT32, (3,))]
    for inputs, kind in ((mixed, DType.BOOL), (mixed[1:] * 2, DType.FLOAT32)):
        with pytest.raises(InvalidModelError):
            Interpreter(model_of(name, inputs, [operand(kind, (3,))]))
