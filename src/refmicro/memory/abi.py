"""Sizes and alignments of TFLM's own structs, in bytes, for each build of TFLM.

Measured with `sizeof` and `alignof` of GCC 12.2: arm-none-eabi (AAPCS, short enums, the bare-metal
default) and x86-64 Linux. An x86 `-m32` build is no substitute for Arm: its enums have four bytes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

from refmicro.types import Abi, TflmBuild

BUFFER_ALIGNMENT_BYTES = 16
"""`MicroArenaBufferAlignment()` in `tensorflow/lite/micro/micro_arena_constants.h`."""

MAX_SCRATCH_REQUESTS = 12
"""`kMaxScratchBuffersPerOp` in `tensorflow/lite/micro/micro_allocator.cc`."""


class Struct(NamedTuple):
    """`sizeof` and `alignof` of a C++ type."""

    size_bytes: int
    alignment_bytes: int


@dataclass(frozen=True, eq=False)
class Layout:
    """The structs that TFLM places in the arena, by their names in TFLM.

    `planner_buffer` is what `GreedyMemoryPlanner` keeps for each buffer while it plans
    (`per_buffer_size()`). `allocator`, `arena_allocator` and `subgraph_allocations` depend on the
    build, the others on the ABI alone.
    """

    arena_allocator: Struct
    planner: Struct
    allocator: Struct
    builtin_data_allocator: Struct
    resource_variables: Struct
    resource_variable: Struct
    subgraph_allocations: Struct
    eval_tensor: Struct
    node_and_registration: Struct
    tensor: Struct
    affine_quantization: Struct
    scratch_buffer_handle: Struct
    scratch_buffer_request: Struct
    allocation_info: Struct
    size_t: Struct
    pointer: Struct
    planner_buffer: Struct


_LP64 = Layout(
    arena_allocator=Struct(72, 8),
    planner=Struct(72, 8),
    allocator=Struct(72, 8),
    builtin_data_allocator=Struct(16, 8),
    resource_variables=Struct(16, 8),
    resource_variable=Struct(40, 8),
    subgraph_allocations=Struct(16, 8),
    eval_tensor=Struct(24, 8),
    node_and_registration=Struct(64, 8),
    tensor=Struct(64, 8),
    affine_quantization=Struct(24, 8),
    scratch_buffer_handle=Struct(8, 8),
    scratch_buffer_request=Struct(16, 8),
    allocation_info=Struct(32, 8),
    size_t=Struct(8, 8),
    pointer=Struct(8, 8),
    planner_buffer=Struct(40, 4),
)

_ILP32 = Layout(
    arena_allocator=Struct(36, 4),
    planner=Struct(44, 4),
    allocator=Struct(36, 4),
    builtin_data_allocator=Struct(8, 4),
    resource_variables=Struct(12, 4),
    resource_variable=Struct(20, 4),
    subgraph_allocations=Struct(8, 4),
    eval_tensor=Struct(12, 4),
    node_and_registration=Struct(32, 4),
    tensor=Struct(32, 4),
    affine_quantization=Struct(12, 4),
    scratch_buffer_handle=Struct(4, 4),
    scratch_buffer_request=Struct(12, 4),
    allocation_info=Struct(24, 4),
    size_t=Struct(4, 4),
    pointer=Struct(4, 4),
    planner_buffer=Struct(40, 4),
)


@functools.cache
def layout(build: TflmBuild) -> Layout:
    """The structs of a build.

    Compression adds a pointer to `SubgraphAllocations`; the recording allocators add four counters
    to the arena allocator, and a pointer and three counters for each category to `MicroAllocator`.
    """
    base = _LP64 if build.abi is Abi.LP64 else _ILP32
    word = base.pointer.size_bytes
    changes: dict[str, Struct] = {}

    def grow(name: str, words: int) -> None:
        size_bytes, alignment_bytes = getattr(base, name)
        changes[name] = Struct(size_bytes + words * word, alignment_bytes)

    if build.compression:
        grow("subgraph_allocations", 1)
    if build.recording:
        grow("arena_allocator", 4)
        grow("allocator", 1 + 3 * (8 if build.compression else 7))
    fields = {name: getattr(base, name) for name in Layout.__dataclass_fields__}
    return Layout(**(fields | changes))


def align(value: int, alignment_bytes: int) -> int:
    """The smallest multiple of the alignment that is not below `value`."""
    return -(-value // alignment_bytes) * alignment_bytes


def int_array_bytes(count: int) -> int:
    """`TfLiteIntArrayGetSizeInBytes`: four bytes for the size and four for each element."""
    return 4 + 4 * count


INT_ARRAY_ALIGNMENT_BYTES = 4


def params_struct(name: str, abi: Abi) -> Struct:
    """The `TfLite*Params` struct of that name.

    Raises:
        KeyError: for a struct that no parser of TFLM allocates.
    """
    lp64_size, lp64_alignment, ilp32_size, ilp32_alignment = _PARAMS[name]
    if abi is Abi.LP64:
        return Struct(lp64_size, lp64_alignment)
    return Struct(ilp32_size, ilp32_alignment)


# size and alignment on lp64, size and alignment on ilp32. These are the structs that a parser in
# `tensorflow/lite/core/api/flatbuffer_conversions.cc` allocates for an operator that TFLM has;
# they are declared in `tensorflow/lite/core/c/builtin_op_data.h`. The columns of lp64 are those of
# the wheel, read from what its parsers ask for; TfLiteFullyConnectedParams had 16 bytes before.
_PARAMS = {
    "TfLiteAddParams": (8, 4, 2, 1),
    "TfLiteArgMaxParams": (4, 4, 1, 1),
    "TfLiteArgMinParams": (4, 4, 1, 1),
    "TfLiteBatchMatMulParams": (3, 1, 3, 1),
    "TfLiteCallOnceParams": (4, 4, 4, 4),
    "TfLiteCastParams": (8, 4, 2, 1),
    "TfLiteConcatenationParams": (8, 4, 8, 4),
    "TfLiteConvParams": (28, 4, 28, 4),
    "TfLiteCumsumParams": (2, 1, 2, 1),
    "TfLiteDepthToSpaceParams": (4, 4, 4, 4),
    "TfLiteDepthwiseConvParams": (28, 4, 28, 4),
    "TfLiteDivParams": (4, 4, 1, 1),
    "TfLiteFullyConnectedParams": (
        32,
        8,
        5,
        1,
    ),  # lp64 is the wheel's; it was 16, 4 two months before
    "TfLiteGatherParams": (8, 4, 8, 4),
    "TfLiteIfParams": (8, 4, 8, 4),
    "TfLiteL2NormParams": (4, 4, 1, 1),
    "TfLiteLeakyReluParams": (4, 4, 4, 4),
    "TfLiteLSTMParams": (20, 4, 16, 4),
    "TfLiteMirrorPaddingParams": (4, 4, 1, 1),
    "TfLiteMulParams": (4, 4, 1, 1),
    "TfLitePackParams": (8, 4, 8, 4),
    "TfLitePoolParams": (40, 4, 40, 4),
    "TfLiteReducerParams": (1, 1, 1, 1),
    "TfLiteReshapeParams": (36, 4, 36, 4),
    "TfLiteResizeBilinearParams": (2, 1, 2, 1),
    "TfLiteResizeNearestNeighborParams": (2, 1, 2, 1),
    "TfLiteShapeParams": (4, 4, 1, 1),
    "TfLiteSoftmaxParams": (4, 4, 4, 4),
    "TfLiteSpaceToDepthParams": (4, 4, 4, 4),
    "TfLiteSplitParams": (4, 4, 4, 4),
    "TfLiteSplitVParams": (4, 4, 4, 4),
    "TfLiteSqueezeParams": (36, 4, 36, 4),
    "TfLiteStridedSliceParams": (24, 4, 24, 4),
    "TfLiteSubParams": (8, 4, 2, 1),
    "TfLiteSVDFParams": (12, 4, 8, 4),
    "TfLiteTransposeConvParams": (20, 4, 16, 4),
    "TfLiteUnidirectionalSequenceLSTMParams": (16, 4, 16, 4),
    "TfLiteUnpackParams": (8, 4, 8, 4),
    "TfLiteVarHandleParams": (16, 8, 8, 4),
    "TfLiteWhileParams": (8, 4, 8, 4),
}
