"""RESIZE_NEAREST_NEIGHBOR: rows and columns of the input by tables."""

from __future__ import annotations

import numpy as np

from refmicro.emit.ops._elementwise import parameter
from refmicro.emit.unit import Op


def emit(op: Op) -> None:
    """Every output pixel is a copy of one input pixel."""
    x, output = op.input(0), op.output()
    images, height, width, depth = output.tensor.shape
    pixels = op.data.pixels.reshape(height, width)
    size = x.tensor.shape[1] * x.tensor.shape[2]
    rows = op.constant("rows", (pixels[:, 0] - pixels[0, 0]).astype(np.int32))
    columns = op.constant("columns", pixels[0].astype(np.int32))
    body = f"""\
for (int n = 0; n < {images}; n++) {{
    for (int y = 0; y < {height}; y++) {{
        for (int x = 0; x < {width}; x++) {{
            const int32_t pixel = n * {size} + rows[y] + columns[x];
            for (int c = 0; c < {depth}; c++) {{
                output[((n * {height} + y) * {width} + x) * {depth} + c] =
                    input[pixel * {depth} + c];
            }}
        }}
    }}
}}"""
    op.kernel(
        [
            parameter(x, "input"),
            ("const int32_t *", "rows", rows),
            ("const int32_t *", "columns", columns),
            parameter(output, "output", write=True),
        ],
        body,
    )
