"""Products of bytes on arrays that end where readable memory ends; a byte too far is the death of
this process. `test_guarded.py` runs it."""

import ctypes
import mmap
import os
import sys

import numpy as np

from refmicro import _int8_dots, _int8_gemm
from refmicro.ops import _convolution_bytes, _depthwise_bytes
from refmicro.ops._window import Axis, Window

_libc = ctypes.CDLL(None, use_errno=True)
_kept = []


def guarded(shape: tuple[int, ...], dtype: type = np.int8) -> np.ndarray:
    """Zeros, followed by a page that may not be touched."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    pages = -(-size // mmap.PAGESIZE) + 1
    memory = mmap.mmap(-1, pages * mmap.PAGESIZE)
    whole = np.frombuffer(memory, np.int8)
    last = whole.ctypes.data + (pages - 1) * mmap.PAGESIZE
    if _libc.mprotect(ctypes.c_void_p(last), mmap.PAGESIZE, 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    _kept.append(memory)
    end = (pages - 1) * mmap.PAGESIZE
    return whole[end - size : end].view(dtype).reshape(shape)


def rule(channels: int) -> _int8_gemm.Rescale:
    """Any."""
    return _int8_gemm.Rescale(
        np.full(channels, 2**30, np.int64), np.full(channels, -6, np.int64), 3, -128, 127
    )


def run(steps: list) -> None:
    """What a bound operator does, with weights, terms and scratch memory moved to guarded places;
    inputs and outputs are there already."""
    for function, arguments in steps:
        function(*(_moved(item) if isinstance(item, np.ndarray) else item for item in arguments))


def _moved(array: np.ndarray) -> np.ndarray:
    if any(_overlap(array, memory) for memory in _kept):
        return array
    copy = guarded(array.shape, array.dtype)
    copy[...] = array
    return copy


def _overlap(array: np.ndarray, memory: mmap.mmap) -> bool:
    start = np.frombuffer(memory, np.int8).ctypes.data
    return start <= array.ctypes.data < start + len(memory)


def main() -> int:
    """Shapes whose rows end within a vector."""
    for channels, side, taps, stride in [(1, 5, 3, 1), (3, 7, 3, 2), (17, 6, 2, 1), (5, 4, 5, 2)]:
        axis = Axis(side, -(-side // stride), taps, stride, 1, taps // 2)
        window = Window(axis, axis)
        images = guarded((2, side, side, channels))
        w = np.ones((taps * taps * channels, 21), np.int64)
        filters = _convolution_bytes.pack(w, np.zeros(21, np.int64), rule(21), window, 0)
        run(_convolution_bytes.steps(images, filters, guarded((2 * window.pixels, 21))))
        w, bias = np.ones((taps * taps, channels), np.int64), np.zeros(channels, np.int64)
        packed = _depthwise_bytes.pack(w, bias, rule(channels), window, 0)
        run(_depthwise_bytes.steps(images, packed, guarded((2 * window.pixels, channels))))
    for rows, depth, channels in [(1, 4, 1), (13, 8, 70), (40, 12, 33)]:
        packed = _int8_gemm.pack(np.ones((depth, channels)), np.zeros(channels), rule(channels))
        out = guarded((rows, channels))
        run([_int8_gemm.product_step(guarded((rows, depth)), packed, out)])
    out = guarded((3, 17))
    run([_int8_dots.step(guarded((3, 17, 16)), guarded((3, 16)), (1, 2), 3, rule(1), out)])
    if "--too-far" in sys.argv:
        np.ctypeslib.as_array((ctypes.c_int8 * 64).from_address(out.ctypes.data + out.size)).sum()
    return 0


if __name__ == "__main__":
    # Memory with forbidden pages is not for the interpreter's last breath.
    os._exit(main())
