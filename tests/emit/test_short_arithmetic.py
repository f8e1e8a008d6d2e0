"""Short arithmetic against TFLM's, and that what leaves int32 or has no answer is not taken."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.emit.short_arithmetic import Affine, affine, affine_pair
from refmicro.fixedpoint import multiply_array, quantize_multiplier
from refmicro.model.reader import read_model
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.models import MAMBA

INT8 = np.arange(-128, 128, dtype=np.int64)
LOW, HIGH = -128, 127


def requantized(x: np.ndarray, real: float, offset: int) -> np.ndarray:
    out = np.empty(x.size, np.int64)
    multiply_array(x, *quantize_multiplier(real), out)
    return np.clip(out + offset, LOW, HIGH)


def in_c(short: Affine, x: np.ndarray) -> np.ndarray:
    """With every operand in the width that the C text has."""
    wide = (x * short.factor) >> short.down
    total = wide.astype(np.int32)
    assert (total == wide).all(), "the product must fit int32"
    gap = (x.astype(np.int32).view(np.uint32).astype(np.int64)) >> (32 - short.gap_bits)
    with np.errstate(over="raise"):
        total = total + (np.int32(short.addend) - gap.astype(np.int32))
    return np.clip(total >> np.int32(short.shift), LOW, HIGH)


@given(
    st.floats(1e-4, 0.05),
    st.integers(-128, 127),
    st.integers(0, 255),
    st.integers(0, 255),
)
def test_products_in_the_widths_of_c(real, offset, a_offset, b_offset):
    x = np.unique(np.multiply.outer(INT8 + a_offset, INT8 + b_offset))
    want = requantized(x, real, offset)
    short = affine(x, want, LOW, HIGH, real)
    if short is not None:
        assert np.array_equal(in_c(short, x), want)
        assert np.array_equal(short(x, LOW, HIGH), want)


def test_a_power_of_two_needs_the_gap():
    """x / 256 as TFLM rounds it: 127 gives 1 and -127 gives -1, so no one addend serves."""
    x = np.arange(-32640, 32641, dtype=np.int64)
    want = requantized(x, 1 / 256, 0)
    short = affine(x, want, LOW, HIGH, 1 / 256)
    assert short is not None
    assert short.gap_bits > 0
    assert np.array_equal(in_c(short, x), want)


def test_what_is_not_affine_has_no_answer():
    x = np.arange(-200, 200, dtype=np.int64)
    want = np.clip(np.abs(x) // 2, LOW, HIGH)
    assert affine(x, want, LOW, HIGH, 0.5) is None


def test_nothing_leaves_int32():
    """Products up to 2^30 leave no bits for a fraction."""
    x = np.array([-(2**30), -(2**29) - 1, -1, 0, 1, 2**29 + 3, 2**30], np.int64)
    real = 100 / 2**30
    short = affine(x, requantized(x, real, 3), LOW, HIGH, real)
    if short is not None:
        assert np.array_equal(in_c(short, x), requantized(x, real, 3))


@given(st.floats(0.05, 1.0), st.floats(0.05, 1.0), st.integers(-128, 127))
def test_sums_are_exact_on_all_pairs(a_real, b_real, offset):
    a, b = (np.ascontiguousarray(v).reshape(-1) for v in np.meshgrid(INT8, INT8, indexing="ij"))
    parts = []
    for values, real in ((a, a_real), (b, b_real)):
        out = np.empty(values.size, np.int64)
        multiply_array(values << 20, *quantize_multiplier(real / 2), out)
        parts.append(out)
    want = requantized(parts[0] + parts[1], 2 / (1 << 20), offset)
    short = affine_pair(a, b, want, LOW, HIGH, (a_real, b_real))
    if short is None:
        return
    assert np.array_equal(short(a, b, LOW, HIGH), want)
    for part in (a * short.a_factor, b * short.b_factor):
        assert abs(part).max() < 2**31
    total = a * short.a_factor + b * short.b_factor
    assert abs(total).max() < 2**31
    assert abs(total + short.addend).max() < 2**31


@pytest.mark.parametrize("name", ["kws_mamba_int8", "m_elu_inplace2_off_int8"])
def test_every_int8_product_and_sum_of_the_streaming_models_has_one(name):
    program = prepare_model(read_model(MAMBA[name]), TflmBuild.firmware())
    a, b = (np.ascontiguousarray(v).reshape(-1) for v in np.meshgrid(INT8, INT8, indexing="ij"))
    found = 0
    for node in program.nodes[0]:
        output = node.node.outputs[0]
        if node.name not in ("MUL", "ADD", "SUB") or output.dtype is not DType.INT8:
            continue
        data, (left, right) = node.data, node.node.inputs
        out = np.empty(a.size, np.int8)
        data.kernel(a.astype(np.int8), b.astype(np.int8), *data.arguments, out)
        want = out.astype(np.int64)
        if node.name == "MUL":
            products = (a + data.arguments[0]) * (b + data.arguments[1])
            x, first = np.unique(products, return_index=True)
            real = left.scale * right.scale / output.scale
            assert affine(x, want[first], LOW, HIGH, real) is not None
        else:
            sign = -1 if node.name == "SUB" else 1
            reals = (left.scale / output.scale, sign * right.scale / output.scale)
            assert affine_pair(a, b, want, LOW, HIGH, reals) is not None
        found += 1
    assert found >= 8
