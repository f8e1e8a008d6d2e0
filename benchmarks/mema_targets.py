"""Generated kernels on every emulated processor against three plain loops: docs/results page.

    python benchmarks/mema_targets.py

Each kernel and the plain loops run once in QEMU under the counting plugin, on random data whose
outputs must be those of refmicro's integers. Needs the cross compilers and emulators.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from refmicro.mema.cost import Accesses
from refmicro.mema.kernel import (
    Kernel,
    Requantization,
    generate,
    pack_channels,
    prototype,
)
from refmicro.mema.problem import Matmul
from refmicro.mema.target import Target
from tests.mema.on_board import Measured, make_case, run_on_board

PAGE = ROOT / "docs" / "results" / "mema-targets.md"

SHAPES = (
    (16, 27, 64),
    (16, 8, 64),
    (32, 144, 16),
    (64, 64, 16),
    (64, 40, 10),
    (64, 128, 1),
    (256, 64, 1),
    (64, 64, 4),
)
"""Layers of small networks with fewer rows, and products of a Mamba's frame."""

TARGETS = ("cortex-m0plus", "cortex-m3", "rv32im", "cortex-m55")

USED = {
    8: Requantization(3, -128, 127, -7, left_shifts=False),
    16: Requantization(0, -32768, 32767, left_shifts=False),
}

LOOPS = """
{{
    for (int32_t r = 0; r < {rows}; r++) {{
        for (int32_t o = 0; o < {channels}; o++) {{
            int32_t sum = w->bias[o];
            for (int32_t k = 0; k < {depth}; k++)
                sum += input[r * {depth} + k] * w->filter[o * {depth} + k];
            sum = mema_scale_right(sum, w->multiplier[o], w->shift[o]);
            output[r * {channels} + o] = ({value})(
                mema_clamp(sum, {low}, {high}) + {offset});
        }}
    }}
}}
"""


def plain_loops(problem: Matmul, target: Target, used: Requantization, *, name: str) -> Kernel:
    """The product as a textbook writes it, per-channel, with the model's filter as it is."""
    text = LOOPS.format(
        rows=problem.rows,
        channels=problem.output_depth,
        depth=problem.accum_depth,
        value=f"int{problem.input_bits}_t",
        low=used.low - used.output_offset,
        high=used.high - used.output_offset,
        offset=used.output_offset,
    )

    def pack(filter_values, bias, multipliers, shifts):
        rest = pack_channels(problem, used, filter_values, bias, multipliers, shifts)
        return {"filter": filter_values.reshape(-1), **rest}

    head = prototype(name, problem.input_bits)
    schedule = generate(problem, target, used).schedule
    return Kernel(name, head, head + text, pack, Accesses(), schedule)


def measure(target: str, bits: int) -> list[tuple[Kernel, Measured, Measured]]:
    """Each shape's kernel, what it did, and what the plain loops did."""
    cases = []
    for i, sizes in enumerate(SHAPES):
        problem = Matmul(*sizes, input_bits=bits)
        make = partial(make_case, problem, target, USED[bits], i)
        cases += [make(f"kernel_{i}"), make(f"loops_{i}", plain_loops)]
    with tempfile.TemporaryDirectory() as folder:
        measured = run_on_board(cases, target, Path(folder))
    for case, found in zip(cases, measured, strict=True):
        assert (found.outputs == case.want).all(), f"{target}: {case.kernel.name} differs"
    for case, found in zip(cases[::2], measured[::2], strict=True):
        want = {name: traffic.bytes for name, traffic in vars(case.kernel.accesses).items()}
        have = {name: traffic.bytes for name, traffic in vars(found.accesses).items()}
        assert want == have, f"{target}: {case.kernel.name} is not as predicted"
        assert target == "cortex-m55" or found.accesses == case.kernel.accesses
    return [
        (case.kernel, *pair)
        for case, *pair in zip(cases[::2], measured[::2], measured[1::2], strict=True)
    ]


def table(target: str, bits: int) -> list[str]:
    """One processor and type as a table of Markdown."""
    lines = [
        f"## {target}, int{bits}{'' if bits == 8 else ' with int8 filter'}",
        "",
        "| M, K, N | order, tile | predicted accesses | a MAC | floor | + stack "
        "| instructions a MAC | accesses of loops | ratio | instructions ratio |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for sizes, (kernel, ours, loops) in zip(SHAPES, measure(target, bits), strict=True):
        macs = sizes[0] * sizes[1] * sizes[2]
        schedule, count = kernel.schedule, kernel.accesses.count
        all_ours = count + ours.stack_count
        all_loops = loops.accesses.count + loops.stack_count
        lines.append(
            f"| {', '.join(map(str, sizes))} | {schedule.order.value}, "
            f"{schedule.tile.m} x {schedule.tile.n} | {count:,} | {count / macs:.3f} | "
            f"{schedule.floor:,} | {ours.stack_count:,} | {ours.instructions / macs:.2f} | "
            f"{all_loops:,} | **{all_loops / all_ours:.2f}** | "
            f"**{loops.instructions / ours.instructions:.2f}** |"
        )
    return [*lines, ""]


def main() -> None:
    """Measure, and write the page."""
    lines = [
        "# MEMA kernels on other processors",
        "",
        "Written by `python benchmarks/mema_targets.py`: kernels of `refmicro schedule`, compiled",
        "with -O2 by GCC 12.2 and run once in QEMU under the counting plugin. Outputs were those",
        "of refmicro's integers, and loads and stores of every operand equal to the prediction:",
        "counts and bytes, on the M55 bytes (its emulator reports vector loads value by value;",
        "*predicted* is what the text executes). *+ stack* is what the compiler adds: registers",
        "saved and spilled. *Loops* are three plain loops over the same data, per-channel; ratios",
        "are theirs over the kernel's with its stack, so more is better. Cortex-M4:",
        "[mema.md](mema.md).",
        "",
    ]
    for target in TARGETS:
        for bits in (8, 16):
            print(f"{target}, int{bits}", file=sys.stderr)
            lines += table(target, bits)
    PAGE.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
