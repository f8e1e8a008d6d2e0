"""TFLM's requantisation in five instructions of a Cortex-M4, exact for every int32 sum.

**int32 rule** (`fixedpoint.multiply_by_quantized_multiplier`): with d = 2 * multiplier, which lies
in [2^31, 2^32), and d' = d - 2^32 as the register holds it,

    smmlar y, x, d', x      y = x + round(x * d' / 2^32) = floor((x * d + 2^31) / 2^32)

which is floor((x * multiplier + 2^30) / 2^31), the high product rounded half up: gemmlowp's nudge
1 - 2^30 with a division that truncates is the same number for negative products. A multiplier of 0
does not lie in the range; `pack` gives such a channel a filter and a bias of 0. The division by
2^e, rounded half away from zero, is floor((y - [y < 0] + 2^(e - 1)) / 2^e):

    adds y, y, y, asr #31   y - [y < 0]; sets the carry to [y < 0]
    asrs y, y, e            floor(y / 2^e); the carry is the last bit out, for e = 0 it stays
    adc  y, y, #offset      rounds half up, and adds the output's offset
    ssat y, #8, y

For e = 0 the carry of `adds` gives back what it took: y - [y < 0] + [y < 0].

**int64 rule** (`fixedpoint.multiply_int64_by_quantized_multiplier`) of a sum in int32, reduced
multiplier q in [2^14, 2^15), e = -shift: floor((x * q + 2^(14 + e)) / 2^(15 + e)). With
d = q * 2^17 the whole quotient for e = 0 is `smmlar y, x, d', x`. For e > 0, `smmla y, x, d', x` is
floor(x * q / 2^15); `asrs` by e and `adc` then round half up as before, and there is no step for
negative numbers. All floors are of integers over powers of two, so that dividing twice is dividing
once. Channels that have arrays of shifts must all have e > 0; `pack` checks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refmicro.mema.kernel import Requantization, reduced_multiplier
from refmicro.mema.kernels.smlad_registers import Registers


@dataclass(frozen=True)
class Scale:
    """How sums become outputs.

    Attributes:
        requantization: rule, offset, limits.
        bits: of outputs.
        bias: whether sums start from a bias.
    """

    requantization: Requantization
    bits: int
    bias: bool

    @property
    def left(self) -> bool:
        """Whether channels have a left shift of their own."""
        r = self.requantization
        return r.left_shifts and r.constant is None and not r.wide

    @property
    def channel_words(self) -> int:
        """Words beside the filter that one channel needs after its sum."""
        if self.requantization.constant is not None:
            return 0
        return 3 if self.left else 2

    def factor(self, multiplier: int) -> int:
        """d of a multiplier, as a signed word."""
        wide = self.requantization.wide
        d = reduced_multiplier(multiplier) << 17 if wide else multiplier << 1
        return (d + (1 << 31)) % (1 << 32) - (1 << 31)

    def requantize(self, registers: Registers, sums: list[str], factor: str, shift: str) -> None:
        """Sums to saturated outputs, in place; `shift` names a register unless it is constant."""
        op, r = registers.listing.op, self.requantization
        left, right = 0, None
        if r.constant is not None:
            left, right = max(r.constant[1], 0), max(-r.constant[1], 0)
        for y in sums:
            if left:
                op(f"lsl {y}, {y}, #{left}")
            rounds = not r.wide or right == 0
            op(f"{'smmlar' if rounds else 'smmla'} {y}, {y}, {factor}, {y}", "times multiplier")
            if right == 0:
                registers.add(y, y, r.output_offset)
            else:
                if not r.wide:
                    op(f"adds {y}, {y}, {y}, asr #31", "halves away from zero")
                op(f"asrs {y}, {y}, {shift if right is None else f'#{right}'}")
                self._round(registers, y)
            op(f"ssat {y}, #{self.bits}, {y}")

    def _round(self, registers: Registers, y: str) -> None:
        """y += carry + output offset."""
        offset = self.requantization.output_offset
        low = offset if -256 <= offset < 256 else offset & 0xFF
        if low < 0:
            registers.listing.op(f"sbc {y}, {y}, #{-low - 1}", "round, offset")
        else:
            registers.listing.op(f"adc {y}, {y}, #{low}", "round, offset")
        registers.add(y, y, offset - low)

    def clamp(self, registers: Registers, words: list[str], free: list[str]) -> None:
        """Packed outputs into the activation's limits, all values of a word at once."""
        limit, size = 1 << (self.bits - 1), self.bits
        low, high = self.requantization.low, self.requantization.high
        constant, difference = free[:2]
        copies = 0x01010101 if size == 8 else 0x00010001
        op = registers.listing.op
        if low > -limit:
            registers.constant(constant, (low & (2 * limit - 1)) * copies, f"low {low}")
            for word in words:
                op(f"ssub{size} {difference}, {word}, {constant}")
                op(f"sel {word}, {word}, {constant}")
        if high < limit - 1:
            registers.constant(constant, (high & (2 * limit - 1)) * copies, f"high {high}")
            for word in words:
                op(f"ssub{size} {difference}, {constant}, {word}")
                op(f"sel {word}, {word}, {constant}")

    def channel_constants(self, multiplier: int, shift: int) -> list[int]:
        """What a channel needs after its sum: left shift, factor, right shift."""
        if not multiplier:
            multiplier, shift = 1 << 30, -1
        words = [self.factor(multiplier), max(-shift, 0)]
        return [max(shift, 0), *words] if self.left else words


def as_words(values: list[int]) -> np.ndarray:
    """Integers as little-endian words of 32 bits."""
    return (np.array(values, np.int64) & 0xFFFFFFFF).astype("<u4")
