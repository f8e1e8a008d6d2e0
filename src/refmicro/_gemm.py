"""The one exact integer matrix product, through floating-point BLAS.

A sum of integers is exact in float32 while no partial sum passes 2^24, in float64 up to 2^53. The
caller states a bound on the sum of magnitudes, which bounds every partial sum in any order, so that
BLAS may reorder as it likes. A property test holds the result against Python integers.
"""

from __future__ import annotations

import numpy as np

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
