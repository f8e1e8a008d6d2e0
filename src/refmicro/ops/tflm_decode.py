"""TFLM_DECODE, a custom operator: constants from a compressed form.

Inputs are pairs of constants, codes and ancillary data, one pair for each output. Ancillary data
starts with 16 bytes: 0 the method, 1 and 4 version 1, 5 and 6 by method; the rest is a table.

- Look-up (0): codes of `byte 5 & 7` bits, first bit highest, index a table of output values; each
  channel has one of its own, `byte 6` values after the one before.
- Huffman (1): codewords in 32-bit words, first bit highest. They are looked up `(byte 5 >> 4) + 1`
  bits at a time in tables of 16-bit entries, or 32-bit ones where byte 5 is odd: found (1 bit),
  count (4 bits), value. An entry that is not a symbol leads on to `count + 1` more bits at `value`
  entries further; a symbol has used up `count` of the last bits.
- Prune (2): a bit for each value, first bit highest; where it is 0 the value is the zero point of
  its channel, where it is 1 it is the next of the table.

Channels are those of the output's scales, on its first axis, or on its last.

Shapes: any; the output says how many values there are.
Quantization: look-up and prune: bool, int8, int16, int32, int64, float32; prune with zero points in
int8 alone. Huffman: int8, and int16 with 32-bit entries.
Persistent: a pointer for each output, then each output's state: 72, 56 or 80 bytes (32-bit: 36, 28,
40) by method, and a byte a channel for prune with more than one channel and a zero point not 0.
Differs: codes and tables that end too early, look-up codes of 0 bits, and channels that do not
divide the values are refused, before or during the run; TFLM would read outside the constants or
leave values out. Methods from 127 on are the program's own in TFLM, and refused. Where the arena
is largest in this operator's Prepare, up to 48 bytes less than told may be enough: there TFLM lets
the state grow over bytes of a temporary that nobody reads again.
Source: `tensorflow/lite/micro/kernels/decode.cc`, `decode_state{,_lut,_huffman,_prune}.cc` beside
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refmicro._jit import jit
from refmicro.errors import InvalidModelError
from refmicro.ops._spec import EvalContext, OpSpec, PrepareContext
from refmicro.types import Abi, DType, Tensor

_LOOKUP, _HUFFMAN, _PRUNE = range(3)

_STATE_BYTES = {_LOOKUP: (72, 36), _HUFFMAN: (56, 28), _PRUNE: (80, 40)}
"""`sizeof` the decoder's state with 64-bit and with 32-bit pointers."""

_HEAD_BYTES = 16

_TYPES = (DType.BOOL, DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32)

_NOT_ENOUGH = "TFLM_DECODE: codes and tables must hold every value of the output"
_HINT = "the compressed constant is damaged; compress the model again"


@dataclass(frozen=True, eq=False)
class Decoded:
    """One output; `points` are the zero points that pruned values have, one a channel or one."""

    method: int
    codes: bytes
    ancillary: bytes
    output: Tensor
    channels: int
    last_axis: bool
    points: tuple[int, ...]

    @cached_property
    def values(self) -> np.ndarray:
        """The output, with a batch axis of 1.

        Raises:
            InvalidModelError: codes or tables end too early.
        """
        decode = {_LOOKUP: self._looked_up, _HUFFMAN: self._huffman, _PRUNE: self._pruned}
        values = decode[self.method]()
        return values.view(self.output.dtype.numpy).reshape(1, *self.output.shape)

    @property
    def _raw(self) -> np.dtype:
        """The output's type; bools are bytes of any value."""
        dtype = self.output.dtype.numpy
        return np.dtype(np.uint8) if dtype == np.bool_ else dtype

    @property
    def _channel(self) -> np.ndarray:
        """Each value's channel."""
        index = np.arange(self.output.elements)
        if self.last_axis:
            return index % self.channels
        return index // max(1, self.output.elements // self.channels)

    def _table(self, dtype: np.dtype) -> np.ndarray:
        size = (len(self.ancillary) - _HEAD_BYTES) // dtype.itemsize
        return np.frombuffer(self.ancillary, dtype, size, _HEAD_BYTES)

    def _bits(self, width: int) -> np.ndarray:
        """The first bits of the codes, `width` for each value."""
        bits = np.unpackbits(np.frombuffer(self.codes, np.uint8))
        return bits[: self.output.elements * width].reshape(-1, width)

    def _looked_up(self) -> np.ndarray:
        width, stride = self.ancillary[5] & 7, self.ancillary[6]
        codes = self._bits(width) @ (1 << np.arange(width)[::-1])
        where = codes + self._channel * stride
        table = self._table(self._raw)
        _require(where.max(initial=-1) < table.size)
        return table[where]

    def _pruned(self) -> np.ndarray:
        kept = self._bits(1).reshape(-1).astype(np.bool_)
        table = self._table(self._raw)
        _require(int(kept.sum()) <= table.size)
        points = np.array(self.points).astype(np.int8)
        out = (points[self._channel] if points.size > 1 else np.repeat(points, kept.size)).astype(
            table.dtype
        )
        out[kept] = table[: int(kept.sum())]
        return out

    def _huffman(self) -> np.ndarray:
        sizes = self.ancillary[5]
        wide = bool(sizes & 1)
        table = self._table(np.dtype(np.uint32 if wide else np.uint16)).astype(np.int64)
        out = np.zeros(self.output.elements, np.int64)
        bits = np.unpackbits(np.frombuffer(self.codes, np.uint8)).astype(np.int64)
        count_shift = 27 if wide else 11
        _require(_decode_huffman(bits, table, (sizes >> 4) + 1, count_shift, out))
        return out.astype(self.output.dtype.numpy)


def _require(enough: bool) -> None:
    if not enough:
        raise InvalidModelError(_NOT_ENOUGH, hint=_HINT)


@jit
def _decode_huffman(bits, table, first_bits, count_shift, out):
    """Symbols, not yet cut to the output's type; whether codes and tables were long enough."""
    found, position = 1 << (count_shift + 4), 0
    for i in range(out.size):
        count, where = first_bits, 0
        while True:
            index = 0
            for k in range(position, position + count):
                # The last symbol may be looked up with more bits than it has.
                index = 2 * index + (bits[k] if k < bits.size else 0)
            position += count
            where += index
            if where >= table.size or position - count > bits.size:
                return False
            entry = table[where]
            used = (entry >> count_shift) & 15
            if entry & found:
                break
            where += entry & ((1 << count_shift) - 1)
            count = used + 1
        out[i] = entry
        position -= max(0, count - used)
        if position > bits.size:
            return False
    return True


def prepare(ctx: PrepareContext) -> tuple[Decoded, ...]:
    """Check constants, their heads and what each method asks of its output."""
    inputs, outputs = len(ctx.node.inputs), len(ctx.node.outputs)
    ctx.require(outputs > 0, "must have an output", outputs)
    ctx.require(inputs == 2 * outputs, "must have 2 inputs for each output", inputs)
    is_lp64 = ctx.build.abi is Abi.LP64
    ctx.persistent(outputs * (8 if is_lp64 else 4))
    return tuple(_prepare_one(ctx, index, is_lp64) for index in range(outputs))


def _prepare_one(ctx: PrepareContext, index: int, is_lp64: bool) -> Decoded:
    codes, ancillary = ctx.input(2 * index), ctx.input(2 * index + 1)
    output = ctx.output(index)
    for what, tensor in (("codes", codes), ("ancillary data", ancillary)):
        ctx.require(tensor.is_constant, f"{what} must be constant", "computed")
    head = bytes(ancillary.data)
    ctx.require_shape(len(head) >= _HEAD_BYTES, "ancillary data must have 16 bytes", len(head))
    ctx.require(head[1] == 1, "the version must be 1", head[1])
    method = head[0]
    ctx.require(method in _STATE_BYTES, "the method must be 0, 1 or 2", method)
    ctx.persistent(_STATE_BYTES[method][0 if is_lp64 else 1])
    ctx.require(head[4] == 1, "the method's version must be 1", head[4])
    if method == _HUFFMAN:
        ctx.require_type("output", output, *((DType.INT8, DType.INT16)[: 1 + (head[5] & 1)]))
        channels, last_axis, points = 1, False, (0,)
    else:
        channels, last_axis = _channels(ctx, output)
        points = _zero_points(ctx, output, channels) if method == _PRUNE else (0,)
        ctx.require_type("output", output, *_TYPES)
    width = head[5] & 7 if method == _LOOKUP else 1
    ctx.require_shape(width > 0, "look-up codes must have 1 to 7 bits", width)
    need = (output.elements * width + 7) // 8 if method != _HUFFMAN else 0
    ctx.require_shape(
        len(codes.data) >= need, f"codes must have {need} bytes", f"{len(codes.data)}"
    )
    return Decoded(method, bytes(codes.data), head, output, channels, last_axis, points)


def _channels(ctx: PrepareContext, output: Tensor) -> tuple[int, bool]:
    """How many channels, and whether they lie on the last axis."""
    if not output.quantization.is_affine:
        return 1, False
    channels, axis = len(output.quantization.scale), output.quantization.quantized_dimension
    last_axis = channels > 1 and axis == len(output.shape) - 1
    ctx.require(last_axis or axis == 0, "channels must lie on the first or the last axis", axis)
    ctx.require_shape(
        output.elements % channels == 0,
        f"{channels} channels must divide the output's values",
        output.elements,
    )
    return channels, last_axis


def _zero_points(ctx: PrepareContext, output: Tensor, channels: int) -> tuple[int, ...]:
    if not output.quantization.is_affine:
        return (0,)
    points = output.quantization.zero_point
    points = points * channels if len(points) == 1 else points
    ctx.require(
        output.dtype is DType.INT8 or not any(points),
        f"zero points of {output.dtype} must be 0",
        next((point for point in points if point), 0),
    )
    if channels > 1 and any(points):
        ctx.persistent(channels)
        return points
    return points[:1]


def evaluate(ctx: EvalContext, data: tuple[Decoded, ...]) -> None:
    """The same values for every row of the batch, decoded once."""
    for index, decoded in enumerate(data):
        ctx.set_output(index, decoded.values)


OP = OpSpec("TFLM_DECODE", prepare, evaluate)
