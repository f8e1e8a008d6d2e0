"""BATCH_MATMUL against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.ops.batch_matmul import macs
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor
from tests.ops.ties import distant_scales, telling_accumulators

pytestmark = pytest.mark.oracle

DTYPES = [DType.INT8, DType.INT16, DType.FLOAT32]


def model(
    left,
    right,
    *,
    dtype=DType.INT8,
    adj_x=False,
    adj_y=False,
    scales=(0.1, 0.2, 1.7),
    points=(3, -5, 7),
    constant=(),
    out=None,
    seed=0,
    dtypes=None,
):
    """A BATCH_MATMUL of matrices (..., M, K) and (..., K, N); `adj_x` and `adj_y` store them with
    the last dimensions swapped; `constant` names operands that the model holds."""
    quantized = dtype is not DType.FLOAT32
    points = points if dtype is DType.INT8 else (0, 0, 0) if points == (3, -5, 7) else points
    rng = np.random.default_rng(seed)
    tensors = []
    for i, (shape, swapped) in enumerate(((left, adj_x), (right, adj_y))):
        shape = (*shape[:-2], shape[-1], shape[-2]) if swapped else tuple(shape)
        values = None
        if ("left", "right")[i] in constant:
            values = rng.integers(-128, 128, shape)
        kind = (dtypes or [dtype] * 3)[i]
        scale = scales[i] if quantized else ()
        tensors.append(tensor(kind, shape, scale=scale, zero_point=points[i], data=values))
    if out is None:
        leading = np.broadcast_shapes(left[:-2], right[:-2])
        out = (*leading, left[-2], right[-1])
    result = tensor(
        (dtypes or [dtype] * 3)[2],
        out,
        scale=scales[2] if quantized else (),
        zero_point=points[2],
    )
    table = {"adj_x": adj_x, "adj_y": adj_y}
    return model_of("BATCH_MATMUL", tensors, [result], table, options_type="BatchMatMulOptions")


LEADING = st.lists(st.tuples(st.integers(1, 3), st.sampled_from("=lr")), max_size=3)


def shapes(leading, cut, rows, depth, columns):
    """Two shapes that broadcast; `cut` leading ones of the right operand are left out."""
    left = [1 if which == "l" else size for size, which in leading]
    right = [1 if which == "r" else size for size, which in leading]
    while cut and right and right[0] == 1:
        right, cut = right[1:], cut - 1
    return (*left, rows, depth), (*right, depth, columns)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    LEADING,
    st.integers(0, 3),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sets(st.sampled_from(["left", "right"]), max_size=1),
)
def test_shapes(dtype, leading, cut, sizes, adj_x, adj_y, mirrored, constant):
    left, right = shapes(leading, cut, *sizes)
    if mirrored:
        left, right = (*right[:-2], *left[-2:]), (*left[:-2], *right[-2:])
    options = {"adj_x": adj_x, "adj_y": adj_y, "constant": constant}
    compare(model(left, right, dtype=dtype, **options), steps=True, expect="run")


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
@given(
    st.tuples(*[st.floats(2.0**-9, 1.0)] * 3),
    st.tuples(*[st.integers(-128, 127)] * 3),
)
def test_quantization(dtype, scales, points):
    points = points if dtype is DType.INT8 else (0, 0, 0)
    one = model((2, 3, 5), (2, 5, 4), dtype=dtype, scales=scales, points=points)
    compare(one, expect="run")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("adj_y", [True, False])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((4, 2, 3), (1, 3, 5)),
        ((2, 4, 2, 3), (1, 3, 5)),
        ((4, 2, 3), (2, 1, 3, 5)),
        ((1, 2, 3), (4, 3, 5)),
        ((2, 1, 3, 2, 3), (1, 4, 1, 3, 5)),
    ],
)
def test_one_right_matrix_for_many_left_ones(dtype, adj_y, left, right):
    compare(model(left, right, dtype=dtype, adj_y=adj_y), expect="run")


def test_both_constant():
    compare(model((2, 3), (3, 4), constant=("left", "right")), expect="run")


def test_long_sums():
    left, right = (2, 3000), (3000, 2)
    compare(model(left, right, scales=(0.1, 0.2, 500.0), points=(-128, 127, 0)), expect="run")
    compare(model(left, right, dtype=DType.INT16, scales=(0.1, 0.2, 5000.0)), expect="run")


def test_int32_sums_wrap():
    one = model((1, 40_000), (40_000, 1), scales=(0.1, 0.1, 1e5), points=(-128, -128, 0))
    rows = np.full((2, 1, 40_000), 127, np.int8)
    rows[1] = 100
    compare(one, [rows, np.full((2, 40_000, 1), 127, np.int8)], expect="run")


@pytest.mark.parametrize(
    "changes",
    [
        {"dtypes": (DType.FLOAT32, DType.INT8, DType.FLOAT32)},
        {"dtypes": (DType.INT8, DType.INT8, DType.INT16)},
        {"dtypes": (DType.INT8, DType.INT8, DType.INT32)},
        {"dtype": DType.INT32},
        {"dtype": DType.INT16, "points": (1, 0, 0)},
        {"dtype": DType.INT16, "points": (0, 1, 0)},
        {"dtype": DType.INT16, "points": (0, 0, 1)},
        {"right": (4, 4)},
        {"left": (3,), "out": (2, 4)},
        {"left": (1, 1, 1, 1, 2, 3), "out": (1, 1, 1, 1, 2, 4)},
        {"left": (2, 2, 3), "right": (3, 3, 4), "out": (2, 2, 4)},
        {"out": (2, 5)},
        {"left": (2, 2, 3), "out": (4, 4)},
    ],
)
def test_refusals(changes):
    shapes = {"left": (2, 3), "right": (3, 4)}
    compare(model(**{**shapes, "out": (2, 4), **changes}), expect="refuse")


@pytest.mark.parametrize(
    "changes",
    [{"scales": (0.1, 0.1, 0.0)}, {"points": (300, 0, 0)}, {"scales": (1e30, 1e30, 1e-30)}],
)
def test_malformed(changes):
    with pytest.raises(InvalidModelError, match="BATCH_MATMUL"):
        prepare_model(model((2, 3), (3, 4), **changes), TflmBuild.wheel())


def test_output_must_be_declared_as_computed():
    with pytest.raises(UnsupportedError, match="of shape"):
        prepare_model(model((2, 3), (3, 4), out=(1, 2, 4)), TflmBuild.wheel())


@pytest.mark.parametrize("adj_x", [True, False])
def test_macs_count_depth(adj_x):
    program = prepare_model(model((5, 2, 3), (3, 4), adj_x=adj_x), TflmBuild())
    assert macs(program.nodes[0][0].node) == 5 * 2 * 3 * 4


def test_multiplier_to_the_last_bit():
    bound, depth = 1 << 22, 300
    a, b, _ = distant_scales(1.0)
    c = float(np.float32(a * b * bound / 127))
    wanted = telling_accumulators(a, b, c, bound, 126, 32)
    # 127 * (q spread over the rows) + 1 * r makes every accumulator.
    right = np.zeros((depth, wanted.size), np.int64)
    for column, value in enumerate(wanted):
        quotient, right[-1, column] = divmod(int(value), 127)
        whole, rest = divmod(quotient, depth - 1)
        right[:-1, column] = whole
        right[:rest, column] += 1
    left = np.full((1, 1, depth), 127, np.int8)
    left[0, 0, -1] = 1
    tensors = [
        tensor(DType.INT8, (1, depth), scale=a),
        tensor(DType.INT8, (depth, wanted.size), scale=b, data=right),
    ]
    out = tensor(DType.INT8, (1, wanted.size), scale=c)
    table = {"adj_x": False, "adj_y": False}
    one = model_of("BATCH_MATMUL", tensors, [out], table, options_type="BatchMatMulOptions")
    compare(one, [left], expect="run")
