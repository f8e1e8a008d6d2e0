"""From a problem to one C99 function: what every family of kernels shares.

A kernel computes, for every row r and channel o,

    x = bias[o] + sum_k (in[r, k] - input_zero_point) * filter[o, k]
    out[r, o] = clamp(rule(x, multiplier[o], shift[o]) + output_offset, low, high)

in exactly TFLM's integers. **Bias folding**: the input's zero point is a constant, so a kernel
multiplies raw inputs and starts from `folded[o] = bias[o] - input_zero_point * sum_k filter[o, k]`,
which gives the same sum. `Kernel.pack` folds; callers hand over the model's own values. Sums and
folded biases wrap at 32 bits as in TFLM's builds, unless `wide_sums`.

**The rule** is one of two (`refmicro.fixedpoint`):

- `wide=False`, `multiply_by_quantized_multiplier`: an int32 x is shifted left by max(shift, 0), the
  high half of 2 * x * multiplier is rounded half up, then divided by 2^max(-shift, 0) and rounded
  half away from zero. int8 operators always use it; int16x8 FULLY_CONNECTED and CONV_2D use it
  where the bias is int32 (or there is none and `quantized_bias_type` says INT32).
- `wide=True`, `multiply_int64_by_quantized_multiplier`: the multiplier is reduced to 16 bits,
  (x * reduced + 2^(14 - shift)) >> (15 - shift). int16x8 with an int64 bias, or with none and no
  such option, and int16 BATCH_MATMUL. TFLM adds in int64; a kernel may add in int32 where
  `sums_fit_int32` holds for the filter and bias at hand, else it needs `wide_sums`.

int16x8 CONV_2D adds no output offset (give 0) and no int16 operator has an input zero point.

Sources: `tensorflow/lite/kernels/internal/reference/integer_ops/{fully_connected,conv}.h`,
`tensorflow/lite/kernels/internal/common.cc`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refmicro.errors import UsageError
from refmicro.mema.cost import Accesses
from refmicro.mema.kernels.listing import Counts
from refmicro.mema.problem import Convolution, Matmul
from refmicro.mema.schedule import Schedule
from refmicro.mema.target import Target


@dataclass(frozen=True)
class Requantization:
    """What is baked into a kernel's text besides sizes.

    Attributes:
        output_offset: added after the rule: the output's zero point where the operator adds it.
        low, high: the activation's limits, `output_offset` included.
        input_zero_point: of the input, folded into the bias by `pack`; padding holds it.
        wide: TFLM adds in int64 and uses the int64 rule; int16x8 only.
        wide_sums: sums do not fit int32 (see `sums_fit_int32`); implies `wide`.
        left_shifts: whether any shift is above 0, or with `wide` above -1; a kernel without is
            shorter, and `pack` checks.
        constant: (multiplier, shift) of all channels, baked in; None: arrays, one pair a channel.

    Raises:
        UsageError: if the limits do not fit together.
    """

    output_offset: int = 0
    low: int = -128
    high: int = 127
    input_zero_point: int = 0
    wide: bool = False
    wide_sums: bool = False
    left_shifts: bool = True
    constant: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise UsageError(f"an activation's limits must not cross: {self.low} to {self.high}")
        if self.wide_sums and not self.wide:
            raise UsageError("sums beyond int32 have the int64 rule: wide_sums without wide")


PackedArrays = dict[str, np.ndarray]
"""Arrays by member of `struct mema_weights`, each flat: `filter` (int8), `bias` (int32; with
`wide_sums` two words a channel, low word first), `multiplier` (int32), `shift` (int8). A member
that the kernel does not read is left out; its pointer may be null. All must lie at multiples of 4
bytes."""


@dataclass(frozen=True)
class Kernel:
    """One C99 function, which needs the text of `header()` before it.

    Attributes:
        name: C identifier.
        prototype: `void NAME(const int8_t *input, const struct mema_weights *w, int8_t *output)`,
            with int16_t for int16x8. Input and output are whole tensors at multiples of 4 bytes.
        text: the definition, with static functions of its own whose names start with NAME.
        pack: pack(filter, bias, multipliers, shifts) -> PackedArrays. `filter` is the model's,
            (output_depth, accum_depth) or (O, height, width, depth); `bias` integers or None;
            `multipliers` and `shifts` sequences of one or output_depth values, as TFLM derives
            them (`fixedpoint.quantize_multiplier`).
        accesses: predicted data accesses of one call, to input, weights and output.
        schedule: what the text was generated from.
        counts: what one call executes, to the instruction, the stack's accesses included; None
            where a compiler decides.
    """

    name: str
    prototype: str
    text: str
    pack: Callable[..., PackedArrays]
    accesses: Accesses
    schedule: Schedule
    counts: Counts | None = None


_FAMILIES = {
    "plain": "refmicro.mema.kernels.plain_c",
    "smlad": "refmicro.mema.kernels.smlad",
    "helium": "refmicro.mema.kernels.plain_c",
}
"""Module by `Target.family`; each has generate(problem, target, requantization, name) -> Kernel."""


def generate(
    problem: Matmul | Convolution,
    target: Target,
    requantization: Requantization,
    *,
    name: str | None = None,
) -> Kernel:
    """The kernel of a problem on a target.

    Args:
        problem: a product with a constant filter, or a convolution.
        target: see `target.TARGETS`.
        requantization: constants of the text.
        name: C identifier of the function; default says problem and types.

    Raises:
        UsageError: if requantization and problem do not fit together.
        UnsupportedError: if no kernel covers the problem.
    """
    matmul = problem.matmul if isinstance(problem, Convolution) else problem
    _check(matmul, requantization)
    if isinstance(problem, Convolution) and problem.is_matmul:
        problem = matmul
    module = importlib.import_module(_FAMILIES[target.family])
    return module.generate(problem, target, requantization, name or default_name(problem))


def default_name(problem: Matmul | Convolution) -> str:
    """`mema_s8_64x144x256`: type, then M, K, N; convolutions add the filter's size."""
    matmul = problem.matmul if isinstance(problem, Convolution) else problem
    sizes = f"{matmul.output_depth}x{matmul.accum_depth}x{matmul.rows}"
    if isinstance(problem, Convolution) and not problem.is_matmul:
        sizes += f"_conv{problem.filter_height}x{problem.filter_width}"
    return f"mema_s{matmul.input_bits}_{sizes}"


def _check(problem: Matmul, requantization: Requantization) -> None:
    if not problem.constant_filter or problem.batches != 1:
        from refmicro.errors import UnsupportedError

        raise UnsupportedError(
            "no kernel multiplies two activations",
            hint="the schedule counts such products; their filter cannot be packed ahead of time",
        )
    limit = 1 << (problem.input_bits - 1)
    if requantization.low < -limit or requantization.high >= limit:
        raise UsageError(
            f"limits must be values of int{problem.input_bits}: "
            f"{requantization.low} to {requantization.high}"
        )
    if requantization.wide and problem.input_bits == 8:
        raise UsageError("int8 products add in int32: wide with 8 bits")


def sums_fit_int32(filter_values: np.ndarray, bias: np.ndarray | None, input_bits: int) -> bool:
    """Whether no partial sum of any input leaves int32, so that int64 sums may be held in int32.

    Args:
        filter_values: (output_depth, ...) integers.
        bias: (output_depth,) integers, or None.
        input_bits: 8 or 16.
    """
    rows = np.abs(filter_values.reshape(filter_values.shape[0], -1).astype(np.int64)).sum(1)
    largest = rows * (1 << (input_bits - 1))
    if bias is not None:
        # In Python's integers: an int64 bias may be as large as it likes.
        sums = [abs(int(b)) + int(s) for b, s in zip(bias.reshape(-1), largest, strict=True)]
        return max(sums) < 1 << 31
    return int(largest.max()) < 1 << 31


def prototype(name: str, input_bits: int) -> str:
    """The C prototype of a kernel, without the semicolon."""
    value = f"int{input_bits}_t"
    return f"void {name}(const {value} *input, const struct mema_weights *w, {value} *output)"


def pack_channels(
    problem: Matmul,
    requantization: Requantization,
    filter_values: np.ndarray,
    bias: np.ndarray | None,
    multipliers: object,
    shifts: object,
) -> PackedArrays:
    """The arrays `bias`, `multiplier` and `shift`, which every family packs alike.

    With `wide`, the rule's own derivation is done here: `multiplier` holds the reduced one and
    `shift` holds 15 - shift.

    Raises:
        UsageError: if an array has the wrong size, a shift is above 0 without `left_shifts`, or a
            bias does not fit.
    """
    channels = problem.output_depth
    weights = np.asarray(filter_values, np.int64).reshape(channels, -1)
    folded = -requantization.input_zero_point * weights.sum(1)
    if bias is not None:
        folded = folded + np.asarray(bias, np.int64).reshape(channels)
    packed: PackedArrays = {}
    if has_bias(problem, requantization):
        if requantization.wide_sums:
            packed["bias"] = folded.astype("<i8").view("<i4").astype(np.int32)
        else:
            if requantization.wide and not sums_fit_int32(weights, bias, problem.input_bits):
                raise UsageError("sums do not fit int32", hint="set Requantization.wide_sums")
            packed["bias"] = folded.astype(np.int32)  # wraps, as TFLM's sums do
    elif folded.any():
        raise UsageError("the problem has no bias, but one was given")
    multiplier = np.broadcast_to(np.asarray(multipliers, np.int64).reshape(-1), (channels,))
    shift = np.broadcast_to(np.asarray(shifts, np.int64).reshape(-1), (channels,))
    if not requantization.left_shifts and shift.max() > 0:
        raise UsageError(f"a shift is above 0: {shift.max()}", hint="set left_shifts")
    if requantization.constant is not None:
        if {requantization.constant} != set(zip(multiplier.tolist(), shift.tolist(), strict=True)):
            raise UsageError("multipliers and shifts differ from the constant of the kernel")
        return packed
    if requantization.wide:
        reduced = [reduced_multiplier(int(value)) for value in multiplier]
        packed["multiplier"] = np.array(reduced, np.int32)
        packed["shift"] = (15 - shift).astype(np.int8)
    else:
        packed["multiplier"] = multiplier.astype(np.int32)
        packed["shift"] = shift.astype(np.int8)
    return packed


def reduced_multiplier(multiplier: int) -> int:
    """The int64 rule's 16-bit multiplier."""
    return (multiplier + 32768) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF


def has_bias(problem: Matmul, requantization: Requantization) -> bool:
    """Whether a kernel starts its sums from an array: a bias, or a zero point folded into one."""
    return problem.bias or requantization.input_zero_point != 0


def header() -> str:
    """`mema.h`: `struct mema_weights` and the inline functions that plain kernels are made of."""
    from refmicro.mema.kernels.c_header import HEADER

    return HEADER
