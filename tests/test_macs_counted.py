"""Multiply-accumulates that the interpreter really makes, counted, against each formula.

With every operand 1 each product adds 1, so the outputs of a float32 model sum up to the number of
products. Padding is left out of these models; the formulas count it as multiplied.
"""

import numpy as np
import pytest

from refmicro.interpreter import Interpreter
from refmicro.model.writer import write_model
from refmicro.types import DType
from tests.ops.harness import model_of, tensor

F32 = DType.FLOAT32
VALID = 1


def ones(*shape):
    """A constant."""
    return tensor(F32, shape, data=np.ones(shape))


def free(*shape):
    """A computed tensor."""
    return tensor(F32, shape)


def window(stride=1):
    return {
        "padding": VALID,
        "stride_w": stride,
        "stride_h": stride,
        "dilation_w_factor": 1,
        "dilation_h_factor": 1,
    }


CASES = {
    "FULLY_CONNECTED": model_of(
        "FULLY_CONNECTED", [free(5, 7), ones(3, 7), None], [free(5, 3)], {}
    ),
    "FULLY_CONNECTED of three dimensions": model_of(
        "FULLY_CONNECTED", [free(2, 3, 7), ones(4, 7), None], [free(2, 3, 4)],
        {"keep_num_dims": True},
    ),
    "BATCH_MATMUL": model_of(
        "BATCH_MATMUL", [free(2, 3, 5), free(2, 5, 4)], [free(2, 3, 4)],
        {"adj_x": False, "adj_y": False}, options_type="BatchMatMulOptions",
    ),
    "CONV_2D": model_of(
        "CONV_2D", [free(2, 7, 9, 4), ones(6, 3, 2, 4), ones(6)], [free(2, 3, 4, 6)],
        window(2), options_type="Conv2DOptions",
    ),
    "DEPTHWISE_CONV_2D": model_of(
        "DEPTHWISE_CONV_2D", [free(1, 6, 5, 3), ones(1, 3, 3, 6), ones(6)], [free(1, 4, 3, 6)],
        {**window(), "depth_multiplier": 2}, options_type="DepthwiseConv2DOptions",
    ),
    "TRANSPOSE_CONV": model_of(
        "TRANSPOSE_CONV",
        [
            tensor(DType.INT32, (4,), data=np.array([1, 7, 9, 3])),
            ones(3, 3, 3, 2),
            free(1, 3, 4, 2),
        ],
        [free(1, 7, 9, 3)],
        {"padding": VALID, "stride_w": 2, "stride_h": 2}, options_type="TransposeConvOptions",
    ),
}  # fmt: skip


def run_on_ones(model) -> tuple[np.ndarray, Interpreter]:
    """The first output with every input 1."""
    interpreter = Interpreter.from_bytes(write_model(model))
    for index in range(interpreter.input_count):
        shape = interpreter.get_input_details(index).shape
        interpreter.set_input(np.ones(shape, np.float32), index)
    interpreter.invoke()
    return interpreter.get_output(0), interpreter


@pytest.mark.parametrize("name", sorted(CASES))
def test_formula_equals_the_count(name):
    output, interpreter = run_on_ones(CASES[name])
    node = interpreter.program.nodes[0][0]
    has_bias = len(node.node.inputs) > 2 and node.name in ("CONV_2D", "DEPTHWISE_CONV_2D")
    counted = float(output.sum()) - (output.size if has_bias else 0)
    assert node.spec.macs(node.node) == counted


def test_svdf_counts_features_and_memory():
    rows, size, filters, memory, rank = 2, 5, 6, 4, 2
    inputs = [
        free(rows, size), ones(filters, size), ones(filters, memory),
        tensor(F32, (filters // rank,), data=np.zeros(filters // rank)),
        tensor(F32, (rows, memory * filters), variable=True),
    ]  # fmt: skip
    model = model_of(
        "SVDF", inputs, [free(rows, filters // rank)],
        {"rank": rank, "fused_activation_function": 0}, options_type="SVDFOptions",
    )  # fmt: skip
    interpreter = Interpreter.from_bytes(write_model(model))
    # With the memory full, each output adds rank * memory values, each a sum of `size` products.
    for _ in range(memory):
        interpreter.set_input(np.ones((rows, size), np.float32))
        interpreter.invoke()
    total = float(interpreter.get_output(0).sum())
    features = rows * filters * size
    over_time = total / size
    node = interpreter.program.nodes[0][0]
    assert node.spec.macs(node.node) == features + over_time


def test_lstm_counts_every_gate_of_every_step():
    batch, steps, size, width = 2, 3, 4, 5
    counted = 0
    for _ in range(batch * steps):
        for _gate in range(4):
            for _unit in range(width):
                counted += sum(1 for _ in range(size)) + sum(1 for _ in range(width))
    state = tensor(F32, (batch, width), variable=True), tensor(F32, (batch, width), variable=True)
    weights = [ones(width, size) for _ in range(4)] + [ones(width, width) for _ in range(4)]
    biases = [ones(width) for _ in range(4)]
    inputs = [
        free(batch, steps, size), *weights, None, None, None, *biases, None, None, *state,
        None, None, None, None,
    ]  # fmt: skip
    options = {"fused_activation_function": 4, "time_major": False}
    model = model_of(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [free(batch, steps, width)], options,
        options_type="UnidirectionalSequenceLSTMOptions",
    )  # fmt: skip
    node = Interpreter.from_bytes(write_model(model)).program.nodes[0][0]
    assert node.spec.macs(node.node) == counted
