"""The matrix products of a model, and their schedules, as the document of `refmicro schedule`."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refmicro import __version__
from refmicro.errors import UnsupportedError, UsageError
from refmicro.mema.cost import Accesses, Order, accesses
from refmicro.mema.frames import passes
from refmicro.mema.kernel import Kernel, Requantization, generate
from refmicro.mema.layout import Layout
from refmicro.mema.levels import Levels, levels, staging_pays
from refmicro.mema.problem import MAX_SIZE, Convolution, Matmul
from refmicro.mema.schedule import Schedule, best_of_each_order, derive
from refmicro.mema.target import Target
from refmicro.model.reader import read_model
from refmicro.ops.batch_matmul import BatchMatMul
from refmicro.ops.conv_2d import Conv2D
from refmicro.ops.fully_connected import FullyConnected
from refmicro.program import PreparedNode, prepare_model
from refmicro.types import DType, TflmBuild

SCHEMA_VERSION = 1

PRODUCTS = ("FULLY_CONNECTED", "CONV_2D", "BATCH_MATMUL")
"""Operators that a schedule covers."""

_BITS = {DType.INT8: 8, DType.INT16: 16}


@dataclass(frozen=True)
class Found:
    """One product of a model, and the node it belongs to; None for a shape."""

    problem: Matmul | Convolution
    node: PreparedNode | None = None


def parse_shape(text: str) -> Matmul | None:
    """`M,K,N` as an int8 product; None if the text looks like no shape at all.

    Raises:
        UsageError: if it is a list of numbers, but no shape.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1 or not all(part.lstrip("+-").isdigit() for part in parts):
        return None
    if len(parts) != 3:
        raise UsageError(
            f"a shape is three numbers: {text}",
            hint="output channels, depth and rows, such as 64,144,256",
        )
    if any(len(part) > len(str(MAX_SIZE)) for part in parts):
        raise UsageError(f"a shape's numbers must be 1 to {MAX_SIZE}: {text}")
    return Matmul(*map(int, parts))


def schedule_shape(problem: Matmul, target: Target, *, rows: int = 1) -> dict[str, Any]:
    """The document for one product of a shape; `rows` frames a pass."""
    return _document([Found(problem)], (), target, rows, None)


def schedule_model(path: str | Path, target: Target, *, rows: int = 1) -> dict[str, Any]:
    """The document for all products of a model.

    Raises:
        InvalidModelError, UnsupportedError: as the model's reader and Prepare say.
        UnsupportedError: if no schedule covers any of its operators.
    """
    data = Path(path)
    program = prepare_model(read_model(data), TflmBuild.firmware())
    nodes = [node for graph in program.nodes for node in graph if node.name in PRODUCTS]
    found = [Found(problem, node) for node in nodes for problem in [node_problem(node)] if problem]
    covered = {id(item.node) for item in found}
    others = tuple(node for node in nodes if id(node) not in covered)
    if not found:
        raise UnsupportedError(
            f"no schedule covers an operator of {path}",
            hint=f"int8 and int16x8 {', '.join(PRODUCTS)} are covered",
        )
    content = data.read_bytes()
    model = {"path": str(path), "sha256": hashlib.sha256(content).hexdigest()}
    return _document(found, others, target, rows, model)


def node_problem(node: PreparedNode) -> Matmul | Convolution | None:
    """The product of an operator; None where no schedule covers its types or groups."""
    data: Any = node.data
    x = node.node.inputs[0]
    bits = _BITS.get(x.dtype)
    if bits is None:
        return None
    if isinstance(data, BatchMatMul):
        columns, depth = node.node.outputs[0].shape[-1], math.prod(x.shape[-2:])
        rows = node.node.outputs[0].shape[-2]
        count = math.prod(data.leading)
        return Matmul(columns, depth // rows, rows, bits, False, False, False, count)
    per_channel = len(data.filter.quantization.scale) > 1
    bias = data.bias is not None
    if isinstance(data, FullyConnected):
        constant = data.filter.is_constant
        if not constant and bits == 16:
            return None
        sizes = data.channels, data.depth, data.rows
        return Matmul(*sizes, bits, per_channel, bias, constant)
    assert isinstance(data, Conv2D)
    if data.groups > 1 or not data.filter.is_constant:
        return None
    down, across = data.window.height, data.window.width
    return Convolution(
        images=x.shape[0],
        input_height=down.size,
        input_width=across.size,
        input_depth=x.shape[3],
        output_depth=data.channels,
        output_height=down.out,
        output_width=across.out,
        filter_height=down.filter,
        filter_width=across.filter,
        stride_height=down.stride,
        stride_width=across.stride,
        dilation_height=down.dilation,
        dilation_width=across.dilation,
        pad_height=down.pad,
        pad_width=across.pad,
        input_bits=bits,
        per_channel=per_channel,
        bias=bias,
    )


def _document(
    found: Iterable[Found],
    others: Iterable[PreparedNode],
    target: Target,
    rows: int,
    model: dict[str, Any] | None,
) -> dict[str, Any]:
    found = list(found)
    entries = [_entry(_widened(item, rows), target) for item in found]
    vectors = [
        item.problem
        for item in found
        if isinstance(item.problem, Matmul)
        and item.problem.rows == 1
        and item.problem.constant_filter
    ]
    total = {name: sum(entry[name] for entry in entries) for name in ("macs", "accesses", "floor")}
    return {
        "schema_version": SCHEMA_VERSION,
        "refmicro": __version__,
        "model": model,
        "target": dataclasses.asdict(target),
        "rows": rows,
        "products": entries,
        "uncovered": [
            {"subgraph": node.subgraph, "index": node.index, "name": node.name} for node in others
        ],
        "total": total,
        "frames": [dataclasses.asdict(item) for item in passes(vectors, target)] if vectors else [],
    }


def _widened(item: Found, rows: int) -> Found:
    """`rows` frames a pass: the rows of matrix-vector products."""
    problem = item.problem
    if not isinstance(problem, Matmul) or problem.rows != 1 or rows == 1:
        return item
    return Found(dataclasses.replace(problem, rows=rows), item.node)


def _entry(item: Found, target: Target) -> dict[str, Any]:
    problem, node = item.problem, item.node
    matmul = problem.matmul if isinstance(problem, Convolution) else problem
    schedule = derive(problem, target)
    batches = matmul.batches
    counted = schedule.accesses * batches
    return {
        "subgraph": node.subgraph if node else None,
        "index": node.index if node else None,
        "name": node.name if node else "FULLY_CONNECTED",
        "output_depth": matmul.output_depth,
        "accum_depth": matmul.accum_depth,
        "rows": matmul.rows,
        "input_bits": matmul.input_bits,
        "batches": batches,
        "constant_filter": matmul.constant_filter,
        "macs": matmul.macs,
        **_shown(schedule),
        "loads": _counts(counted, "loads"),
        "stores": _counts(counted, "stores"),
        "accesses": counted.count,
        "accesses_per_mac": round(counted.count / matmul.macs, 4),
        "floor": schedule.floor * batches,
        "levels": _levels(schedule, target, batches),
        "orders": [
            {**_shown(other), "accesses": other.accesses.count * batches}
            for other in best_of_each_order(target, schedule.layout)
        ],
        "kernel": _kernel(problem, target),
    }


def _shown(schedule: Schedule) -> dict[str, Any]:
    return {
        "order": schedule.order.value,
        "tile": dataclasses.asdict(schedule.tile),
        "spare_registers": schedule.spare_registers,
    }


def _counts(counted: Accesses, kind: str) -> dict[str, int]:
    """Counts by operand, those that there are."""
    names = [field.name for field in dataclasses.fields(counted) if field.name.endswith(kind)]
    counts = {name.removesuffix(f"_{kind}"): getattr(counted, name).count for name in names}
    return {name: count for name, count in counts.items() if count}


def _levels(schedule: Schedule, target: Target, batches: int) -> dict[str, Any]:
    used = schedule.layout
    direct = levels(used, schedule.tile, schedule.accesses)
    document = _level(direct, target, batches)
    row_tiles = -(-used.rows // schedule.tile.n)
    pays = used.packed and schedule.order is not Order.WEIGHT
    if pays and staging_pays(row_tiles, target.flash_wait_states):
        document["staged"] = _level(_staged(used, schedule), target, batches)
    return document


def _staged(used: Layout, schedule: Schedule) -> Levels:
    counted = accesses(used, schedule.order, schedule.tile, staged=True)
    return levels(used, schedule.tile, counted, staged=True)


def _level(found: Levels, target: Target, batches: int) -> dict[str, Any]:
    return {
        "sram": {"loads": found.sram_loads * batches, "stores": found.sram_stores * batches},
        "flash": {"loads": found.flash_loads * batches},
        "scratch_bytes": found.scratch_bytes,
        "access_cycles": found.cycles(target) * batches,
    }


def _kernel(problem: Matmul | Convolution, target: Target) -> dict[str, Any] | None:
    """What the generated kernel does; None where none multiplies two activations."""
    matmul = problem.matmul if isinstance(problem, Convolution) else problem
    if not matmul.constant_filter or matmul.batches > 1:
        return None
    bits = matmul.input_bits
    limits = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    used = Requantization(0, *limits, left_shifts=False)
    kernel: Kernel = generate(problem, target, used)
    document = {
        "order": kernel.schedule.order.value,
        "tile": dataclasses.asdict(kernel.schedule.tile),
        "accesses": kernel.accesses.count,
    }
    if kernel.counts is not None:
        document["instructions"] = kernel.counts.instructions
        document["stack_accesses"] = kernel.counts.stack_loads + kernel.counts.stack_stores
    return document
