"""Emitted C of single operators against refmicro, which the operators' own tests hold to TFLM.

All models are linked into one program that runs under sanitizers. Parameters come from a seed: each
operator gets several models of different shapes, scales and options.
"""

from __future__ import annotations

import numpy as np
import pytest

from refmicro.emit import registry
from refmicro.emit.compiler import find_compiler
from refmicro.emit.emitter import emit
from refmicro.errors import UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.types import DType
from tests.emit import batch
from tests.ops import (
    indices,
    padding,
    pooling,
    resizing,
    test_batch_matmul,
    test_concatenation,
    test_conv_2d,
    test_depthwise_conv_2d,
    test_fully_connected,
    test_gather,
    test_pack,
    test_signal_framer,
    test_signal_rfft,
    test_signal_stacker,
    test_softmax,
    test_split,
    test_strided_slice,
    test_svdf,
    test_transpose,
    test_unidirectional_sequence_lstm,
)
from tests.ops.elementwise import every_pair, pair_model, single_model
from tests.ops.harness import model_of, random_values, tensor

INT8, INT16, INT32, FLOAT = DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32
SHAPES = [((2, 3), (2, 3), (2, 3)), ((4, 1, 3), (5, 1), (4, 5, 3)), ((7,), (), (7,))]


def pairs(rng):
    """Operators of two inputs."""
    for name in ("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "PRELU"):
        for shapes in SHAPES:
            scales = [float(s) for s in rng.uniform(0.01, 0.2, 3)]
            points = [int(p) for p in rng.integers(-60, 60, 3)]
            options = {} if name in ("SQUARED_DIFFERENCE", "PRELU") else {"activation": 0}
            kind = {"scales": scales, **options}
            yield pair_model(name, INT8, shapes, points=points, **kind)
            if name != "PRELU":
                yield pair_model(name, INT16, shapes, **kind)
                yield pair_model(name, FLOAT, shapes, **options)
    for name in ("MAXIMUM", "MINIMUM"):
        yield from (pair_model(name, kind, SHAPES[1]) for kind in (INT8, INT16, INT32, FLOAT))
    for name in ("LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL", "NOT_EQUAL"):
        kind = {"scales": (0.1, 0.07, 0.0), "output": DType.BOOL}
        yield pair_model(name, INT8, SHAPES[1], points=(3, -4, 0), **kind)
        yield pair_model(name, INT32, SHAPES[0], output=DType.BOOL)
    for name in ("LOGICAL_AND", "LOGICAL_OR"):
        yield pair_model(name, DType.BOOL, SHAPES[1])


def functions(rng):
    """Operators of one input."""
    for name in ("RELU", "ELU", "HARD_SWISH", "QUANTIZE", "LEAKY_RELU", "RELU6"):
        scales = [float(s) for s in rng.uniform(0.02, 0.1, 2)]
        options = {"alpha": 0.3} if name == "LEAKY_RELU" else None
        kind = {"scales": scales, "options": options}
        yield single_model(name, INT8, (256,), points=(5, -9), **kind)
        if name not in ("ELU", "HARD_SWISH"):
            yield single_model(name, INT16, (300,), **kind)
    for name, low in (("LOGISTIC", -128), ("TANH", 0)):
        scale = 1 / 256 if low else 1 / 128
        yield single_model(name, INT8, (256,), scales=(0.07, scale), points=(4, low))
        for scale in (2.0**-12, 0.0003):
            yield single_model(name, INT16, (700,), scales=(scale, 2.0**-15))
    yield single_model("ABS", INT8, (256,), scales=(0.1, 0.2), points=(7, -128))
    yield single_model("QUANTIZE", INT16, (99,), scales=(0.001, 0.2), points=(0, 9), output=INT8)
    yield single_model("QUANTIZE", INT8, (99,), scales=(0.1, 0.02), points=(3, 0), output=INT16)
    yield single_model("QUANTIZE", FLOAT, (99,), scales=(0.0, 0.1), points=(0, 5), output=INT8)
    yield single_model("DEQUANTIZE", INT8, (99,), scales=(0.1, 0.0), points=(3, 0), output=FLOAT)
    yield single_model("DEQUANTIZE", INT16, (99,), scales=(0.1, 0.0), output=FLOAT)
    yield single_model("RESHAPE", INT8, (3, 4))


def products(rng):
    """FULLY_CONNECTED, convolutions, BATCH_MATMUL, SVDF, LSTM."""
    fc = test_fully_connected.model
    for rows, depth, width in ((1, 7, 5), (3, 16, 4), (2, 33, 9)):
        yield fc(rng, rows, depth, width, per_channel=rows > 1, activation=rows % 2)
        yield fc(rng, rows, depth, width, points=(3, 2, -5), bias=False)
        yield fc(rng, rows, depth, width, constant=False, points=(3, 2, -5))
        yield fc(rng, rows, depth, width, x=INT16, bias_type=DType.INT64, scales=(1e-3, 0.01, 0.02))
        yield fc(rng, rows, depth, width, x=INT16, scales=(1e-3, 0.01, 0.02))
        yield fc(rng, rows, depth, width, x=FLOAT, w=FLOAT)
    for conv in (test_conv_2d.model, test_depthwise_conv_2d.model):
        yield conv(rng)
        yield conv(rng, stride=(2, 1), padding=pooling.VALID, activation=3)
        yield conv(rng, (2, 7, 5, 4), dilation=(2, 1), per_channel=False)
        yield conv(rng, x=INT16, bias=DType.INT64, scales=(1e-3, 0.01, 0.05))
        yield conv(rng, w=DType.INT4)
        yield conv(rng, x=FLOAT, w=FLOAT, bias=FLOAT)
    yield test_conv_2d.model(rng, (1, 5, 6, 4), (6, 3, 3), groups=2)
    yield test_conv_2d.model(rng, (1, 4, 4, 8), (5, 1, 1))
    yield test_depthwise_conv_2d.model(rng, multiplier=3)
    matmul = test_batch_matmul.model
    yield matmul((2, 3, 4), (2, 4, 5))
    yield matmul((2, 3, 4), (1, 4, 5), adj_x=True, adj_y=True)
    yield matmul((3, 4), (4, 5), adj_y=True, dtype=INT16, scales=(0.01, 0.02, 0.5))
    yield matmul((2, 1, 3, 4), (3, 4, 2), dtype=FLOAT, constant=("right",))
    for rank, state in ((1, INT8), (2, INT8), (2, INT16), (1, INT16)):
        yield test_svdf.model(rng, rank=rank, state=state, bias_range=90, points=(3, 2, -4))
    for kind in ({}, {"time_major": True, "clip": 0.7}, {"dtype": INT16}, {"weights_point": 5}):
        yield test_unidirectional_sequence_lstm.model(rng, batch=2, **kind)


def movements(rng):
    """Operators that copy."""
    for kind in (INT8, INT16, FLOAT):
        yield test_strided_slice.model((5, 6), (4, 1), (0, 6), (-2, 2), (2, 3), x=kind)
        yield test_strided_slice.model((5, 6), (4, 1), (5, 6), (1, 2), (3,), shrink=1, x=kind)
        yield test_transpose.model((2, 3, 4), (2, 0, 1), x=kind)
        yield padding.pad_model("PAD", (2, 3), [(1, 0), (2, 3)], kind, point=0)
    yield padding.pad_model("PAD", (2, 3), [(1, 0), (2, 3)], INT8, point=7)
    value = tensor(INT8, (), scale=0.1, data=np.array(9))
    yield padding.pad_model(
        "PADV2", (2, 3), [(0, 0), (2, 3)], value=value, options_type="PadV2Options"
    )
    yield test_split.model((2, 6), [(2, 2)] * 3, 1)
    yield test_pack.of_shape((2, 3), 3, 1)
    pieces = [tensor(INT8, (2,)) for _ in range(3)]
    yield model_of("UNPACK", [tensor(INT8, (2, 3))], pieces, {"num": 3, "axis": 1})
    yield test_concatenation.of_shapes([(2, 3), (2, 1)], (2, 4), 1)
    constant = np.array([2, 0, 1, 1])
    yield test_gather.model((3, 4), (4,), 0, constant=constant)
    yield resizing.resize_model("RESIZE_NEAREST_NEIGHBOR")
    yield resizing.resize_model("RESIZE_NEAREST_NEIGHBOR", align_corners=True)


def others(rng):
    """Pools, reductions, SOFTMAX."""
    for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        for kind in (INT8, INT16, FLOAT):
            yield pooling.model(name, dtype=kind)
            yield pooling.model(name, stride=(2, 2), padding=pooling.VALID, dtype=kind)
    yield test_softmax.model(INT8, INT8, (3, 7))
    yield test_softmax.model(INT8, INT16, (3, 7))
    yield test_softmax.model(INT16, INT16, (3, 7), scale=0.001)
    axes = tensor(INT32, (2,), data=np.array([1, 2]))
    for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
        scales = (0.1, 0.1) if name.startswith("R") else (0.1, 0.3)
        x = tensor(INT8, (2, 3, 4, 5), scale=scales[0], zero_point=4)
        y = tensor(INT8, (2, 5), scale=scales[1], zero_point=4)
        options = {"keep_dims": False}
        yield model_of(name, [x, axes], [y], options, options_type="ReducerOptions")
    yield indices.arg_model("ARG_MAX", (2, 5, 3), 1)
    yield indices.arg_model("ARG_MIN", (2, 5, 3), -1)


def signals(rng):
    """Operators of TFLM's signal library; the preprocessor model holds the others."""
    yield test_signal_framer.model((2,), 6, 5, 3)
    yield test_signal_framer.model((), 4, 4, 2, True)
    yield test_signal_stacker.model(3, 2, 1, 2)
    for length in (4, 30, 96, 250):
        yield test_signal_rfft.model((2, length - 1), length)


FAMILIES = (pairs, functions, products, movements, others, signals)


def read_back(model):
    return parse_model(write_model(model))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """(family, emitted, model) of every case, and the program of all."""
    found = []
    for family in FAMILIES:
        for model in family(np.random.default_rng(5)):
            model = read_back(model)
            name = f"{family.__name__}_{len(found)}"
            found.append((family, emit(model, "host", name=name, as_it_is=True), model))
    program = batch.build([item[1] for item in found], tmp_path_factory.mktemp("operators"))
    return found, program


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler here: install gcc or clang")
@pytest.mark.parametrize("family", FAMILIES)
def test_emitted_operators_give_the_same_bytes(cases, family):
    """Rows of random and edge values, each from reset; two successive steps for state."""
    found, program = cases
    rng = np.random.default_rng(11)
    streams, wants = [], []
    # Frames that TFLM does not call valid are compared too: both write zeros.
    for number, (kind, model, source) in enumerate(found):
        if kind is not family:
            continue
        interpreter = Interpreter(source)
        graph = source.subgraphs[0]
        rows = [random_values(graph.tensors[i], 6, rng) for i in graph.inputs]
        inputs = [a.reshape(3, 2, *a.shape[1:]) for a in rows]
        want = interpreter.invoke_sequence(inputs)
        for row in range(3):
            streams.append((number, model, [a[row] for a in inputs]))
            wants.append([a[row] for a in want])
    for (_, model, _), got, want in zip(streams, batch.run(program, streams), wants, strict=True):
        for mine, theirs in zip(got, want, strict=True):
            assert same(mine, theirs), (model.name, model.operators[0].name)


def same(mine, theirs):
    """Bytes; which NaN a float is, is not promised."""
    if mine.dtype.kind != "f":
        return mine.tobytes() == theirs.tobytes()
    numbers = ~np.isnan(theirs)
    return (np.isnan(mine) != numbers).all() and mine[numbers].tobytes() == theirs[
        numbers
    ].tobytes()


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler here: install gcc or clang")
@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL"])
def test_all_pairs_of_int8(name, tmp_path):
    """Short formulas are proven over all pairs where they are made; here the C runs over them."""
    shapes = ((256, 1), (1, 256), (256, 256))
    rng = np.random.default_rng(3)
    models = []
    for number in range(6):
        scales = [float(s) for s in rng.uniform(0.005, 0.3, 3)]
        points = [int(p) for p in rng.integers(-128, 128, 3)]
        kind = {"scales": scales, "points": points, "activation": number % 4}
        models.append(read_back(pair_model(name, INT8, shapes, **kind)))
    emitted = [emit(m, "host", name=f"pair_{i}", as_it_is=True) for i, m in enumerate(models)]
    program = batch.build(emitted, tmp_path)
    inputs = every_pair()
    streams = [(i, item, inputs) for i, item in enumerate(emitted)]
    for model, got in zip(models, batch.run(program, streams), strict=True):
        want = Interpreter(model).invoke_batch(inputs)
        assert got[0].tobytes() == want[0].tobytes()


def test_every_file_is_an_operator_of_refmicro():
    from refmicro.ops import registry as operators

    known = {operators.module_name(name) for name in operators.names()}
    assert set(registry.modules()) <= known


def test_a_refusal_names_operator_and_type():
    model = single_model("LOGISTIC", FLOAT, (4,))
    with pytest.raises(UnsupportedError, match=r"LOGISTIC.*float32"):
        emit(read_back(model))
