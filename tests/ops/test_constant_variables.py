"""Tensors that are both constants and variables, against the real TFLM."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.memory.arena import model_arena
from refmicro.model.graph import Model
from refmicro.model.writer import write_model
from refmicro.ops._constant_variables import READ_BY_PREPARE
from refmicro.program import prepare_model
from refmicro.types import DType, TflmBuild
from tests.ops import (
    graphs,
    padding,
    test_batch_matmul,
    test_broadcast_to,
    test_concatenation,
    test_conv_2d,
    test_depthwise_conv_2d,
    test_expand_dims,
    test_fill,
    test_fully_connected,
    test_reshape,
    test_slice,
    test_split,
    test_strided_slice,
    test_svdf,
    test_tflm_decode,
    test_transpose,
    test_transpose_conv,
    test_unidirectional_sequence_lstm,
)
from tests.ops.elementwise import pair_model
from tests.ops.harness import compare, model_of, tensor
from tests.ops.reductions import reduction
from tests.ops.resizing import resize_model

RNG = np.random.default_rng(0)

INT8 = {"scales": (0.05, 0.04, 0.1), "points": (3, -7, 5), "activation": 0}


def decode() -> Model:
    codes = test_tflm_decode.packed([0, 1, 1, 0, 1], 1)
    pairs = [test_tflm_decode.pair(codes, (0, 1, 0, 0, 1, 1, 2), b"\x05\xf7")]
    return test_tflm_decode.model(pairs, [tensor(DType.INT8, (5,))])


MODELS = {
    "ADD": pair_model("ADD", DType.INT8, ((4, 3),) * 3, constant=np.full((4, 3), 9), **INT8),
    "MUL": pair_model("MUL", DType.INT8, ((4, 3),) * 3, constant=np.full((4, 3), 9), **INT8),
    "BATCH_MATMUL": test_batch_matmul.model((2, 3), (3, 4), constant=(1,)),
    "BROADCAST_TO": test_broadcast_to.model((1, 3), (2, 3)),
    "CONCATENATION": test_concatenation.model(
        [tensor(DType.INT8, (2,)), tensor(DType.INT8, (3,), data=np.array([5, -6, 7]))],
        tensor(DType.INT8, (5,)),
        0,
    ),
    "CONV_2D": test_conv_2d.model(RNG),
    "CONV_2D of int4": test_conv_2d.model(RNG, w=DType.INT4, bias=None),
    "DEPTHWISE_CONV_2D": test_depthwise_conv_2d.model(RNG),
    "EXPAND_DIMS": test_expand_dims.model((2, 3), 1, (2, 1, 3)),
    "FILL": test_fill.model((2, 3), (2, 3)),
    "FULLY_CONNECTED": test_fully_connected.model(RNG, 3, 7, 5),
    "MEAN over the first axis": reduction("MEAN", (2, 3), (0,)),
    "PAD": padding.pad_model("PAD", (2, 3), ((1, 0), (2, 1))),
    "PADV2": padding.pad_model(
        "PADV2",
        (2, 3),
        ((1, 0), (2, 1)),
        value=tensor(DType.INT8, (), scale=0.1, data=np.array(99)),
        options_type="PadV2Options",
    ),
    "RESHAPE": test_reshape.model(
        (2, 3), (3, 2), shape_input=tensor(DType.INT32, (2,), data=np.array([3, 2]))
    ),
    "STRIDED_SLICE": test_strided_slice.model((5,), (1,), (5,), (2,), (2,)),
    "SVDF": test_svdf.model(RNG),
    "TFLM_DECODE": decode(),
    "TRANSPOSE_CONV": test_transpose_conv.model(RNG),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": test_unidirectional_sequence_lstm.model(RNG),
}
"""Models that TFLM runs also with their constants as variables."""

BROKEN = {
    "ARG_MAX": model_of(
        "ARG_MAX",
        [tensor(DType.INT8, (2, 3)), tensor(DType.INT32, (1,), data=np.array([1]))],
        [tensor(DType.INT32, (2,))],
        {},
    ),
    "RESIZE_BILINEAR": resize_model("RESIZE_BILINEAR"),
    "SLICE": test_slice.model((4, 3), (1, 0), (2, 3), (2, 3)),
    "SPLIT": test_split.model((2, 4), [(2, 2)] * 2, 1),
    "SUM": reduction("SUM", (2, 3), (1,)),
    "TRANSPOSE": test_transpose.model((2, 3), (1, 0)),
}
"""Models whose Eval reads an axis, a size or an order that a reset has made 0."""


def as_variables(model: Model) -> Model:
    """The model with every constant of its first subgraph a variable as well."""
    graph = model.subgraphs[0]
    tensors = tuple(
        dataclasses.replace(item, is_variable=item.is_variable or item.is_constant)
        for item in graph.tensors
    )
    return dataclasses.replace(model, subgraphs=(dataclasses.replace(graph, tensors=tensors),))


@pytest.mark.oracle
@pytest.mark.parametrize("name", MODELS)
def test_eval_reads_what_a_reset_leaves(name):
    compare(MODELS[name], expect="run")
    compare(as_variables(MODELS[name]), rows=6, steps=True, expect="run")


@pytest.mark.parametrize("name", BROKEN)
def test_zeros_that_do_not_fit_are_refused(name):
    Interpreter.from_bytes(write_model(BROKEN[name])).invoke()
    with pytest.raises((InvalidModelError, UnsupportedError), match=f"{name}.*once it is reset"):
        Interpreter.from_bytes(write_model(as_variables(BROKEN[name]))).invoke()


@pytest.mark.oracle
@pytest.mark.parametrize("first", ["written", "read"])
def test_a_filter_that_is_written(first):
    x, out = tensor(DType.FLOAT32, (2, 3)), tensor(DType.FLOAT32, (2, 4))
    values = RNG.normal(0, 1, (4, 3))
    w = tensor(DType.FLOAT32, (4, 3), data=values, variable=True)
    more = tensor(DType.FLOAT32, (4, 3))
    read = graphs.op("FULLY_CONNECTED", [x, w, None], [out], {"fused_activation_function": 0})
    written = graphs.op("ADD", [w, more], [w], {"fused_activation_function": 0})
    ops = [written, read] if first == "written" else [read, written]
    compare(graphs.model(graphs.subgraph([x, more], [out], ops)), rows=5, steps=True, expect="run")


def test_the_list_names_inputs_of_models_here():
    assert set(READ_BY_PREPARE) <= set(MODELS)


@pytest.mark.parametrize("name", ["FULLY_CONNECTED", "ADD"])
def test_memory_is_that_of_a_variable(name):
    arenas = [
        model_arena(prepare_model(model, TflmBuild()))
        for model in (MODELS[name], as_variables(MODELS[name]))
    ]
    constants = [t for t in MODELS[name].subgraphs[0].tensors if t.is_constant]
    assert arenas[0].categories["variables"].count == 0
    assert arenas[1].categories["variables"].requested_bytes == sum(t.nbytes for t in constants)
