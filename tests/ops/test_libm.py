"""The C library's float functions against the C library of this machine."""

import ctypes
import ctypes.util
import platform

import numpy as np
import pytest

from refmicro.ops import _libm
from tests.ops.elementwise import OLD_GLIBC, floats

glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc",
    reason="another C library rounds last bits its own way; Linux with glibc makes it run",
)


def from_library(name: str, x: np.ndarray) -> np.ndarray:
    """The library's function, element by element."""
    function = getattr(ctypes.CDLL(ctypes.util.find_library("m")), name)
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    return np.array([function(float(value)) for value in x], np.float32)


def arguments(low: float, high: float) -> np.ndarray:
    """Values in a range, values of any magnitude, special values."""
    rng = np.random.default_rng(0)
    inside = rng.uniform(low, high, 8000)
    anywhere = rng.integers(0, 2**32, 4000, dtype=np.uint32).view(np.float32)
    return np.concatenate([inside.astype(np.float32), anywhere, floats(500)])


def check(name: str, x: np.ndarray) -> None:
    mine, want = getattr(_libm, name)(x), from_library(name, x)
    assert mine.dtype == np.float32
    same = (mine.view(np.uint32) == want.view(np.uint32)) | (np.isnan(mine) & np.isnan(want))
    assert same.all(), (name, x[~same][:3], mine[~same][:3], want[~same][:3])


@glibc
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("expf", -20, 20),
        ("expf", -104, -86),
        ("expf", 87, 89),
        ("logf", 0, 2),
        ("logf", 0, 1e-38),
        ("logf", 0, 1e6),
        ("sinf", -130, 130),
        ("sinf", -1e6, 1e6),
        ("cosf", -130, 130),
        ("cosf", -1e6, 1e6),
    ],
)
def test_functions_in_double(name, low, high):
    check(name, arguments(low, high))


@OLD_GLIBC
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("expm1f", -20, 20),
        ("expm1f", -1, 1),
        ("expm1f", 87, 89),
        ("tanhf", -1.5, 1.5),
        ("tanhf", -25, 25),
    ],
)
def test_functions_in_float32(name, low, high):
    check(name, arguments(low, high))


@OLD_GLIBC
def test_borders_of_expm1f_and_tanhf():
    borders = np.float32(
        [-27 * np.log(2), 0.5 * np.log(2), 1.5 * np.log(2), 88.7216, 88.7228, 1, 22]
    )
    around = [borders]
    for _ in range(3):
        around += [np.nextafter(around[-1], np.float32(np.inf))]
        around += [np.nextafter(borders, np.float32(-np.inf)), -around[-1]]
    x = np.concatenate(around).astype(np.float32)
    check("expm1f", x)
    check("tanhf", x)


@pytest.mark.parametrize("name", ["expf", "expm1f", "tanhf", "logf", "sinf", "cosf"])
def test_within_two_units_of_the_real_value(name):
    """On any machine: no step of the algorithms is grossly wrong."""
    x = np.random.default_rng(1).uniform(0.01, 9, 5000).astype(np.float32)
    exact = getattr(np, name[:-1])(x.astype(np.float64))
    unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    assert (np.abs(getattr(_libm, name)(x) - exact) <= 2 * unit).all()
