"""SVDF against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.ops.svdf import macs
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor
from tests.ops.ties import distant_scales, telling_accumulators

pytestmark = pytest.mark.oracle

SCALES = st.floats(2.0**-8, 0.5)
POINTS = st.integers(-128, 127)


def model(
    rng,
    rows=1,
    size=5,
    filters=6,
    memory=4,
    rank=2,
    *,
    state=DType.INT16,
    dtype=DType.INT8,
    scales=(0.1, 0.02, 0.01, 0.05, 0.2),
    points=(3, 0, -4),
    activation=0,
    bias_range=2000,
    replace=None,
):
    """An SVDF; scales are of input, feature and time weights, state, output, `points` of input,
    state, output; `replace` is (input index, tensor)."""
    if dtype is DType.FLOAT32:
        state, scales, points = dtype, [()] * 5, (0, 0, 0)
        bias_scale = ()
    else:
        bias_scale = float(np.float32(scales[3]) * np.float32(scales[2]))
    if dtype is DType.FLOAT32:
        feature, time = rng.normal(0, 1, (filters, size)), rng.normal(0, 1, (filters, memory))
    else:
        high = 127 if state is DType.INT8 else 32767
        feature = rng.integers(-127, 127, (filters, size), endpoint=True)
        time = rng.integers(-high, high, (filters, memory), endpoint=True)
    units = max(1, filters // rank)
    inputs = [
        tensor(dtype, (rows, size), scale=scales[0], zero_point=points[0]),
        tensor(dtype, (filters, size), scale=scales[1], data=feature),
        tensor(state, (filters, memory), scale=scales[2], data=time),
        tensor(
            DType.INT32 if dtype is DType.INT8 else dtype,
            (units,),
            scale=bias_scale,
            data=rng.integers(-bias_range, bias_range, units),
        ),
        tensor(
            state, (rows, memory * filters), scale=scales[3], zero_point=points[1], variable=True
        ),
    ]
    if replace is not None:
        inputs[replace[0]] = replace[1]
    out = tensor(dtype, (rows, units), scale=scales[4], zero_point=points[2])
    table = {"rank": rank, "fused_activation_function": activation}
    return model_of("SVDF", inputs, [out], table, options_type="SVDFOptions", version=3)


SHAPES = st.tuples(
    st.integers(1, 3), st.integers(1, 9), st.integers(1, 4), st.integers(1, 6), st.integers(1, 3)
)


@pytest.mark.parametrize("state", [DType.INT8, DType.INT16])
@pytest.mark.parametrize("steps", [True, False])
@given(
    st.integers(0, 99),
    SHAPES,
    st.tuples(SCALES, SCALES, SCALES, SCALES, SCALES),
    st.tuples(POINTS, POINTS, POINTS),
)
def test_quantized(state, steps, seed, shape, scales, points):
    rows, size, units, memory, rank = shape
    one = model(
        np.random.default_rng(seed),
        rows,
        size,
        units * rank,
        memory,
        rank,
        state=state,
        scales=scales,
        points=points,
    )
    compare(one, rows=7, steps=steps, expect="run")


@pytest.mark.parametrize("steps", [True, False])
@given(st.integers(0, 99), SHAPES, st.sampled_from([0, 1, 2, 3, 4, 5]))
def test_float32(steps, seed, shape, activation):
    rows, size, units, memory, rank = shape
    one = model(
        np.random.default_rng(seed),
        rows,
        size,
        units * rank,
        memory,
        rank,
        dtype=DType.FLOAT32,
        activation=activation,
        bias_range=3,
    )
    compare(one, rows=7, steps=steps, expect="run")


def test_integers_have_no_activation():
    compare(model(np.random.default_rng(1), activation=3), rows=6, steps=True, expect="run")


def test_sums_beyond_int32_wrap():
    rng = np.random.default_rng(1)
    one = model(rng, memory=40, bias_range=2**31 - 1, scales=(1.0, 1.0, 2e-4, 1e-3, 0.2))
    compare(one, rows=60, steps=True, expect="run")


@pytest.mark.parametrize(
    "replace",
    [
        (0, tensor(DType.INT16, (1, 5), scale=0.1)),
        (0, tensor(DType.INT8, (1, 4), scale=0.1)),
        (1, tensor(DType.INT16, (6, 5), scale=0.02, data=np.zeros((6, 5)))),
        (1, tensor(DType.INT8, (5, 5), scale=0.02, data=np.zeros((5, 5)))),
        (2, tensor(DType.INT16, (5, 4), scale=0.01, data=np.zeros((5, 4)))),
        (2, tensor(DType.INT32, (6, 4), scale=0.01, data=np.zeros((6, 4)))),
        (3, tensor(DType.INT32, (2,), scale=0.0005, data=np.zeros(2))),
        (3, tensor(DType.INT64, (3,), scale=0.0005, data=np.zeros(3))),
        (3, tensor(DType.INT32, (3,), scale=0.1, data=np.zeros(3))),
        (4, tensor(DType.INT16, (1, 24), scale=0.05)),
        (4, tensor(DType.INT16, (1, 25), scale=0.05, variable=True)),
    ],
)
def test_refusals(replace):
    compare(model(np.random.default_rng(1), replace=replace), expect="refuse")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"replace": (3, None)}, "would crash"),
        ({"replace": (4, tensor(DType.INT8, (1, 24), scale=0.05, variable=True))}, "one type"),
        ({"rank": 0}, "rank"),
        ({"replace": (0, tensor(DType.INT8, (5,), scale=0.1))}, "dimensions"),
        ({"scales": (0.1, 0.02, 0.01, 0.0, 0.2)}, "scale"),
    ],
)
def test_malformed(changes, match):
    if changes.get("rank") == 0:
        one = model(np.random.default_rng(1), rank=1)
        op = one.subgraphs[0].operators[0]
        inputs, out = one.subgraphs[0].tensors[:5], one.subgraphs[0].tensors[5:]
        one = model_of(op.name, inputs, out, {"rank": 0}, options_type="SVDFOptions")
    else:
        one = model(np.random.default_rng(1), **changes)
    with pytest.raises(InvalidModelError, match=match):
        prepare_model(one, TflmBuild.wheel())


def test_macs_count_features_and_time():
    program = prepare_model(model(np.random.default_rng(0), rows=2), TflmBuild())
    assert macs(program.nodes[0][0].node) == 2 * (6 * 5 + 6 * 4)


def test_last_multiplier_to_the_last_bit():
    bound = 1 << 22
    state, time, _ = distant_scales(1.0)
    out = float(np.float32(state * time * bound / 127))
    bias = telling_accumulators(state, time, out, bound, 126, 32)
    units = bias.size
    offsets = tensor(DType.INT32, (units,), scale=state * time, data=bias)
    one = model(
        np.random.default_rng(0),
        filters=units,
        rank=1,
        scales=(0.1, 0.02, time, state, out),
        points=(0, 0, 0),
        replace=(3, offsets),
    )
    silent = np.zeros((1, 1, 5), np.int8)
    compare(one, [silent], expect="run")
