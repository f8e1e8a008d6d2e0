"""The requantizer against the integer rule in Python, and its proofs."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro import fixedpoint as fp
from refmicro.ops._requantize import Requantizer, requantize_row

MULTIPLIERS = st.one_of(st.integers(2**30, 2**31 - 1), st.sampled_from([0, 2**30, 2**31 - 1]))
ROUNDED_WRONG = (1107296257, -20, 33554431)
"""A multiplier, shift and accumulator whose double sum rounds up to the next integer."""


def requantizer(pairs, *, offset=0, low=-128, high=127, dtype=np.int8, wide=False, bound=2**31):
    multipliers, shifts = zip(*pairs, strict=True)
    return Requantizer(multipliers, shifts, offset, low, high, np.dtype(dtype), wide, bound)


def expected(rule, accumulators, bias):
    """The integer rule, one value at a time in Python integers."""
    kernel = (
        fp.multiply_int64_by_quantized_multiplier
        if rule.wide
        else fp.multiply_by_quantized_multiplier
    )
    out = np.empty(accumulators.shape, rule.dtype)
    for (row, column), value in np.ndenumerate(accumulators):
        total = int(value) + int(bias[column])
        if not rule.wide:
            total = (total + 2**31) % 2**32 - 2**31
        scaled = kernel.python(total, rule.multipliers[column], rule.shifts[column])
        out[row, column] = min(max(scaled + rule.output_offset, rule.low), rule.high)
    return out


@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(MULTIPLIERS, st.integers(-31, 3)), min_size=1, max_size=3),
    st.sampled_from([np.int8, np.int16]),
    st.sampled_from([np.float32, np.float64, np.int32, np.int64]),
    st.booleans(),
    st.booleans(),
)
def test_any_channel_equals_the_integer_rule(seed, pairs, dtype, accumulator, wide, relu):
    """Accumulators lie around steps of the output, where rounding decides."""
    rng = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    offset = int(rng.integers(-100, 100))
    exact = 2**24 if accumulator == np.float32 else 2**30
    bias = rng.integers(-exact // 4, exact // 4, len(pairs))
    columns = []
    for multiplier, shift in pairs:
        factor = max(multiplier, 1) * 2.0 ** (shift - 31)
        steps = rng.integers(limits.min, limits.max, 20) + rng.choice([0.5, 0.0], 20)
        near = np.clip(np.rint(steps / factor), -exact // 2, exact // 2)
        columns.append(near + rng.integers(-1, 2, 20))
    values = (np.stack(columns, 1) - bias).clip(-exact, exact).astype(accumulator)
    rule = requantizer(
        pairs,
        offset=offset,
        low=offset if relu else limits.min,
        high=limits.max,
        dtype=dtype,
        wide=wide,
        bound=2 * exact,
    )
    want = expected(rule, values, bias)
    assert np.array_equal(rule(values, bias), want)
    assert np.array_equal(rule(values, bias, total_rows=2**20), want)
    for sums, row in zip(values, want, strict=True):
        out = np.empty_like(row)
        requantize_row(sums, rule.row_terms(bias), out)
        assert np.array_equal(out, row)


@pytest.mark.parametrize("shift", [-1, -4, -9, -14, 0, 2])
@pytest.mark.parametrize("multiplier", [2**30, 2**30 + 1, 1518500250, 2**31 - 1])
def test_every_accumulator_of_a_range(multiplier, shift):
    rule = requantizer([(multiplier, shift)], offset=3, bound=70_000)
    accumulators = np.arange(-70_000, 70_001, 1 if shift < -4 else 7, dtype=np.int32)[:, None]
    out = np.empty(accumulators.size, np.int64)
    fp.multiply_array(accumulators[:, 0].astype(np.int64), multiplier, shift, out)
    assert rule._proven
    assert np.array_equal(rule(accumulators)[:, 0], np.clip(out + 3, -128, 127))


def test_a_double_that_rounds_across_a_step_is_found_out():
    multiplier, shift, x = ROUNDED_WRONG
    rule = requantizer([(multiplier, shift)], bound=2**30)
    accumulators = np.arange(x - 2, x + 3, dtype=np.int32)[:, None]
    want = expected(rule, accumulators, [0])
    in_doubles = np.empty_like(want)
    rule._in_doubles(accumulators, np.zeros(1), in_doubles)
    assert not np.array_equal(in_doubles, want), "the case no longer shows the danger"
    assert not rule._proven_by_bits
    assert not rule._proven
    assert np.array_equal(rule(accumulators, total_rows=2**20), want)


def test_the_same_double_is_proven_where_the_bound_excludes_it():
    multiplier, shift, x = ROUNDED_WRONG
    rule = requantizer([(multiplier, shift)], bound=x - 1)
    assert rule._proven
    beside = requantizer([(multiplier, shift), (2**30, -3)], bound=2**30)
    assert not beside._proven, "one channel without proof decides for the tensor"


@given(MULTIPLIERS, st.integers(-31, -14), st.integers(1, 2**31))
def test_proven_by_bits_means_proven_by_thresholds(multiplier, shift, bound):
    """The two proofs agree where both apply: what bits prove, no threshold contradicts."""
    rule = requantizer([(multiplier, shift + 18)], bound=bound >> max(0, shift + 19))
    assert rule._proven_by_bits
    assert rule._proven


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"bound": 2**31 + 1}, "sums may overflow int32"),
        ({"shifts": (4,), "bound": 2**27}, "the left shift may overflow int32"),
        ({"wide": True, "bound": 2**47}, "TFLM's int64 rule ends at 2^47"),
        ({"wide": True, "shifts": (7,), "bound": 2**25}, "the result may be cut to int32"),
    ],
)
def test_no_proof_where_tflm_itself_overflows(changes, why):
    rule = dataclasses.replace(requantizer([(2**30, -9)]), **changes)
    assert not rule._proven_by_bits, why
    assert not rule._proven, why


def test_overflowing_sums_wrap():
    rule = requantizer([(2**30, -24)], bound=2**33)
    accumulators = np.array([[2**31], [2**31 - 1], [-(2**31) - 1], [2**32 + 5]], np.int64)
    bias = np.array([0])
    want = expected(rule, accumulators, bias)
    assert want[0] < 0 < want[1]
    assert np.array_equal(rule(accumulators, bias), want)


@pytest.mark.parametrize("columns", [1, 3, 127, 128, 200])
@pytest.mark.parametrize("rows", [1, 2, 129])
def test_short_rows_are_joined(columns, rows):
    rng = np.random.default_rng(0)
    pairs = [(int(m), -7) for m in rng.integers(2**30, 2**31, columns)]
    rule = requantizer(pairs, offset=-4)
    accumulators = rng.integers(-20_000, 20_000, (rows, columns)).astype(np.float32)
    bias = rng.integers(-500, 500, columns)
    assert np.array_equal(rule(accumulators, bias), expected(rule, accumulators, bias))


def test_broadcast_repeats_one_and_cuts_many():
    one = requantizer([(2**30, 1)]).broadcast(3)
    assert one.multipliers == (2**30,) * 3
    assert one.shifts == (1, 1, 1)
    assert requantizer([(2**30, 1), (2**30, 2)]).broadcast(1).shifts == (1,)


@pytest.mark.parametrize(("multiplier", "shift"), [(2**30, -3), (2**31 - 1, -6), (1518500250, -9)])
@pytest.mark.parametrize(("offset", "low"), [(-128, -128), (-100, -50)])
@pytest.mark.parametrize("bias", [0, 777, -12_345])
def test_one_sided_sums_equal_the_integer_rule(multiplier, shift, offset, low, bias):
    """Where negative sums are clamped away, bias, offset and the moved ties are one addend."""
    rule = requantizer([(multiplier, shift)], offset=offset, low=low, bound=2**17)
    biases = np.array([bias])
    assert rule._is_one_sided(biases)
    assert not dataclasses.replace(rule, output_offset=low + 1)._is_one_sided(biases)
    if multiplier != 2**30:
        assert not rule.within(2**27)._is_one_sided(biases), "a product may need over 53 bits"
    accumulators = np.arange(-(2**17) + 20_000, 2**17 - 20_000, 97)[:, None]
    assert np.array_equal(rule(accumulators, biases), expected(rule, accumulators, biases))
