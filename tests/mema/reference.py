"""What a kernel must compute, from `refmicro.fixedpoint` alone, and kernels compiled here."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from refmicro.fixedpoint import (
    multiply_by_quantized_multiplier,
    multiply_int64_by_quantized_multiplier,
)
from refmicro.mema.kernel import Kernel, Requantization, header
from refmicro.mema.problem import Convolution, Matmul

FLAGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1")

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc on the PATH")


def product(
    rows: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    multipliers: list[int],
    shifts: list[int],
    used: Requantization,
) -> np.ndarray:
    """Outputs (N, M) of rows (N, K) and weights (M, K), in TFLM's integers."""
    sums = (rows.astype(np.int64) - used.input_zero_point) @ weights.astype(np.int64).T
    if bias is not None:
        sums = sums + bias
    if not used.wide:
        sums = ((sums + 2**31) & (2**32 - 1)) - 2**31
    rule = multiply_int64_by_quantized_multiplier if used.wide else multiply_by_quantized_multiplier
    out = [
        [
            min(max(rule(int(x), m, s) + used.output_offset, used.low), used.high)
            for x, m, s in zip(row, multipliers, shifts, strict=True)
        ]
        for row in sums
    ]
    return np.array(out, rows.dtype)


def patches(image: np.ndarray, problem: Convolution, fill: int) -> np.ndarray:
    """Rows (N, taps * depth) that the output pixels see."""
    p = problem
    rows = np.full((*image.shape[:1], p.output_height, p.output_width, p.taps, p.input_depth), fill)
    for y in range(p.output_height):
        for x in range(p.output_width):
            for tap in range(p.taps):
                i, j = divmod(tap, p.filter_width)
                row = y * p.stride_height + i * p.dilation_height - p.pad_height
                column = x * p.stride_width + j * p.dilation_width - p.pad_width
                if 0 <= row < p.input_height and 0 <= column < p.input_width:
                    rows[:, y, x, tap] = image[:, row, column]
    return rows.reshape(-1, p.taps * p.input_depth).astype(image.dtype)


def compile_host(
    kernels: Sequence[Kernel], folder: Path, extra: tuple[str, ...] = ()
) -> ctypes.CDLL:
    """Kernels as one shared library of this machine."""
    text = header() + "".join(f"\n{kernel.prototype};\n\n{kernel.text}" for kernel in kernels)
    stem = folder / hashlib.sha256(repr((text, extra)).encode()).hexdigest()[:16]
    source, library = stem.with_suffix(".c"), stem.with_suffix(".so")
    source.write_text(text)
    command = ["gcc", *FLAGS, *extra, "-shared", "-fPIC", str(source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


class Weights(ctypes.Structure):
    """`struct mema_weights`."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("filter", "bias", "multiplier", "shift")]


def call(
    library: ctypes.CDLL,
    kernel: Kernel,
    packed: Mapping[str, np.ndarray],
    values: np.ndarray,
    outputs: int,
) -> np.ndarray:
    """Outputs of one call, flat; memory beyond them must stay as it is."""
    guard = 16
    out = np.full(outputs + guard, 77, values.dtype)
    values = np.ascontiguousarray(values)
    kept = {name: np.ascontiguousarray(array) for name, array in packed.items()}
    weights = Weights(**{name: array.ctypes.data for name, array in kept.items()})
    function = getattr(library, kernel.name)
    function.restype = None
    function(
        ctypes.c_void_p(values.ctypes.data), ctypes.byref(weights), ctypes.c_void_p(out.ctypes.data)
    )
    assert (out[outputs:] == 77).all()
    return out[:outputs]


def random_case(
    problem: Matmul | Convolution, used: Requantization, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, list[int], list[int]]:
    """(input, filter, bias, multipliers, shifts) of a problem, in the model's own shapes."""
    matmul = problem.matmul if isinstance(problem, Convolution) else problem
    random = np.random.default_rng(seed)
    dtype = np.int8 if matmul.input_bits == 8 else np.int16
    info = np.iinfo(dtype)
    shape: tuple[int, ...] = (matmul.rows, matmul.accum_depth)
    filter_shape: tuple[int, ...] = (matmul.output_depth, matmul.accum_depth)
    if isinstance(problem, Convolution):
        shape = (problem.images, problem.input_height, problem.input_width, problem.input_depth)
        filter_shape = (
            problem.output_depth,
            problem.filter_height,
            problem.filter_width,
            problem.input_depth,
        )
    values = random.integers(info.min, info.max, shape, dtype, endpoint=True)
    weights = random.integers(-127, 127, filter_shape, np.int8, endpoint=True)
    bias = random.integers(-(1 << 16), 1 << 16, matmul.output_depth) if matmul.bias else None
    count = matmul.output_depth
    if used.constant is not None:
        return values, weights, bias, [used.constant[0]] * count, [used.constant[1]] * count
    highest = 3 if used.left_shifts else -1 if used.wide else 0
    if matmul.input_bits == 8:
        shifts = random.integers(-12, highest, count, endpoint=True)
    else:
        shifts = random.integers(-20, highest, count, endpoint=True)
    multipliers = random.integers(1 << 30, 1 << 31, count)
    if not matmul.per_channel:
        shifts[:], multipliers[:] = shifts[0], multipliers[0]
    return values, weights, bias, multipliers.tolist(), shifts.tolist()
