"""Models and cases that ARG_MAX and ARG_MIN share."""

import numpy as np
from hypothesis import strategies as st

from refmicro.types import DType
from tests.ops.harness import model_of, tensor

CASES = (
    st.lists(st.integers(1, 6), min_size=1, max_size=5)
    .map(tuple)
    .flatmap(lambda s: st.tuples(st.just(s), st.integers(-len(s), len(s) - 1)))
)


def arg_model(
    name,
    shape,
    axis,
    dtype=DType.INT8,
    *,
    out=None,
    axis_type=DType.INT32,
    out_type=DType.INT32,
    computed=False,
    option=None,
):
    """An operator that gives indices along `axis`; `out` overrides the output's shape."""
    if out is None:
        out = tuple(size for i, size in enumerate(shape) if i != axis % len(shape))
    quantized = dtype in (DType.INT8, DType.UINT8, DType.INT16)
    x = tensor(dtype, shape, scale=0.1 if quantized else ())
    where = tensor(axis_type, (1,), data=None if computed else np.array([axis]))
    table = {"output_type": out_type.value if option is None else option}
    return model_of(name, [x, where], [tensor(out_type, out)], table)
