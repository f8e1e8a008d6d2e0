"""MEMA kernels as TFLM registrations: C++ that takes the place of FULLY_CONNECTED and CONV_2D.

The text is `tflm_kernels.cc` with the kernels of one model in it. An operator whose product no
kernel covers, or that cannot be told from another one, stays with TFLM's own kernel.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refmicro import _bridge_build
from refmicro.bridge import CustomOp, oracle_run
from refmicro.emit.ops._mema import kernel_of, product_of
from refmicro.emit.ops.conv_2d import convolution_of
from refmicro.errors import DifferenceError, UnsupportedError
from refmicro.mema.kernel import Kernel, PackedArrays, header
from refmicro.mema.kernels.text import indent
from refmicro.mema.target import find_target
from refmicro.model.graph import Model
from refmicro.ops._product import Product
from refmicro.program import PreparedNode, prepare_model
from refmicro.types import DType, TflmBuild
from refmicro.vectors import random_inputs

SOURCE = Path(__file__).with_name("tflm_kernels.cc")

BUILTIN_CODES = {"FULLY_CONNECTED": 9, "CONV_2D": 3}
"""BuiltinOperator of the schema."""

_TYPE_CODES = {DType.INT8: 9, DType.INT16: 7}
"""TfLiteType."""

_MEMBERS = {
    "filter": ("int8_t", np.int8),
    "bias": ("int32_t", np.int32),
    "multiplier": ("int32_t", np.int32),
    "shift": ("int8_t", np.int8),
}


@dataclass(frozen=True)
class Registrations:
    """The C++ text for one model.

    Attributes:
        text: the file.
        replaced: (subgraph, operator index) of each operator that has a kernel of its own.
        left: those that TFLM's own kernels still compute.
    """

    text: str
    replaced: tuple[tuple[int, int], ...]
    left: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Replacement:
    """One operator's kernel, and by what TFLM's Prepare knows the operator: a row of the table."""

    node: PreparedNode
    kernel: Kernel
    packed: PackedArrays
    key: tuple[int, ...]


def registrations(model: Model, target: str) -> Registrations:
    """Registrations for a model's FULLY_CONNECTED and CONV_2D operators.

    Args:
        model: any model; its other operators do not matter.
        target: a name of `refmicro.mema.target`.

    Raises:
        UsageError: if there is no such target.
        UnsupportedError: if TFLM refuses the model, or no operator has a kernel.
        InvalidModelError: if the model cannot run.
    """
    find_target(target)
    program = prepare_model(model, TflmBuild.firmware())
    nodes = [n for graph in program.nodes for n in graph if n.operator.name in BUILTIN_CODES]
    found = [row for i, node in enumerate(nodes) if (row := _replacement(node, target, i))]
    # Prepare cannot tell operators that differ in scales alone: these stay.
    keys = Counter(row.key for row in found)
    found = [row for row in found if keys[row.key] == 1]
    if not found:
        raise UnsupportedError(
            "no operator of this model has a kernel that takes the place of TFLM's",
            hint="quantized FULLY_CONNECTED and CONV_2D with constant filters have one",
        )
    replaced = tuple((row.node.subgraph, row.node.index) for row in found)
    left = tuple((n.subgraph, n.index) for n in nodes if (n.subgraph, n.index) not in replaced)
    summary = f"{len(replaced)} operators for {target}; {len(left)} stay with TFLM's own kernels."
    text = SOURCE.read_text()
    for mark, value in (
        ("@SUMMARY@", f"{summary} Model: SHA-256 {model.sha256}."),
        ("@KEEP@", str(int(bool(left)))),
        ("@KERNELS@", _kernels(found)),
        ("@TABLE@", "\n".join(_row(row) for row in found)),
    ):
        text = text.replace(mark, value)
    return Registrations(text, replaced, left)


def _replacement(node: PreparedNode, target: str, number: int) -> _Replacement | None:
    data: Product = node.data
    if data.requantize is None or data.filter.dtype is not DType.INT8:
        return None
    if node.operator.name == "CONV_2D":
        if data.groups != 1:
            return None
        problem = convolution_of(data)
    else:
        problem = product_of(data, data.rows)
    made = kernel_of(data, problem, target, f"mema_kernel_{number}")
    if made is None:
        return None
    return _Replacement(node, *made, _key(node, data))


def _key(node: PreparedNode, data: Product) -> tuple[int, ...]:
    filter_bytes = data.filter.array().tobytes()
    bias_bytes = b"" if data.bias is None else data.bias.array().tobytes()
    return (
        BUILTIN_CODES[node.operator.name],
        _TYPE_CODES[data.input.dtype],
        data.input.elements,
        len(filter_bytes),
        len(bias_bytes),
        data.output.elements,
        digest(filter_bytes + bias_bytes),
    )


def digest(content: bytes) -> int:
    """FNV-1a of 32 bits."""
    value = 2166136261
    for byte in content:
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value


def _kernels(rows: list[_Replacement]) -> str:
    """Kernels, their constants, and a function without types for each."""
    parts = [header()]
    for row in rows:
        name, kernel = row.kernel.name, row.kernel
        parts.append(kernel.text.replace(f"{kernel.prototype}", f"static {kernel.prototype}"))
        for member, values in row.packed.items():
            kind, dtype = _MEMBERS[member]
            parts.append(_array(f"{name}_{member}", kind, np.asarray(values, dtype)))
        members = [f"{name}_{m}" if m in row.packed else "nullptr" for m in _MEMBERS]
        value = f"int{8 * row.node.data.input.dtype.numpy.itemsize}_t"
        parts += [
            f"static const struct mema_weights {name}_weights = {{",
            *indent([f"{member}," for member in members]),
            "};",
            f"static void {name}_run(const void* input, void* output) {{",
            f"  {name}(static_cast<const {value}*>(input), &{name}_weights,",
            f"         static_cast<{value}*>(output));",
            "}",
            "",
        ]
    return "\n".join(parts)


def _array(name: str, kind: str, values: np.ndarray) -> str:
    flat = values.reshape(-1).tolist()
    lines = [", ".join(map(str, flat[i : i + 16])) + "," for i in range(0, len(flat), 16)]
    return "\n".join([f"alignas(4) static const {kind} {name}[] = {{", *indent(lines), "};"])


def _row(row: _Replacement) -> str:
    numbers = ", ".join(f"{value}" if i < 2 else f"{value}u" for i, value in enumerate(row.key))
    place = f"subgraph {row.node.subgraph}, operator {row.node.index}"
    return f"    {{{numbers}, {row.kernel.name}_run}},  // {place}"


def prove_registrations(model: Model, *, count: int = 16, seed: int = 0) -> None:
    """Run the model in TFLM with its own kernels, and with those for the host in their place.

    Args:
        model: as it was read from a file.
        count: invocations; state goes on from one to the next.
        seed: of the inputs.

    Raises:
        EnvironmentMissingError: if the wheel or a C++ compiler is missing.
        DifferenceError: if an output differs, or TFLM refuses the registrations.
        UnsupportedError: if TFLM refuses the model.
    """
    graph = model.subgraphs[0]
    arrays = random_inputs([graph.tensors[i] for i in graph.inputs], count, seed)
    steps = [[array[step] for array in arrays] for step in range(count)]
    own = oracle_run(model.source, steps)
    if own.refused is not None:
        raise UnsupportedError(f"TFLM refuses this model: {own.refused}")
    mine = oracle_run(model.source, steps, custom_ops=oracle_ops(registrations(model, "host").text))
    if mine.refused is not None:
        raise DifferenceError(f"TFLM refuses the kernels of this model: {mine.refused}")
    for step, (want, got) in enumerate(zip(own.outputs, mine.outputs, strict=True)):
        if any(a.tobytes() != b.tobytes() for a, b in zip(want, got, strict=True)):
            raise DifferenceError(
                f"the kernels must give TFLM's bytes: invocation {step} differs",
                hint="nothing was written; report the model, this is a fault of a kernel",
            )


def oracle_ops(text: str) -> tuple[CustomOp, ...]:
    """The registrations compiled for the oracle, whose own operators they replace.

    Args:
        text: of `registrations` for the target `host`.

    Raises:
        EnvironmentMissingError: if the wheel or a C++ compiler is missing.
    """
    library = _bridge_build.built_registration(text, "tflm_kernels")
    symbols = ("MemaFullyConnected", "MemaConv2D")
    return tuple(CustomOp("", str(library), symbol) for symbol in symbols)
