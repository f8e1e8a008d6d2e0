"""Small selective scans made of stock operators, for tests: one step, or several unrolled."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from refmicro.model.graph import Model
from refmicro.types import DType, Tensor
from tests.ops.graphs import int32, model, op, subgraph
from tests.ops.harness import tensor

PLAIN = {"fused_activation_function": 0}
NO_MASKS = dict.fromkeys(
    ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0
)


class ScanMaker:
    """Builds `h = f(s * A) * h + (s * u) * B; y = (h . C + D * u) * g(z)` with random scales.

    Args:
        seed: of scales, constants, and of the order of operands.
        steps: unrolled steps; the state of the first one is zero.
        state: `variable`, `input`, or `none`; the latter for more than one step.
        skip: `scaled`, `plain` or `none`.
        decay: operators that make the decay of its argument; `("POWERS",)` for the powers of
            1 - s, side by side, without A.
        argument: operator that makes the argument: MUL of s and A, ADD or SUB of delta and A.
    """

    def __init__(
        self,
        seed: int,
        *,
        channels: int = 6,
        size: int = 4,
        steps: int = 1,
        state: str = "variable",
        skip: str = "scaled",
        gate: bool = True,
        decay: tuple[str, ...] = ("ELU", "ADD"),
        argument: str = "MUL",
    ) -> None:
        self.rng = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.channels, self.size, self.steps = channels, size, steps
        self.state, self.skip, self.gate = state, skip, gate
        self.decay, self.argument, self.a_last = decay, argument, bool(seed % 2)
        self.operators: list[tuple] = []
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.made: dict[str, Tensor] = {}

    def i8(self, *shape: int, scale: float | None = None, data: np.ndarray | None = None) -> Tensor:
        scale = scale or self.rng.uniform(0.01, 0.06)
        point = self.rng.randint(-100, 100)
        return tensor(DType.INT8, shape, scale=scale, zero_point=point, data=data)

    def constant(self, *shape: int) -> Tensor:
        return self.i8(*shape, data=self.numbers.integers(-128, 128, shape))

    def add(self, name: str, inputs: list, y: Tensor, options: dict | None = None) -> Tensor:
        self.operators.append(op(name, inputs, [y], options))
        return y

    def turned(self, *operands: Tensor) -> list[Tensor]:
        """Operands in random order."""
        return list(operands if self.rng.random() < 0.5 else operands[::-1])

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        y = tensor(x.dtype, shape, scale=x.quantization.scale, zero_point=x.quantization.zero_point)
        return self.add("RESHAPE", [x, int32(*shape)], y, {"new_shape": shape})

    def given(self, name: str, *shape: int) -> Tensor:
        """A value that the model computes of an input of its own."""
        x = self.i8(*shape)
        self.inputs.append(x)
        y = self.add("RELU", [x], self.i8(*shape, scale=x.scale))
        self.made[name] = y
        return y

    def model(self, finish: Callable[[ScanMaker], None] | None = None) -> Model:
        """The model; `finish` may add operators and outputs before it is closed."""
        count, channels = self.steps, self.channels
        u = self.given("u", count, channels)
        delta = self.given("delta", count, channels)
        s = self.add("LOGISTIC", [delta], self.unit(count, channels))
        drive = self.add("MUL", self.turned(s, u), self.i8(count, channels), PLAIN)
        parts = {
            "s": self.frames(s if self.argument == "MUL" else delta, channels, 1),
            "drive": self.frames(drive, channels, 1),
            "b": self.frames(self.given("b", count, self.size), 1, self.size),
            "c": self.frames(self.given("c", count, self.size), 1, self.size),
        }
        weights = self.constant(channels, self.size)
        h = self.first_state()
        ys = []
        for t in range(count):
            h = self.step({name: items[t] for name, items in parts.items()}, weights, h, t)
            c = parts["c"][t]
            y = self.i8(channels, 1, scale=self.y_scale)
            ys.append(self.add("FULLY_CONNECTED", [h, c, None], y, PLAIN))
        self.made["h"] = h
        self.outputs.append(self.tail(ys, u))
        if self.state == "input":
            self.outputs.append(h)
        if finish is not None:
            finish(self)
        return model(subgraph(self.inputs, self.outputs, self.operators))

    y_scale = 0.3

    def unit(self, *shape: int) -> Tensor:
        return tensor(DType.INT8, shape, scale=1 / 256, zero_point=-128)

    def frames(self, x: Tensor, *shape: int) -> list[Tensor]:
        """The parts of a sequence."""
        if self.steps == 1:
            return [self.reshape(x, *shape)]
        quantization = {
            "scale": x.quantization.scale,
            "zero_point": x.quantization.zero_point,
        }
        rows = [tensor(x.dtype, (1, x.shape[1]), **quantization) for _ in range(self.steps)]
        axis = tensor(DType.INT32, (), data=np.array(0))
        self.operators.append(op("SPLIT", [axis, x], rows, {"num_splits": self.steps}))
        return [self.reshape(row, *shape) for row in rows]

    def first_state(self) -> Tensor | None:
        if self.state == "none":
            return None
        shape = (self.channels, self.size)
        state = tensor(
            DType.INT8, shape, scale=0.05, zero_point=7, variable=self.state == "variable"
        )
        if self.state == "input":
            self.inputs.append(state)
        self.made["state"] = state
        return state

    def step(self, parts: dict[str, Tensor], weights: Tensor, h: Tensor | None, t: int) -> Tensor:
        shape = (self.channels, self.size)
        last = t == self.steps - 1
        new = self.i8(*shape)
        if last and self.state == "variable":
            new = self.made["state"]
        if h is None:
            return self.add("MUL", self.turned(parts["drive"], parts["b"]), new, PLAIN)
        if self.decay == ("POWERS",):
            return self.update(parts, self.powers(parts["s"]), h, new)
        argument = self.i8(*shape)
        # The sign of a difference is the same in all steps.
        operands = self.turned(parts["s"], weights)
        if self.argument == "SUB":
            operands = [parts["s"], weights][:: 1 if self.a_last else -1]
        x = self.add(self.argument, operands, argument, PLAIN)
        for name in self.decay:
            y = self.i8(*shape)
            if name == "LOGISTIC":
                x = self.add(name, [x], self.unit(*shape))
            elif name == "TANH":
                y = tensor(DType.INT8, shape, scale=1 / 128, zero_point=0)
                x = self.add(name, [x], y)
            elif name == "ADD":
                x = self.add(name, self.turned(x, self.constant()), y, PLAIN)
            else:
                x = self.add(name, [x], y)
        return self.update(parts, x, h, new)

    def powers(self, s: Tensor) -> Tensor:
        """(1 - s), its square, and so on: sigmoid(-z)^n for s = sigmoid(z), joined in two parts."""
        one = self.i8(scale=1 / 127, data=np.array(127))
        first = self.add("SUB", [one, s], self.unit(*s.shape), PLAIN)
        columns = [first]
        for _ in range(self.size - 1):
            operands = self.turned(columns[-1], first)
            columns.append(self.add("MUL", operands, self.unit(*s.shape), PLAIN))
        join = {"axis": 1, "fused_activation_function": 0}
        half = self.size // 2
        parts = [
            self.add("CONCATENATION", some, self.unit(s.shape[0], len(some)), join)
            for some in (columns[:half], columns[half:])
        ]
        return self.add("CONCATENATION", parts, self.unit(s.shape[0], self.size), join)

    def update(self, parts: dict[str, Tensor], x: Tensor, h: Tensor, new: Tensor) -> Tensor:
        """decay * h + drive * B."""
        shape = (self.channels, self.size)
        self.made["decay"] = x
        kept = self.add("MUL", self.turned(x, h), self.i8(*shape), PLAIN)
        outer = self.turned(parts["drive"], parts["b"])
        given = self.add("MUL", outer, self.i8(*shape), PLAIN)
        return self.add("ADD", self.turned(kept, given), new, PLAIN)

    def tail(self, ys: list[Tensor], u: Tensor) -> Tensor:
        count, channels = self.steps, self.channels
        if count == 1:
            y = self.reshape(ys[0], 1, channels)
        else:
            q = ys[0].quantization
            packed = tensor(
                DType.INT8, (count, channels, 1), scale=q.scale, zero_point=q.zero_point
            )
            packed = self.add("PACK", ys, packed, {"values_count": count, "axis": 0})
            y = self.reshape(packed, count, channels)
        wide = (count, channels)
        if self.skip == "scaled":
            product = self.add(
                "MUL", self.turned(u, self.constant(channels)), self.i8(*wide), PLAIN
            )
            y = self.add("ADD", self.turned(y, product), self.i8(*wide), PLAIN)
        elif self.skip == "plain":
            y = self.add("ADD", self.turned(y, u), self.i8(*wide), PLAIN)
        if self.gate:
            z = self.given("z", *wide)
            sigma = self.add("LOGISTIC", [z], self.unit(*wide))
            silu = self.add("MUL", self.turned(z, sigma), self.i8(*wide), PLAIN)
            y = self.add("MUL", self.turned(y, silu), self.i8(*wide), PLAIN)
        return y


__all__ = ["NO_MASKS", "PLAIN", "ScanMaker"]
