"""Operators that have one tensor as input and output.

Elementwise kernels read a value before they write over it. Kernels that read a value again, or
another one, after they wrote there compute from what they have written: which value that is depends
on the order of their loops, so it is refused here.

Source: the kernels' loops in `tensorflow/lite/micro/kernels/`, `signal/micro/kernels/` and
`tensorflow/lite/kernels/internal/reference/`.
"""

from __future__ import annotations

from refmicro.ops._spec import Node, Refused

_READ_AGAIN = frozenset(
    {
        "ARG_MAX",
        "ARG_MIN",
        "AVERAGE_POOL_2D",
        "BATCH_MATMUL",
        "BATCH_TO_SPACE_ND",
        "BROADCAST_TO",
        "CONCATENATION",
        "CONV_2D",
        "CUMSUM",
        "DEPTHWISE_CONV_2D",
        "DEPTH_TO_SPACE",
        "EMBEDDING_LOOKUP",
        "FULLY_CONNECTED",
        "GATHER",
        "GATHER_ND",
        "L2_POOL_2D",
        "MAX_POOL_2D",
        "MEAN",
        "MIRROR_PAD",
        "PACK",
        "PAD",
        "PADV2",
        "REDUCE_ALL",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "REVERSE_V2",
        "SLICE",
        "SPACE_TO_BATCH_ND",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SPLIT_V",
        "STRIDED_SLICE",
        "SUM",
        "SignalPCAN",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
        "UNPACK",
    }
)
"""Operators whose kernels read values of an input after they wrote others of the output."""


def check(node: Node) -> None:
    """Raises `Refused` where the kernel would read what it has written."""
    if node.name not in _READ_AGAIN:
        return
    both = set(node.input_indices).intersection(node.output_indices)
    if both:
        raise Refused(
            "an output must be no input of the same operator, which TFLM reads on while it writes",
            f"tensor {min(both)}",
            malformed=True,
        )
