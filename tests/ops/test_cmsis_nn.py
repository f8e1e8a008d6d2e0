"""Requests of the CMSIS-NN kernels; whole models are held against a Cortex-M4 in tests/memory.

The buffer sizes below are what `arm_*_get_buffer_size*` of CMSIS-NN return, compiled with GCC.
"""

import pytest

from refmicro.ops._cmsis_nn import requests
from refmicro.ops._spec import Node, PrepareContext, Refused
from refmicro.types import DType, TflmBuild
from tests.ops.harness import tensor

BUILD = TflmBuild.firmware(kernels="cmsis-nn")


def asked(name, inputs, output, **options):
    """The requests of one node."""
    return requests(PrepareContext(Node(name, tuple(inputs), (output,), options), BUILD, None))


def quantized(dtype, shape, scales=1):
    """A quantized tensor."""
    return tensor(dtype, shape, scale=[0.5] * scales, zero_point=[0] * scales)


@pytest.mark.parametrize(
    ("dtype", "image", "filter_", "options", "scratch"),
    [
        (DType.INT8, (1, 8, 8, 16), (4, 3, 3, 16), {}, [576]),
        (DType.INT8, (1, 8, 8, 3), (4, 3, 3, 3), {}, [112]),
        (DType.INT8, (1, 8, 8, 16), (4, 1, 1, 16), {}, []),
        (DType.INT8, (1, 8, 8, 16), (4, 1, 1, 16), {"stride_w": 2}, []),
        (DType.INT8, (1, 8, 8, 16), (4, 1, 1, 8), {}, [64]),
        (DType.INT8, (1, 8, 8, 16), (4, 1, 1, 16), {"dilation_w_factor": 2}, [64]),
        (DType.INT16, (1, 8, 8, 3), (4, 3, 3, 3), {}, [108]),
        (DType.INT16, (1, 8, 8, 16), (4, 1, 1, 16), {}, [64]),
        (DType.FLOAT32, (1, 8, 8, 3), (4, 3, 3, 3), {}, []),
    ],
)
def test_conv_2d(dtype, image, filter_, options, scratch):
    inputs = [quantized(dtype, image), quantized(DType.INT8, filter_, 4), None]
    output = quantized(dtype, (1, 8, 8 // options.get("stride_w", 1), 4))
    got = asked("CONV_2D", inputs, output, **({"stride_h": 1, "stride_w": 1} | options))
    assert got.scratch_bytes == scratch
    assert got.persistent_bytes == ([] if dtype is DType.FLOAT32 else [16, 16])
    assert len(got.temp_tensors) == 6
    assert got.persistent_after == [3] * len(got.persistent_bytes)


@pytest.mark.parametrize(
    ("dtype", "weights", "batch", "channels", "multiplier", "taps", "options", "scratch"),
    [
        (DType.INT8, DType.INT8, 1, 8, 1, (3, 3), {}, []),
        (DType.INT8, DType.INT4, 1, 8, 1, (3, 3), {}, [144]),
        (DType.INT8, DType.INT8, 1, 8, 1, (5, 3), {}, [240]),
        (DType.INT8, DType.INT8, 2, 8, 1, (5, 3), {}, []),
        (DType.INT8, DType.INT8, 1, 8, 2, (5, 3), {}, []),
        (DType.INT8, DType.INT8, 1, 8, 1, (3, 3), {"dilation_h_factor": 2}, []),
        (DType.INT16, DType.INT8, 1, 8, 1, (5, 3), {}, []),
    ],
)
def test_depthwise_conv_2d(dtype, weights, batch, channels, multiplier, taps, options, scratch):
    total = channels * multiplier
    inputs = [
        quantized(dtype, (batch, 9, 9, channels)),
        quantized(weights, (1, *taps, total)),
        None,
    ]
    output = quantized(dtype, (batch, 9, 9, total))
    got = asked("DEPTHWISE_CONV_2D", inputs, output, **({"stride_h": 1, "stride_w": 1} | options))
    assert got.scratch_bytes == scratch
    assert got.persistent_bytes == [4 * total] * 2


@pytest.mark.parametrize(
    ("rank", "depth", "scales", "scratch"),
    [(2, 8, 1, []), (3, 8, 1, [48]), (3, 6, 1, []), (3, 8, 6, []), (2, 8, 6, [])],
)
def test_fully_connected(rank, depth, scales, scratch):
    inputs = [quantized(DType.INT8, (2, depth)), quantized(DType.INT8, (6, depth), scales), None]
    got = asked("FULLY_CONNECTED", inputs, quantized(DType.INT8, (2, 1, 6)[3 - rank :]))
    assert got.scratch_bytes == scratch
    assert got.persistent_bytes == ([24, 24] if scales > 1 else [])


def test_per_channel_int16_is_refused():
    inputs = [quantized(DType.INT16, (2, 8)), quantized(DType.INT8, (6, 8), 6), None]
    with pytest.raises(Refused, match="per-channel"):
        asked("FULLY_CONNECTED", inputs, quantized(DType.INT16, (2, 6)))


@pytest.mark.parametrize(
    ("dtype", "channels", "stride", "scratch"),
    [
        (DType.INT8, 8, (1, 1), [3 * 7 * 5 * 4, 0]),
        (DType.INT8, 17, (2, 2), [2 * 156 * 2, 17 * 9 * 5]),
        (DType.INT8, 17, (3, 1), [3 * 7 * 5 * 4, 0]),
        (DType.INT16, 17, (1, 1), [5 * 5 * 5 * 8]),
        (DType.FLOAT32, 17, (1, 1), []),
    ],
)
def test_transpose_conv(dtype, channels, stride, scratch):
    weights = quantized(DType.INT8, (5, 3, 3, channels))
    bias = tensor(DType.INT64, (5,)) if dtype is DType.INT16 else None
    inputs = [tensor(DType.INT32, (4,)), weights, quantized(dtype, (1, 5, 5, channels)), bias]
    options = {"stride_h": stride[0], "stride_w": stride[1]}
    got = asked("TRANSPOSE_CONV", inputs, quantized(dtype, (1, 5, 5, 5)), **options)
    assert got.scratch_bytes == scratch
    assert got.persistent_bytes == [20, 20]


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16, DType.FLOAT32])
def test_average_pool_2d(dtype):
    image = quantized(dtype, (1, 6, 6, 10))
    got = asked("AVERAGE_POOL_2D", [image], quantized(dtype, (1, 3, 3, 10)))
    assert got.scratch_bytes == ([] if dtype is DType.FLOAT32 else [40])


@pytest.mark.parametrize(
    ("dtype", "cell", "persistent", "scratch"),
    [
        (DType.INT8, DType.INT16, [28] * 8, [42] * 3),
        (DType.INT16, DType.INT16, [56] * 8, [42] * 3),
        (DType.FLOAT32, DType.FLOAT32, [], [84] * 4),
    ],
)
@pytest.mark.parametrize("time_major", [False, True])
def test_lstm(dtype, cell, persistent, scratch, time_major):
    inputs = [None] * 24
    inputs[0] = quantized(dtype, (9, 3, 5) if time_major else (3, 9, 5))
    inputs[18], inputs[19] = quantized(dtype, (3, 7)), quantized(cell, (3, 7))
    output = quantized(dtype, (3, 9, 7))
    got = asked("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, output, time_major=time_major)
    assert got.persistent_bytes == persistent
    assert got.scratch_bytes == scratch


def test_other_operators_ask_for_what_the_reference_kernels_ask_for():
    node = Node("ADD", (), (), {})
    context = PrepareContext(node, BUILD, None)
    assert requests(context) is context


def shaped(dtype, *shape, point=0):
    return tensor(dtype, shape, scale=0.5, zero_point=point)


FIVE, FOUR = (1, 2, 1, 2, 3), (2, 1, 2, 3)
IMAGE, FILTER = (1, 8, 8, 4), shaped(DType.INT8, 4, 3, 3, 4)
STEP = {"stride_w": 1, "stride_h": 1, "depth_multiplier": 1}


@pytest.mark.parametrize(
    ("name", "good", "bad", "words"),
    [
        ("ADD", [(DType.INT16, FOUR, 0)] * 3, (DType.INT16, FOUR, 5), "zero point 0"),
        ("BATCH_MATMUL", [(DType.INT8, FOUR, 3)] * 3, (DType.INT8, FIVE, 3), "4 dimensions"),
        ("MAXIMUM", [(DType.INT16, FOUR, 0)] * 3, (DType.INT16, FIVE, 0), "4 dimensions"),
        ("MINIMUM", [(DType.INT8, FOUR, 0)] * 3, (DType.INT8, FIVE, 0), "4 dimensions"),
        ("TRANSPOSE", [(DType.INT8, FOUR, 0)] * 3, (DType.INT8, FIVE, 0), "4 dimensions"),
    ],
)
def test_what_cmsis_nn_refuses(name, good, bad, words):
    tensors = [shaped(dtype, *shape, point=point) for dtype, shape, point in good]
    asked(name, tensors[:2], tensors[2])
    dtype, shape, point = bad
    odd = shaped(dtype, *shape, point=point)
    for inputs, output in (([odd, tensors[1]], tensors[2]), (tensors[:2], odd)):
        with pytest.raises(Refused, match=words):
            asked(name, inputs, output)


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_int16_has_no_zero_points(name):
    for point, side in ((0, "none"), (7, "input"), (7, "output")):
        x = shaped(DType.INT16, *IMAGE, point=point if side == "input" else 0)
        output = shaped(DType.INT16, *IMAGE, point=point if side == "output" else 0)
        if side == "none":
            asked(name, [x, FILTER, None], output, **STEP)
        else:
            with pytest.raises(Refused, match="zero point 0"):
                asked(name, [x, FILTER, None], output, **STEP)


def test_int16_transpose_conv_needs_a_bias():
    shape, x = shaped(DType.INT32, 4), shaped(DType.INT16, *IMAGE)
    bias = tensor(DType.INT64, (4,))
    asked("TRANSPOSE_CONV", [shape, FILTER, x, bias], x, **STEP)
    for missing in ([shape, FILTER, x], [shape, FILTER, x, None]):
        with pytest.raises(Refused, match="bias"):
            asked("TRANSPOSE_CONV", missing, x, **STEP)


def test_types_that_cmsis_nn_leaves_to_the_reference():
    five = shaped(DType.INT16, *FIVE)
    asked("TRANSPOSE", [five, five], five)
    odd = shaped(DType.INT8, *FOUR, point=5)
    asked("ADD", [odd, odd], odd)
