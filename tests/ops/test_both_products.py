"""The same bytes from the products of `_int8_gemm` and from those of BLAS, which run where the
processor has no VNNI."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refmicro import _int8_gemm
from refmicro.interpreter import Interpreter
from refmicro.model.writer import write_model
from refmicro.types import DType
from tests.ops import test_conv_2d, test_depthwise_conv_2d, test_fully_connected
from tests.ops.harness import random_values
from tests.test_int8_gemm import needs_vnni

PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40))


def run(data, rows, seed):
    """Outputs, and whether bytes were multiplied."""
    interpreter = Interpreter.from_bytes(data)
    graph = interpreter.program.model.subgraphs[0]
    rng = np.random.default_rng(seed)
    inputs = [random_values(graph.tensors[i], rows, rng) for i in graph.inputs]
    calls = []
    product = _int8_gemm.Rescale.terms
    with mock.patch.object(
        _int8_gemm.Rescale, "terms", lambda *args: calls.append(1) or product(*args)
    ):
        outputs = interpreter.invoke_batch(inputs)
    # Bound by now, the second way to the same outputs.
    for _ in range(3):
        for again, first in zip(interpreter.invoke_batch(inputs), outputs, strict=True):
            assert np.array_equal(again, first)
    return outputs, bool(calls)


def check(model, rows, seed=0):
    data = write_model(model)
    outputs, by_bytes = run(data, rows, seed)
    assert by_bytes
    with mock.patch.object(_int8_gemm, "has_byte_products", return_value=False):
        others, by_bytes = run(data, rows, seed)
    assert not by_bytes
    for one, other in zip(outputs, others, strict=True):
        assert one.tobytes() == other.tobytes()


@needs_vnni
@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 99),
    SIZES,
    st.tuples(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5)),
    PAIRS,
    PAIRS,
    st.sampled_from([DType.INT8, DType.INT4]),
    st.sampled_from([0, 1, 3]),
    st.integers(1, 20),
)
def test_convolutions(seed, image, filters, stride, dilation, w, activation, rows):
    rng = np.random.default_rng(seed)
    geometry = {"stride": stride, "dilation": dilation, "w": w, "activation": activation}
    check(test_conv_2d.model(rng, (1, *image), filters, **geometry), rows)


@needs_vnni
@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 99),
    SIZES,
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    PAIRS,
    PAIRS,
    st.sampled_from([DType.INT8, DType.INT4]),
    st.sampled_from([0, 1, 3]),
    st.integers(1, 20),
)
def test_depthwise_convolutions(seed, image, filters, stride, dilation, w, activation, rows):
    rng = np.random.default_rng(seed)
    geometry = {"stride": stride, "dilation": dilation, "w": w, "activation": activation}
    check(test_depthwise_conv_2d.model(rng, (1, *image), filters, **geometry), rows)


@needs_vnni
@pytest.mark.parametrize("multiplier", [1, 3, 8])
def test_one_channel_with_many_filters(multiplier):
    rng = np.random.default_rng(multiplier)
    check(test_depthwise_conv_2d.model(rng, (2, 12, 30, 1), (3, 3), multiplier), 5)


@needs_vnni
@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 99),
    st.integers(1, 3),
    st.integers(1, 70),
    st.integers(1, 150),
    st.sampled_from([DType.INT8, DType.INT4]),
    st.integers(1, 40),
)
def test_fully_connected_layers(seed, rows, depth, width, w, batch):
    rng = np.random.default_rng(seed)
    check(test_fully_connected.model(rng, rows, depth, width, w=w), batch)


@needs_vnni
@pytest.mark.parametrize("rows", [16, 17, 128])
@pytest.mark.parametrize("depth", [16, 48])
def test_rows_times_a_computed_row(rows, depth):
    rng = np.random.default_rng(rows)
    check(test_fully_connected.model(rng, rows, depth, 1, constant=False), 30)


@pytest.mark.parametrize(
    "changes", [{"scales": (0.5, 4.0, 0.3)}, {"scales": (1e-6, 1e-6, 0.3)}, {"bias_range": 0}]
)
def test_multipliers_that_take_the_other_way(changes):
    """From 1/2 on and below 2^-23; without bias both ways are open."""
    data = write_model(test_conv_2d.model(np.random.default_rng(0), (1, 6, 6, 4), **changes))
    outputs, by_bytes = run(data, 5, 0)
    assert by_bytes == ("bias_range" in changes and _int8_gemm.has_byte_products())
    with mock.patch.object(_int8_gemm, "has_byte_products", return_value=False):
        others, _ = run(data, 5, 0)
    assert outputs[0].tobytes() == others[0].tobytes()
