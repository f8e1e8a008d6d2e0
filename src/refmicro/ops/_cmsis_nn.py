"""What the CMSIS-NN kernels ask the arena for, where they differ from the reference kernels.

Their numbers are those of the reference kernels (LSTM apart), so only memory is told here: each
function below makes the requests of one kernel's `Prepare` in its order. Buffer sizes are those of
a core with the DSP extension and without MVE (Cortex-M4, M7, M33), compiled with GCC. Sizes of
OpData stand with the operators.

Source: `tensorflow/lite/micro/kernels/cmsis_nn/*.cc`; in CMSIS-NN
`Source/{ConvolutionFunctions,FullyConnectedFunctions,PoolingFunctions}/*get_buffer_sizes*.c` and
`Include/arm_nnsupportfunctions.h`.
"""

from __future__ import annotations

from collections.abc import Callable

from refmicro.ops._spec import PrepareContext
from refmicro.ops._window import prepare_window
from refmicro.types import DType, Tensor

_QUANTIZED = (DType.INT8, DType.INT16)
_REVERSE_THRESHOLD = 16
"""`REVERSE_TCOL_EFFICIENT_THRESHOLD`: input channels from which a filter is turned around."""


def requests(reference: PrepareContext) -> PrepareContext:
    """The memory requests of the CMSIS-NN kernel for a prepared node, or the reference's own.

    Raises:
        Refused: where the CMSIS-NN kernel refuses what the reference kernel takes.
    """
    for check in _CHECKS.get(reference.node.name, ()):
        check(reference)
    prepare = _PREPARE.get(reference.node.name)
    if prepare is None:
        return reference
    context = PrepareContext(reference.node, reference.build, reference.model)
    prepare(context)
    return context


def _symmetric_int16(ctx: PrepareContext) -> None:
    """int16 tensors have the zero point 0; the reference kernels of ADD and convolutions take or
    ignore others."""
    first = ctx.node.input(0)
    if first is None or first.dtype is not DType.INT16:
        return
    for tensor in (*ctx.node.inputs, *ctx.node.outputs):
        if tensor is not None and tensor.dtype is DType.INT16:
            ctx.require(
                tensor.zero_point == 0,
                "an int16 tensor must have the zero point 0 in CMSIS-NN",
                tensor.zero_point,
            )


def _four_dimensions(ctx: PrepareContext) -> None:
    """Shapes go into a struct of four; longer ones are refused or written past its end."""
    for tensor in (*ctx.node.inputs, *ctx.node.outputs):
        if tensor is not None:
            ctx.require(
                len(tensor.shape) <= 4,
                "a tensor must have at most 4 dimensions in CMSIS-NN",
                list(tensor.shape),
            )


def _four_dimensions_of_int8(ctx: PrepareContext) -> None:
    if ctx.node.outputs[0].dtype is DType.INT8:
        _four_dimensions(ctx)


def _bias_of_int16(ctx: PrepareContext) -> None:
    """The kernel looks at the type of a bias that is not there."""
    if ctx.node.outputs[0].dtype is DType.INT16:
        ctx.require_shape(
            ctx.node.input(3) is not None, "an int16 output must have a bias in CMSIS-NN", "none"
        )


def _per_channel(ctx: PrepareContext, channels: int) -> None:
    """Arrays of multipliers and shifts."""
    ctx.persistent(4 * channels)
    ctx.persistent(4 * channels)


def _convolution_tensors(ctx: PrepareContext) -> tuple[Tensor, Tensor, Tensor]:
    """Input, filter and output; convolutions take them twice, the second time with the bias."""
    return ctx.input(0), ctx.input(1), ctx.output(0)


def _convolution_again(ctx: PrepareContext) -> None:
    ctx.input(0)
    ctx.input(1)
    ctx.optional_input(2)
    ctx.output(0)


def _conv_2d(ctx: PrepareContext) -> None:
    """int8: two columns of patches as int16, none for a 1 x 1 filter; int16: always two."""
    x, w, output = _convolution_tensors(ctx)
    if x.dtype not in _QUANTIZED:
        _convolution_again(ctx)
        return
    _per_channel(ctx, w.shape[0])
    _convolution_again(ctx)
    column = w.shape[1] * w.shape[2] * x.shape[3]
    if x.dtype is DType.INT16:
        ctx.scratch(2 * column * 2)
        return
    window = prepare_window(ctx, x.shape, output.shape, w.shape[1:3])
    dilations = window.height.dilation, window.width.dilation
    no_padding = window.height.pad == 0 and window.width.pad == 0
    if no_padding and w.shape[1:] == (1, 1, x.shape[3]) and dilations == (1, 1):
        return
    ctx.scratch(2 * -(-column // 4) * 4 * 2)


def _depthwise_conv_2d(ctx: PrepareContext) -> None:
    """int8 with one filter a channel and one image: a patch as int16, unless 3 x 3 is special."""
    x, w, output = _convolution_tensors(ctx)
    if x.dtype in _QUANTIZED:
        _per_channel(ctx, w.shape[3])
    _convolution_again(ctx)
    if x.dtype is not DType.INT8:
        return
    window = prepare_window(ctx, x.shape, output.shape, w.shape[1:3])
    if x.shape[3] != output.shape[3] or x.shape[0] != 1:
        return
    if (window.height.dilation, window.width.dilation) != (1, 1):
        return
    narrow = window.height.pad <= 1 and window.width.pad <= 1
    if w.dtype is DType.INT8 and w.shape[1:3] == (3, 3) and narrow:
        return
    ctx.scratch(x.shape[3] * window.taps * 2)


def _fully_connected(ctx: PrepareContext) -> None:
    """int8 in more than two dimensions runs as a 1 x 1 convolution, which is per-channel."""
    x, w = ctx.input(0), ctx.input(1)
    ctx.optional_input(2)
    output = ctx.output(0)
    scales = len(w.quantization.scale) if w.quantization.is_affine else 0
    per_channel = x.dtype is not DType.FLOAT32 and scales > 1
    if per_channel:
        _per_channel(ctx, scales)
        ctx.require(
            x.dtype is DType.INT8 and w.dtype is not DType.INT4,
            "a per-channel filter must be int8 with int8 input in CMSIS-NN",
            f"{w.dtype} with {x.dtype} input",
        )
    as_convolution = len(output.shape) > 2 and w.shape[-1] % 4 == 0
    if x.dtype is DType.INT8 and w.dtype is DType.INT8 and as_convolution and not per_channel:
        ctx.scratch(output.shape[-1] * 4 * 2)


def _average_pool_2d(ctx: PrepareContext) -> None:
    """One int32 sum a channel."""
    for _ in range(2):
        x = ctx.input(0)
        ctx.output(0)
    if x.dtype in _QUANTIZED:
        ctx.scratch(4 * x.shape[3])


def _transpose_conv(ctx: PrepareContext) -> None:
    """int8: sums, or patches and a turned filter where that is faster; int16: int64 sums."""
    output, x, w = ctx.output(0), ctx.input(2), ctx.input(1)
    _per_channel(ctx, w.shape[0])
    if x.dtype is DType.INT8:
        height, width = ctx.options.get("stride_h", 0), ctx.options.get("stride_w", 0)
        channels, rows, columns, depth = w.shape
        if max(height, width) <= 2 and x.shape[3] > _REVERSE_THRESHOLD:
            ctx.scratch(2 * -(-rows * columns * depth // 4) * 4 * 2)
            ctx.scratch(depth * columns * rows * channels)
        else:
            # CMSIS-NN takes the vertical stride for both directions
            line = (x.shape[2] - 1) * width + max(columns, height)
            ctx.scratch(line * channels * max(rows, height) * 4)
            ctx.scratch(0)
    elif x.dtype is DType.INT16:
        ctx.scratch(output.elements * 8)
    if x.dtype in _QUANTIZED:
        ctx.input(2)
        ctx.input(1)
        bias = ctx.optional_input(3)
        ctx.output(0)
        if x.dtype is DType.INT16 and bias is not None and bias.dtype is DType.INT16:
            ctx.scratch(bias.elements * 8)


def _unidirectional_sequence_lstm(ctx: PrepareContext) -> None:
    """Quantized: eight vectors of sums that stay, three buffers; float: the reference's four."""
    for index in range(len(ctx.node.inputs)):
        ctx.optional_input(index)
    ctx.output(0)
    x, hidden, cell = (ctx.node.inputs[i] for i in (0, 18, 19))
    quantized = x.dtype in _QUANTIZED and cell.dtype is DType.INT16
    if quantized:
        for _ in range(8):
            ctx.persistent(hidden.shape[1] * (4 if x.dtype is DType.INT8 else 8))
    batch = x.shape[1] if ctx.options.get("time_major", False) else x.shape[0]
    for _ in range(3 if quantized else 4):
        ctx.scratch(batch * hidden.shape[1] * cell.dtype.itemsize_bytes)


_PREPARE: dict[str, Callable[[PrepareContext], None]] = {
    "AVERAGE_POOL_2D": _average_pool_2d,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "FULLY_CONNECTED": _fully_connected,
    "TRANSPOSE_CONV": _transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _unidirectional_sequence_lstm,
}

_CHECKS: dict[str, tuple[Callable[[PrepareContext], None], ...]] = {
    "ADD": (_symmetric_int16,),
    "BATCH_MATMUL": (_four_dimensions,),
    "CONV_2D": (_symmetric_int16,),
    "DEPTHWISE_CONV_2D": (_symmetric_int16,),
    "FULLY_CONNECTED": (_symmetric_int16,),
    "MAXIMUM": (_four_dimensions,),
    "MINIMUM": (_four_dimensions,),
    "TRANSPOSE": (_four_dimensions_of_int8,),
    "TRANSPOSE_CONV": (_bias_of_int16,),
}
"""What the CMSIS-NN kernel refuses, or goes wrong with, and the reference kernel takes."""
