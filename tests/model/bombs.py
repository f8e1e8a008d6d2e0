"""Small files that unfold to very much: shared tables, shared vectors, calls that double.

Each bomb is valid for whoever follows its offsets, and each is made to cost time or memory out of
proportion. Run as a module, `python -m tests.model.bombs NAME` reads and prepares one and prints
what that took, so that a test can watch a fresh process.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable

import flatbuffers

from refmicro.model import _schema
from tests.model.hostile import prepared, run, runs_quickly

BYTES = 1 << 20
"""Size that the bombs aim at."""


class Assembler:
    """Writes tables with any offset in any field, which the writer would not do."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(BYTES + 4096)

    def table(self, kind: str, /, **values: int) -> int:
        fields = _schema.fields(kind)
        self.builder.StartObject(1 + max(field.slot for field in fields.values()))
        for key, value in values.items():
            field = fields[key]
            if field.kind == "scalar":
                size = field.number.size
                self.builder.Prep(size, 0)
                self.builder.head -= size
                field.number.pack_into(self.builder.Bytes, self.builder.head, value)
                self.builder.Slot(field.slot)
            else:
                self.builder.PrependUOffsetTRelativeSlot(field.slot, value, 0)
        return self.builder.EndObject()

    def numbers(self, values: list[int], kind: str = "Int32") -> int:
        width = {"Int32": 4, "Int64": 8, "Float32": 4}[kind]
        self.builder.StartVector(width, len(values), width)
        for value in reversed(values):
            getattr(self.builder, f"Prepend{kind}")(value)
        return self.builder.EndVector()

    def tables(self, offsets: list[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()

    def text(self, size: int) -> int:
        return self.builder.CreateString("x" * size)

    def finish(
        self, subgraphs: list[int], code: int = 22, buffers: list[int] | None = None
    ) -> bytes:
        """The file; `code` is the builtin operator of operator code 0, by default RESHAPE."""
        values = {
            "subgraphs": self.tables(subgraphs),
            "operator_codes": self.tables([self.table("OperatorCode", builtin_code=code)]),
            "buffers": self.tables(buffers or [self.table("Buffer")]),
            "version": 3,
        }
        self.builder.Finish(self.table("Model", **values), file_identifier=b"TFL3")
        return bytes(self.builder.Output())


def shared_subgraphs() -> bytes:
    """One subgraph of many tensors and operators, named a hundred thousand times."""
    make = Assembler()
    tensor = make.table("Tensor", shape=make.numbers([1]))
    pair = make.numbers([0])
    op = make.table("Operator", inputs=pair, outputs=pair)
    graph = make.table(
        "SubGraph",
        tensors=make.tables([tensor] * (BYTES // 12)),
        operators=make.tables([op] * (BYTES // 12)),
        inputs=pair,
        outputs=pair,
    )
    return make.finish([graph] * (BYTES // 12))


def shared_tensor() -> bytes:
    """One tensor with a long name and many scales, as often as the file has room for."""
    make = Assembler()
    third = BYTES // 3
    quantization = make.table(
        "QuantizationParameters",
        scale=make.numbers([1] * (third // 12), "Float32"),
        zero_point=make.numbers([0] * (third // 12), "Int64"),
    )
    tensor = make.table("Tensor", name=make.text(third), quantization=quantization)
    return make.finish([make.table("SubGraph", tensors=make.tables([tensor] * (third // 4)))])


def _reshapes(operators: int, inputs: int, padding: int) -> bytes:
    make = Assembler()
    make.text(padding)
    tensor = make.table("Tensor", shape=make.numbers([1]))
    op = make.table("Operator", inputs=make.numbers([0] * inputs), outputs=make.numbers([1]))
    graph = make.table(
        "SubGraph",
        tensors=make.tables([tensor] * 2),
        operators=make.tables([op] * operators),
        inputs=make.numbers([0]),
        outputs=make.numbers([1]),
    )
    return make.finish([graph])


def shared_inputs() -> bytes:
    """Operators that all name the same hundred thousand inputs."""
    return _reshapes(BYTES // 8, BYTES // 8, 0)


def shared_inputs_within_budget() -> bytes:
    """The same as far as a reader must follow: 7 operators of 131,072 inputs."""
    return _reshapes(7, BYTES // 8, BYTES // 2)


def one_operator_many_times() -> bytes:
    """A RESHAPE from a tensor to another, in one table, as often as the file has room for."""
    return _reshapes(BYTES // 4, 1, 0)


def one_operator_within_budget() -> bytes:
    """The same as far as a reader must follow: it is valid."""
    return _reshapes(BYTES // 20, 1, 3 * BYTES // 4)


def overlapping_names() -> bytes:
    """Every word of a region is the length of a string that runs to the region's end."""
    make = Assembler()
    region = BYTES // 2
    words = [region - 4 * index - 8 for index in range(region // 4)]
    start = make.numbers(words)
    shape = make.numbers([1])
    tensors = [
        make.table("Tensor", name=start - 4 * index, shape=shape)
        for index in range(1, region // 32)
    ]
    return make.finish([make.table("SubGraph", tensors=make.tables(tensors))])


def overlapping_buffers() -> bytes:
    """Every word of a region is the length of a constant that runs to the region's end."""
    make = Assembler()
    region = BYTES // 2
    start = make.numbers([region - 4 * index - 8 for index in range(region // 4)])
    buffers = [make.table("Buffer", data=start - 4 * index) for index in range(1, region // 32)]
    shape = make.numbers([1])
    tensors = [
        make.table("Tensor", buffer=index, shape=shape, type=9) for index in range(len(buffers))
    ]
    graph = make.table("SubGraph", tensors=make.tables(tensors))
    return make.finish([graph], buffers=buffers)


def empty_operators() -> bytes:
    """As many operators as fit, each without inputs and outputs: each is refused."""
    make = Assembler()
    ops = [make.table("Operator") for _ in range(BYTES // 8)]
    return make.finish([make.table("SubGraph", operators=make.tables(ops))])


def empty_tensors() -> bytes:
    """As many tensors as fit; all are float scalars."""
    make = Assembler()
    tensors = [make.table("Tensor") for _ in range(BYTES // 8)]
    return make.finish([make.table("SubGraph", tensors=make.tables(tensors))])


def _channels(operators: int) -> bytes:
    """FULLY_CONNECTED operators that share a filter of 1000 channels."""
    channels = 1000
    make = Assembler()
    ones, zero = make.numbers([0x3F800000] * channels), make.numbers([0], "Int64")
    one = make.numbers([0x3F800000])
    per_tensor = make.table("QuantizationParameters", scale=one, zero_point=zero)
    per_channel = make.table("QuantizationParameters", scale=ones, zero_point=zero)
    data = make.table("Buffer", data=make.builder.CreateByteVector(b"\1" * channels))
    row = make.table("Tensor", shape=make.numbers([1, 1]), type=9, quantization=per_tensor)
    rows = make.table(
        "Tensor", shape=make.numbers([channels, 1]), type=9, quantization=per_channel, buffer=1
    )
    out = make.table("Tensor", shape=make.numbers([1, channels]), type=9, quantization=per_tensor)
    inputs, outputs = make.numbers([0, 1]), make.numbers([2])
    op = make.table("Operator", inputs=inputs, outputs=outputs)
    graph = make.table(
        "SubGraph",
        tensors=make.tables([row, rows, out]),
        operators=make.tables([op] * operators),
        inputs=make.numbers([0]),
        outputs=outputs,
    )
    make.text(128 * operators)
    return make.finish([graph], code=9, buffers=[make.table("Buffer"), data])


def channels() -> bytes:
    """Operators that together have more channels than any microcontroller holds."""
    return _channels(4000)


def channels_within_budget() -> bytes:
    """As many channels as are accepted."""
    return _channels(250)


def many_ranks() -> bytes:
    """A tensor of a quarter of a million dimensions."""
    make = Assembler()
    tensor = make.table("Tensor", shape=make.numbers([2] * (BYTES // 4)))
    return make.finish([make.table("SubGraph", tensors=make.tables([tensor]))])


def _call(make: Assembler, callee: int, tensors: list[int]) -> int:
    options = make.table("WhileOptions", cond_subgraph_index=callee, body_subgraph_index=callee)
    values = make.numbers(tensors)
    while_options = _schema.enum_codes("BuiltinOptions")["WhileOptions"]
    return make.table(
        "Operator",
        inputs=values,
        outputs=values,
        builtin_options=options,
        builtin_options_type=while_options,
    )


def _chain(length: int) -> bytes:
    make = Assembler()
    tensor = make.table("Tensor", shape=make.numbers([1]), type=6)
    index = make.numbers([0])
    graphs = []
    for number in range(length):
        ops = [_call(make, number + 1, [0])] if number + 1 < length else []
        graphs.append(
            make.table(
                "SubGraph",
                tensors=make.tables([tensor]),
                operators=make.tables(ops),
                inputs=index,
                outputs=index,
            )
        )
    return make.finish(graphs, code=_schema.enum_codes("BuiltinOperator")["WHILE"])


def deep_calls() -> bytes:
    """Each subgraph calls the next, ten thousand deep."""
    return _chain(BYTES // 100)


def doubling_calls() -> bytes:
    """Each of sixty subgraphs calls the next twice: 2^60 visits."""
    return _chain(60)


def circle_of_calls() -> bytes:
    """Two subgraphs call each other."""
    make = Assembler()
    tensor = make.table("Tensor", shape=make.numbers([1]), type=6)
    index = make.numbers([0])
    graphs = [
        make.table(
            "SubGraph",
            tensors=make.tables([tensor]),
            operators=make.tables([_call(make, 1 - number, [0])]),
            inputs=index,
            outputs=index,
        )
        for number in range(2)
    ]
    return make.finish(graphs, code=_schema.enum_codes("BuiltinOperator")["WHILE"])


BOMBS: dict[str, Callable[[], bytes]] = {
    bomb.__name__: bomb
    for bomb in (
        shared_subgraphs,
        shared_tensor,
        shared_inputs,
        shared_inputs_within_budget,
        overlapping_names,
        overlapping_buffers,
        empty_operators,
        empty_tensors,
        one_operator_many_times,
        one_operator_within_budget,
        channels,
        channels_within_budget,
        many_ranks,
        deep_calls,
        doubling_calls,
        circle_of_calls,
    )
}


def main(name: str) -> None:
    """Print one bomb's verdict, its size, and the peak bytes before and after it was prepared.

    Running it, which may compile kernels, comes after that.
    """
    data = BOMBS[name]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    verdict, model = prepared(data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if model is not None and runs_quickly(model):
        verdict = run(model)
    sys.stdout.write(f"{verdict} {len(data)} {before} {peak}\n")


if __name__ == "__main__":
    main(sys.argv[1])
