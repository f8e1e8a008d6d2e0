"""SELECTIVE_SCAN with 16 bits between its int8 inputs and its int8 output.

Scales of the 16-bit values are chosen so that everything the source's int8 tensors can hold fits;
functions are evaluated in real numbers instead of being taken from int8 results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from refmicro.errors import UnsupportedError
from refmicro.fixedpoint import quantize_multiplier
from refmicro.model.graph import Operator
from refmicro.ops.selective_scan import SUM_SHIFT, Product, Scan, Step, Sum
from refmicro.program import PreparedNode
from refmicro.transform._scan_pattern import ScanMatch, StepMatch
from refmicro.transform._values import Function, Values
from refmicro.types import Tensor

LIMIT = 32767
"""The largest value of a 16-bit number."""

ENTRIES = 513
"""Of a decay table, one for each 128th value of a 16-bit argument and the end."""

REAL: dict[str, Callable[..., np.ndarray]] = {
    "ADD": np.add,
    "ELU": lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x),
    "EXP": np.exp,
    "LOGISTIC": lambda x: 1 / (1 + np.exp(-x)),
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "MUL": np.multiply,
    "NEG": np.negative,
    "RELU": lambda x: np.maximum(x, 0),
    "SQUARE": np.square,
    "SUB": np.subtract,
    "TANH": np.tanh,
}
"""Functions of real numbers behind operators."""


def wide_scan(
    values: Values, match: ScanMatch, nodes: Sequence[PreparedNode], flags: int
) -> tuple[Scan, float]:
    """The options, and the scale of the state.

    Raises:
        UnsupportedError: for an operator that has no 16-bit form here.
    """
    _check_activations(values, match)
    wide = _Wide(values, match)
    steps = tuple(wide.step(step) for step in match.steps)
    same = all(step == steps[0] for step in steps)
    scan = Scan(
        16,
        len(steps),
        match.channels,
        match.size,
        0,
        wide.delta_table,
        wide.gate_table,
        flags,
        steps[:1] if same else steps,
    )
    return scan, wide.state_scale


def _check_activations(values: Values, match: ScanMatch) -> None:
    shared = (match.drive, match.skip_product, match.total, match.gate_product)
    for step in match.steps:
        own = (step.argument, step.keep, step.given, step.update, step.output)
        for factors in (*shared, *own):
            op = None if factors is None else values.graph.operators[factors.operator]
            if op is not None and op.options.get("fused_activation_function"):
                raise UnsupportedError(
                    f"a scan with a 16-bit state must have no fused activations: found {op.name} "
                    "with one",
                    hint="keep the 8-bit state",
                )


class _Wide:
    """Scales and tables of one scan."""

    def __init__(self, values: Values, match: ScanMatch) -> None:
        self.values = values
        self.match = match
        self.u = values.tensor(match.u)
        delta = self._real(match.delta, values.tensor(match.delta.source))
        self.delta_scale = _scale(np.abs(delta).max())
        self.delta_table = _quantized(delta, self.delta_scale)
        self.delta_range = float(delta.min()), float(delta.max())
        self.drive_scale = _scale(np.abs(delta).max() * _largest(self.u))
        if match.drive is None:
            self.drive_scale = self.u.scale
        states = [values.tensor(step.new) for step in match.steps]
        states += [values.tensor(step.old) for step in match.steps if step.old is not None]
        self.state_scale = _scale(max(map(_largest, states)))
        outputs = [values.tensor(step.y) for step in match.steps]
        self.total = values.tensor(match.y)
        if match.total is not None:
            outputs.append(self._output_of(match.total.operator))
        self.sum_scale = _scale(max(map(_largest, outputs)))
        self.gate_scale, self.gate_table = 1.0, ()
        if match.gate is not None:
            gate = self._real(match.gate, values.tensor(match.gate.source))
            self.gate_scale = _scale(np.abs(gate).max())
            self.gate_table = _quantized(gate, self.gate_scale)

    def _output_of(self, operator: int) -> Tensor:
        return self.values.tensor(self.values.graph.operators[operator].outputs[0])

    def _real(self, function: Function, source: Tensor) -> np.ndarray:
        """Results of a function for all values of an int8 tensor."""
        x = (np.arange(-128, 128) - source.zero_point) * source.scale
        return self.evaluate(function, x)

    def evaluate(self, function: Function, x: np.ndarray) -> np.ndarray:
        """A function in real numbers."""
        known = {function.source: x}
        result = x
        for op in function.operators:
            if op.name not in REAL or op.options.get("fused_activation_function"):
                raise UnsupportedError(
                    f"a scan with a 16-bit state cannot have this function in it: {op.name}",
                    hint="keep the 8-bit state",
                )
            result = REAL[op.name](*(self._operand(op, i, known) for i in range(len(op.inputs))))
            known[op.outputs[0]] = result
        return result

    def _operand(self, op: Operator, slot: int, known: dict[int, np.ndarray]) -> np.ndarray:
        index = op.inputs[slot]
        if index in known:
            return known[index]
        item = self.values.tensor(index)
        return (float(item.array().reshape(-1)[0]) - item.zero_point) * item.scale

    def step(self, step: StepMatch) -> Step:
        """The records of one step."""
        values, match = self.values, self.match
        b, c, u = values.tensor(match.b), values.tensor(match.c), self.u
        drive_offset = -u.zero_point if match.drive is None else 0
        given = self.drive_scale * b.scale / self.state_scale
        output = self.state_scale * c.scale / self.sum_scale
        last = self.sum_scale * self.gate_scale / self.total.scale
        argument, shifted = Product(), Sum()
        decay = (0,) * (256 * match.size if match.a is None else ENTRIES)
        if step.columns:
            decay = self._columns(step)
        elif step.signs is not None:
            shifted, decay = self._shifted(step)
        elif step.old is not None:
            argument, decay = self._decay(step)
        return Step(
            argument=argument,
            decay=decay,
            keep=Product(),
            drive=Product()
            if match.drive is None
            else _product(0, -u.zero_point, self.delta_scale * u.scale / self.drive_scale),
            input=_product(drive_offset, -b.zero_point, given),
            update=Sum(),
            output=_product(0, -c.zero_point, output),
            skip=self._skip(),
            total=Sum(),
            gate=Product(0, 0, *quantize_multiplier(last), self.total.zero_point, -128, 127),
            fresh=step.old is None,
            shifted=shifted,
        )

    def _decay(self, step: StepMatch) -> tuple[Product, tuple[int, ...]]:
        """delta * A on a scale of 16 bits that just holds it, and the decay at each 128th value."""
        a = self.values.tensor(step.a)
        weights = (a.array().astype(np.float64) - a.zero_point) * a.scale
        corners = np.outer(self.delta_range, (weights.min(), weights.max()))
        low, high = min(float(corners.min()), 0.0), max(float(corners.max()), 0.0)
        scale, zero_point = _grid(low, high)
        argument = _product(0, -a.zero_point, self.delta_scale * a.scale / scale, zero_point)
        return argument, self._interpolated(step.decay, scale, zero_point)

    def _shifted(self, step: StepMatch) -> tuple[Sum, tuple[int, ...]]:
        """delta + A on such a scale, and the decay."""
        delta, a = self.values.tensor(step.delta), self.values.tensor(step.a)
        parts = [_range(tensor, sign) for tensor, sign in zip((delta, a), step.signs, strict=True)]
        low, high = (sum(ends) for ends in zip(*parts, strict=True))
        scale, zero_point = _grid(low, high)
        twice = 2 * max(delta.scale, a.scale)
        words = quantize_multiplier(delta.scale / twice) + quantize_multiplier(a.scale / twice)
        words += quantize_multiplier(twice / ((1 << SUM_SHIFT) * scale))
        offsets = -delta.zero_point, -a.zero_point
        shifted = Sum(*offsets, *words, zero_point, -LIMIT - 1, LIMIT)
        return shifted, self._interpolated(step.decay, scale, zero_point)

    def _interpolated(self, function: Function, scale: float, zero_point: int) -> tuple[int, ...]:
        """A function at each 128th value of a 16-bit argument."""
        points = (np.arange(ENTRIES) * 128 - 32768 - zero_point) * scale
        decay = np.rint(self.evaluate(function, points) * (LIMIT + 1))
        return tuple(int(v) for v in decay.clip(-LIMIT - 1, LIMIT))

    def _columns(self, step: StepMatch) -> tuple[int, ...]:
        """The decay for each column and value of delta."""
        given = self.values.function(step.delta)
        x = self._real(given, self.values.tensor(given.source))
        decay: tuple[int, ...] = ()
        for column in step.columns:
            real = np.rint(self.evaluate(column, x) * (LIMIT + 1)).clip(-LIMIT - 1, LIMIT)
            decay += tuple(int(v) for v in real)
        return decay

    def _skip(self) -> Product:
        match, u = self.match, self.u
        if match.total is None:
            return Product()
        if match.skip is None:
            return _product(-u.zero_point, 0, u.scale / self.sum_scale)
        d = self.values.tensor(match.skip)
        return _product(-u.zero_point, -d.zero_point, u.scale * d.scale / self.sum_scale)


def _product(a_offset: int, b_offset: int, real: float, output_offset: int = 0) -> Product:
    multiplier, shift = quantize_multiplier(real)
    return Product(a_offset, b_offset, multiplier, shift, output_offset, -LIMIT - 1, LIMIT)


def _range(tensor: Tensor, sign: int) -> tuple[float, float]:
    """The smallest and the largest value that an int8 tensor can hold, with a sign."""
    ends = [sign * (q - tensor.zero_point) * tensor.scale for q in (-128, 127)]
    return min(ends), max(ends)


def _grid(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point with which 16 bits hold a range."""
    scale = (high - low) / 65535 or 1.0
    return scale, round(-32768 - low / scale)


def _largest(tensor: Tensor) -> float:
    """The largest magnitude that an int8 tensor can hold."""
    return tensor.scale * max(abs(-128 - tensor.zero_point), abs(127 - tensor.zero_point))


def _scale(largest: float) -> float:
    """The scale, a float32 value, on which a magnitude fits 16 bits."""
    scale = float(np.float32(largest / LIMIT))
    return scale if scale > 0 and math.isfinite(scale) else 1.0


def _quantized(real: np.ndarray, scale: float) -> tuple[int, ...]:
    return tuple(int(v) for v in np.rint(real / scale).clip(-LIMIT - 1, LIMIT))
