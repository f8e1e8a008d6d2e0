"""STRIDED_SLICE against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle


def model(shape, begin, end, strides, output, *, begin_mask=0, end_mask=0, shrink=0, **types):
    """A slice of a `shape` tensor with a declared `output` shape."""
    x = types.get("x", DType.INT8)
    y = types.get("y", x)
    indices = [
        tensor(DType.INT32, (len(values),), data=np.array(values))
        if not types.get("computed")
        else tensor(DType.INT32, (len(values),))
        for values in (begin, end, strides)
    ]
    options = {
        "begin_mask": begin_mask,
        "end_mask": end_mask,
        "ellipsis_mask": 0,
        "new_axis_mask": 0,
        "shrink_axis_mask": shrink,
    }
    return model_of("STRIDED_SLICE", [tensor(x, shape), *indices], [tensor(y, output)], options)


@st.composite
def slices(draw):
    """Shape, indices, masks, and the shape that NumPy gives, which must not be empty."""
    rank = draw(st.integers(1, 4))
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=rank, max_size=rank)))
    masks = [draw(st.integers(0, 2**rank - 1)) for _ in range(3)]
    begin, end, strides, python, shrink = [], [], [], [], 0
    for axis, size in enumerate(shape):
        step = draw(st.sampled_from([1, 1, 1, 2, 3, -1, -2]))
        low, high = draw(st.integers(-size - 2, size + 2)), draw(st.integers(-size - 2, size + 2))
        drop = bool(masks[2] >> axis & 1) and -size <= low < size
        if drop:
            step, shrink = 1, shrink | 1 << axis
            python.append(0 if masks[0] >> axis & 1 else low)
        else:
            python.append(
                slice(
                    None if masks[0] >> axis & 1 else low,
                    None if masks[1] >> axis & 1 else high,
                    step,
                )
            )
        begin.append(low)
        end.append(high)
        strides.append(step)
    return shape, begin, end, strides, masks[0], masks[1], shrink, tuple(python)


@given(slices(), st.sampled_from([DType.INT8, DType.INT16, DType.INT32]))
def test_any_slice(drawn, dtype):
    shape, begin, end, strides, begin_mask, end_mask, shrink, python = drawn
    output = np.zeros(shape)[python].shape
    if 0 in output:
        output = tuple(max(size, 1) for size in output)
        expect = "refuse"
    else:
        expect = "run"
    compare(
        model(
            shape,
            begin,
            end,
            strides,
            output,
            begin_mask=begin_mask,
            end_mask=end_mask,
            shrink=shrink,
            x=dtype,
        ),
        expect=expect,
    )


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.BOOL])
def test_other_types(dtype):
    compare(model((3, 4), (1, 0), (3, 4), (1, 2), (2, 2), x=dtype), expect="run")


@pytest.mark.parametrize("dtype", [DType.INT64, DType.UINT8])
def test_refused_types(dtype):
    compare(model((3,), (0,), (2,), (1,), (2,), x=dtype), expect="refuse")


def test_first_time_step_of_a_sequence():
    compare(
        model(
            (1, 7, 5), (0, 3, 0), (0, 4, 0), (1, 1, 1), (1, 5), begin_mask=5, end_mask=5, shrink=2
        ),
        expect="run",
    )


def test_five_dimensions_are_refused():
    compare(
        model((1, 1, 1, 1, 2), [0] * 5, [1] * 4 + [2], [1] * 5, (1, 1, 1, 1, 2)), expect="refuse"
    )


def test_stride_zero_is_refused():
    compare(model((4,), (0,), (4,), (0,), (4,)), expect="refuse")


def test_wrong_output_shape_is_refused():
    compare(model((4,), (0,), (3,), (1,), (4,)), expect="refuse")


def test_computed_indices_are_refused():
    compare(model((4,), (0,), (3,), (1,), (3,), computed=True), expect="refuse")


@pytest.mark.parametrize(
    "broken",
    [
        model((4,), (4,), (5,), (1,), (), shrink=1),
        model((4,), (1,), (2,), (-1,), (), shrink=1),
        model((4, 2), (0,), (4,), (1,), (4, 2)),
        model((4,), (0,), (4,), (1,), (4,), y=DType.INT16),
    ],
    ids=["outside", "backward", "too few indices", "two types"],
)
def test_malformed(broken):
    with pytest.raises(InvalidModelError, match="STRIDED_SLICE"):
        prepare_model(broken, TflmBuild())
