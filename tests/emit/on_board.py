"""Emitted models cross-compiled and run in the emulator: many in one program."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from refmicro.board import build, emulator
from refmicro.emit.emitter import Emitted
from tests.mema.on_board import BOARDS


def run_on_board(made: list[Emitted], inputs: list[np.ndarray], folder: Path) -> list[bytes]:
    """Outputs of all rows of each model of one input, from reset on, all in one program."""
    lines, calls, paths = ['#include "board.h"', "#include <string.h>"], [], []
    for item, rows in zip(made, inputs, strict=True):
        name = item.name
        for file, data in item.files.items():
            (folder / file).write_bytes(data)
        paths.append(folder / f"{name}.c")
        values = f"static const {rows.dtype}_t {name}_rows[]"
        text = ", ".join(map(str, rows.reshape(-1).tolist()))
        lines += [f'#include "{name}.h"', f"{values} = {{{text}}};"]
        calls += [
            f"    {name}_reset();",
            f"    for (unsigned row = 0; row < {len(rows)}; row++) {{",
            f"        const unsigned size = {name}_input_bytes(0);",
            f"        memcpy({name}_input(0), (const uint8_t *){name}_rows + row * size, size);",
            f"        {name}_invoke();",
            f"        show({name}_output(0), {name}_output_bytes(0));",
            "    }",
            '    board_debug("\\n");',
        ]
    show = [
        "static void show(const uint8_t *bytes, unsigned count)",
        "{",
        "    for (unsigned i = 0; i < count; i++) {",
        '        board_debug(" ");',
        "        board_debug_number(bytes[i]);",
        "    }",
        "}",
    ]
    main = [*lines, *show, "int main(void)", "{", *calls, "    return 0;", "}", ""]
    (folder / "main.c").write_text("\n".join(main))
    board, flags = BOARDS["cortex-m4"]
    program = folder / "main.elf"
    build.compile_program([folder / "main.c", *paths], board, program, cpu_flags=flags)
    result = emulator.run(program, board, regions={}, timeout_s=60)
    assert result.exit_code == 0, result.stdout
    return [bytes(map(int, line.split())) for line in result.stdout.splitlines()]
