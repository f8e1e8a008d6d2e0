"""TFLM's rules for single elements, step by step, in plain integers.

Each rule here is written for one element and independent of the kernels in `ops`, which work on
whole arrays: that both agree is checked for every element that is explained.

Source: the kernels named in `ops`, `tensorflow/lite/kernels/internal/common.cc`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refmicro.fixedpoint import (
    multiply_int64_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from refmicro.ops._activation import quantized_range
from refmicro.program import PreparedNode
from refmicro.types import DType, Tensor

Operand = Callable[[int], np.ndarray | None]
"""Gives the array of an input slot."""


@dataclass(frozen=True)
class Step:
    """One line: what is done, what comes of it, and for a sum its terms."""

    text: str
    value: int | float
    terms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Worked:
    """All steps; `result` is None where they are only operands."""

    steps: tuple[Step, ...]
    result: int | float | None


def worked(node: PreparedNode, slot: int, position: tuple[int, ...], operand: Operand) -> Worked:
    """The arithmetic of one output element.

    Args:
        node: the operator.
        slot: which of its outputs.
        position: an index an axis.
        operand: gives its inputs.
    """
    rule = _RULES.get(node.name)
    output = node.node.outputs[slot]
    quantized = output.quantization.is_affine and output.dtype in (DType.INT8, DType.INT16)
    steps = rule(node, position, operand) if rule is not None and quantized else None
    if steps is not None:
        return Worked(tuple(steps), steps[-1].value)
    return Worked(tuple(_operand_steps(node, position, operand)), None)


def _operand_steps(node: PreparedNode, position: tuple[int, ...], operand: Operand) -> list[Step]:
    """Inputs at the element's own position where they have its shape, else as they are."""
    steps = []
    shape = node.node.outputs[0].shape
    for slot in range(len(node.operator.inputs)):
        array = operand(slot)
        if array is None or array.size == 0:
            continue
        if array.shape == shape:
            value, item = array[position].item(), node.node.inputs[slot]
            text = f"input {slot} at the same place"
            if item.quantization.is_affine:
                text += f", for {(value - item.zero_point) * item.scale:.6g}"
            steps.append(Step(text, value))
        elif array.size <= 4:
            terms = tuple(map(str, array.reshape(-1).tolist()))
            steps.append(Step(f"input {slot}, {array.size} values", array.size, terms))
        else:
            text = f"input {slot}, {array.size} values of shape {list(array.shape)}, mean"
            steps.append(Step(text, round(float(array.mean()), 4)))
    return steps


# Rescaling


def _rescaled(value: int, real: float, text: str, *, wide: bool = False) -> list[Step]:
    """An accumulator times a real multiplier, as TFLM rounds it."""
    multiplier, shift = quantize_multiplier(real)
    steps = [
        Step(f"multiplier of {text} = {real:.9g} = M * 2^({shift} - 31), M", multiplier),
    ]
    if wide:
        result = int(multiply_int64_by_quantized_multiplier(value, multiplier, shift))
        reduced = min((multiplier + (1 << 15)) >> 16, 0x7FFF)
        text = f"({value} * {reduced} + 2^{14 - shift}) >> {15 - shift}, M cut to 16 bits"
        return [*steps, Step(text, result)]
    if shift > 0:
        value = ((value << shift) + (1 << 31)) % (1 << 32) - (1 << 31)
        steps.append(Step(f"shifted left by {shift}", value))
    high = int(saturating_rounding_doubling_high_mul(value, multiplier))
    steps.append(Step(f"{value} * {multiplier} / 2^31, rounded half away from zero", high))
    if shift < 0:
        high = int(rounding_divide_by_pot(high, -shift))
        steps.append(Step(f"divided by 2^{-shift}, rounded half away from zero", high))
    return steps


def _finished(node: PreparedNode, value: int, offset: int | None = None) -> list[Step]:
    """Zero point and activation."""
    output = node.node.outputs[0]
    activation = node.operator.options.get("fused_activation_function", 0)
    low, high = quantized_range(activation, output)
    point = output.zero_point if offset is None else offset
    moved = value + point
    return [
        Step(f"plus the output's zero point {point}", moved),
        Step(f"clamped to {low} .. {high}", min(max(moved, low), high)),
    ]


def _scale(tensor: Tensor, channel: int) -> float:
    scales = tensor.quantization.scale
    return scales[channel] if len(scales) > 1 else scales[0]


# Sums of products


def _fully_connected(
    node: PreparedNode, position: tuple[int, ...], operand: Operand
) -> list[Step] | None:
    x, w = node.node.inputs[:2]
    values, weights = operand(0), operand(1)
    channel = position[-1]
    depth = w.shape[-1]
    row = int(np.ravel_multi_index(position, node.node.outputs[0].shape))
    row //= node.node.outputs[0].shape[-1]
    left = values.reshape(-1)[row * depth : (row + 1) * depth]
    right = weights.reshape(-1, depth)[channel]
    point = 0 if len(w.quantization.scale) > 1 else w.zero_point
    pairs = [(f"{k}", int(a), int(b)) for k, (a, b) in enumerate(zip(left, right, strict=True))]
    return _product(node, pairs, x.zero_point, point, channel, operand)


def _convolution(
    node: PreparedNode, position: tuple[int, ...], operand: Operand
) -> list[Step] | None:
    x, w = node.node.inputs[:2]
    values, weights = operand(0), operand(1)
    image, row, column, channel = position
    rows, columns = node.data.window.height, node.data.window.width
    depthwise = node.name == "DEPTHWISE_CONV_2D"
    inner = 1 if depthwise else w.shape[3]
    if depthwise:
        first = channel // node.data.multiplier
    else:
        first = channel // (w.shape[0] // node.data.groups) * inner
    pairs = []
    for i in range(rows.filter):
        y = row * rows.stride - rows.pad + i * rows.dilation
        for j in range(columns.filter):
            z = column * columns.stride - columns.pad + j * columns.dilation
            if not (0 <= y < rows.size and 0 <= z < columns.size):
                continue
            for c in range(inner):
                weight = weights[0, i, j, channel] if depthwise else weights[channel, i, j, c]
                place = f"{y},{z},{first + c}"
                pairs.append((place, int(values[image, y, z, first + c]), int(weight)))
    point = x.zero_point if x.dtype is DType.INT8 else 0
    return _product(node, pairs, point, 0, channel, operand)


def _product(
    node: PreparedNode,
    pairs: list[tuple[str, int, int]],
    input_point: int,
    filter_point: int,
    channel: int,
    operand: Operand,
) -> list[Step]:
    x, w = node.node.inputs[:2]
    output = node.node.outputs[0]
    terms = tuple(
        f"[{place}] ({a} - {input_point}) * ({b} - {filter_point}) = "
        f"{(a - input_point) * (b - filter_point)}"
        for place, a, b in pairs
    )
    total = sum((a - input_point) * (b - filter_point) for _, a, b in pairs)
    steps = [Step(f"sum of {len(pairs)} products (input - zero point) * weight", total, terms)]
    bias = operand(2)
    if bias is not None:
        value = int(bias.reshape(-1)[channel])
        total += value
        steps.append(Step(f"plus the bias {value} of channel {channel}", total))
    wide = node.data.requantize.wide
    if not wide and not -(1 << 31) <= total < 1 << 31:
        total = (total + (1 << 31)) % (1 << 32) - (1 << 31)
        steps.append(Step("wrapped to int32", total))
    real = x.scale * _scale(w, channel) / output.scale
    names = f"{x.scale:.6g} * {_scale(w, channel):.6g} / {output.scale:.6g}"
    steps += _rescaled(total, real, names, wide=wide)
    offset = node.data.requantize.output_offset
    return steps + _finished(node, int(steps[-1].value), offset)


# Two inputs


def _pair(node: PreparedNode, position: tuple[int, ...], operand: Operand) -> tuple[int, int]:
    """The elements of both inputs that meet at a place, broadcast as NumPy does."""
    shape = node.node.outputs[0].shape
    left, right = (np.broadcast_to(operand(slot), shape)[position].item() for slot in (0, 1))
    return left, right


def _sum(node: PreparedNode, position: tuple[int, ...], operand: Operand) -> list[Step] | None:
    a, b = node.node.inputs[:2]
    output = node.node.outputs[0]
    bits = 15 if output.dtype is DType.INT16 else 20
    twice = 2 * max(a.scale, b.scale)
    steps: list[Step] = []
    values = []
    for number, (item, value) in enumerate(
        zip((a, b), _pair(node, position, operand), strict=True)
    ):
        shifted = (value - item.zero_point) << bits
        steps.append(Step(f"input {number}: ({value} - {item.zero_point}) * 2^{bits}", shifted))
        steps += _rescaled(shifted, item.scale / twice, f"{item.scale:.6g} / {twice:.6g}")
        values.append(int(steps[-1].value))
    total = values[0] + values[1] if node.name == "ADD" else values[0] - values[1]
    word = "sum" if node.name == "ADD" else "difference"
    steps.append(Step(f"{word} of both", total))
    real = twice / ((1 << bits) * output.scale)
    steps += _rescaled(total, real, f"{twice:.6g} / (2^{bits} * {output.scale:.6g})")
    return steps + _finished(node, int(steps[-1].value))


def _mul(node: PreparedNode, position: tuple[int, ...], operand: Operand) -> list[Step] | None:
    a, b = node.node.inputs[:2]
    output = node.node.outputs[0]
    left, right = _pair(node, position, operand)
    product = (left - a.zero_point) * (right - b.zero_point)
    text = f"({left} - {a.zero_point}) * ({right} - {b.zero_point})"
    real = a.scale * b.scale / output.scale
    names = f"{a.scale:.6g} * {b.scale:.6g} / {output.scale:.6g}"
    steps = [Step(text, product), *_rescaled(product, real, names)]
    return steps + _finished(node, int(steps[-1].value))


# One input


def _quantize(node: PreparedNode, position: tuple[int, ...], operand: Operand) -> list[Step] | None:
    x, output = node.node.inputs[0], node.node.outputs[0]
    flat = int(np.ravel_multi_index(position, output.shape)) if output.shape else 0
    value = operand(0).reshape(-1)[flat].item()
    if x.dtype is DType.FLOAT32:
        return None
    steps = [Step(f"{value} - zero point {x.zero_point}", value - x.zero_point)]
    real = x.scale / output.scale
    steps += _rescaled(value - x.zero_point, real, f"{x.scale:.6g} / {output.scale:.6g}")
    return steps + _finished(node, int(steps[-1].value))


def _same(node: PreparedNode, position: tuple[int, ...], operand: Operand) -> list[Step] | None:
    flat = int(np.ravel_multi_index(position, node.node.outputs[0].shape))
    value = operand(0).reshape(-1)[flat].item()
    return [Step(f"element {flat} of input 0, unchanged", value)]


_RULES: dict[str, Callable[[PreparedNode, tuple[int, ...], Operand], list[Step] | None]] = {
    "ADD": _sum,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _fully_connected,
    "MUL": _mul,
    "QUANTIZE": _quantize,
    "RESHAPE": _same,
    "SUB": _sum,
}
