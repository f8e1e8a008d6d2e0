"""Look-ups in tables of 256 bytes, with and without vector instructions."""

import numpy as np
import pytest

from refmicro import Interpreter
from refmicro._jit import has_byte_tables
from refmicro.ops import _byte_table
from refmicro.types import DType
from tests.ops.elementwise import pair_model

needs_vbmi = pytest.mark.skipif(
    not has_byte_tables(), reason="needs a processor with AVX-512 VBMI and REFMICRO_JIT=on"
)
KERNELS = [_byte_table._narrow, pytest.param(_byte_table._wide, marks=needs_vbmi)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 127, 128, 1000])
def test_every_byte_is_looked_up_and_no_other_written(kernel, count):
    rng = np.random.default_rng(count)
    table = rng.permutation(256).astype(np.uint8)
    x = np.resize(rng.permutation(256), count).astype(np.uint8)
    memory = np.full(count + 128, 77, np.uint8)
    kernel(x, table, memory[64 : 64 + count])
    assert np.array_equal(memory[64 : 64 + count], table[x])
    assert (memory[:64] == 77).all()
    assert (memory[64 + count :] == 77).all()


def test_larger_tables_are_looked_up_one_by_one():
    for dtype, size in ((np.uint16, 256), (np.uint8, 65536), (np.uint16, 65536)):
        assert _byte_table.kernel_for(np.zeros(size, dtype)) is _byte_table._narrow


@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL", "DIV", "LESS", "SQUARED_DIFFERENCE"])
@pytest.mark.parametrize("single", [0, 1])
def test_one_value_against_many(name, single):
    """With one input a single value, an operator of two becomes a table of 256."""
    shapes = [(300, 300), (300, 300)]
    shapes[single] = (1, 1)
    output = {"output": DType.BOOL} if name == "LESS" else {}
    quantized = {"scales": (0.05, 0.04, 0.1), "points": (3, -7, 5)}
    model = Interpreter(pair_model(name, DType.INT8, (*shapes, (300, 300)), **quantized, **output))
    rng = np.random.default_rng(0)
    # DIV refuses a divisor that stands for 0.
    values = [rng.integers(0, 128, (1, *shape)).astype(np.int8) for shape in shapes]
    got = model.invoke_batch(values)[0]
    data = model.program.nodes[0][0].data
    want = np.empty(got.size, data.result)
    flat = (np.broadcast_to(v[0], (300, 300)).reshape(-1).copy() for v in values)
    data.kernel(*flat, *data.arguments, want)
    assert np.array_equal(got.reshape(-1), want)
