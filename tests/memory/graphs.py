"""Random models that run in TFLM, to compare arenas: what they compute does not matter."""

from __future__ import annotations

import random

import numpy as np

from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.types import NO_QUANTIZATION, DType, Quantization, Tensor

QUANTIZED = Quantization((0.0625,), (3,))


class GraphMaker:
    """Grows one subgraph of int8 tensors of shape (1, n)."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.ready: list[int] = []

    def tensor(self, size: int, *, variable: bool = False, data: bytes | None = None) -> int:
        """A new int8 tensor of shape (1, size)."""
        item = Tensor("", DType.INT8, (1, size), QUANTIZED, data, variable)
        return self.add(item)

    def add(self, item: Tensor) -> int:
        """A new tensor; its index."""
        self.tensors.append(item)
        return len(self.tensors) - 1

    def constant(self, values: np.ndarray, quantization: Quantization = NO_QUANTIZATION) -> int:
        """A constant of int8 or int32 values."""
        dtype = DType.INT8 if values.dtype == np.int8 else DType.INT32
        return self.add(Tensor("", dtype, values.shape, quantization, values.tobytes()))

    def operator(self, name: str, inputs: list[int], outputs: list[int], **options) -> None:
        """One more operator; its outputs become ready."""
        table = "".join(part.capitalize() for part in name.split("_")) + "Options"
        self.operators.append(
            Operator(OperatorCode(name), tuple(inputs), tuple(outputs), options, table)
        )
        self.ready += outputs

    def size_of(self, index: int) -> int:
        """Elements of a tensor."""
        return self.tensors[index].elements

    def grow(self) -> None:
        """Add one random operator that reads what is ready."""
        rng = self.rng
        source = rng.choice(self.ready[-6:] if rng.random() < 0.8 else self.ready)
        kind = rng.choice(["FULLY_CONNECTED", "PER_CHANNEL", "INT4", "JOIN", "SPLIT", "RESHAPE"])
        size = self.size_of(source)
        if kind == "JOIN":
            others = [source, *rng.choices(self.ready, k=rng.randint(1, 3))]
            total = sum(self.size_of(i) for i in others)
            if total <= 600:
                self.operator("CONCATENATION", others, [self.tensor(total)], axis=1)
                return
        if kind == "SPLIT" and size % 2 == 0:
            axis = self.constant(np.array(1, np.int32))
            halves = [self.tensor(size // 2) for _ in range(2)]
            self.operator("SPLIT", [axis, source], halves, num_splits=2)
        elif kind == "RESHAPE":
            shape = self.constant(np.array([1, size], np.int32))
            self.operator("RESHAPE", [source, shape], [self.tensor(size)])
        else:
            self._fully_connected(source, kind)

    def _fully_connected(self, source: int, kind: str) -> None:
        rng = self.rng
        self.project(source, rng.choice([1, 2, 7, 16, 33, rng.randint(1, 300)]), kind)

    def project(self, source: int, size: int, kind: str = "") -> int:
        """A FULLY_CONNECTED to `size` values; the output's index."""
        rng, depth = self.rng, self.size_of(source)
        scales = size if kind == "PER_CHANNEL" and size > 1 else 1
        quantization = Quantization((0.03125,) * scales, (0,) * scales, 0)
        dtype = DType.INT4 if kind == "INT4" else DType.INT8
        count = (size * depth + 1) // 2 if kind == "INT4" else size * depth
        filter_ = self.add(Tensor("", dtype, (size, depth), quantization, bytes(count)))
        sums = Quantization((0.0625 * 0.03125,), (0,))
        bias = self.constant(np.zeros(size, np.int32), sums) if rng.random() < 0.5 else -1
        output = self.tensor(size)
        self.operator("FULLY_CONNECTED", [source, filter_, bias], [output])
        return output

    def subgraph(self, inputs: list[int], outputs: list[int]) -> Subgraph:
        """The finished subgraph."""
        return Subgraph(tuple(self.tensors), tuple(inputs), tuple(outputs), tuple(self.operators))


def random_model(seed: int, operators: int, *, variables: bool = False) -> Model:
    """A model of one subgraph with a few inputs and outputs, some tensors that nothing uses."""
    rng = random.Random(seed)
    maker = GraphMaker(rng)
    inputs = [maker.tensor(rng.randint(1, 200)) for _ in range(rng.randint(1, 3))]
    maker.ready += inputs
    if variables:
        maker.ready += [maker.tensor(rng.randint(1, 99), variable=True) for _ in range(2)]
    for _ in range(operators):
        maker.grow()
        if rng.random() < 0.1:
            maker.tensor(rng.randint(1, 400))
    computed = [i for op in maker.operators for i in op.outputs]
    outputs = [computed[-1], *rng.sample(computed, min(len(computed), rng.randint(0, 2)))]
    return Model((maker.subgraph(inputs, list(dict.fromkeys(outputs))),))


WIDTH = 16
"""Values that go into and come out of every subgraph that is called."""


def _callable(rng: random.Random, callees: list[int], condition: int) -> Subgraph:
    """A subgraph from (flag, values) to (false, values) that may run others like it."""
    maker = GraphMaker(rng)
    flag = maker.add(Tensor("", DType.BOOL, (1,)))
    values = maker.tensor(WIDTH)
    maker.ready.append(values)
    for _ in range(rng.randint(1, 5)):
        if callees and rng.random() < 0.5:
            maker.ready.remove(_call(maker, flag, callees, condition))
        else:
            maker.grow()
    off = maker.add(Tensor("", DType.BOOL, (1,)))
    result = maker.project(maker.ready[-1], WIDTH)
    maker.operator("NOT_EQUAL", [flag, flag], [off])
    return maker.subgraph([flag, values], [off, result])


def _call(maker: GraphMaker, flag: int, callees: list[int], condition: int) -> int:
    """An IF or a WHILE that turns at most once; the index of the flag that comes out."""
    rng = maker.rng
    values = maker.project(rng.choice(maker.ready), WIDTH)
    off, result = maker.add(Tensor("", DType.BOOL, (1,))), maker.tensor(WIDTH)
    if rng.random() < 0.5:
        then, other = rng.choice(callees), rng.choice(callees)
        branches = {"then_subgraph_index": then, "else_subgraph_index": other}
        maker.operator("IF", [flag, flag, values], [off, result], **branches)
    else:
        loop = {"cond_subgraph_index": condition, "body_subgraph_index": rng.choice(callees)}
        maker.operator("WHILE", [flag, values], [off, result], **loop)
    maker.ready[-2:] = [result, off]
    return off


def random_calls(seed: int, subgraphs: int) -> Model:
    """A model whose subgraphs run later ones, some several times and some perhaps never.

    The last two subgraphs are the condition of every loop, without operators, and an empty one for
    CALL_ONCE.
    """
    rng = random.Random(seed)
    graphs = [
        _callable(rng, list(range(index + 1, subgraphs)), subgraphs) for index in range(subgraphs)
    ]
    main = graphs[0]
    once = Operator(
        OperatorCode("CALL_ONCE"), (), (), {"init_subgraph_index": subgraphs + 1}, "CallOnceOptions"
    )
    graphs[0] = Subgraph(main.tensors, main.inputs, main.outputs, (once, *main.operators))
    flag, values = Tensor("", DType.BOOL, (1,)), Tensor("", DType.INT8, (1, WIDTH), QUANTIZED)
    condition = Subgraph((flag, values), (0, 1), (0,), ())
    return Model((*graphs, condition, Subgraph((), (), (), ())))
