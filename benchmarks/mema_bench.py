"""Writes `docs/results/mema.{json,md,png}`: MEMA kernels against others on an emulated Cortex-M4.

Usage: python benchmarks/mema_bench.py

Builds `firmware/apps/mema_bench` with one program for all shapes and kernels, runs it once in QEMU
and counts instructions and accesses of every kernel. The CRC-32 of all outputs must be that of
refmicro's integers, and MEMA's counts must be those predicted, else nothing is written. Needs
arm-none-eabi-gcc and qemu-system-arm; the picture needs matplotlib.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.mema_page import page, picture
from refmicro._files import write_files
from refmicro.board.build import compile_program
from refmicro.board.emulated import firmware_folder
from refmicro.board.emulator import run
from refmicro.fixedpoint import multiply_array
from refmicro.mema.kernel import Kernel, Requantization, generate, header
from refmicro.mema.layout import layout
from refmicro.mema.problem import Matmul
from refmicro.mema.schedule import best
from refmicro.mema.target import find_target
from refmicro.model.reader import read_model

BASELINE = ROOT / "benchmarks" / "cmsis_nn_m4.json"
RESULTS = ROOT / "docs" / "results"
MODELS = ("kws_mamba_int8", "s_sig_stream_int8", "front_whole_L49_pc")
FRAMES = ((128, 64, 2), (128, 64, 3), (128, 64, 4), (64, 128, 2), (64, 128, 4))
"""Projections of a Mamba layer over 2 to 4 frames: one pass over the filter serves all."""

FILTER_AT, INPUT_AT, OUTPUT_AT, END = 0x21000000, 0x21800000, 0x21C00000, 0x22000000
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Case:
    """One kernel on one shape; `function` is what the emulator counts."""

    shape: Shape
    kind: str
    name: str
    function: str
    crc: int
    output_bytes: int
    kernel: Kernel | None = None


class Memory:
    """Constants at `FILTER_AT` and after, each at a multiple of 4."""

    def __init__(self) -> None:
        self.content = bytearray()

    def place(self, values: np.ndarray) -> str:
        """A C pointer to a copy of `values`."""
        at = FILTER_AT + len(self.content)
        data = np.ascontiguousarray(values).tobytes()
        self.content += data + bytes(-len(data) % 4)
        assert FILTER_AT + len(self.content) <= INPUT_AT
        return f"{at:#x}u"


def shapes_of_models() -> list[Shape]:
    """Products of our models, without those in the baseline's table."""
    found = set(FRAMES)
    for name in MODELS:
        model = read_model(ROOT / "golden" / "models" / name / "model.tflite")
        for graph in model.subgraphs:
            for op in graph.operators:
                if op.name == "FULLY_CONNECTED":
                    m, k = graph.tensors[op.inputs[1]].shape
                    found.add((m, k, math.prod(graph.tensors[op.outputs[0]].shape) // m))
    return sorted(found, key=lambda s: (s[2], s))


def requantized(sums: np.ndarray, multipliers: list[int], shifts: list[int], bits: int):
    """Outputs of sums (N, M), with an offset of -5 (int8) or 0."""
    out = np.empty_like(sums)
    for channel, (multiplier, shift) in enumerate(zip(multipliers, shifts, strict=True)):
        column = np.empty(len(sums), np.int64)
        multiply_array(np.ascontiguousarray(sums[:, channel]), multiplier, shift, column)
        out[:, channel] = column
    limit = 1 << (bits - 1)
    offset = -5 if bits == 8 else 0
    return np.clip(out + offset, -limit, limit - 1).astype(f"int{bits}")


def make_cases(shape: Shape, bits: int, memory: Memory, values: np.ndarray):
    """Cases of one shape and the C text that they need."""
    m, k, n = shape
    random = np.random.default_rng([*shape, bits])
    weights = random.integers(-127, 128, (m, k))
    bias = random.integers(-3000, 3000, m)
    scale = 8 - math.ceil(math.log2(k * 200)) if bits == 8 else -math.ceil(math.log2(k * 100))
    zero_point = 3 if bits == 8 else 0
    rows = values[: n * k].reshape(n, k).astype(np.int64)
    sums = (rows - zero_point) @ weights.T + bias
    offset = -5 if bits == 8 else 0
    limit = 1 << (bits - 1)
    common = {"output_offset": offset, "low": -limit, "high": limit - 1, "left_shifts": False}
    text, cases = [], []
    one = [int(random.integers(1 << 30, 1 << 31))] * m, [scale] * m
    many = (
        random.integers(1 << 30, 1 << 31, m).tolist(),
        random.integers(scale - 1, scale + 1, m).tolist(),
    )
    outputs = {"one": requantized(sums, *one, bits), "many": requantized(sums, *many, bits)}
    label = f"s{bits}_{m}x{k}x{n}"

    def add(kind: str, function: str, call: str, pair: str, kernel: Kernel | None = None) -> None:
        name = f"{kind}_{label}"
        text.append(f"static void run_{name}(void)\n{{\n    {call}\n}}\n")
        content = outputs[pair].tobytes()
        crc = zlib.crc32(content)
        cases.append(Case(shape, kind, name, function, crc, len(content), kernel))

    for kind, pair, (multipliers, shifts) in (("fc", "one", one), ("conv", "many", many)):
        used = Requantization(
            input_zero_point=zero_point,
            constant=(multipliers[0], shifts[0]) if kind == "fc" else None,
            **common,
        )
        problem = Matmul(m, k, n, bits, per_channel=kind == "conv")
        kernel = generate(problem, find_target("cortex-m4"), used, name=f"mema_{kind}_{label}")
        packed = kernel.pack(weights, bias, multipliers, shifts)
        text += [kernel.text]
        text.append(
            f"static const struct mema_weights weights_{kind}_{label} = {{\n"
            f"    .filter = (const int8_t *){memory.place(packed['filter'])},\n}};\n"
        )
        call = f"{kernel.name}(INPUT{bits}, &weights_{kind}_{label}, OUTPUT{bits});"
        add(kind, kernel.name, call, pair, kernel)
    folded = (bias - zero_point * weights.sum(1)).astype(np.int32)
    arrays = [
        f"(const {kind} *){memory.place(np.asarray(a, dtype))}"
        for a, kind, dtype in (
            (weights, "int8_t", np.int8),
            (folded, "int32_t", np.int32),
            (many[0], "int32_t", np.int32),
            (many[1], "int8_t", np.int8),
        )
    ]
    text.append(
        f"static const struct bench_product product_{label} = {{\n    "
        + ", ".join([*arrays, *(f"{v}u" for v in (m, k, n)), str(offset)])
        + "\n};\n"
    )
    for kind in ("plain", "two_by_two"):
        call = f"{kind}_s{bits}(&product_{label}, INPUT{bits}, OUTPUT{bits});"
        add(kind, f"run_{kind}_{label}", call, "many")
    return cases, text


def write_program(cases: list[Case], text: list[str]) -> str:
    """`cases.c`."""
    head = ['#include "bench.h"', '#include "mema.h"', ""]
    for bits in (8, 16):
        head.append(f"#define INPUT{bits} ((const int{bits}_t *){INPUT_AT:#x}u)")
        head.append(f"#define OUTPUT{bits} ((int{bits}_t *){OUTPUT_AT:#x}u)")
    rows = [
        f'    {{"{c.name}", run_{c.name}, (uint8_t *){OUTPUT_AT:#x}u, {c.output_bytes}u}},'
        for c in cases
    ]
    table = ["const struct bench_case bench_cases[] = {", *rows, "};"]
    count = f"const unsigned bench_case_count = {len(cases)}u;"
    return "\n".join([*head, "", *text, *table, count, ""])


def measure(cases: list[Case], text: list[str], memory: Memory, values: np.ndarray) -> list[dict]:
    """Build, run, check; one row for each case."""
    app = firmware_folder() / "apps" / "mema_bench"
    link = firmware_folder() / "common" / "link.c"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mema.h").write_text(header())
        (folder / "cases.c").write_text(write_program(cases, text))
        sources = [folder / "cases.c", *sorted(app.glob("*.c")), link]
        program = compile_program(
            sources, "mps2-an386", folder / "bench.elf", includes=(app, folder), flags=("-Wall",)
        )
        regions = {
            "stack": ("__stack_limit", "__stack_top"),
            "filter": (FILTER_AT, INPUT_AT),
            "input": (INPUT_AT, OUTPUT_AT),
            "output": (OUTPUT_AT, END),
        }
        files = {FILTER_AT: bytes(memory.content), INPUT_AT: values.tobytes()}
        result = run(program, "mps2-an386", regions=regions, files=files, timeout_s=300)
    printed = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in printed] == [case.name for case in cases], result.stdout
    rows = []
    for case, (_, crc) in zip(cases, printed, strict=True):
        assert int(crc) == case.crc, f"{case.name} computes other outputs"
        counts = result.functions[case.function].inclusive
        row = {
            "shape": case.shape,
            "kind": case.kind,
            "bits": 16 if "_s16_" in case.name else 8,
            "instructions": counts.instructions,
            "loads": counts.all_loads,
            "stores": counts.all_stores,
            "by_region": {r: counts.loads[r] + counts.stores[r] for r in regions},
        }
        if case.kernel:
            want = case.kernel.counts
            row |= {"predicted_loads": want.loads, "predicted_stores": want.stores}
            row |= {"predicted_instructions": want.instructions}
            row |= {"floor": floor(case.shape, row["bits"], scaled=case.kind == "conv")}
            got = (counts.instructions, counts.all_loads, counts.all_stores)
            assert got == (want.instructions, want.loads, want.stores), f"{case.name}: {got}"
        rows.append(row)
    return rows


def floor(shape: Shape, bits: int, *, scaled: bool) -> int:
    """Accesses below which no tile of the target's registers gets; `docs/mema.md` derives it."""
    target = find_target("cortex-m4")
    used = layout(Matmul(*shape, bits), target, bias=True, scaled=scaled)
    return best(target, used).floor


def summarize(rows: list[dict], baseline: dict) -> list[dict]:
    """One row for each shape and width, kernels side by side."""
    theirs = {tuple(row[:3]): row[3:] for row in baseline["rows"]}
    table: dict[tuple, dict] = {}
    for row in rows:
        key = (row["bits"], *row["shape"])
        entry = table.setdefault(key, {"bits": row["bits"], "shape": row["shape"]})
        entry[row["kind"]] = {
            key: value for key, value in row.items() if key not in ("bits", "shape", "kind")
        } | {"accesses": row["loads"] + row["stores"]}
    for (bits, *shape), entry in table.items():
        if bits == 8 and tuple(shape) in theirs:
            names = ("fc_instructions", "fc_accesses", "conv_instructions", "conv_accesses")
            entry["cmsis_nn"] = dict(zip(names, theirs[tuple(shape)], strict=True))
    return list(table.values())


def main() -> None:
    """Measure everything and write the results."""
    baseline = json.loads(BASELINE.read_text())
    listed = [tuple(row[:3]) for row in baseline["rows"]]
    shapes = listed + [shape for shape in shapes_of_models() if shape not in listed]
    random = np.random.default_rng(6)
    raw = random.integers(0, 256, 2 * max(k * n for _, k, n in shapes), np.uint8)
    memory, cases, text = Memory(), [], []
    for bits in (8, 16):
        values = raw.view(f"int{bits}")
        for shape in shapes:
            more, lines = make_cases(shape, bits, memory, values)
            cases += more
            text += lines
    print(f"{len(cases)} kernels on {len(shapes)} shapes", file=sys.stderr)
    table = summarize(measure(cases, text, memory, raw), baseline)
    content = {"command": "python benchmarks/mema_bench.py", "board": "mps2-an386 in QEMU"}
    content |= {"baseline": baseline["source"], "rows": table}
    files = {
        RESULTS / "mema.json": (json.dumps(content, indent=1) + "\n").encode(),
        RESULTS / "mema.md": page(table, baseline).encode(),
    }
    try:
        files[RESULTS / "mema.png"] = picture(table)
    except ImportError:
        print("no picture: matplotlib is missing", file=sys.stderr)
    write_files(files)


if __name__ == "__main__":
    main()
