"""Many emitted models in one program: a compiler takes longer to start than to compile one."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refmicro.emit.compiler import FLAGS, SANITIZERS, find_compiler
from refmicro.emit.emitter import Emitted

_MAIN = """\
#include <stdio.h>
{includes}
struct model {{
    void (*reset)(void);
    void (*invoke)(void);
    void *(*input)(unsigned);
    void *(*output)(unsigned);
    unsigned (*input_bytes)(unsigned);
    unsigned (*output_bytes)(unsigned);
}};
static const struct model models[] = {{
{rows}
}};
int main(void)
{{
    for (int low = getchar(); low != EOF; low = getchar()) {{
        const struct model *m = &models[low + 256 * getchar()];
        const int command = getchar();
        if (command == 'r') {{
            m->reset();
            continue;
        }}
        for (unsigned i = 0; m->input(i) != 0; i++) {{
            if (fread(m->input(i), 1, m->input_bytes(i), stdin) != m->input_bytes(i)) {{
                return 2;
            }}
        }}
        m->invoke();
        for (unsigned i = 0; m->output(i) != 0; i++) {{
            fwrite(m->output(i), 1, m->output_bytes(i), stdout);
        }}
    }}
    return 0;
}}
"""
_MEMBERS = ("reset", "invoke", "input", "output", "input_bytes", "output_bytes")


def build(models: Sequence[Emitted], folder: Path, *, sanitized: bool = True) -> Path:
    """The program of models with different names, compiled without a warning."""
    names = [model.name for model in models]
    assert len(set(names)) == len(names)
    for model in models:
        for key, data in model.files.items():
            (folder / key).write_bytes(data)
    includes = "\n".join(f'#include "{name}.h"' for name in names)
    rows = "\n".join(
        f"    {{{', '.join(f'{name}_{member}' for member in _MEMBERS)}}}," for name in names
    )
    (folder / "main.c").write_text(_MAIN.format(includes=includes, rows=rows))
    sources = [*(folder / f"{name}.c" for name in names), folder / "main.c"]
    program = folder / "program"
    extra = SANITIZERS if sanitized else ()
    call = [*find_compiler(), *FLAGS, "-O0", *extra, *sources, "-lm", "-o", program]
    done = subprocess.run(call, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[:4000]
    return program


def run(
    program: Path, streams: Sequence[tuple[int, Emitted, Sequence[np.ndarray]]]
) -> list[list[np.ndarray]]:
    """Outputs of streams: (number of the model, the model, inputs of shape (steps, *shape))."""
    commands = []
    for number, _, inputs in streams:
        head = number.to_bytes(2, "little")
        commands.append(head + b"r")
        for step in range(inputs[0].shape[0] if inputs else 1):
            parts = (np.ascontiguousarray(array[step]).tobytes() for array in inputs)
            commands.append(head + b"i" + b"".join(parts))
    done = subprocess.run([program], input=b"".join(commands), capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[:4000]
    data, at, results = done.stdout, 0, []
    for _, model, inputs in streams:
        graph = model.model.subgraphs[0]
        tensors = [graph.tensors[index] for index in graph.outputs]
        steps = inputs[0].shape[0] if inputs else 1
        outputs = [np.empty((steps, *t.shape), t.dtype.numpy) for t in tensors]
        for step in range(steps):
            for output, tensor in zip(outputs, tensors, strict=True):
                piece = np.frombuffer(data, tensor.dtype.numpy, tensor.elements, at)
                output[step] = piece.reshape(tensor.shape)
                at += tensor.nbytes
        results.append(outputs)
    assert at == len(data)
    return results
