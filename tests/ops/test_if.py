"""IF against the real TFLM."""

import numpy as np
import pytest

from refmicro.errors import InvalidModelError
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops import graphs
from tests.ops.harness import compare, tensor

pytestmark = pytest.mark.oracle


def branch(by, size=6, dtype=DType.INT8, outputs=1):
    """A subgraph that rotates a vector; the first output is not rotated where there are two."""
    x, y = tensor(dtype, (size,)), tensor(dtype, (size,))
    return graphs.subgraph([x], [y, x][:outputs], graphs.rotate(x, y, by))


def main(size=6, outputs=1, condition=None, indices=(1, 2)):
    """An IF of one value."""
    flag = tensor(DType.BOOL, (1,)) if condition is None else condition
    x = tensor(DType.INT8, (size,))
    outs = [tensor(DType.INT8, (size,)) for _ in range(outputs)]
    options = {"then_subgraph_index": indices[0], "else_subgraph_index": indices[1]}
    choose = graphs.op("IF", [flag, x], outs, options)
    free = [x] if flag.is_constant else [flag, x]
    return graphs.subgraph(free, outs, [choose])


@pytest.mark.parametrize("flags", [[0], [1], [1, 1, 1], [0, 0], [0, 1, 1, 0, 1], [1, 0]])
@pytest.mark.parametrize("outputs", [1, 2])
def test_rows_take_their_branch(flags, outputs):
    x = np.random.default_rng(len(flags)).integers(-128, 127, (len(flags), 6), dtype=np.int8)
    built = graphs.model(
        main(outputs=outputs), branch(1, outputs=outputs), branch(3, outputs=outputs)
    )
    compare(built, [np.array(flags, bool)[:, None], x], expect="run")


@pytest.mark.parametrize("value", [False, True])
def test_constant_condition(value):
    flag = tensor(DType.BOOL, (), data=np.array(value))
    compare(graphs.model(main(condition=flag), branch(1), branch(2)), expect="run")


def test_one_subgraph_for_both():
    compare(graphs.model(main(indices=(1, 1)), branch(1)), expect="run")


@pytest.mark.parametrize(
    ("refused", "value"),
    [
        (graphs.model(main(), branch(1, size=5), branch(2)), True),
        (graphs.model(main(), branch(1), branch(2, size=5)), False),
        (graphs.model(main(), branch(1, outputs=2), branch(2)), True),
        (graphs.model(main(), branch(1), branch(2, outputs=2)), False),
        (graphs.model(main(indices=(1, 3)), branch(1), branch(2)), False),
        (graphs.model(main(condition=tensor(DType.INT8, (1,))), branch(1), branch(2)), True),
        (graphs.model(main(condition=tensor(DType.BOOL, (2,))), branch(1), branch(2)), True),
    ],
    ids=["then size", "else size", "then outputs", "else outputs", "no else", "int8", "two flags"],
)
def test_refused(refused, value):
    flag = refused.subgraphs[0].tensors[0]
    condition = np.full((1, *flag.shape), value, flag.dtype.numpy)
    compare(refused, [condition, np.ones((1, 6), np.int8)], expect="refuse")


def test_values_must_keep_their_type():
    x, y = tensor(DType.INT16, (3,)), tensor(DType.INT16, (3,))
    wide = graphs.subgraph([x], [y], graphs.rotate(x, y))
    with pytest.raises(InvalidModelError, match="must be int8"):
        prepare_model(graphs.model(main(), branch(1), wide), TflmBuild())
