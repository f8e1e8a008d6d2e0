"""Operators whose file gives them the options table of another operator, against the real TFLM."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from refmicro.interpreter import Interpreter
from refmicro.model import _schema
from refmicro.model._parsers import OPTIONS_READ
from refmicro.model.graph import Model
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.ops import registry
from refmicro.types import DType, Tensor
from tests.ops.elementwise import pair_model
from tests.ops.harness import compare, model_of, tensor
from tests.ops.reductions import reduction
from tests.ops.resizing import resize_model

INT8 = {"scales": (0.05, 0.04, 0.1), "points": (3, -7, 5), "activation": 1}
SIX = ((2, 3),) * 3


def x(*shape: int, dtype: DType = DType.FLOAT32) -> Tensor:
    return tensor(dtype, shape, scale=0.1 if dtype is DType.INT8 else ())


def ints(*values: int) -> Tensor:
    return tensor(DType.INT32, (len(values),), data=np.array(values))


MODELS = {
    "ADD": pair_model("ADD", DType.INT8, SIX, **INT8),
    "SUB": pair_model("SUB", DType.INT8, SIX, **INT8),
    "MUL": pair_model("MUL", DType.INT8, SIX, **INT8),
    "DIV": pair_model("DIV", DType.FLOAT32, SIX, activation=3),
    "ARG_MAX": model_of("ARG_MAX", [x(3, 4), ints(1)], [x(3, dtype=DType.INT32)], {}),
    "BATCH_MATMUL": model_of(
        "BATCH_MATMUL",
        [x(3, 3), x(3, 3)],
        [x(3, 3)],
        {"adj_x": True},
        options_type="BatchMatMulOptions",
    ),
    "CAST": model_of("CAST", [x(7)], [x(7, dtype=DType.INT32)], {}),
    "CONCATENATION": model_of(
        "CONCATENATION", [x(1, 2), x(1, 2)], [x(2, 2)], {"fused_activation_function": 0}
    ),
    "CUMSUM": model_of("CUMSUM", [x(5), ints(0)], [x(5)], {"exclusive": True, "reverse": True}),
    "FULLY_CONNECTED": model_of(
        "FULLY_CONNECTED",
        [x(2, 3), tensor(DType.FLOAT32, (4, 3), data=np.ones((4, 3))), None],
        [x(2, 4)],
        {"fused_activation_function": 1},
    ),
    "GATHER": model_of("GATHER", [x(3, 3), ints(2, 0, 1)], [x(3, 3)], {"axis": 1}),
    "L2_NORMALIZATION": model_of(
        "L2_NORMALIZATION", [x(2, 5)], [x(2, 5)], {}, options_type="L2NormOptions"
    ),
    "LEAKY_RELU": model_of("LEAKY_RELU", [x(9)], [x(9)], {"alpha": 0.5}),
    "MEAN": reduction("MEAN", (2, 3), (1,), DType.FLOAT32, keep_dims=True),
    "SUM": reduction("SUM", (2, 3), (1,), DType.FLOAT32, keep_dims=True),
    "REDUCE_MAX": reduction("REDUCE_MAX", (2, 3), (1,), DType.FLOAT32, keep_dims=True),
    "MIRROR_PAD": model_of(
        "MIRROR_PAD",
        [x(3), tensor(DType.INT32, (1, 2), data=np.array([[2, 2]]))],
        [x(7)],
        {"mode": 1},
    ),
    "RESHAPE": model_of("RESHAPE", [x(2, 3), ints(3, 2)], [x(3, 2)], {"new_shape": (3, 2)}),
    "RESIZE_BILINEAR": resize_model("RESIZE_BILINEAR", align_corners=True),
    "RESIZE_NEAREST_NEIGHBOR": resize_model("RESIZE_NEAREST_NEIGHBOR", half_pixel_centers=True),
    "SHAPE": model_of("SHAPE", [x(2, 3)], [x(2, dtype=DType.INT32)], {"out_type": 2}),
    "SOFTMAX": model_of("SOFTMAX", [x(2, 5)], [x(2, 5)], {"beta": 1.0}),
    "SPLIT": model_of("SPLIT", [ints(0), x(4)], [x(2), x(2)], {"num_splits": 2}),
    "SQUEEZE": model_of("SQUEEZE", [x(1, 3)], [x(3)], {"squeeze_dims": (0,)}),
    "STRIDED_SLICE": model_of(
        "STRIDED_SLICE", [x(5), ints(1), ints(3), ints(1)], [x(2)], {"begin_mask": 0}
    ),
    "TRANSPOSE": model_of("TRANSPOSE", [x(2, 3), ints(1, 0)], [x(3, 2)], {}),
}
"""Models that TFLM runs without options as well; most give other values then."""

REFUSED = {
    "DEPTH_TO_SPACE": model_of(
        "DEPTH_TO_SPACE", [x(1, 1, 1, 4)], [x(1, 2, 2, 1)], {"block_size": 2}
    ),
    "SPACE_TO_DEPTH": model_of(
        "SPACE_TO_DEPTH", [x(1, 2, 2, 1)], [x(1, 1, 1, 4)], {"block_size": 2}
    ),
}
"""Models that TFLM refuses without options."""

TABLES = ("AddOptions", "ReducerOptions", "Pool2DOptions", "GatherOptions", "VarHandleOptions")


def foreign(model: Model, table: str) -> Model:
    """The model whose operator has another options table, with values in fields of equal name."""
    graph = model.subgraphs[0]
    known = _schema.fields(table)
    options = {key: value for key, value in graph.operators[0].options.items() if key in known}
    op = dataclasses.replace(graph.operators[0], options=options, options_type=table)
    return dataclasses.replace(model, subgraphs=(dataclasses.replace(graph, operators=(op,)),))


@pytest.mark.oracle
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", MODELS)
def test_another_operators_table(name, table):
    if OPTIONS_READ.get(name) == table:
        compare(MODELS[name], expect="run")
    else:
        compare(foreign(MODELS[name], table), expect="run")


@pytest.mark.oracle
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", REFUSED)
def test_a_table_that_is_needed(name, table):
    compare(REFUSED[name], expect="run")
    compare(foreign(REFUSED[name], table), expect="refuse")


def test_the_activation_of_another_table_is_not_applied():
    model = MODELS["ADD"]
    low = [np.full((1, 2, 3), -128, np.int8)] * 2
    clamped = Interpreter(model).invoke_batch(low)[0]
    op = parse_model(write_model(foreign(model, "SubOptions"))).subgraphs[0].operators[0]
    assert (op.options_type, op.options) == ("", {})
    other = Interpreter.from_bytes(write_model(foreign(model, "SubOptions"))).invoke_batch(low)[0]
    assert clamped.min() == INT8["points"][2]
    assert other.max() < clamped.min()


def test_the_tables_are_those_of_the_schema():
    operators = _schema.enum_codes("BuiltinOperator")
    assert set(OPTIONS_READ) <= set(operators) & set(registry.names())
    assert set(OPTIONS_READ.values()) <= set(_schema.enum_codes("BuiltinOptions"))
