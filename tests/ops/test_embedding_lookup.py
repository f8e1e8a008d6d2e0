"""EMBEDDING_LOOKUP against the real TFLM."""

import numpy as np
import pytest

from refmicro.errors import UnsupportedError, UsageError
from refmicro.interpreter import Interpreter
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops.harness import compare, model_of, random_values, tensor

pytestmark = pytest.mark.oracle


def model(
    count=3,
    table=(5, 4),
    dtype=DType.INT8,
    out_type=None,
    *,
    scale=0.3,
    point=0,
    computed=False,
    lookup=None,
    out=None,
):
    """An EMBEDDING_LOOKUP of `count` rows."""
    out_type = out_type or dtype
    values = np.random.default_rng(1).integers(-128, 128, table)
    quantized = {"scale": scale if dtype is DType.INT8 else (), "zero_point": point}
    lookup = lookup or tensor(DType.INT32, (count,))
    rows = tensor(dtype, table, **quantized, data=None if computed else values)
    result = tensor(
        out_type, out or (count, *table[1:]), scale=scale if out_type is DType.INT8 else ()
    )
    return model_of("EMBEDDING_LOOKUP", [lookup, rows], [result])


def indices(rows, count, size, seed=0):
    return np.random.default_rng(seed).integers(0, size, (rows, count)).astype(np.int32)


@pytest.mark.parametrize("table", [(5, 4), (1, 1), (3, 2, 2), (4, 1, 3, 2)])
@pytest.mark.parametrize(
    ("dtype", "out_type"),
    [
        (DType.INT8, DType.INT8),
        (DType.INT8, DType.FLOAT32),
        (DType.FLOAT32, DType.FLOAT32),
    ],
)
def test_rows(dtype, out_type, table):
    one = model(6, table, dtype, out_type)
    compare(one, [indices(4, 6, table[0])], expect="run")


def test_computed_table_of_each_row():
    one = model(computed=True)
    rng = np.random.default_rng(2)
    table = random_values(one.subgraphs[0].tensors[1], 5, rng)
    compare(one, [indices(5, 3, 5), table], expect="run")


def test_int8_rows_may_have_any_zero_point():
    compare(model(point=3), [indices(2, 3, 5)], expect="run")


@pytest.mark.parametrize(
    "changes",
    [
        {"lookup": tensor(DType.INT64, (3,))},
        {"lookup": tensor(DType.INT32, (3, 1))},
        {"table": (5,), "out": (3,)},
        {"dtype": DType.INT16},
        {"dtype": DType.FLOAT32, "out_type": DType.INT8},
        {"out_type": DType.INT16},
        {"out_type": DType.FLOAT32, "point": 1},
        {"out": (2, 4)},
    ],
)
def test_refusals(changes):
    compare(model(**changes), expect="refuse")


@pytest.mark.parametrize("out", [(4, 4), (3, 4, 1)])
def test_output_must_be_declared_as_computed(out):
    with pytest.raises(UnsupportedError, match="of shape"):
        prepare_model(model(out=out), TflmBuild.wheel())


@pytest.mark.parametrize("index", [-1, 5])
def test_index_outside_of_the_table(index):
    interpreter = Interpreter(model())
    interpreter.set_input(np.array([0, index, 1], np.int32))
    with pytest.raises(UsageError, match=f"found {index}"):
        interpreter.invoke()
