"""Every exchange of types that `prepare` accepts, against the real TFLM.

The tests of single operators choose types that matter. Operators that only move values take more:
here each type of a small model is replaced by each other one, and what is accepted has to run.
"""

from __future__ import annotations

import numpy as np
import pytest

from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops import (
    malformed,
    padding,
    test_batch_to_space_nd,
    test_broadcast_to,
    test_conv_2d,
    test_depthwise_conv_2d,
    test_dynamic_update_slice,
    test_expand_dims,
    test_fill,
    test_fully_connected,
    test_reshape,
    test_reverse_v2,
    test_shape,
    test_slice,
    test_space_to_batch_nd,
    test_split,
    test_split_v,
    test_squeeze,
    test_strided_slice,
    test_transpose,
    test_transpose_conv,
)
from tests.ops.harness import compare, tensor
from tests.ops.record import exchanged

pytestmark = pytest.mark.oracle

RNG = np.random.default_rng(0)
INT4 = {"w": DType.INT4, "bias": None}

MODELS = {
    "BATCH_TO_SPACE_ND": test_batch_to_space_nd.model(
        (4, 1, 1, 1), [2, 2], [[0, 0], [0, 0]], (1, 2, 2, 1)
    ),
    "BATCH_TO_SPACE_ND without blocks": test_batch_to_space_nd.model(
        (2, 2, 3), [1], np.zeros((1, 2)), (2, 2, 3)
    ),
    "SPACE_TO_BATCH_ND": test_space_to_batch_nd.model(
        (1, 2, 2, 1), [2, 2], [[0, 0], [0, 0]], (4, 1, 1, 1)
    ),
    "SPACE_TO_BATCH_ND without blocks": test_space_to_batch_nd.model(
        (2, 2, 3), [1], np.zeros((1, 2)), (2, 2, 3)
    ),
    "BROADCAST_TO": test_broadcast_to.model((3,), (2, 3)),
    "CONV_2D": test_conv_2d.model(RNG, **INT4),
    "DEPTHWISE_CONV_2D": test_depthwise_conv_2d.model(RNG, **INT4),
    "DYNAMIC_UPDATE_SLICE": test_dynamic_update_slice.model((4, 3), (2, 3), start=(1, 0)),
    "EXPAND_DIMS": test_expand_dims.model((2, 3), 0, (1, 2, 3)),
    "FILL": test_fill.model((2, 3), (2, 3)),
    "FULLY_CONNECTED": test_fully_connected.model(RNG, 1, 2, 3, w=DType.INT4, bias=False),
    "PAD": padding.pad_model("PAD", (2, 3), ((1, 0), (0, 2))),
    "PAD with a value": padding.pad_model(
        "PAD", (2, 3), ((1, 0), (0, 2)), value=tensor(DType.INT8, (1,), scale=0.1)
    ),
    "PADV2": padding.pad_model(
        "PADV2",
        (2, 3),
        ((1, 0), (0, 2)),
        value=tensor(DType.INT8, (1,), scale=0.1),
        options_type="PadV2Options",
    ),
    "RESHAPE": test_reshape.model((2, 3), (3, 2)),
    "RESHAPE with a shape": test_reshape.model(
        (2, 3), (6,), shape_input=tensor(DType.INT32, (1,), data=np.array([6]))
    ),
    "REVERSE_V2": test_reverse_v2.model((2, 3), (1,)),
    "SHAPE": test_shape.model((2, 3), (2,)),
    "SLICE": test_slice.model((4, 3), (1, 0), (2, 3), (2, 3)),
    "SPLIT": test_split.model((4, 3), [(2, 3), (2, 3)], 0),
    "SPLIT_V": test_split_v.model((4, 3), [(1, 3), (3, 3)], 0),
    "SQUEEZE": test_squeeze.model((1, 3), (0,), (3,)),
    "STRIDED_SLICE": test_strided_slice.model((4,), (1,), (3,), (1,), (2,)),
    "TRANSPOSE": test_transpose.model((2, 3), (1, 0)),
    "TRANSPOSE of one dimension": test_transpose.model((3,), (0,)),
    "TRANSPOSE_CONV": test_transpose_conv.model(RNG),
    "TRANSPOSE_CONV int16": test_transpose_conv.model(RNG, x=DType.INT16, bias=DType.INT32),
    "TRANSPOSE_CONV without bias": test_transpose_conv.model(RNG, bias=None),
    "TRANSPOSE_CONV int16 and int64": test_transpose_conv.model(RNG, x=DType.INT16),
    "TRANSPOSE_CONV int16 without bias": test_transpose_conv.model(RNG, x=DType.INT16, bias=None),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_accepted_types_run(name):
    compared = 0
    for model in exchanged(MODELS[name]):
        try:
            prepare_model(model, TflmBuild.wheel())
        except malformed.REFUSALS:
            continue
        compared += compare(model, rows=2, expect="run")
    assert compared > 0
