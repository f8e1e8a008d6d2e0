"""What element-wise operators share: checks, broadcasting, and tables instead of arithmetic.

An 8-bit pair has 65,536 values and an 8-bit value 256, so every such operator is a table that its
exact kernel fills. A kernel works on flat arrays: `kernel(x, *arguments, out)` for one input,
`kernel(a, b, *arguments, out)` for two.
Source of the broadcasting rules: `BroadcastBinaryOpSimple` in
`tensorflow/lite/kernels/internal/reference/broadcast_loop.h`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from refmicro._jit import Kernel, has_byte_tables, jit
from refmicro.fixedpoint import quantize_multiplier
from refmicro.ops._activation import RELU, RELU6, RELU_N1_TO_1
from refmicro.ops._byte_table import kernel_for
from refmicro.ops._pair_formula import Formula, proven_constants, proven_line_constants
from refmicro.ops._pair_vectors import suits
from refmicro.ops._requantize import require_zero_point
from refmicro.ops._spec import BindContext, EvalContext, PrepareContext, Step, run_steps
from refmicro.types import INTEGER_LIMITS, DType, Tensor

MAX_RANK = 6
"""TFLM's `RuntimeShape` holds six dimensions and does not check."""

_PAIRS = 1 << 16

_WORTH_A_PROOF = 8 * _PAIRS
"""Elements from which on a formula is looked for that equals the table."""


# Checks


def require_counts(ctx: PrepareContext, inputs: int) -> None:
    """`NumInputs` and `NumOutputs`: `inputs` inputs, one output."""
    ctx.require(
        len(ctx.node.inputs) == inputs,
        f"must have {inputs} input{'s' * (inputs > 1)}",
        len(ctx.node.inputs),
    )
    ctx.require(len(ctx.node.outputs) == 1, "must have 1 output", len(ctx.node.outputs))


def tensors_of(ctx: PrepareContext, inputs: int) -> tuple[Tensor, ...]:
    """Inputs and the output of an operator whose Prepare, if it has one, holds no tensors."""
    tensors = (*(ctx.node.input(i) for i in range(inputs)), *ctx.node.outputs[:1])
    found = f"{len(ctx.node.inputs)} inputs and {len(ctx.node.outputs)} outputs"
    complete = len(tensors) == inputs + 1 and None not in tensors
    ctx.require_shape(complete, f"must have {inputs} inputs and an output", found)
    return tensors


def require_same_type(ctx: PrepareContext, *tensors: Tensor, malformed: bool = False) -> None:
    """Inputs and output of one type; `malformed` where TFLM does not check but misreads."""
    found = list(dict.fromkeys(str(tensor.dtype) for tensor in tensors))
    if len(found) > 1:
        ctx.refuse("inputs and output must have one type", " and ".join(found), malformed=malformed)


def require_same_elements(ctx: PrepareContext, x: Tensor, output: Tensor) -> None:
    """TFLM writes as many elements as the input has."""
    ctx.require_shape(
        x.elements == output.elements,
        "input and output must have as many elements",
        f"{x.elements} and {output.elements}",
    )


def require_same_depth(ctx: PrepareContext, x: Tensor, output: Tensor) -> None:
    """`MatchingDim`: rank, last dimension and number of elements agree; there is one at least."""
    ctx.require_shape(len(x.shape) >= 1, "the input must have at least 1 dimension", x.shape)
    ctx.require_shape(
        len(x.shape) == len(output.shape) and x.shape[-1] == output.shape[-1],
        "input and output must have the same last dimension",
        f"{list(x.shape)} and {list(output.shape)}",
    )
    require_same_elements(ctx, x, output)


def require_rank(ctx: PrepareContext, limit: int, *tensors: Tensor) -> None:
    """Every tensor has at most `limit` dimensions; TFLM ends the program or overruns beyond."""
    for tensor in tensors:
        if len(tensor.shape) > limit:
            ctx.refuse(f"tensors may have at most {limit} dimensions here", len(tensor.shape))


def require_zero_points(ctx: PrepareContext, *tensors: Tensor) -> None:
    """Zero points lie in their types; TFLM's sums would overflow otherwise."""
    for tensor in tensors:
        require_zero_point(ctx, f"{tensor.dtype} tensor", tensor)


def require_scale(ctx: PrepareContext, what: str, tensor: Tensor) -> None:
    """A scale that TFLM divides by."""
    ctx.require_shape(tensor.scale > 0, f"{what} must have a scale above 0", tensor.scale)


def require_not_quantized(ctx: PrepareContext, *tensors: Tensor) -> None:
    """int32 is only supported without quantization."""
    for tensor in tensors:
        ctx.require(
            not tensor.quantization.is_affine,
            f"{tensor.dtype} tensors must not be quantized",
            f"scale {tensor.scale}",
        )


def multiplier_below_one(ctx: PrepareContext, what: str, real: float) -> tuple[int, int]:
    """`QuantizeMultiplierSmallerThanOneExp`, where TFLM ends the program unless 0 < real < 1."""
    ctx.require(0.0 < real < 1.0, f"{what} must be above 0 and below 1", real)
    multiplier, shift = quantize_multiplier(real)
    ctx.require(shift <= 0, f"{what} must be below 1 - 2^-32", real)
    return multiplier, shift


# Shapes


@dataclass(frozen=True)
class Shapes:
    """How two inputs meet: all shapes have one rank, `output` is the tensor's own shape.

    Inputs of one shape are seen as vectors, so that no loop but one is left.
    """

    a: tuple[int, ...]
    b: tuple[int, ...]
    loop: tuple[int, ...]
    output: tuple[int, ...]

    @staticmethod
    def of(
        ctx: PrepareContext, a: Tensor, b: Tensor, output: Tensor, *, rank: int = MAX_RANK
    ) -> Shapes:
        """Check that `a` and `b` broadcast to `output`."""
        require_rank(ctx, MAX_RANK, a, b, output)
        if a.shape == b.shape:
            require_same_elements(ctx, a, output)
            flat = (a.elements,)
            return Shapes(flat, flat, flat, output.shape)
        require_rank(ctx, rank, a, b, output)
        count = max(len(a.shape), len(b.shape), len(output.shape))
        left, right, loop = (_extended(t.shape, count) for t in (a, b, output))
        fits = all(
            n == (y if x == 1 else x) and y in (1, n)
            for x, y, n in zip(left, right, loop, strict=True)
        )
        ctx.require_shape(
            fits,
            "inputs must broadcast to the output's shape",
            f"{list(a.shape)} and {list(b.shape)} to {list(output.shape)}",
        )
        return Shapes(left, right, loop, output.shape)

    def views(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both arrays with a batch axis, ready for NumPy's own broadcasting."""
        return a.reshape(a.shape[0], *self.a), b.reshape(b.shape[0], *self.b)

    def flat(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both arrays broadcast, contiguous and flat."""
        a, b = np.broadcast_arrays(*self.views(a, b))
        return np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1)


def _extended(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    return (1,) * (count - len(shape)) + shape


def _loops(shapes: Shapes, a_rows: int, b_rows: int) -> np.ndarray | None:
    """Three nested loops, outer first: [extents, strides of a, strides of b], None if they need
    more. Neighbouring dimensions that both inputs walk through evenly are one loop."""
    rows = max(a_rows, b_rows)
    loops: list[tuple[int, int, int]] = []
    a_size = b_size = 1
    dimensions = zip((rows, *shapes.loop), (a_rows, *shapes.a), (b_rows, *shapes.b), strict=True)
    for extent, a_extent, b_extent in reversed(list(dimensions)):
        a_step = a_size if a_extent > 1 else 0
        b_step = b_size if b_extent > 1 else 0
        a_size, b_size = a_size * a_extent, b_size * b_extent
        if extent == 1:
            continue
        if loops:
            inner, a_inner, b_inner = loops[-1]
            if a_step == inner * a_inner and b_step == inner * b_inner:
                loops[-1] = (inner * extent, a_inner, b_inner)
                continue
        loops.append((extent, a_step, b_step))
    if len(loops) > 3:
        return None
    loops += [(1, 0, 0)] * (3 - len(loops))
    return np.array(loops[::-1], np.int64).T.copy()


# Tables


@jit
def _lookup_pairs(a, b, table, loops, out):
    # Unsigned indices spare the compiled code the test for negative ones.
    index = np.uint64
    position = 0
    count = loops[0, 2]
    for i in range(loops[0, 0]):
        for j in range(loops[0, 1]):
            left = i * loops[1, 0] + j * loops[1, 1]
            right = i * loops[2, 0] + j * loops[2, 1]
            if loops[1, 2] == 0:
                first = np.int64(a[index(left)]) << 8
                for k in range(count):
                    pair = first | np.int64(b[index(right + k)])
                    out[index(position + k)] = table[index(pair)]
            elif loops[2, 2] == 0:
                second = np.int64(b[index(right)])
                for k in range(count):
                    pair = (np.int64(a[index(left + k)]) << 8) | second
                    out[index(position + k)] = table[index(pair)]
            else:
                for k in range(count):
                    pair = (np.int64(a[index(left + k)]) << 8) | np.int64(b[index(right + k)])
                    out[index(position + k)] = table[index(pair)]
            position += count


_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32}


def _bits(values: np.ndarray) -> np.ndarray:
    """The same memory as unsigned integers, so that kernels are compiled once for each width."""
    return values.view(_UNSIGNED[values.dtype.itemsize])


def _applied(
    kernel: Kernel, arguments: tuple, result: np.dtype
) -> Callable[[np.ndarray], np.ndarray]:
    """A kernel of one flat array as a function that returns a flat array."""

    def function(x: np.ndarray) -> np.ndarray:
        out = np.empty(x.size, result)
        kernel(np.ascontiguousarray(x).reshape(-1), *arguments, out)
        return out

    return function


@dataclass(frozen=True, eq=False)
class Lookup:
    """A function of one 8-bit or 16-bit value, kept as a table of all its results.

    Attributes:
        shape: shape of the output.
        source: type of the input.
        function: results of a flat array of inputs.
    """

    shape: tuple[int, ...]
    source: np.dtype
    function: Callable[[np.ndarray], np.ndarray]

    @staticmethod
    def of_kernel(x: Tensor, output: Tensor, kernel: Kernel, arguments: tuple) -> Lookup:
        """The table of `kernel(x, *arguments, out)`."""
        function = _applied(kernel, arguments, output.dtype.numpy)
        return Lookup(output.shape, x.dtype.numpy, function)

    @cached_property
    def table(self) -> np.ndarray:
        """Results, indexed by the bits of the input."""
        unsigned = _UNSIGNED[self.source.itemsize]
        values = np.arange(1 << 8 * self.source.itemsize, dtype=unsigned)
        return self.function(values.view(self.source))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Results of shape (B, *shape)."""
        out = np.empty((x.shape[0], *self.shape), self.table.dtype)
        run_steps([self._step(np.ascontiguousarray(x), out)])
        return out

    def _step(self, x: np.ndarray, out: np.ndarray) -> Step:
        table = _bits(self.table)
        arguments = _bits(x.reshape(-1)), table, _bits(out.reshape(-1))
        return kernel_for(table).ready, arguments

    def bind(self, ctx: BindContext) -> list[Step] | None:
        """One look-up."""
        x, out = ctx.input(0), ctx.output(0)
        return [self._step(x, out)] if x.size == out.size else None


@dataclass(frozen=True, eq=False)
class Map:
    """A NumPy function of one array that keeps its shape; `shape` is the output's."""

    shape: tuple[int, ...]
    function: Callable[[np.ndarray], np.ndarray]

    @staticmethod
    def of_kernel(output: Tensor, kernel: Kernel, arguments: tuple) -> Map:
        """`kernel(x, *arguments, out)` on flat arrays."""
        return Map(output.shape, _applied(kernel, arguments, output.dtype.numpy))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Results of shape (B, *shape)."""
        with np.errstate(all="ignore"):
            return self.function(x).reshape(x.shape[0], *self.shape)


def evaluate_single(ctx: EvalContext, compute: Lookup | Map) -> None:
    """`eval` of an operator whose data is one of the two above."""
    ctx.set_output(0, compute(ctx.input(0)))


@dataclass(frozen=True, eq=False)
class Pairwise:
    """An operator of two inputs that broadcast, by its exact kernel.

    8-bit inputs go through a table of all pairs as soon as filling it costs no more than what was
    computed without it, or through a formula that equals the table.

    Attributes:
        shapes: how the inputs meet.
        kernel: called as kernel(a, b, *arguments, out) with flat arrays of one size.
        arguments: its further arguments.
        result: type of the output.
        formula: what may replace the table of an int8 output.
        done: how many elements were computed so far.
        known_loops: loops by numbers of rows.
    """

    shapes: Shapes
    kernel: Kernel
    arguments: tuple
    result: np.dtype
    formula: Formula | None = None
    done: list[int] = field(default_factory=lambda: [0], compare=False, repr=False)
    known_loops: dict[tuple[int, int], np.ndarray | None] = field(
        default_factory=dict, compare=False, repr=False
    )

    @cached_property
    def table(self) -> np.ndarray:
        """Results of all pairs of int8, as bits."""
        values = np.arange(256, dtype=np.uint8).view(np.int8)
        out = np.empty(_PAIRS, self.result)
        self.kernel(np.repeat(values, 256), np.tile(values, 256), *self.arguments, out)
        return _bits(out)

    @cached_property
    def constants(self) -> np.ndarray | None:
        """With what the formula gives the table's results, None where it does not."""
        if self.formula is None or self.result != np.int8:
            return None
        return proven_constants(self.formula, self.table.view(np.int8))

    @cached_property
    def line_constants(self) -> np.ndarray | None:
        """The same for the formula in vector instructions."""
        if self.formula is None or self.result != np.int8:
            return None
        return proven_line_constants(self.formula, self.table.view(np.int8))

    def _step(self, a: np.ndarray, b: np.ndarray, loops: np.ndarray, out: np.ndarray) -> Step:
        """The call for flat arrays: a formula that is worth its proof by now, or the table."""
        if self.done[0] >= _WORTH_A_PROOF:
            if suits(a.size, b.size, loops, out.size) and self.line_constants is not None:
                return self.formula.lines.ready, (a, b, loops, self.line_constants, out)
            if self.constants is not None:
                return self.formula.kernel.ready, (a, b, loops, self.constants, out)
        return _lookup_pairs.ready, (_bits(a), _bits(b), self.table, loops, _bits(out))

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Results of shape (B, *output)."""
        shapes = self.shapes
        out = np.empty((max(a.shape[0], b.shape[0]), *shapes.output), self.result)
        flat = out.reshape(-1)
        self.done[0] += flat.size
        if a.dtype != np.int8 or self.done[0] < _PAIRS:
            self.kernel(*shapes.flat(a, b), *self.arguments, flat)
            return out
        loops = self._loops(a.shape[0], b.shape[0])
        if loops is None:
            a, b = shapes.flat(a, b)
            loops = np.array([[1, 1, out.size], [0, 0, 1], [0, 0, 1]])
        a, b = a.reshape(-1), b.reshape(-1)
        if min(a.size, b.size) == 1 and has_byte_tables():
            self._with_one_value(a, b, flat)
        else:
            run_steps([self._step(a, b, loops, flat)])
        return out

    def _with_one_value(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        """Where one input is a single value, what is left is a table of the other one's values."""
        table, (left, right) = self.table.reshape(256, 256), map(_bits, (a, b))
        if b.size == 1:
            row, x = np.ascontiguousarray(table[:, right[0]]), left
        else:
            row, x = table[left[0]], right
        kernel_for(row)(x, row, _bits(out))

    def bind(self, ctx: BindContext) -> list[Step]:
        """One call; by now a table or a formula may be worth it."""
        a, b, out = ctx.input(0), ctx.input(1), ctx.output(0)
        flat = out.reshape(-1)
        self.done[0] = max(self.done[0], ctx.runs * flat.size)
        loops = None
        if a.dtype == np.int8 and self.done[0] >= _PAIRS:
            loops = self._loops(a.shape[0], b.shape[0])
        if loops is None or max(a.shape[0], b.shape[0]) < ctx.rows:
            return self._bind_kernel(a, b, out)
        return [self._step(a.reshape(-1), b.reshape(-1), loops, flat)]

    def _bind_kernel(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> list[Step]:
        """The exact kernel; what is broadcast is copied for it."""
        steps, flat = [], []
        for view in self.shapes.views(a, b):
            whole = np.broadcast_to(view, (out.shape[0], *self.shapes.loop))
            if not whole.flags.c_contiguous:
                spread = np.empty(whole.shape, whole.dtype)
                steps.append((np.copyto, (spread, whole)))
                whole = spread
            flat.append(whole.reshape(-1))
        return [*steps, (self.kernel.ready, (*flat, *self.arguments, out.reshape(-1)))]

    def _loops(self, a_rows: int, b_rows: int) -> np.ndarray | None:
        known = self.known_loops
        if (a_rows, b_rows) not in known:
            known[a_rows, b_rows] = _loops(self.shapes, a_rows, b_rows)
        return known[a_rows, b_rows]


@dataclass(frozen=True, eq=False)
class Broadcast:
    """An operator of two inputs that broadcast, by a NumPy function of two arrays.

    Attributes:
        shapes: how the inputs meet.
        function: results of two arrays; NumPy broadcasts them.
        limits: what the results are clamped to, if anything.
    """

    shapes: Shapes
    function: Callable[[np.ndarray, np.ndarray], np.ndarray]
    limits: tuple[Any, Any] | None = None

    def bind(self, ctx: BindContext) -> list[Step] | None:
        """One call of NumPy's, where it needs no care for what floats do."""
        a, b, out = ctx.input(0), ctx.input(1), ctx.output(0)
        is_plain = isinstance(self.function, np.ufunc) and self.limits is None
        if not is_plain or a.dtype.kind == "f":
            return None
        views = self.shapes.views(a, b)
        return [(_into, (self.function, *views, out.reshape(-1, *self.shapes.loop)))]

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Results of shape (B, *output)."""
        with np.errstate(all="ignore"):
            out = self.function(*self.shapes.views(a, b))
        if self.limits is not None:
            clamp(out, *self.limits)
        return out.reshape(-1, *self.shapes.output)


def _into(function: np.ufunc, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    function(a, b, out=out)


def evaluate_pair(ctx: EvalContext, compute: Pairwise | Broadcast) -> None:
    """`eval` of an operator whose data is one of the two above."""
    ctx.set_output(0, compute(ctx.input(0), ctx.input(1)))


def clamp(x: np.ndarray, low: Any, high: Any) -> None:
    """C++'s `min(max(x, low), high)`, in place: NaN stays, and so does -0 against 0."""
    np.copyto(x, low, where=x < low)
    np.copyto(x, high, where=high < x)


def int32_range(activation: int) -> tuple[int, int] | None:
    """`CalculateActivationRange<int32_t>`: the limits of an int32 output, None if all values are
    inside."""
    high = INTEGER_LIMITS[DType.INT32][1]
    return {RELU: (0, high), RELU_N1_TO_1: (-1, 1), RELU6: (0, 6)}.get(activation)


def round_away(x: np.ndarray) -> np.ndarray:
    """C's `roundf` of a float32 array: halves away from zero."""
    wide = x.astype(np.float64)
    return np.copysign(np.floor(np.abs(wide) + 0.5), wide).astype(np.float32)


def truncate_to_int32(x: np.ndarray) -> np.ndarray:
    """C's conversion of floats to int32, as int64; what does not fit becomes -2^31.

    C++ leaves such values undefined; this is what x86 does.
    """
    fits = (x >= -(2.0**31)) & (x < 2.0**31)
    return np.where(fits, x, x.dtype.type(-(2.0**31))).astype(np.int64)
