"""Offline memory plans: offsets that a model carries in its metadata `OfflineMemoryAllocation`.

The value is a list of little-endian int32: format version, number of subgraphs, number of offsets,
then for each tensor of each subgraph, in order, its byte offset from the start of the head, or -1
where TFLM's planner is to place it. TFLM ignores the first two and does not look at the length of
the buffer; refmicro refuses what TFLM would read or write out of bounds with.

Source: `AllocationInfoBuilder::GetOfflinePlannedOffsets` in
`tensorflow/lite/micro/micro_allocation_info.cc`, `tensorflow/lite/micro/docs/memory_management.md`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.model.graph import OFFLINE_PLAN_METADATA, Model

ONLINE = -1
"""`kOnlinePlannedBuffer`: TFLM's planner places this tensor."""

_HEADER_WORDS = 3
_FORMAT_VERSION = 1


def offline_plan(model: Model) -> tuple[tuple[int, ...], ...] | None:
    """The offline plan of a model: an offset or -1 for every tensor of every subgraph.

    Where the metadata occurs several times, the last one counts and all are checked, as in TFLM.

    Returns:
        One tuple a subgraph, or None where the model has no plan.

    Raises:
        UnsupportedError: if the number of offsets differs from the number of tensors, which TFLM
            refuses.
        InvalidModelError: if the value is too short for what it says, or an offset is negative and
            not -1: TFLM would read or write outside of its buffers.
    """
    counts = [len(graph.tensors) for graph in model.subgraphs]
    plan: tuple[int, ...] | None = None
    for name, value in model.metadata:
        if name == OFFLINE_PLAN_METADATA:
            plan = _parse(bytes(value), sum(counts))
    if plan is None:
        return None
    result, start = [], 0
    for count in counts:
        result.append(plan[start : start + count])
        start += count
    return tuple(result)


def _parse(value: bytes, tensors: int) -> tuple[int, ...]:
    hint = f"remove or rewrite the metadata {OFFLINE_PLAN_METADATA}"
    words = len(value) // 4
    if words < _HEADER_WORDS:
        raise InvalidModelError(
            f"an offline plan must start with three integers: {len(value)} bytes", hint=hint
        )
    _, _, count = struct.unpack_from("<iiI", value)
    if count != tensors:
        raise UnsupportedError(
            f"an offline plan must have an offset for each of the {tensors} tensors: "
            f"it has {count}",
            hint=hint,
        )
    if words < _HEADER_WORDS + count:
        raise InvalidModelError(
            f"an offline plan of {count} offsets must have {4 * (_HEADER_WORDS + count)} bytes: "
            f"{len(value)}",
            hint=hint,
        )
    offsets = struct.unpack_from(f"<{count}i", value, 4 * _HEADER_WORDS)
    for index, offset in enumerate(offsets):
        if offset < ONLINE:
            raise InvalidModelError(
                f"an offset of an offline plan must be -1 or more: tensor {index} has {offset}",
                hint=hint,
            )
    return offsets


def encode_offline_plan(offsets: Sequence[Sequence[int]]) -> bytes:
    """The metadata value for a plan: one sequence a subgraph, one offset or -1 a tensor."""
    flat = [offset for graph in offsets for offset in graph]
    return struct.pack(
        f"<{_HEADER_WORDS + len(flat)}i", _FORMAT_VERSION, len(offsets), len(flat), *flat
    )


def with_offline_plan(model: Model, offsets: Sequence[Sequence[int]] | None) -> Model:
    """A copy of the model that carries this plan, or no plan where `offsets` is None.

    Raises:
        ValueError: if there is not one offset for every tensor of every subgraph.
    """
    if offsets is None:
        return model.with_metadata(OFFLINE_PLAN_METADATA, None)
    wanted = [len(graph.tensors) for graph in model.subgraphs]
    if [len(graph) for graph in offsets] != wanted:
        raise ValueError(f"a plan for {wanted} tensors has {[len(graph) for graph in offsets]}")
    return model.with_metadata(OFFLINE_PLAN_METADATA, encode_offline_plan(offsets))
