"""Kernels cross-compiled and run in the emulator: outputs, and accesses counted by operand."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from refmicro.board import build, counting, emulator
from refmicro.board.elf import read_elf
from refmicro.board.emulated import find_emulated
from refmicro.mema.cost import Accesses, Traffic
from refmicro.mema.kernel import Kernel, Requantization, generate, header
from refmicro.mema.problem import Convolution, Matmul
from refmicro.mema.target import find_target
from tests.mema.reference import patches, product, random_case

BOARDS = {
    "cortex-m0plus": ("mps2-an385", ("-mcpu=cortex-m0plus", "-mthumb")),
    "cortex-m3": ("mps2-an385", None),
    "cortex-m4": ("mps2-an386", None),
    "cortex-m7": ("mps2-an500", None),
    "cortex-m55": ("mps3-an547", None),
    "rv32im": ("riscv-virt", None),
}

OPERANDS = ("input", "filter", "bias", "multiplier", "shift", "output")


def needs_board(target: str) -> pytest.MarkDecorator:
    """Skips where a target's compiler or emulator is not installed."""
    board = find_emulated(BOARDS[target][0])
    tools = (f"{board.prefix}gcc", board.qemu)
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)} on the PATH")


@dataclass(frozen=True)
class Case:
    """One kernel, its arrays, and what it must compute."""

    kernel: Kernel
    packed: dict[str, np.ndarray]
    values: np.ndarray
    want: np.ndarray


@dataclass(frozen=True)
class Measured:
    """What one call did; `stack_count` holds all accesses to the stack."""

    outputs: np.ndarray
    accesses: Accesses
    stack_count: int
    instructions: int


def make_case(
    problem: Matmul | Convolution,
    target: str,
    used: Requantization,
    seed: int,
    name: str,
    make=generate,
) -> Case:
    """A kernel and random arrays for it."""
    kernel = make(problem, find_target(target), used, name=name)
    values, weights, bias, multipliers, shifts = random_case(problem, used, seed)
    rows = values
    if isinstance(problem, Convolution):
        rows = patches(values, problem, used.input_zero_point)
    want = product(rows, weights.reshape(len(weights), -1), bias, multipliers, shifts, used)
    return Case(kernel, kernel.pack(weights, bias, multipliers, shifts), values, want.reshape(-1))


def run_on_board(
    cases: Sequence[Case], target: str, folder: Path, flags: Sequence[str] = ()
) -> list[Measured]:
    """Outputs and counts of each case's kernel, all in one program."""
    board, cpu_flags = BOARDS[target]
    source, program = folder / f"{target}.c", folder / f"{target}.elf"
    source.write_text(_text(cases))
    build.compile_program([source], board, program, flags=flags, cpu_flags=cpu_flags)
    elf = read_elf(program)
    regions = {"stack": ("__stack_limit", "__stack_top")}
    for operand in OPERANDS:
        if operand in elf.symbols:
            regions[operand] = counting.symbol_region(elf, operand)
    for case in cases:
        padding = f"{case.kernel.name}_padding"
        if padding in elf.symbols:
            regions[padding] = counting.symbol_region(elf, padding)
    result = emulator.run(program, board, regions=regions, timeout_s=60)
    assert result.exit_code == 0, result.stdout
    lines = result.stdout.splitlines()
    return [_measured(result, *pair) for pair in zip(cases, lines, strict=True)]


def _measured(result: emulator.Result, case: Case, line: str) -> Measured:
    words = np.array(line.split(), np.uint32)
    counts = result.functions[case.kernel.name].inclusive

    def loads(region: str) -> Traffic:
        return Traffic(counts.loads.get(region, 0), counts.load_bytes.get(region, 0))

    assert loads("output").count == 0
    assert sum(counts.stores.get(operand, 0) for operand in OPERANDS[:-1]) == 0
    accesses = Accesses(
        input_loads=loads("input") + loads(f"{case.kernel.name}_padding"),
        filter_loads=loads("filter"),
        bias_loads=loads("bias"),
        multiplier_loads=loads("multiplier"),
        shift_loads=loads("shift"),
        output_stores=Traffic(counts.stores["output"], counts.store_bytes["output"]),
    )
    outputs = words.view(case.values.dtype)[: case.want.size]
    stack = counts.loads["stack"] + counts.stores["stack"]
    return Measured(outputs, accesses, stack, counts.instructions)


def _text(cases: Sequence[Case]) -> str:
    """All kernels, one array an operand that holds all cases', and calls that show outputs."""
    lines, calls = ['#include "board.h"', header()], []
    data = {operand: bytearray() for operand in OPERANDS}
    for i, case in enumerate(cases):
        kind = f"{case.values.dtype}_t"
        arrays = case.packed | {"input": case.values, "output": np.zeros_like(case.want)}
        place = {}
        for operand, values in arrays.items():
            place[operand] = f"{operand} + {len(data[operand]) // 4}"
            content = np.ascontiguousarray(values).tobytes()
            data[operand] += content + bytes(-len(content) % 4)
        members = (("filter", "int8_t"), ("bias", "int32_t"))
        members += (("multiplier", "int32_t"), ("shift", "int8_t"))
        weights = ", ".join(f"(const {t} *)({place[m]})" if m in place else "0" for m, t in members)
        lines += [f"__attribute__((noinline)) {case.kernel.prototype};", case.kernel.text]
        calls += [
            f"    static const struct mema_weights weights_{i} = {{{weights}}};",
            f"    {case.kernel.name}((const {kind} *)({place['input']}), &weights_{i}, "
            f"({kind} *)({place['output']}));",
            f"    show({place['output']}, {-(-case.want.nbytes // 4)});",
        ]
    arrays = [_array(operand, bytes(content)) for operand, content in data.items() if content]
    show = [
        "static void show(const uint32_t *words, unsigned count)",
        "{",
        "    for (unsigned i = 0; i < count; i++) {",
        '        board_debug(" ");',
        "        board_debug_number(words[i]);",
        "    }",
        '    board_debug("\\n");',
        "}",
    ]
    return "\n".join(
        [*lines, *arrays, *show, "int main(void)", "{", *calls, "    return 0;", "}", ""]
    )


def _array(name: str, content: bytes) -> str:
    words = np.frombuffer(content, "<u4")
    text = ", ".join(f"{word}u" for word in words)
    const = "" if name in ("input", "output") else "const "
    return f"{const}uint32_t {name}[{len(words)}] = {{{text}}};"
