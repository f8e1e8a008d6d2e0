"""ASSIGN_VARIABLE: the resource variable that input 0 names = input 1.

Shapes: input 0 holds one id, input 1 any values. The first ASSIGN_VARIABLE that is prepared for a
variable fixes its size, and every later one must agree.
Quantization: any type, bytes are copied. `Reset` fills a variable with one byte, the zero point of
the tensor that fixed its size, also where its elements are wider than a byte.
Persistent: 4 bytes with compression; the variable itself, where this operator is its first.
Differs: where the id is known only during the run, a value of another size than the variable is
refused then; TFLM copies as many bytes as the variable has.
Source: `tensorflow/lite/micro/kernels/assign_variable.cc`,
`tensorflow/lite/micro/micro_resource_variable.cc`.
"""

from __future__ import annotations

import numpy as np

from refmicro.errors import InvalidModelError
from refmicro.ops._resource import resource_id
from refmicro.ops._spec import EvalContext, Node, OpSpec, PrepareContext
from refmicro.types import DType, TflmBuild


def prepare(ctx: PrepareContext) -> int:
    """Returns the value's bytes."""
    ctx.require(len(ctx.node.inputs) == 2, "must have 2 inputs", len(ctx.node.inputs))
    ctx.require(len(ctx.node.outputs) == 0, "must have no output", len(ctx.node.outputs))
    handle = ctx.node.input(0)
    ctx.require_shape(handle is not None, "input 0 must be present", "absent")
    ctx.require_type("input 0", handle, DType.RESOURCE, DType.INT32)
    ctx.require(handle.elements == 1, "input 0 must be one id", list(handle.shape))
    value = ctx.input(1)
    ctx.model.resource_count()
    identifier = ctx.model.bound_resource(ctx.node.input_indices[0])
    if identifier is None and handle.is_constant:
        identifier = int(handle.array().reshape(-1)[0])
    # An id that comes in from another subgraph is only known when this one runs.
    if identifier is not None and ctx.model.allocate_resource(identifier, value):
        ctx.persistent(value.nbytes)
    return value.nbytes


def evaluate(ctx: EvalContext, nbytes: int) -> None:
    """Replace the variable's bytes."""
    identifier = resource_id(ctx)
    value = np.ascontiguousarray(ctx.input(1))
    size = ctx.read_resource(identifier).shape[1]
    if size != nbytes:
        raise InvalidModelError(
            f"ASSIGN_VARIABLE must write {size} bytes, the variable's size: it has {nbytes}",
            hint="the file is damaged; convert the model again",
        )
    raw = value.reshape(value.shape[0], -1).view(np.uint8)
    ctx.write_resource(identifier, raw)


def init_bytes(node: Node, build: TflmBuild) -> tuple[int, ...]:
    """Only a build with compression has data here."""
    return (4,) if build.compression else ()


OP = OpSpec("ASSIGN_VARIABLE", prepare, evaluate, init_bytes)
