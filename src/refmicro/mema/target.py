"""What a schedule knows of a processor: one frozen row a target.

Registers are those a kernel's inner loop may name. Flash wait states are those of a typical part at
full clock, named in `source`; they matter for the estimate of cycles and for staging alone, never
for counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from refmicro.errors import UsageError


@dataclass(frozen=True)
class Target:
    """One row of the table.

    Attributes:
        name: as on the command line.
        core: the processor in words.
        family: which generator writes its kernels: `plain`, `smlad` or `helium`.
        registers: general registers that an inner loop may use.
        fixed_registers: of these, taken by pointers, the loop's end and temporary values; where a
            compiler allocates, what GCC 12.2 needs to keep the inner loop free of spills.
        operand_registers: registers of a held word: 2 where the multiply instruction wants its
            values unpacked.
        word_bytes: bytes that one load into a register, or one store, moves at most.
        unaligned: whether a word may lie at any address.
        macs: products of one multiply-accumulate instruction.
        instructions: the instructions that the schedule stands on.
        vector_bytes: bytes of a vector register, 0 without.
        vector_registers: how many of them; sums then stay in general registers, of which
            `registers` counts those that the instructions take (VMLADAVA: the even ones).
        sram_bytes, flash_bytes: of the part in `source`.
        flash_wait_states: cycles that a read from flash waits there.
        source: where the figures are from.
    """

    name: str
    core: str
    family: str
    registers: int
    fixed_registers: int
    operand_registers: int
    word_bytes: int
    unaligned: bool
    macs: int
    instructions: tuple[str, ...]
    vector_bytes: int
    vector_registers: int
    sram_bytes: int
    flash_bytes: int
    flash_wait_states: int
    source: str


_ROWS = (
    Target(
        name="cortex-m0plus",
        core="Arm Cortex-M0+ (ARMv6-M)",
        family="plain",
        registers=10,
        fixed_registers=5,
        operand_registers=1,
        word_bytes=4,
        unaligned=False,
        macs=1,
        instructions=("LDR", "LDM", "MULS", "SXTB"),
        vector_bytes=0,
        vector_registers=0,
        sram_bytes=8 << 10,
        flash_bytes=32 << 10,
        flash_wait_states=1,
        source="Arm DDI 0419 (ARMv6-M); STM32L031K6, ST DS10668",
    ),
    Target(
        name="cortex-m3",
        core="Arm Cortex-M3 (ARMv7-M)",
        family="plain",
        registers=14,
        fixed_registers=5,
        operand_registers=1,
        word_bytes=4,
        unaligned=True,
        macs=1,
        instructions=("LDR", "MLA", "SXTB", "SMULL"),
        vector_bytes=0,
        vector_registers=0,
        sram_bytes=20 << 10,
        flash_bytes=128 << 10,
        flash_wait_states=2,
        source="Arm DDI 0403 (ARMv7-M); STM32F103RB, ST DS5319",
    ),
    Target(
        name="cortex-m4",
        core="Arm Cortex-M4 (ARMv7E-M)",
        family="smlad",
        # 14 of the core and 32 of the floating-point unit, which `vmov` reaches without memory. Of
        # them a tile of 4 rows takes 4 pointers to rows, up to 9 other pointers and counters, and 5
        # words that are read ahead.
        registers=46,
        fixed_registers=18,
        operand_registers=2,
        word_bytes=4,
        unaligned=True,
        macs=2,
        instructions=("LDR", "SXTB16", "SMLAD", "SMULL"),
        vector_bytes=0,
        vector_registers=0,
        sram_bytes=256 << 10,
        flash_bytes=1 << 20,
        flash_wait_states=2,
        source="Arm DDI 0403 (ARMv7E-M); nRF52840 Product Specification",
    ),
    Target(
        name="cortex-m7",
        core="Arm Cortex-M7 (ARMv7E-M)",
        family="smlad",
        registers=46,
        fixed_registers=18,
        operand_registers=2,
        word_bytes=4,
        unaligned=True,
        macs=2,
        instructions=("LDR", "SXTB16", "SMLAD", "SMULL"),
        vector_bytes=0,
        vector_registers=0,
        sram_bytes=320 << 10,
        flash_bytes=1 << 20,
        flash_wait_states=7,
        source="Arm DDI 0403 (ARMv7E-M); STM32F746NG, ST DS10916",
    ),
    Target(
        name="cortex-m55",
        core="Arm Cortex-M55 (ARMv8.1-M, Helium)",
        family="helium",
        registers=7,
        fixed_registers=1,
        operand_registers=1,
        word_bytes=4,
        unaligned=True,
        macs=16,
        instructions=("VLDRB", "VMLADAVA", "VPST", "LE"),
        vector_bytes=16,
        vector_registers=8,
        sram_bytes=512 << 10,
        flash_bytes=512 << 10,
        flash_wait_states=0,
        source="Arm DDI 0553 (ARMv8.1-M); Corstone-300 (AN547): tightly coupled memories",
    ),
    Target(
        name="rv32im",
        core="RISC-V RV32IM",
        family="plain",
        registers=28,
        fixed_registers=7,
        operand_registers=4,
        word_bytes=4,
        unaligned=False,
        macs=1,
        instructions=("LW", "MUL", "ADD", "MULH"),
        vector_bytes=0,
        vector_registers=0,
        sram_bytes=400 << 10,
        flash_bytes=4 << 20,
        flash_wait_states=4,
        source="RISC-V Unprivileged ISA 2.2; ESP32-C3 datasheet, flash behind a cache",
    ),
    Target(
        name="host",
        core="any C99 compiler",
        family="plain",
        registers=16,
        fixed_registers=4,
        operand_registers=1,
        word_bytes=1,
        unaligned=True,
        macs=1,
        instructions=("the compiler's",),
        vector_bytes=0,
        vector_registers=0,
        sram_bytes=1 << 30,
        flash_bytes=1 << 30,
        flash_wait_states=0,
        source="values are read one by one, so that a compiler sees through the loops",
    ),
)

TARGETS: dict[str, Target] = {row.name: row for row in _ROWS}


def find_target(name: str) -> Target:
    """The target of that name.

    Raises:
        UsageError: if there is none.
    """
    found = TARGETS.get(name)
    if found is None:
        raise UsageError(f"no such target: {name}", hint=f"targets are {', '.join(TARGETS)}")
    return found
