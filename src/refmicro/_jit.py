"""The only numba import: `@jit` compiles a kernel at its first call, not at import.

`refmicro estimate` never runs a kernel and so never pays for numba. The environment variable
`REFMICRO_JIT` chooses how kernels run: `on` (default), `off` (plain Python) or `boundscheck`.
Compiled code is cached on disk under a digest of every source that can take part in a kernel,
because numba alone does not notice an edit in a helper of another file.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODES = ("on", "off", "boundscheck")


@functools.cache
def mode() -> str:
    """How kernels run in this process: one of `MODES`.

    Raises:
        ValueError: if `REFMICRO_JIT` holds something else.
    """
    value = os.environ.get("REFMICRO_JIT", "on")
    if value not in MODES:
        raise ValueError(f"REFMICRO_JIT must be one of {', '.join(MODES)}: {value}")
    return value


def source_digest() -> str:
    """SHA-256 over the sources that kernels are made of and the mode: the cache folder's key."""
    root = Path(__file__).parent
    digest = hashlib.sha256(mode().encode())
    names = (
        "_jit.py",
        "_vector_code.py",
        "_int8_gemm.py",
        "_int8_dots.py",
        "_gemm.py",
        "fixedpoint.py",
        "transform/_packing.py",
    )
    own = [root / name for name in names]
    for path in sorted([*own, *root.glob("ops/*.py")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _numba() -> Any:
    import numba
    from platformdirs import user_cache_dir

    folder = Path(user_cache_dir("refmicro", appauthor=False)) / "jit" / source_digest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        numba.config.CACHE_DIR = str(folder)
    except OSError:
        # A read-only home: kernels are then compiled anew in each process.
        numba.config.CACHE_DIR = ""
    _use_wide_vectors(numba)
    return numba


def _use_wide_vectors(numba: Any) -> None:
    """Let loops fill 512-bit registers where there are any; LLVM prefers halves by default."""
    import llvmlite.binding

    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f") and numba.config.CPU_FEATURES is None:
        numba.config.CPU_NAME = numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name()
        numba.config.CPU_FEATURES = f"{features.flatten()},-prefer-256-bit"


@functools.cache
def has_vectors(*more: str) -> bool:
    """Whether kernels may use the instructions of `_vector_code`: the processor has AVX-512 for
    bytes too and what else is named, numba generates code for it, and neither Python nor bounds
    checks are asked for."""
    if mode() != "on":
        return False
    features = (_numba().config.CPU_FEATURES or "").split(",")
    return all(f"+{name}" in features for name in ("avx512bw", "avx512vl", *more))


def has_byte_products() -> bool:
    """Whether there is VNNI."""
    return has_vectors("avx512vnni")


def has_byte_tables() -> bool:
    """Whether there is VBMI: look-ups in tables of 256 bytes."""
    return has_vectors("avx512vbmi")


class Intrinsic:
    """Vector instructions, put into the kernels that name it; there is no plain Python for it.

    Args:
        emit: called with an LLVM builder and int64 values.
        count: how many values kernels give.
    """

    def __init__(self, emit: Callable, count: int) -> None:
        self._emit = emit
        self._count = count

    def compiled(self) -> Callable:
        """What numba calls: it takes int64 and returns nothing."""
        _numba()
        from numba.core import types as numba_types
        from numba.extending import intrinsic

        def declare(context: Any, *args: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                self._emit(builder, *values)
                return context.get_dummy_value()

            return numba_types.void(*[numba_types.int64] * len(args)), generate

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        names = ["context", *(f"value_{i}" for i in range(self._count))]
        declare.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])
        return intrinsic(declare)


class Kernel:
    """A function that is compiled when first called; calls in plain Python mode go straight on."""

    def __init__(self, function: Callable, *, inline: bool = False) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._inline = inline
        self._call: Callable | None = None

    @property
    def python(self) -> Callable:
        """The plain Python function."""
        return self._function

    def compiled(self) -> Callable:
        """numba's dispatcher of this kernel, with every kernel it uses compiled likewise."""
        numba = _numba()
        source = self._function
        scope = {
            name: _compile_once(value) if isinstance(value, Kernel | Intrinsic) else value
            for name, value in source.__globals__.items()
            if name in source.__code__.co_names or name == "__name__"
        }
        clone = types.FunctionType(
            source.__code__, scope, source.__name__, source.__defaults__, source.__closure__
        )
        clone.__kwdefaults__ = source.__kwdefaults__
        clone.__module__, clone.__qualname__ = source.__module__, source.__qualname__
        return numba.njit(
            cache=bool(numba.config.CACHE_DIR),
            boundscheck=mode() == "boundscheck",
            inline="always" if self._inline else "never",
            error_model="numpy",
            nogil=True,
        )(clone)

    @property
    def ready(self) -> Callable:
        """What a call leads to, without the step in between."""
        if self._call is None:
            self._call = self._function if mode() == "off" else _compile_once(self)
        return self._call

    def __call__(self, *args: Any) -> Any:
        if self._call is None:
            self._call = self.ready
        return self._call(*args)


@functools.cache
def _compile_once(kernel: Kernel | Intrinsic) -> Callable:
    return kernel.compiled()


def jit(function: Callable | None = None, *, inline: bool = False) -> Any:
    """Mark a kernel for compilation at its first call.

    Kernels keep integers in int64 and narrow explicitly when they store: numba and Python then
    agree on every value.
    """
    if function is None:
        return functools.partial(jit, inline=inline)
    return Kernel(function, inline=inline)
