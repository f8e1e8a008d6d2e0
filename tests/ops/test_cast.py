"""CAST against the real TFLM."""

import numpy as np
import pytest

from refmicro.types import DType
from tests.ops.elementwise import single_model
from tests.ops.harness import compare, random_values

pytestmark = pytest.mark.oracle

TYPES = [
    DType.BOOL,
    DType.INT8,
    DType.INT16,
    DType.INT32,
    DType.UINT32,
    DType.FLOAT32,
    DType.UINT8,
    DType.INT64,
]


def cast(source, target, elements):
    options = {"in_data_type": source.value, "out_data_type": target.value}
    return single_model("CAST", source, (elements,), output=target, options=options)


@pytest.mark.parametrize("source", TYPES)
@pytest.mark.parametrize("target", TYPES)
def test_all_pairs_of_types(source, target):
    model = cast(source, target, 200)
    inputs = None
    if source is DType.FLOAT32:
        values = random_values(model.subgraphs[0].tensors[0], 4, np.random.default_rng(0))
        inputs = [values * np.float32([[1], [30], [3e4], [9e8]]) / 16]
    compare(model, inputs)


@pytest.mark.parametrize("target", TYPES[:6])
def test_floats_that_do_not_fit(target):
    values = np.float32(
        [2e9, 2.2e9, -2.2e9, 4.29e9, 4.3e9, 1e20, -1e20, np.inf, -np.inf, np.nan, 127.9, -0.9, -0.0]
    )
    compare(cast(DType.FLOAT32, target, values.size), [values[None]], expect="run")


@pytest.mark.parametrize("target", TYPES[:6])
@pytest.mark.parametrize("source", [DType.INT16, DType.INT32, DType.UINT32])
def test_ends_of_integer_types(source, target):
    limits = np.iinfo(source.numpy)
    values = np.array([limits.min, limits.min + 1, 0, 1, 200, limits.max - 1, limits.max])
    compare(cast(source, target, 7), [values.astype(source.numpy)[None]], expect="run")


@pytest.mark.parametrize("field", ["in_data_type", "out_data_type"])
@pytest.mark.parametrize("value", [-3, 23, 127])
def test_options_that_name_no_type_are_refused(field, value):
    options = {"in_data_type": 9, "out_data_type": 0, field: value}
    model = single_model("CAST", DType.INT8, (4,), output=DType.FLOAT32, options=options)
    compare(model, expect="refuse")
