"""The boards that QEMU emulates, and where the firmware's sources are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from refmicro.errors import EnvironmentMissingError, UsageError

_ARM = "arm-none-eabi-"
_RISCV = "riscv64-unknown-elf-"

HOW_TO_INSTALL = {
    "qemu-system-arm": "install it (for example: apt-get install qemu-system-arm)",
    "qemu-system-riscv32": "install it (for example: apt-get install qemu-system-misc)",
    f"{_ARM}gcc": "install it (for example: apt-get install gcc-arm-none-eabi"
    " libnewlib-arm-none-eabi)",
    f"{_RISCV}gcc": "install it (for example: apt-get install gcc-riscv64-unknown-elf"
    " picolibc-riscv64-unknown-elf)",
}


@dataclass(frozen=True)
class EmulatedBoard:
    """One board of QEMU and the compiler for it.

    Attributes:
        id: the name of its machine in QEMU for Arm, `riscv-virt` for RISC-V.
        cpu: the core, a name of `mema.target`.
        qemu: the emulator's program; `arguments` are those that choose the machine.
        prefix: of the compiler's tools.
        cpu_flags: what the compiler is told about the core.
        folders: under `firmware/boards`: the board's own, then the one shared by its family.
    """

    id: str
    name: str
    cpu: str
    qemu: str
    arguments: tuple[str, ...]
    prefix: str
    cpu_flags: tuple[str, ...]
    folders: tuple[str, ...]


def _mps(number: str, series: int, name: str, cpu: str, flags: str) -> EmulatedBoard:
    machine = f"mps{series}-{number}"
    return EmulatedBoard(
        id=machine,
        name=f"Arm MPS{series} {number.upper()} ({name})",
        cpu=cpu,
        qemu="qemu-system-arm",
        arguments=("-M", machine),
        prefix=_ARM,
        cpu_flags=(f"-mcpu={cpu}", "-mthumb", *flags.split()),
        folders=(f"mps{series}_{number}", "cortex_m"),
    )


EMULATED_BOARDS = {
    board.id: board
    for board in (
        _mps("an385", 2, "Cortex-M3", "cortex-m3", "-mfloat-abi=soft"),
        _mps("an386", 2, "Cortex-M4F", "cortex-m4", "-mfloat-abi=hard -mfpu=fpv4-sp-d16"),
        _mps("an500", 2, "Cortex-M7F", "cortex-m7", "-mfloat-abi=hard -mfpu=fpv5-sp-d16"),
        _mps("an547", 3, "Cortex-M55", "cortex-m55", "-mfloat-abi=hard -mfpu=auto"),
        EmulatedBoard(
            id="riscv-virt",
            name="QEMU RISC-V virt (RV32IM)",
            cpu="rv32im",
            qemu="qemu-system-riscv32",
            arguments=("-M", "virt", "-bios", "none"),
            prefix=_RISCV,
            cpu_flags=("-march=rv32im", "-mabi=ilp32", "-mcmodel=medany"),
            folders=("riscv_virt",),
        ),
    )
}


def find_emulated(identifier: str) -> EmulatedBoard:
    """The emulated board of that id.

    Raises:
        UsageError: if there is none.
    """
    found = EMULATED_BOARDS.get(identifier)
    if found is None:
        known = ", ".join(EMULATED_BOARDS)
        raise UsageError(f"no such emulated board: {identifier}", hint=f"there are: {known}")
    return found


def firmware_folder() -> Path:
    """The folder `firmware`: in an installed wheel, else in a checkout.

    Raises:
        EnvironmentMissingError: if it is missing.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "firmware", package.parents[1] / "firmware"):
        if (folder / "boards" / "sections.ld").is_file():
            return folder
    raise EnvironmentMissingError(
        "the firmware's sources are missing: firmware/boards", hint="reinstall refmicro"
    )
