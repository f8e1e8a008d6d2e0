"""Kernels for Helium (Cortex-M55): the loop orders of the plain ones on vectors along the depth.

A step loads 16 values of an input row (8 of int16) and as many of each channel's filter, and
VMLADAVA adds all their products to a sum in a general register, VMLALDAVA to one of 64 bits. The
last step of a run loads under a predicate: it touches no byte behind the run, and lanes without a
value are 0. An int16 row meets filter bytes that the load widens.

Outputs of up to four rows of a channel, or of four channels of a single row, are requantized
together: VQRDMULH is the rounding high product, and VRSHL after taking 1 from negative values
divides with halves away from zero. The rule of 64-bit sums is scalar, and stores are the plain
kernels'.

Source of the instructions: Arm DDI 0553, and Arm's MVE intrinsics (`arm_mve.h`).
"""

from __future__ import annotations

from dataclasses import dataclass

from refmicro.mema.kernels.plain_parts import Parts, at

LANES = 4
"""Sums in a vector."""


@dataclass(frozen=True)
class VectorParts(Parts):
    """The statements that differ where operands are vectors."""

    @property
    def sum_type(self) -> str:
        """C type of sums; the instructions wrap."""
        return "int64_t" if self.requantization.wide_sums else "int32_t"

    @property
    def input_type(self) -> str:
        """C type of a vector."""
        return "int8x16_t" if self.problem.input_bits == 8 else "int16x8_t"

    @property
    def filter_type(self) -> str:
        """C type of a vector of filter values, widened for int16 inputs."""
        return self.input_type

    def bias(self, i: int) -> str:
        """Start of channel i's sums."""
        if self.layout.bias_words and not self.requantization.wide_sums:
            return self.value_load("bias", i, 32)
        return super().bias(i)

    def step_words(self, count: int) -> list[int]:
        """A step is one vector, whole or cut."""
        return [0]

    def input_load(self, pointer: str, offset: int, count: int) -> str:
        """A vector at `pointer + offset`, its first `count` values."""
        return self._vector(f"s{self.problem.input_bits}", pointer, offset, count)

    def filter_load(self, offset: int, count: int) -> str:
        """A vector at `f + offset`, its first `count` values."""
        kind = "s8" if self.problem.input_bits == 8 else "widened"
        return self._vector(kind, "f", offset, count)

    def _vector(self, kind: str, pointer: str, offset: int, count: int) -> str:
        if count == self.layout.filter_values:
            return f"mema_vector_{kind}({at(pointer, offset)})"
        return f"mema_vector_{kind}_part({at(pointer, offset)}, {count})"

    def product(self, total: str, f: str, x: str, word: int) -> str:
        """The statement that adds the products of two vectors."""
        name = "vmlaldavaq" if self.requantization.wide_sums else "vmladavaq"
        return f"{total} = {name}_s{self.problem.input_bits}({total}, {f}, {x});"

    def hold(self, words: list[str], values: int) -> list[str]:
        """Vectors are multiplied as they are."""
        return []

    def outputs(self, i: int, n: int) -> list[str]:
        """Declarations of channel i's outputs of n rows, four rows at a time."""
        if n == 1 or self.requantization.wide:
            return super().outputs(i, n)
        multiplier, shift = self.operands(i)
        lines = []
        for first in range(0, n, LANES):
            rows, vector = range(first, min(first + LANES, n)), f"v{i}_{first}"
            lines += _lanes(vector, [f"s{i}_{j}" for j in rows])
            lines.append(f"{vector} = mema_scale_vector({vector}, {multiplier}, {shift});")
            lines += self._clamped(vector, [f"q{i}_{j}" for j in rows])
        return lines

    def finish(self, m: int, n: int) -> list[str]:
        """Outputs and stores of a whole tile of sums."""
        if n > 1 or self.requantization.wide or not self.layout.scaled:
            return super().finish(m, n)
        lines = []
        for first in range(0, m, LANES):
            channels, vector = range(first, min(first + LANES, m)), f"v{first}"
            for i in channels:
                lines += self.scales(i)
            lines += _lanes(vector, [f"s{i}_0" for i in channels])
            lines += _lanes(f"multipliers{first}", [f"multiplier{i}" for i in channels])
            lines += _lanes(f"shifts{first}", [f"shift{i}" for i in channels])
            operands = f"{vector}, multipliers{first}, shifts{first}"
            lines.append(f"{vector} = mema_scale_vectors({operands});")
            lines += self._clamped(vector, [f"q{i}_0" for i in channels])
            for i in channels:
                lines += self.stores(i, m, 1)
        return lines

    def _clamped(self, vector: str, names: list[str]) -> list[str]:
        """Clamps and adds the offset; declares the lanes by name."""
        low, high, offset = self.limits()
        return [
            f"{vector} = mema_clamp_vector({vector}, {low}, {high}, {offset});",
            *(
                f"const int32_t {name} = vgetq_lane_s32({vector}, {lane});"
                for lane, name in enumerate(names)
            ),
        ]


def _lanes(vector: str, values: list[str]) -> list[str]:
    """Declares a vector of values; lanes without one hold the first again."""
    return [
        f"int32x4_t {vector} = vdupq_n_s32({values[0]});",
        *(
            f"{vector} = vsetq_lane_s32({value}, {vector}, {lane});"
            for lane, value in enumerate(values[1:], 1)
        ),
    ]
