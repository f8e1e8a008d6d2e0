"""Other shapes for tensors whose bytes stay the same: which operators agree, and what follows.

A RESHAPE can go if its two sides take one shape. That is asked here: `Shapes.assign` gives a tensor
another shape and `settle` follows it through the neighbours, until all agree or one cannot. What an
operator agrees to is what leaves every output byte where it was: element-wise operators in any
shape, broadcasting where the index map is the same, FULLY_CONNECTED on any input, and operators
along an axis where dimensions of size 1 come or go in front.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from refmicro.model.graph import Operator
from refmicro.transform._draft import Draft
from refmicro.types import DType, Tensor

UNARY = frozenset(
    {
        "ABS",
        "CAST",
        "CEIL",
        "COS",
        "DEQUANTIZE",
        "ELU",
        "EXP",
        "FLOOR",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LOG",
        "LOGICAL_NOT",
        "LOGISTIC",
        "NEG",
        "QUANTIZE",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "ROUND",
        "RSQRT",
        "SIN",
        "SQRT",
        "SQUARE",
        "TANH",
        "ZEROS_LIKE",
    }
)
"""Operators whose output has the shape of their only input."""

BINARY = frozenset(
    {
        "ADD",
        "DIV",
        "EQUAL",
        "FLOOR_DIV",
        "FLOOR_MOD",
        "GREATER",
        "GREATER_EQUAL",
        "LESS",
        "LESS_EQUAL",
        "LOGICAL_AND",
        "LOGICAL_OR",
        "MAXIMUM",
        "MINIMUM",
        "MUL",
        "NOT_EQUAL",
        "PRELU",
        "SQUARED_DIFFERENCE",
        "SUB",
    }
)
"""Operators of two inputs that broadcast."""

COUNTING = frozenset({"MUL"})
"""Operators of `BINARY` that do not mind dimensions of size 1 in front: they extend both shapes to
one rank and, where these are equal, only count elements. ADD and SUB would give the same results
the slow way, because they compare shapes as they are.

Source: `EvalMulQuantizedReference` in `tensorflow/lite/micro/kernels/mul_common.cc`,
`ProcessBroadcastShapes`, `MatchingElementsSize`; `requires_broadcast` in `add_common.cc`.
"""

MAX_CHANGES = 256
"""Tensors that one attempt may change; a chain that is longer is left as it is."""

MAX_ELEMENTS = 1 << 20
"""Index maps of larger tensors are not compared."""


class Shapes:
    """One attempt on a draft; nothing of it changes until `apply`.

    Args:
        draft: an indexed draft.
        without: an operator that is about to be removed and has no say.
        alias: tensors that are about to become another one, old to new.
    """

    def __init__(self, draft: Draft, without: int, alias: dict[int, int]) -> None:
        self.draft = draft
        self.without = without
        self.alias = alias
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.operators: dict[int, Operator] = {}
        self.constants: dict[tuple[int, int], np.ndarray] = {}
        self._queue: list[int] = []

    def tensor(self, index: int) -> Tensor:
        """The tensor as it was, under its new number."""
        return self.draft.tensors[self.alias.get(index, index)]

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape that a tensor has by now."""
        index = self.alias.get(index, index)
        return self.shapes.get(index, self.draft.tensors[index].shape)

    def assign(self, index: int, shape: tuple[int, ...]) -> bool:
        """Give a tensor a shape of as many elements; whether nothing speaks against it yet."""
        index = self.alias.get(index, index)
        item = self.draft.tensors[index]
        if index in self.shapes:
            return self.shapes[index] == shape
        if shape != item.shape:
            interface = index in self.draft.inputs or index in self.draft.outputs
            per_channel = len(item.quantization.scale) > 1
            if interface or per_channel or len(self.shapes) == MAX_CHANGES:
                return False
        if math.prod(shape) != item.elements:
            return False
        self.shapes[index] = shape
        old = [index, *(i for i, new in self.alias.items() if new == index)]
        for one in old:
            self._queue += [number for number, _ in self.draft.readers.get(one, ())]
            self._queue += self.draft.writers.get(one, ())
        return True

    def settle(self) -> bool:
        """Follow all assignments through their neighbours; whether all agree."""
        while self._queue:
            number = self._queue.pop()
            op = self.draft.operators[number]
            if op is not None and number != self.without and not self._agrees(number, op):
                return False
        return True

    def apply(self) -> None:
        """Write the attempt into the draft."""
        for index, shape in self.shapes.items():
            item = self.draft.tensors[index]
            if item.shape != shape:
                self.draft.tensors[index] = dataclasses.replace(
                    item, shape=shape, shape_signature=(), has_shape=True
                )
        for number, op in self.operators.items():
            self.draft.put(number, op)
        for (number, slot), values in self.constants.items():
            op = self.draft.operators[number]
            old = self.draft.tensors[op.inputs[slot]]
            new = dataclasses.replace(
                old, shape=values.shape, data=values.astype(old.dtype.numpy).tobytes()
            )
            inputs = list(op.inputs)
            inputs[slot] = self.draft.add_tensor(new)
            self.draft.put(number, dataclasses.replace(op, inputs=tuple(inputs)))

    def _changed(self, op: Operator) -> bool:
        return any(i >= 0 and self.shape(i) != self._old(i) for i in (*op.inputs, *op.outputs))

    def _old(self, index: int) -> tuple[int, ...]:
        """The shape that an operator saw before: an alias hides nothing here."""
        return self.draft.tensors[index].shape

    def _agrees(self, number: int, op: Operator) -> bool:
        if not self._changed(op):
            return True
        if op.name in UNARY:
            return self._unary(op)
        if op.name in BINARY:
            return self._binary(op)
        rule = {
            "FULLY_CONNECTED": self._fully_connected,
            "RESHAPE": self._reshape,
            "READ_VARIABLE": self._free,
            "SELECTIVE_SCAN": self._free,
            "ASSIGN_VARIABLE": self._free,
            "CONCATENATION": self._concatenation,
            "STRIDED_SLICE": self._strided_slice,
        }.get(op.name)
        return rule is not None and rule(number, op)

    def _free(self, number: int, op: Operator) -> bool:
        return True

    def _reshape(self, number: int, op: Operator) -> bool:
        self.operators[number] = without_shape_input(op, self.shape(op.outputs[0]))
        return self.shape(op.outputs[0]) != (0,)

    def _unary(self, op: Operator) -> bool:
        source, output = op.inputs[0], op.outputs[0]
        shape = self.shape(source)
        if shape == self._old(source):
            shape = self.shape(output)
        return self.assign(source, shape) and self.assign(output, shape)

    def _binary(self, op: Operator) -> bool:
        output = op.outputs[0]
        old = self._old(output)
        tied = [output, *(i for i in op.inputs if self._old(i) == old)]
        new = next((self.shape(i) for i in tied if self.shape(i) != self._old(i)), old)
        for index in tied:
            alike = op.name in COUNTING and _core(self.shape(index)) == _core(new)
            if not alike and not self.assign(index, new):
                return False
        return all(
            _same_map(self._old(i), old, self.shape(i), self.shape(output))
            for i in op.inputs
            if i not in tied
        )

    def _fully_connected(self, number: int, op: Operator) -> bool:
        """The input is seen as rows; the output's last dimension counts, and its rank.

        CMSIS-NN takes another path, with a scratch buffer, for outputs of more than 2 dimensions.
        """
        weights, output = op.inputs[1], op.outputs[0]
        if self.shape(weights) != self._old(weights):
            return False
        old, new = self._old(output), self.shape(output)
        if old == new:
            return True
        if not new or len(new) > max(2, len(old)):
            return False
        return new[-1] == old[-1] or self._swap(number, op)

    def _swap(self, number: int, op: Operator) -> bool:
        """rows . filter^T with a filter of one row: let the rows be the filter.

        Both factors are computed here, the sum is the same, and so is the product of scales.
        """
        rows, weights = op.inputs[:2]
        a, b, output = self.tensor(rows), self.tensor(weights), self.tensor(op.outputs[0])
        count = a.elements // b.elements if b.elements else 0
        if len(op.inputs) > 2 and op.inputs[2] >= 0:
            return False
        if not (
            a.dtype is b.dtype is output.dtype is DType.INT8
            # Debug builds of TFLM end the program where a filter's zero point is not 0.
            and (b.zero_point != 0 or a.zero_point == 0)
            and not a.is_constant
            and not b.is_constant
            and len(a.quantization.scale) == len(b.quantization.scale) == 1
            and self._old(weights) == (1, self.shape(weights)[-1])
            and self.shape(rows) == (count, self.shape(weights)[-1])
            and self.shape(op.outputs[0])[-1] == count == output.elements
        ):
            return False
        self.operators[number] = dataclasses.replace(op, inputs=(weights, rows, *op.inputs[2:]))
        return True

    def _leading(self, tensors: list[int]) -> int | None:
        """How many dimensions of size 1 all tensors gain in front, negative where they lose them;
        all are given their new shapes. None where that does not work."""
        gained = {
            len(self.shape(i)) - len(self._old(i)) for i in tensors if self.shape(i) != self._old(i)
        }
        if len(gained) != 1:
            return None
        (count,) = gained
        for i in tensors:
            old = self._old(i)
            if count < 0 and old[:-count] != (1,) * -count:
                return None
            if not self.assign(i, (1,) * count + old if count > 0 else old[-count:]):
                return None
        return count

    def _concatenation(self, number: int, op: Operator) -> bool:
        count = self._leading([*op.inputs, *op.outputs])
        if count is None:
            return False
        axis = op.options.get("axis", 0)
        axis += len(self._old(op.outputs[0])) if axis < 0 else 0
        if axis + count < 0:
            return False
        options = {**op.options, "axis": axis + count}
        self.operators[number] = dataclasses.replace(op, options=options)
        return True

    def _strided_slice(self, number: int, op: Operator) -> bool:
        masks = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
        parameters = [self.tensor(i) for i in op.inputs[1:]]
        if any(op.options.get(mask) for mask in masks) or not all(
            item.is_constant for item in parameters
        ):
            return False
        count = self._leading([op.inputs[0], op.outputs[0]])
        if count is None:
            return False
        options = dict(op.options)
        for key in ("begin_mask", "end_mask"):
            old = op.options.get(key, 0)
            options[key] = old << count | (1 << count) - 1 if count > 0 else old >> -count
        self.operators[number] = dataclasses.replace(op, options=options)
        for slot, item in enumerate(parameters, 1):
            values = item.array().reshape(-1)
            front = np.ones(max(count, 0), values.dtype)
            self.constants[number, slot] = np.concatenate([front, values[max(-count, 0) :]])
        return True


def without_shape_input(op: Operator, shape: tuple[int, ...]) -> Operator:
    """RESHAPE that finds its shape in the output, as TFLM does, and in its options.

    Source: `tensorflow/lite/micro/kernels/reshape_common.cc`.
    """
    return dataclasses.replace(
        op,
        inputs=op.inputs[:1],
        options={"new_shape": shape},
        options_type="ReshapeOptions",
    )


def _core(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the dimensions of size 1 in front."""
    front = next((i for i, size in enumerate(shape) if size != 1), len(shape))
    return shape[front:]


def _same_map(
    old: tuple[int, ...], old_loop: tuple[int, ...], new: tuple[int, ...], loop: tuple[int, ...]
) -> bool:
    """Whether a tensor broadcasts to the same elements, in order, under both pairs of shapes."""
    count = math.prod(old)
    if count == 1:
        return True
    if math.prod(loop) > MAX_ELEMENTS:
        return False
    index = np.arange(count)
    try:
        before = np.broadcast_to(index.reshape(old), old_loop)
        after = np.broadcast_to(index.reshape(new), loop)
    except ValueError:
        return False
    return bool((before.reshape(-1) == after.reshape(-1)).all())
