"""Finds selective scans in a subgraph: one step with a state, or steps that follow one another.

One step is h' = decay * h + drive * B and y = h' . C, with decay a function of delta * A, or of a
sum or difference of both, and drive the product of delta and u. Copies may lie between any two
operators, factors may stand in any order, and what belongs to one step may be a part of a tensor
that holds all steps.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from refmicro.model.graph import Operator
from refmicro.transform._values import JOINS, Function, Values
from refmicro.types import DType


@dataclass(frozen=True)
class Factors:
    """A product or sum: place of its operator, and whether its inputs stand in the other order."""

    operator: int
    swapped: bool = False


@dataclass(frozen=True)
class StepMatch:
    """The operators of one step; `argument` to `update` are None where it has no state before.

    `delta`, `drive`, `b` and `c` are values with a part for each step, of which this is `index`.
    Where the decay has a function of delta for each of the state's columns, these are `columns`,
    and there are no `a`, `decay` and `argument`. Where the argument is a sum, `signs` are those of
    delta and A in it, and the drive may be the product of u and a function of delta.
    """

    index: int
    old: int | None
    new: int
    y: int
    delta: int | None
    drive: int
    b: int
    c: int
    a: int | None
    decay: Function | None
    argument: Factors | None
    keep: Factors | None
    given: Factors
    update: Factors | None
    output: Factors
    columns: tuple[Function, ...] = ()
    signs: tuple[int, int] | None = None


@dataclass(frozen=True)
class ScanMatch:
    """A whole scan.

    Attributes:
        steps: in their order.
        channels, size: D and N.
        u, b, c, a: values; a is None where the decay is a function of delta for each column.
        delta: the function of the step size, and of which value.
        skip, z: the constant and the value, None where they are absent.
        drive, skip_product, total, gate_product: operators that all steps share; `drive` is None
            where u itself is what B is multiplied with, `skip_product` where u is added as it is.
        gate: the function of the gate, and of which value.
        old, new: the state before and after, None where it begins with zero.
        y: the result.
    """

    steps: tuple[StepMatch, ...]
    channels: int
    size: int
    u: int
    delta: Function
    a: int | None
    b: int
    c: int
    drive: Factors | None
    y: int
    skip: int | None = None
    skip_product: Factors | None = None
    total: Factors | None = None
    gate: Function | None = None
    gate_product: Factors | None = None

    @property
    def signs(self) -> tuple[int, int] | None:
        """Signs of delta and A where the argument is a sum of them."""
        return self.steps[-1].signs

    @property
    def old(self) -> int | None:
        """The state before the first step."""
        return self.steps[0].old

    @property
    def new(self) -> int:
        """The state after the last step."""
        return self.steps[-1].new


def find_scans(values: Values) -> list[ScanMatch]:
    """Every scan of a subgraph, none of which shares an operator with another."""
    steps = [
        step
        for number, op in enumerate(values.graph.operators)
        if op.name == "ADD" and (step := _state_step(values, number, op)) is not None
    ]
    before = {step.old: step for step in steps}
    followers = {step.new for step in steps}
    scans = []
    for step in steps:
        if step.old in followers:
            continue
        chain = [step]
        while chain[-1].new in before:
            chain.append(before[chain[-1].new])
        first = _first_step(values, chain[0])
        scan = _scan(values, [first, *chain] if first is not None else chain)
        if scan is None and first is not None:
            scan = _scan(values, chain)
        if scan is not None:
            scans.append(scan)
    return scans


# One step


def _state_step(values: Values, number: int, op: Operator) -> StepMatch | None:
    """The step whose new state an ADD computes."""
    new = op.outputs[0]
    if values.tensor(new).dtype is not DType.INT8:
        return None
    for swapped, (kept, given) in ((False, op.inputs), (True, op.inputs[::-1])):
        outer = _outer_product(values, given)
        keep = values.named(values.alias(kept), "MUL")
        if outer is None or keep is None:
            continue
        for turned, (decay, old) in ((False, keep[1].inputs), (True, keep[1].inputs[::-1])):
            argument = _argument(values, decay, outer) or _columns(values, decay, outer)
            if argument is None or values.tensor(old).elements != values.tensor(new).elements:
                continue
            output = _output(values, new, outer)
            if output is None or output.index != outer.index:
                continue
            return StepMatch(
                index=outer.index,
                old=values.alias(old),
                new=new,
                y=output.y,
                delta=argument.delta,
                drive=outer.drive,
                b=outer.b,
                c=output.c,
                a=argument.a,
                decay=argument.function,
                argument=argument.factors,
                keep=Factors(keep[0], turned),
                given=outer.factors,
                update=Factors(number, swapped),
                output=output.factors,
                columns=argument.columns,
                signs=argument.signs,
            )
    return None


@dataclass(frozen=True)
class _Outer:
    """drive * B of step `index`."""

    drive: int
    b: int
    index: int
    channels: int
    size: int
    factors: Factors


def _outer_product(values: Values, value: int) -> _Outer | None:
    """A MUL of one value a channel and one for each of the state's."""
    found = values.named(values.alias(value), "MUL")
    if found is None:
        return None
    number, op = found
    shape = values.tensor(op.outputs[0]).shape
    for swapped, (drive, b) in ((False, op.inputs), (True, op.inputs[::-1])):
        channels, size = values.tensor(drive).elements, values.tensor(b).elements
        if channels * size != values.tensor(op.outputs[0]).elements or size == 1:
            continue
        if not _spreads(values, drive, shape, np.repeat(np.arange(channels), size)):
            continue
        if not _spreads(values, b, shape, np.tile(np.arange(size), channels)):
            continue
        parts = _part(values, drive), _part(values, b)
        if None in parts or parts[0][1] != parts[1][1]:
            continue
        (one, index), (other, _) = parts
        return _Outer(one, other, index, channels, size, Factors(number, swapped))
    return None


def _spreads(values: Values, value: int, shape: tuple[int, ...], want: np.ndarray) -> bool:
    """Whether broadcasting a value to a shape puts its elements where they are wanted."""
    item = values.tensor(value)
    counted = np.arange(item.elements).reshape(item.shape)
    try:
        return bool((np.broadcast_to(counted, shape).reshape(-1) == want).all())
    except ValueError:
        return False


def _part(values: Values, value: int) -> tuple[int, int] | None:
    """Which consecutive part, of its own size, of which value; None if it is no such part."""
    base, index = values.view(value)
    flat = index.reshape(-1)
    if not (flat == np.arange(flat.size) + flat[0]).all() or flat[0] % flat.size:
        return None
    return base, int(flat[0]) // flat.size


@dataclass(frozen=True)
class _Argument:
    """delta * A or a sum of both, and the function that makes the decay of it; or functions of
    delta."""

    delta: int
    a: int | None
    function: Function | None
    factors: Factors | None
    columns: tuple[Function, ...] = ()
    signs: tuple[int, int] | None = None


def _argument(values: Values, decay: int, outer: _Outer) -> _Argument | None:
    function = values.function(decay)
    found = values.named(function.source, "MUL", "ADD", "SUB")
    if found is None:
        return None
    number, op = found
    shape = values.tensor(op.outputs[0]).shape
    rows = np.repeat(np.arange(outer.channels), outer.size)
    for swapped, (delta, a) in ((False, op.inputs), (True, op.inputs[::-1])):
        constant = values.tensor(a)
        if not constant.is_constant or values.tensor(delta).elements != outer.channels:
            continue
        whole = constant.elements == outer.channels * outer.size
        want = np.arange(rows.size) if whole else np.tile(np.arange(outer.size), outer.channels)
        if not whole and constant.elements != outer.size:
            continue
        if not _spreads(values, a, shape, want) or not _spreads(values, delta, shape, rows):
            continue
        part = _part(values, delta)
        if part is not None and part[1] == outer.index:
            signs = _signs(op, swapped)
            return _Argument(part[0], a, function, Factors(number, swapped), signs=signs)
    return None


def _signs(op: Operator, swapped: bool) -> tuple[int, int] | None:
    """Signs of the operands of a sum, the second first where they are swapped."""
    if op.name == "MUL":
        return None
    second = -1 if op.name == "SUB" else 1
    return (second, 1) if swapped else (1, second)


def _columns(values: Values, decay: int, outer: _Outer) -> _Argument | None:
    """A decay whose columns are functions of one value with an element for each channel."""
    columns = values.columns(decay, outer.channels)
    if columns is None or len(columns) != outer.size:
        return None
    functions = tuple(values.function(column) for column in columns)
    sources = {function.source for function in functions}
    if len(sources) != 1 or not all(function.operators for function in functions):
        return None
    part = _part(values, sources.pop())
    if part is None or part[1] != outer.index:
        return None
    return _Argument(part[0], None, None, None, functions)


@dataclass(frozen=True)
class _Output:
    """h . C of step `index`; `factors.swapped` where C is the operator's first input."""

    y: int
    c: int
    index: int
    factors: Factors


def _output(values: Values, new: int, outer: _Outer) -> _Output | None:
    state = values.copies(new)
    for number, op in values.readers(new):
        if op.name != "FULLY_CONNECTED" or (len(op.inputs) > 2 and op.inputs[2] >= 0):
            continue
        swapped = op.inputs[1] in state
        c = op.inputs[0 if swapped else 1]
        y = op.outputs[0]
        rows = values.tensor(op.inputs[1]).shape
        if (
            values.tensor(c).elements != outer.size
            or values.tensor(y).elements != outer.channels
            or rows[-1] != outer.size
            or any(len(values.tensor(i).quantization.scale) != 1 for i in op.inputs[:2])
        ):
            continue
        part = _part(values, c)
        if part is not None:
            return _Output(y, part[0], part[1], Factors(number, swapped))
    return None


def _first_step(values: Values, second: StepMatch) -> StepMatch | None:
    """The step before one whose old state is a product alone: its own old state was zero."""
    outer = _outer_product(values, second.old)
    if outer is None or outer.index != second.index - 1:
        return None
    output = _output(values, values.alias(second.old), outer)
    if output is None or output.index != outer.index:
        return None
    return StepMatch(
        index=outer.index,
        old=None,
        new=values.alias(second.old),
        y=output.y,
        delta=None,
        drive=outer.drive,
        b=outer.b,
        c=output.c,
        a=None,
        decay=None,
        argument=None,
        keep=None,
        given=outer.factors,
        update=None,
        output=output.factors,
    )


# All steps


def _scan(values: Values, steps: list[StepMatch]) -> ScanMatch | None:
    """The scan of some steps, None where they do not fit together."""
    last = steps[-1]
    count = len(steps)
    shared = {(step.drive, step.b, step.c) for step in steps}
    weights = {(step.delta, step.a, step.signs) for step in steps if step.old is not None}
    if len(shared) != 1 or len(weights) != 1 or [s.index for s in steps] != list(range(count)):
        return None
    size = values.tensor(last.c).elements // count
    channels = values.tensor(last.new).elements // size
    if values.tensor(last.drive).elements != count * channels:
        return None
    u, delta, factors = _drive(values, last)
    y = _joined(values, [step.y for step in steps])
    if y is None:
        return None
    scan = ScanMatch(tuple(steps), channels, size, u, delta, last.a, last.b, last.c, factors, y)
    inner = values.descendants({step.new for step in steps})
    if inner & {u, scan.delta.source, scan.b, scan.c}:
        return None
    return _with_gate(values, _with_skip(values, scan), inner)


def _drive(values: Values, step: StepMatch) -> tuple[int, Function, Factors | None]:
    """u, the function of delta, and the product of both; where there is none the value itself."""
    value = step.drive
    direct = values.function(step.delta) if step.signs is None else values.itself(step.delta)
    found = values.named(value, "MUL")
    if found is None:
        return value, direct, None
    number, op = found
    sizes = {values.tensor(i).elements for i in op.inputs}
    if sizes != {values.tensor(value).elements}:
        return value, direct, None
    bases = [values.alias(i) for i in op.inputs]
    for swapped, (s, u) in ((False, bases), (True, bases[::-1])):
        if not step.columns and step.signs is None:
            if s == step.delta:
                return u, direct, Factors(number, swapped)
        elif (function := values.function(s, of=direct.source)).source == direct.source:
            return u, function, Factors(number, swapped)
    return value, direct, None


def _joined(values: Values, parts: list[int]) -> int | None:
    """The value that holds the results of all steps in order."""
    if len(parts) == 1:
        return parts[0]
    wanted = [values.alias(part) for part in parts]
    for _, op in values.readers(parts[0]):
        if op.name not in JOINS or [values.alias(i) for i in op.inputs] != wanted:
            continue
        order = values.joined(op)
        if order is not None and (order.reshape(-1) == np.arange(order.size)).all():
            return op.outputs[0]
    return None


def _only_reader(values: Values, value: int) -> tuple[int, Operator] | None:
    readers = values.readers(value)
    return readers[0] if len(readers) == 1 and not values.is_output(value) else None


def _with_skip(values: Values, scan: ScanMatch) -> ScanMatch:
    """With y + u * D or y + u, where that is the only use of y."""
    found = _only_reader(values, scan.y)
    if found is None or found[1].name != "ADD":
        return scan
    number, op = found
    sides = [values.alias(i) for i in op.inputs]
    if (
        sides[0] == sides[1]
        or values.tensor(op.outputs[0]).elements != values.tensor(scan.y).elements
    ):
        return scan
    swapped = sides[0] != values.alias(scan.y)
    other = sides[0 if swapped else 1]
    result = {"y": op.outputs[0], "total": Factors(number, swapped)}
    if other == scan.u:
        return dataclasses.replace(scan, **result)
    product = values.named(other, "MUL")
    if product is None:
        return scan
    place, multiply = product
    channels = np.tile(np.arange(scan.channels), len(scan.steps))
    shape = values.tensor(multiply.outputs[0]).shape
    for turned, (u, d) in ((False, multiply.inputs), (True, multiply.inputs[::-1])):
        constant = values.tensor(d)
        if values.alias(u) != scan.u or not constant.is_constant:
            continue
        if constant.elements == scan.channels and _spreads(values, d, shape, channels):
            return dataclasses.replace(scan, **result, skip=d, skip_product=Factors(place, turned))
    return scan


def _with_gate(values: Values, scan: ScanMatch, inner: set[int]) -> ScanMatch:
    """With y * function(z), where that is the only use of y."""
    found = _only_reader(values, scan.y)
    if found is None or found[1].name != "MUL":
        return scan
    number, op = found
    sides = [values.alias(i) for i in op.inputs]
    count = values.tensor(scan.y).elements
    if sides[0] == sides[1] or any(values.tensor(i).elements != count for i in op.inputs):
        return scan
    swapped = sides[0] != values.alias(scan.y)
    gate = values.function(sides[0 if swapped else 1])
    if gate.source in inner or values.tensor(gate.source).is_constant:
        return scan
    return dataclasses.replace(
        scan, y=op.outputs[0], gate=gate, gate_product=Factors(number, swapped)
    )
