"""UNIDIRECTIONAL_SEQUENCE_LSTM against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.bridge import oracle_run
from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.model.writer import write_model
from refmicro.ops.unidirectional_sequence_lstm import macs
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle

NONE, RELU, TANH = 0, 1, 4
BIAS = {DType.INT8: DType.INT32, DType.INT16: DType.INT64, DType.FLOAT32: DType.FLOAT32}
SHAPES = st.tuples(*(st.integers(1, n) for n in (3, 4, 6, 5)))


def model(
    rng,
    batch=1,
    steps=3,
    size=4,
    width=5,
    *,
    dtype=DType.INT8,
    time_major=False,
    activation=TANH,
    clip=0.0,
    scales=(0.02, 0.01, 2.0**-11),
    points=(3, -7),
    bias_range=3000,
    replace=None,
    weights_point=0,
):
    """An LSTM; scales are of input, hidden state, cell state; `replace` is {input: tensor}."""
    quantized = dtype is not DType.FLOAT32
    points = points if dtype is DType.INT8 else (0, 0)
    state = DType.INT16 if quantized else DType.FLOAT32
    weight = DType.INT8 if quantized else DType.FLOAT32

    def weights(columns):
        values = rng.integers(-127, 127, (width, columns), endpoint=True)
        values = values if quantized else rng.normal(0, 1, (width, columns))
        scale = float(rng.uniform(0.002, 0.02)) if quantized else ()
        shape = (width, columns)
        return tensor(weight, shape, scale=scale, zero_point=weights_point, data=values)

    def bias():
        return tensor(BIAS[dtype], (width,), data=rng.integers(-bias_range, bias_range, width))

    shape = (steps, batch, size) if time_major else (batch, steps, size)
    scale = scales if quantized else ((), (), ())
    hidden = {"scale": scale[1], "zero_point": points[1]}
    inputs = [tensor(dtype, shape, scale=scale[0], zero_point=points[0])]
    inputs += [weights(size) for _ in range(4)] + [weights(width) for _ in range(4)]
    inputs += [None] * 3 + [bias() for _ in range(4)] + [None] * 2
    inputs += [
        tensor(dtype, (batch, width), **hidden, variable=True),
        tensor(state, (batch, width), scale=scale[2], variable=True),
    ]
    inputs += [None] * 4
    for index, item in (replace or {}).items():
        inputs[index] = item
    out = tensor(dtype, (*shape[:2], width), **hidden)
    table = {
        "fused_activation_function": activation,
        "time_major": time_major,
        "cell_clip": clip,
    }
    name, kind = "UNIDIRECTIONAL_SEQUENCE_LSTM", "UnidirectionalSequenceLSTMOptions"
    return model_of(name, inputs, [out], table, options_type=kind)


@pytest.mark.parametrize("dtype", list(BIAS))
@pytest.mark.parametrize("time_major", [True, False])
@given(st.integers(0, 99), SHAPES, st.sampled_from([0.0, 0.5, 3.0]), st.booleans())
def test_sequences(dtype, time_major, seed, shape, clip, carried):
    rng = np.random.default_rng(seed)
    bias_range = 2 if dtype is DType.FLOAT32 else 3000
    one = model(rng, *shape, dtype=dtype, time_major=time_major, clip=clip, bias_range=bias_range)
    compare(one, steps=carried, expect="run")


@pytest.mark.parametrize("clip", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("shape", [(1, 2, 3, 2), (2, 1, 3, 3), (1, 1, 3, 9), (2, 2, 3, 7)])
def test_a_cell_state_that_is_no_number_is_not_clipped(shape, clip):
    rng = np.random.default_rng(1)
    one = model(rng, *shape, dtype=DType.FLOAT32, clip=clip, bias_range=2)
    size = one.subgraphs[0].tensors[0].shape
    values = rng.choice(np.float32([1, -1, 0, np.inf, -np.inf, 1e38]), (6, *size))
    result = oracle_run(write_model(one), [[row] for row in values], reset_between=True)
    want = np.stack([step[0] for step in result.outputs])
    (got,) = Interpreter(one).invoke_batch([values])
    assert np.isnan(want).any()
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT16])
@pytest.mark.parametrize("power", [-15, -13, -12, -11, -9, -5])
def test_cell_state_scales(dtype, power):
    scales = (0.05, 0.01, 2.0**power)
    one = model(np.random.default_rng(1), dtype=dtype, scales=scales)
    compare(one, rows=6, steps=True, expect="run")


@pytest.mark.parametrize("scale", [2.0**-11 * 1.2, 2.0**-11 * 1.45, 0.0007])
def test_cell_state_scales_between_powers_of_two(scale):
    one = model(np.random.default_rng(1), scales=(0.05, 0.01, scale))
    compare(one, rows=6, steps=True, expect="run")


@given(
    st.integers(0, 99),
    st.tuples(st.floats(2.0**-9, 0.2), st.floats(2.0**-9, 0.2)),
    st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
    st.integers(-128, 127),
)
def test_quantization(seed, scales, points, weights_point):
    one = model(
        np.random.default_rng(seed),
        scales=(*scales, 2.0**-11),
        points=points,
        weights_point=weights_point,
    )
    compare(one, expect="run")


@pytest.mark.parametrize("dtype", list(BIAS))
@pytest.mark.parametrize("activation", [NONE, RELU])
def test_other_cell_gate_activations_do_nothing(dtype, activation):
    bias_range = 2 if dtype is DType.FLOAT32 else 3000
    one = model(np.random.default_rng(1), dtype=dtype, activation=activation, bias_range=bias_range)
    compare(one, rows=6, steps=True, expect="run")


def test_a_clip_below_one_unit_is_zero():
    compare(model(np.random.default_rng(1), clip=1e-5), steps=True, expect="run")


def test_sums_beyond_int32_wrap():
    one = model(np.random.default_rng(1), bias_range=2**31 - 1, points=(-128, 127))
    compare(one, rows=6, steps=True, expect="run")


def test_many_rows():
    """Enough values for the product with the output gate to be proven by thresholds."""
    one = model(np.random.default_rng(1), 2, 5, 3, 16)
    compare(one, rows=40, expect="run")


ZEROS = np.zeros((5, 4))


@pytest.mark.parametrize(
    "replace",
    [
        {1: None},
        {5: None},
        {12: None},
        {9: tensor(DType.INT16, (5,), scale=0.1, data=np.zeros(5))},
        {16: tensor(DType.INT8, (5, 5), scale=0.1, data=np.zeros((5, 5)))},
        {20: tensor(DType.INT16, (5,), scale=0.1, data=np.zeros(5))},
        {2: tensor(DType.INT16, (5, 4), scale=0.1, data=ZEROS)},
        {2: tensor(DType.INT8, (4, 4), scale=0.1, data=np.zeros((4, 4)))},
        {6: tensor(DType.INT8, (5, 4), scale=0.1, data=ZEROS)},
        {13: tensor(DType.INT32, (4,), data=np.zeros(4))},
        {13: tensor(DType.INT64, (5,), data=np.zeros(5))},
        {18: tensor(DType.INT8, (1, 5), scale=0.1)},
        {18: tensor(DType.INT16, (1, 5), scale=0.1, variable=True)},
        {18: tensor(DType.INT8, (2, 5), scale=0.1, variable=True)},
        {19: tensor(DType.INT8, (1, 5), scale=0.1, variable=True)},
        {19: tensor(DType.INT16, (1, 4), scale=0.1, variable=True)},
    ],
)
def test_refusals(replace):
    compare(model(np.random.default_rng(1), replace=replace), expect="refuse")


@pytest.mark.parametrize(
    "replace",
    [
        {0: tensor(DType.INT8, (3, 4), scale=0.1)},
        {18: tensor(DType.INT8, (5,), scale=0.1, variable=True)},
        {19: tensor(DType.INT16, (1, 5), scale=0.0, variable=True)},
        {19: tensor(DType.INT16, (1, 5), scale=2.0**20, variable=True)},
        {19: tensor(DType.FLOAT32, (1, 5), variable=True)},
        {2: tensor(DType.INT8, (5, 4), scale=[0.1] * 5, zero_point=[0] * 5, data=ZEROS)},
        {i: tensor(DType.INT64, (5,), data=np.zeros(5)) for i in range(12, 16)},
    ],
)
def test_malformed(replace):
    with pytest.raises(InvalidModelError, match="LSTM"):
        prepare_model(model(np.random.default_rng(1), replace=replace), TflmBuild.wheel())


def test_computed_weights_are_refused():
    one = model(np.random.default_rng(1), replace={2: tensor(DType.INT8, (5, 4), scale=0.1)})
    with pytest.raises(UnsupportedError, match="constant"):
        prepare_model(one, TflmBuild.wheel())


def test_macs_count_every_step():
    program = prepare_model(model(np.random.default_rng(0), 2, 3, 4, 5), TflmBuild())
    assert macs(program.nodes[0][0].node) == 2 * 3 * 4 * 5 * (4 + 5)
