"""Matrix products: the exact integer one, through floating-point BLAS, and TFLM's float32 one.

A sum of integers is exact in float32 while no partial sum passes 2^24, in float64 up to 2^53. The
caller states a bound on the sum of magnitudes, which bounds every partial sum in any order, so that
BLAS may reorder as it likes. A property test holds the result against Python integers.

float32 sums are rounded at each step, so their order is part of the result: `float_matmul` keeps
the order of TFLM's loops.
"""

from __future__ import annotations

import numpy as np

from refmicro._jit import jit

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53


def accumulator_dtype(bound: int) -> np.dtype:
    """The narrowest float type in which sums of magnitude up to `bound` are exact.

    Raises:
        OverflowError: if not even float64 is enough.
    """
    if bound <= FLOAT32_EXACT:
        return np.dtype(np.float32)
    if bound <= FLOAT64_EXACT:
        return np.dtype(np.float64)
    raise OverflowError(f"sums up to {bound} are not exact in float64")


def matmul(a: np.ndarray, b: np.ndarray, bound: int) -> np.ndarray:
    """The exact product of integer-valued matrices, as an array of float32 or float64.

    Args:
        a: shape (..., M, K), any type that holds integers.
        b: shape (..., K, N).
        bound: at least the largest sum over k of |a[m, k]| * |b[k, n]|, bias not included.

    Returns:
        Integer values in `accumulator_dtype(bound)`, shape (..., M, N).
    """
    dtype = accumulator_dtype(bound)
    return np.matmul(a.astype(dtype, copy=False), b.astype(dtype, copy=False))


@jit
def row_times(x, weights, sums):
    """Sums of one row's products with each column of `weights`, of shape (depth, columns) in a
    type that holds them; four rows of weights at once, so that sums are seldom in memory."""
    depth, columns = weights.shape
    for i in range(columns):
        sums[i] = 0
    kind = weights.dtype.type
    last = depth - depth % 4
    for k in range(0, last, 4):
        first, second, third, fourth = kind(x[k]), kind(x[k + 1]), kind(x[k + 2]), kind(x[k + 3])
        a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        for i in range(columns):
            sums[i] += first * a[i] + second * b[i] + third * c[i] + fourth * d[i]
    for k in range(last, depth):
        value, a = kind(x[k]), weights[k]
        for i in range(columns):
            sums[i] += value * a[i]


def int8_products(a: np.ndarray, b: np.ndarray, a_offset: int, b_offset: int) -> np.ndarray:
    """Sums of (a + a_offset) * (b + b_offset) over many small matrices, without BLAS.

    Args:
        a: int8 of shape (B or 1, M, K), K below 2^15.
        b: int8 of shape (B or 1, N, K): both are walked through along K.
        a_offset, b_offset: int8 zero points, negated.

    Returns:
        int32 of shape (B, M, N).
    """
    batch = max(a.shape[0], b.shape[0])
    out = np.empty((batch, a.shape[1], b.shape[1]), np.int32)
    shifted = np.ascontiguousarray(b, np.int16) + np.int16(b_offset)
    _int8_products(np.ascontiguousarray(a), shifted, a_offset, out)
    return out


@jit
def _int8_products(a, b, a_offset, out):
    """The offset of `a` is added by sums of `b`, so that the inner loop takes bytes as they are.

    Every step is cut to int32, so that the compiled sum has 32 bits as well.
    """
    unsigned = np.uint64
    left, right, sums = a.reshape(-1), b.reshape(-1), out.reshape(-1)
    rows, columns, depth = out.shape[1], out.shape[2], a.shape[2]
    for n in range(out.shape[0]):
        first = n % a.shape[0] * rows * depth
        for column in range(columns):
            y = (n % b.shape[0] * columns + column) * depth
            weights = np.int32(0)
            for k in range(depth):
                weights = np.int32(weights + np.int32(right[unsigned(y + k)]))
            constant = weights * a_offset
            for row in range(rows):
                x = first + row * depth
                total = np.int32(0)
                for k in range(depth):
                    value = np.int32(left[unsigned(x + k)])
                    product = np.int32(value * np.int32(right[unsigned(y + k)]))
                    total = np.int32(total + product)
                sums[unsigned((n * rows + row) * columns + column)] = total + constant


def float_matmul(
    a: np.ndarray,
    b: np.ndarray,
    bias: np.ndarray,
    limits: tuple[np.float32, np.float32],
) -> np.ndarray:
    """A float32 product, summed in the order of k, then bias, then clamped, each step rounded.

    Args:
        a: float32 of shape (B or 1, M, K).
        b: float32 of shape (B or 1, K, N).
        bias: float32 of shape (B or 1, N).
        limits: smallest and largest output; a NaN passes through, its bits are not promised.

    Returns:
        float32 of shape (B, M, N).
    """
    batch = max(a.shape[0], b.shape[0], bias.shape[0])
    out = np.zeros((batch, a.shape[1], b.shape[2]), np.float32)
    left, right = np.ascontiguousarray(a), np.ascontiguousarray(b)
    _float_matmul(left, right, np.ascontiguousarray(bias), *limits, out)
    return out


@jit
def add_products(out, o, values, v, weights, w, stride, depth, width):
    """out[o + i] += values[v + k] * weights[w + k * stride + i], k after k, each step rounded.

    All arrays are flat. Four k are taken in one pass, so that sums are loaded and stored less
    often; the order of additions to one sum stays. Indices are unsigned, because a signed one
    could count from the end, which would keep the inner loop from being vectorised.
    """
    unsigned = np.uint64
    whole = depth - depth % 4
    for k in range(0, whole, 4):
        a, b = values[unsigned(v + k)], values[unsigned(v + k + 1)]
        c, d = values[unsigned(v + k + 2)], values[unsigned(v + k + 3)]
        first = w + k * stride
        second, third, fourth = first + stride, first + 2 * stride, first + 3 * stride
        for i in range(width):
            total = out[unsigned(o + i)]
            total += a * weights[unsigned(first + i)]
            total += b * weights[unsigned(second + i)]
            total += c * weights[unsigned(third + i)]
            total += d * weights[unsigned(fourth + i)]
            out[unsigned(o + i)] = total
    for k in range(whole, depth):
        a, first = values[unsigned(v + k)], w + k * stride
        for i in range(width):
            out[unsigned(o + i)] += a * weights[unsigned(first + i)]


@jit
def add_bias_and_clamp(sums, bias, low, high):
    """The end of TFLM's float kernels, in place; a NaN passes through."""
    for i in range(sums.size):
        value = sums[i] + bias[i]
        value = low if value < low else value
        sums[i] = high if high < value else value


@jit
def _float_matmul(a, b, bias, low, high, out):
    rows, columns, depth = out.shape[1], out.shape[2], b.shape[1]
    flat, left, right = out.reshape(-1), a.reshape(-1), b.reshape(-1)
    for n in range(out.shape[0]):
        offsets = bias[n % bias.shape[0]]
        matrix = n % b.shape[0] * depth * columns
        for row in range(rows):
            start = (n * rows + row) * columns
            values = (n % a.shape[0] * rows + row) * depth
            add_products(flat, start, left, values, right, matrix, columns, depth, columns)
            add_bias_and_clamp(out[n, row], offsets, low, high)
