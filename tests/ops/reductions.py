"""Models and cases that the reductions share."""

import numpy as np
from hypothesis import strategies as st

from refmicro.types import DType
from tests.ops.harness import model_of, tensor

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple)
CASES = SHAPES.flatmap(
    lambda shape: st.tuples(
        st.just(shape),
        st.lists(st.integers(-len(shape), len(shape) - 1), min_size=1, max_size=4).map(tuple),
    )
)


def reduction(
    name,
    shape,
    axes,
    dtype=DType.INT8,
    *,
    keep_dims=False,
    scales=(0.1, 0.1),
    points=(0, 0),
    out=None,
    out_dtype=None,
    axis_type=DType.INT32,
    axis=None,
):
    """A reduction; `out` overrides the output's shape, `axis` the axis tensor."""
    quantized = dtype in (DType.INT8, DType.INT16)
    gone = {axis % len(shape) for axis in axes} if shape else set()
    if out is None:
        if keep_dims:
            out = tuple(1 if i in gone else size for i, size in enumerate(shape))
        else:
            out = tuple(size for i, size in enumerate(shape) if i not in gone)
    x, y = (
        tensor(kind, size, scale=scale if quantized else (), zero_point=point)
        for kind, size, scale, point in zip(
            (dtype, out_dtype or dtype), (shape, out), scales, points, strict=True
        )
    )
    if axis is None:
        axis = tensor(axis_type, (len(axes),), data=np.array(axes))
    table = {"keep_dims": keep_dims}
    return model_of(name, [x, axis], [y], table, options_type="ReducerOptions")
