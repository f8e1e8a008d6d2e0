"""Plain frozen values that every layer shares: data types, quantization, tensors, TFLM builds."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


class DType(enum.Enum):
    """Element types of a TFLite tensor; the value is the code in the schema's `TensorType`."""

    FLOAT32 = 0
    FLOAT16 = 1
    INT32 = 2
    UINT8 = 3
    INT64 = 4
    STRING = 5
    BOOL = 6
    INT16 = 7
    COMPLEX64 = 8
    INT8 = 9
    FLOAT64 = 10
    COMPLEX128 = 11
    UINT64 = 12
    RESOURCE = 13
    VARIANT = 14
    UINT32 = 15
    UINT16 = 16
    INT4 = 17
    BFLOAT16 = 18

    @property
    def itemsize_bytes(self) -> int | None:
        """Bytes that TFLM counts for one element, None where it knows none.

        Source: `TfLiteTypeSizeOf` in `tensorflow/lite/micro/memory_helpers.cc`; INT4 counts a whole
        byte there, although the file stores two values in one.
        """
        return _ITEMSIZE_BYTES.get(self)

    @property
    def numpy(self) -> np.dtype:
        """The NumPy type that holds one element (INT4 is held in int8, BFLOAT16 in its bits).

        Raises:
            KeyError: for types that no kernel computes with (STRING, VARIANT, ...).
        """
        return _NUMPY[self]

    def __init__(self, code: int) -> None:
        # Messages are put together for every check that passes, so the text is made once.
        self._text = self._name_.lower()

    def __str__(self) -> str:
        return self._text

    def __format__(self, spec: str) -> str:
        return format(self._text, spec)


_ITEMSIZE_BYTES = {
    DType.FLOAT32: 4,
    DType.FLOAT16: 2,
    DType.INT32: 4,
    DType.UINT8: 1,
    DType.INT64: 8,
    DType.BOOL: 1,
    DType.INT16: 2,
    DType.COMPLEX64: 8,
    DType.INT8: 1,
    DType.FLOAT64: 8,
    DType.COMPLEX128: 16,
    DType.UINT64: 8,
    DType.RESOURCE: 4,
    DType.UINT32: 4,
    DType.UINT16: 2,
    DType.INT4: 1,
    DType.BFLOAT16: 2,
}

_NUMPY = {
    DType.FLOAT32: np.dtype(np.float32),
    DType.FLOAT16: np.dtype(np.float16),
    DType.INT32: np.dtype(np.int32),
    DType.UINT8: np.dtype(np.uint8),
    DType.INT64: np.dtype(np.int64),
    DType.BOOL: np.dtype(np.bool_),
    DType.INT16: np.dtype(np.int16),
    DType.COMPLEX64: np.dtype(np.complex64),
    DType.INT8: np.dtype(np.int8),
    DType.FLOAT64: np.dtype(np.float64),
    DType.COMPLEX128: np.dtype(np.complex128),
    DType.UINT64: np.dtype(np.uint64),
    DType.RESOURCE: np.dtype(np.int32),
    DType.UINT32: np.dtype(np.uint32),
    DType.UINT16: np.dtype(np.uint16),
    DType.INT4: np.dtype(np.int8),
    DType.BFLOAT16: np.dtype(np.uint16),
}

INTEGER_LIMITS = {
    DType.INT8: (-128, 127),
    DType.UINT8: (0, 255),
    DType.INT16: (-32768, 32767),
    DType.INT32: (-(2**31), 2**31 - 1),
    DType.INT4: (-8, 7),
}


@dataclass(frozen=True)
class Quantization:
    """Affine quantization: real = scale * (q - zero_point).

    Attributes:
        scale: float32 values as Python floats; one, or one a channel.
        zero_point: as many as scales, or one for all.
        quantized_dimension: the axis of the channels.
        min, max: ranges some converters leave in the file; TFLM ignores them.
    """

    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    quantized_dimension: int = 0
    min: tuple[float, ...] = ()
    max: tuple[float, ...] = ()

    @property
    def is_affine(self) -> bool:
        """Whether TFLM builds a `TfLiteAffineQuantization`: it wants both scale and zero point.

        Source: `InitializeTfLiteTensorFromFlatbuffer` in
        `tensorflow/lite/micro/micro_allocator.cc`.
        """
        return bool(self.scale) and bool(self.zero_point)


NO_QUANTIZATION = Quantization()


@dataclass(frozen=True)
class Tensor:
    """One tensor of a subgraph, as the file describes it.

    Attributes:
        name: as in the file, may be empty or repeated.
        dtype: element type.
        shape: dimensions; empty for a scalar.
        quantization: see `Quantization`.
        data: the constant's bytes, None for a tensor that the graph computes.
        is_variable: TFLM keeps it in the tail and resets it to its zero point.
        shape_signature: as in the file, only carried.
        has_shape: False where the file leaves the shape out (a scalar).
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    quantization: Quantization = NO_QUANTIZATION
    data: bytes | memoryview | None = field(default=None, repr=False)
    is_variable: bool = False
    shape_signature: tuple[int, ...] = ()
    has_shape: bool = True

    @cached_property
    def elements(self) -> int:
        """Number of elements, 1 for a scalar."""
        return math.prod(self.shape)

    @cached_property
    def nbytes(self) -> int:
        """Bytes as TFLM counts them (`BytesRequiredForTensor`)."""
        return self.elements * (self.dtype.itemsize_bytes or 0)

    @property
    def is_constant(self) -> bool:
        """Whether the file holds this tensor's values."""
        return self.data is not None

    @property
    def scale(self) -> float:
        """`params.scale` of TFLM: the first scale as a float32 value, 0.0 when not quantized."""
        return self.quantization.scale[0] if self.quantization.is_affine else 0.0

    @property
    def zero_point(self) -> int:
        """`params.zero_point` of TFLM: the first zero point, 0 when not quantized."""
        return self.quantization.zero_point[0] if self.quantization.is_affine else 0

    def array(self) -> np.ndarray:
        """The constant's values, read only, of the tensor's shape; INT4 is unpacked to int8.

        Raises:
            ValueError: if the tensor is no constant or its data has the wrong size.
        """
        if self.data is None:
            raise ValueError(f"tensor '{self.name}' has no data")
        if self.dtype is DType.INT4:
            return _unpack_int4(self.data, self.elements).reshape(self.shape)
        return np.frombuffer(self.data, self.dtype.numpy, self.elements).reshape(self.shape)


def _unpack_int4(data: bytes | memoryview, count: int) -> np.ndarray:
    """Two values a byte, low nibble first, sign-extended (`UnpackDenseInt4IntoInt8`)."""
    packed = np.frombuffer(data, np.int8, (count + 1) // 2)
    values = np.empty(packed.size * 2, np.int8)
    values[0::2] = np.left_shift(packed, 4) >> 4
    values[1::2] = packed >> 4
    values = values[:count]
    values.flags.writeable = False
    return values


class Abi(enum.Enum):
    """Which C++ ABI lays out TFLM's own structs."""

    ILP32 = "ilp32"
    """32-bit Arm bare metal: 4-byte pointers, short enums."""
    LP64 = "lp64"
    """64-bit Linux, the ABI of the pinned wheel."""


@dataclass(frozen=True)
class TflmBuild:
    """Everything about how TFLM was built that changes bytes or bits.

    Attributes:
        abi: struct layout.
        compression: built with USE_TFLM_COMPRESSION (the wheel is, a firmware usually not).
        kernels: `reference` or `cmsis-nn`.
        recording: the recording allocator and interpreter are used.
    """

    abi: Abi = Abi.ILP32
    compression: bool = False
    kernels: str = "reference"
    recording: bool = False

    @staticmethod
    def firmware(*, kernels: str = "reference", recording: bool = False) -> TflmBuild:
        """A Cortex-M firmware."""
        return TflmBuild(Abi.ILP32, False, kernels, recording)

    @staticmethod
    def wheel(*, recording: bool = False) -> TflmBuild:
        """The pinned `tflite-micro` wheel on 64-bit Linux."""
        return TflmBuild(Abi.LP64, True, "reference", recording)


TFLM_WHEEL = "0.dev20261023182759"
"""Version of the `tflite-micro` wheel that every number here is proven against."""

TFLM_REVISION = "90b983c2b3f1480642e040bbd2ddb37b998f3424"
"""Revision of tflite-micro whose source was read; the wheel is two months younger and agrees."""
