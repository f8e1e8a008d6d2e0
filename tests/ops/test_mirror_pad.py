"""MIRROR_PAD against the real TFLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle

REFLECT, SYMMETRIC = 0, 1


def model(shape, pairs, dtype=DType.INT8, *, mode=REFLECT, paddings=DType.INT32, out=None):
    """A MIRROR_PAD; `out` overrides the output's shape, `paddings` is their type or tensor."""
    scale = 0.1 if dtype is DType.INT8 else ()
    if out is None:
        out = [size + sum(pair) for size, pair in zip(shape, pairs, strict=True)]
    if isinstance(paddings, DType):
        paddings = tensor(paddings, (len(pairs), 2), data=np.array(pairs))
    x, y = tensor(dtype, shape, scale=scale), tensor(dtype, out, scale=scale)
    options = None if mode is None else {"mode": mode}
    return model_of("MIRROR_PAD", [x, paddings], [y], options)


def cases(mode):
    """Shapes with paddings as large as the mode allows."""
    dimension = st.integers(1, 5).flatmap(
        lambda n: st.tuples(
            st.just(n), st.tuples(*[st.integers(0, n - 1 if mode == REFLECT else n)] * 2)
        )
    )
    return st.lists(dimension, min_size=1, max_size=4)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
@pytest.mark.parametrize("paddings", [DType.INT32, DType.INT64])
@given(cases(REFLECT))
def test_reflect(dtype, paddings, case):
    shape, pairs = zip(*case, strict=True)
    compare(model(shape, pairs, dtype, paddings=paddings), expect="run")


@pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
@given(cases(SYMMETRIC))
def test_symmetric(dtype, case):
    shape, pairs = zip(*case, strict=True)
    compare(model(shape, pairs, dtype, mode=SYMMETRIC), expect="run")


@pytest.mark.parametrize("mode", [REFLECT, SYMMETRIC])
@pytest.mark.parametrize("out", [(2, 3), (4, 9), (6, 12)])
def test_the_outputs_size_is_what_it_declares(mode, out):
    """More values than the paddings say repeat the far end."""
    compare(model((3, 4), [(2, 0), (1, 3)], mode=mode, out=out), expect="run")


def test_without_options_the_edge_is_mirrored():
    compare(model((3, 4), [(3, 0), (1, 3)], mode=None), expect="run")


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": DType.INT16},
        {"paddings": tensor(DType.INT32, (4,), data=np.zeros(4))},
        {"paddings": tensor(DType.INT32, (3, 2), data=np.zeros((3, 2)))},
    ],
)
def test_refusals(changes):
    compare(model((3, 4), [(0, 0), (0, 0)], **changes), expect="refuse")


@pytest.mark.parametrize(
    "changes",
    [
        {"pairs": [(3, 0), (0, 0)]},
        {"mode": SYMMETRIC, "pairs": [(4, 0), (0, 0)]},
        {"out": (3, 4, 1)},
        {"paddings": DType.INT16},
        {"paddings": tensor(DType.INT32, (2, 1), data=np.zeros((2, 1)))},
    ],
)
def test_malformed(changes):
    one = model((3, 4), **{"pairs": [(0, 0), (0, 0)], **changes})
    with pytest.raises(InvalidModelError, match="MIRROR_PAD"):
        prepare_model(one, TflmBuild.wheel())


def test_computed_paddings_are_refused():
    one = model((3, 4), [(0, 0), (0, 0)], paddings=tensor(DType.INT32, (2, 2)))
    with pytest.raises(UnsupportedError, match="constant"):
        prepare_model(one, TflmBuild.wheel())
