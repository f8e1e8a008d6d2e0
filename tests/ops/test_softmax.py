"""SOFTMAX against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.elementwise import POINTS, floats, single_model
from tests.ops.harness import compare

pytestmark = pytest.mark.oracle

OUTPUTS = {DType.INT8: (2.0**-8, -128), DType.INT16: (2.0**-16, -32768)}
BETAS = st.sampled_from([1.0, 0.5, 2.0, 0.1, 10.0])


def model(source, target, shape, scale=0.1, point=0, beta=1.0, output=None):
    """A SOFTMAX with the output parameters that TFLM asks for."""
    if output is None:
        output = (2.0**-15, 0) if source is DType.INT16 else OUTPUTS.get(target, (0, 0))
    return single_model(
        "SOFTMAX",
        source,
        shape,
        scales=(scale, output[0]),
        points=(point, output[1]),
        output=target,
        options={"beta": beta},
    )


@given(
    st.sampled_from([DType.INT8, DType.INT16]),
    st.integers(1, 70),
    st.floats(2.0**-20, 8.0, width=32),
    POINTS,
    BETAS,
    st.integers(0, 99),
)
def test_int8(target, depth, scale, point, beta, seed):
    rows = model(DType.INT8, target, (3, depth), scale, point, beta)
    compare(rows, seed=seed, expect="run")


@pytest.mark.parametrize("target", [DType.INT8, DType.INT16])
def test_int8_all_differences(target):
    values = np.stack([np.full(256, 127), np.arange(-128, 128)], -1).astype(np.int8)
    for scale in (0.001, 0.02, 0.1, 1.0):
        compare(model(DType.INT8, target, (256, 2), scale), [values[None]], expect="run")


@given(
    st.integers(1, 70),
    st.floats(2.0**-20, 1.0, width=32),
    BETAS,
    st.integers(0, 99),
)
def test_int16(depth, scale, beta, seed):
    rows = model(DType.INT16, DType.INT16, (3, depth), scale, 0, beta)
    compare(rows, seed=seed, expect="run")


def test_int16_all_differences():
    """Every input of both tables' ranges."""
    values = np.stack([np.full(65536, 32767), np.arange(-32768, 32768)], -1).astype(np.int16)
    for scale in (10 / 65535, 0.001):
        rows = model(DType.INT16, DType.INT16, (65536, 2), scale)
        compare(rows, [values[None]], expect="run")


@pytest.mark.parametrize("beta", [1.0, 0.25, 3.0])
@pytest.mark.parametrize("shape", [(7,), (3, 40), (2, 2, 1, 9), (1, 2, 1, 2, 3, 5)])
def test_float32(shape, beta):
    rows = model(DType.FLOAT32, DType.FLOAT32, shape, beta=beta)
    compare(rows, expect="run")


def test_float32_special_values():
    rows = model(DType.FLOAT32, DType.FLOAT32, (60, 5))
    compare(rows, [floats(1, 60, 5)], expect="run")


@pytest.mark.parametrize(
    ("source", "target", "output"),
    [
        (DType.INT8, DType.INT8, (2.0**-8, -127)),
        (DType.INT8, DType.INT8, (2.0**-8 * 1.0001, -128)),
        (DType.INT8, DType.INT16, (2.0**-15, -32768)),
        (DType.INT8, DType.INT16, (2.0**-16, 0)),
        (DType.INT16, DType.INT16, (2.0**-16, 0)),
        (DType.INT16, DType.INT16, (2.0**-15, 1)),
        (DType.INT16, DType.INT8, (2.0**-8, -128)),
        (DType.FLOAT32, DType.INT8, (2.0**-8, -128)),
        (DType.FLOAT32, DType.INT16, (2.0**-15, 0)),
        (DType.UINT8, DType.UINT8, (2.0**-8, 0)),
        (DType.INT32, DType.INT32, (0, 0)),
    ],
)
def test_parameters_that_are_refused(source, target, output):
    compare(model(source, target, (2, 3), output=output), rows=1, expect="refuse")


@pytest.mark.parametrize("factor", [1.0009, 0.9991, 1.0011])
def test_int16_output_scale_may_be_off_by_a_thousandth(factor):
    rows = model(DType.INT16, DType.INT16, (2, 3), output=(2.0**-15 * factor, 0))
    compare(rows, expect="run" if factor < 1.001 else "refuse")


def test_scalars_are_refused():
    compare(model(DType.INT8, DType.INT8, ()), rows=1, expect="refuse")


@pytest.mark.parametrize("beta", [0.0, -1.0])
def test_beta_that_would_end_tflm(beta):
    with pytest.raises(UnsupportedError):
        Interpreter(model(DType.INT8, DType.INT8, (2, 3), beta=beta))


@pytest.mark.parametrize("depth", [511, 512])
def test_rows_of_512_equal_values_would_end_tflm(depth):
    rows = model(DType.INT8, DType.INT8, (1, depth))
    values = np.zeros((1, 1, depth), np.int8)
    if depth < 512:
        compare(rows, [values], expect="run")
    else:
        with pytest.raises(UnsupportedError):
            Interpreter(rows).invoke_batch([values])


@pytest.mark.parametrize("depth", [4095, 4096, 8191])
def test_long_rows_of_equal_values(depth):
    """From 4096 on TFLM's int32 sum wraps into its sign."""
    rows = model(DType.INT8, DType.INT16, (1, depth))
    compare(rows, [np.zeros((1, 1, depth), np.int8)], expect="run")
