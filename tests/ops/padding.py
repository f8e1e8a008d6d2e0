"""Models that the padding operators share."""

import numpy as np

from refmicro.types import DType, Tensor
from tests.ops.harness import model_of, tensor

DTYPES = [DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32]


def pad_model(
    name,
    shape,
    pairs,
    dtype=DType.INT8,
    *,
    value: Tensor | None = None,
    point=0,
    scale=0.1,
    out=None,
    paddings_type=DType.INT32,
    **kind,
):
    """A padding operator; `pairs` are (before, after), `out` overrides the output's shape."""
    quantized = {"scale": scale if dtype in (DType.INT8, DType.INT16) else (), "zero_point": point}
    if out is None:
        out = [size + sum(pair) for size, pair in zip(shape, pairs, strict=True)]
    paddings = tensor(paddings_type, (len(pairs), 2), data=np.array(pairs).reshape(-1, 2))
    inputs = [tensor(dtype, shape, **quantized), paddings, *([] if value is None else [value])]
    return model_of(name, inputs, [tensor(dtype, out, **quantized)], {}, **kind)
