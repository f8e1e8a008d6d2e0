"""Tensors that a file makes both constants and variables: what an operator's Eval sees of them.

TFLM's Prepare finds the file's values. After all Prepares every variable gets memory of its own,
reset to its zero point, and Eval reads that: the constant's values are lost, except where Prepare
kept what it made of them. So an operator is prepared twice here, the second time with what Eval
reads: the values of a reset, or nothing where something writes to the tensor.

Source: `AllocateVariables` in `tensorflow/lite/micro/micro_allocator.cc`, `ResetTensorData` in
`tensorflow/lite/micro/micro_interpreter_graph.cc`, and the kernels' Prepare.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from refmicro.ops._spec import Node
from refmicro.types import DType, Tensor

READ_BY_PREPARE = {
    "BROADCAST_TO": (1,),
    "EXPAND_DIMS": (1,),
    "FILL": (0,),
    "PAD": (1,),
    "PADV2": (1,),
    "RESHAPE": (1,),
    "STRIDED_SLICE": (1, 2, 3),
    "TFLM_DECODE": (0, 1, 2, 3, 4, 5, 6, 7),
}
"""Inputs whose values Prepare keeps for Eval, by operator."""

STATES = {"SVDF": (4,), "UNIDIRECTIONAL_SEQUENCE_LSTM": (18, 19)}
"""Inputs that an operator writes to."""


def reset_byte(tensor: Tensor) -> int:
    """What TFLM fills a variable with: the low byte of an int8 tensor's zero point, else 0."""
    points = tensor.quantization.zero_point
    return points[0] & 0xFF if tensor.dtype is DType.INT8 and points else 0


def at_run_time(node: Node, is_written: Callable[[int], bool]) -> Node:
    """The node as its Eval sees it; the same object where no input is constant and variable.

    Args:
        node: an operator with the tensors of the file.
        is_written: whether the graph, or who calls it, writes to a tensor, by its index.
    """
    kept = READ_BY_PREPARE.get(node.name, ())
    inputs = list(node.inputs)
    for slot, tensor in enumerate(node.inputs):
        if tensor is not None and tensor.is_variable and tensor.is_constant and slot not in kept:
            data = None
            if not is_written(node.input_indices[slot]):
                data = bytes((reset_byte(tensor),)) * len(tensor.data)
            inputs[slot] = dataclasses.replace(tensor, data=data)
    return node if inputs == list(node.inputs) else dataclasses.replace(node, inputs=tuple(inputs))
