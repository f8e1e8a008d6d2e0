"""What a kernel has to compute: a matrix product, or a convolution that is one over patches.

out[r, o] = requantize(sum_k (in[r, k] - input_zero_point) * filter[o, k] + bias[o])

Words are TFLM's: `output_depth` (M) channels, `accum_depth` (K) terms a sum, `rows` (N).
"""

from __future__ import annotations

from dataclasses import dataclass

from refmicro.errors import UnsupportedError, UsageError

MAX_SIZE = 1 << 24
"""No dimension is larger: offsets inside a kernel fit the 32-bit registers of every target."""


@dataclass(frozen=True)
class Matmul:
    """out[rows, output_depth] = requantize(in[rows, accum_depth] x filter[output_depth, ...]^T).

    Attributes:
        output_depth: M, channels of the output.
        accum_depth: K, products in one sum.
        rows: N, rows of input and output; a matrix-vector product has 1.
        input_bits: 8, or 16 for int16x8; the output has as many.
        per_channel: a multiplier and shift for each channel, else one pair for all.
        bias: whether the operator has one.
        constant_filter: the filter is a constant in flash and may be packed; else another
            activation in SRAM (BATCH_MATMUL), read as it lies.
        batches: how many products of this size one operator computes (BATCH_MATMUL).

    Raises:
        UsageError: if a size is not positive or too large.
        UnsupportedError: if `input_bits` is neither 8 nor 16.
    """

    output_depth: int
    accum_depth: int
    rows: int
    input_bits: int = 8
    per_channel: bool = True
    bias: bool = True
    constant_filter: bool = True
    batches: int = 1

    def __post_init__(self) -> None:
        _require_bits(self.input_bits)
        for name in ("output_depth", "accum_depth", "rows", "batches"):
            _require_size(name, getattr(self, name))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all batches."""
        return self.batches * self.output_depth * self.accum_depth * self.rows

    @property
    def input_bytes(self) -> int:
        """Bytes of one input or output value."""
        return self.input_bits // 8

    @property
    def filter_bytes(self) -> int:
        """Bytes of one filter value: int8, or the input's type where it is an activation."""
        return 1 if self.constant_filter else self.input_bytes


@dataclass(frozen=True)
class Convolution:
    """CONV_2D, NHWC, filter (output_depth, filter_height, filter_width, input_depth), one group.

    Output (y, x) looks at input (y * stride_height + i * dilation_height - pad_height, ...) for
    filter position (i, j); positions outside of the image hold the input's zero point.

    Raises:
        UsageError: if a size is not positive or too large, or padding is negative.
        UnsupportedError: if `input_bits` is neither 8 nor 16.
    """

    images: int
    input_height: int
    input_width: int
    input_depth: int
    output_depth: int
    output_height: int
    output_width: int
    filter_height: int
    filter_width: int
    stride_height: int = 1
    stride_width: int = 1
    dilation_height: int = 1
    dilation_width: int = 1
    pad_height: int = 0
    pad_width: int = 0
    input_bits: int = 8
    per_channel: bool = True
    bias: bool = True

    def __post_init__(self) -> None:
        _require_bits(self.input_bits)
        for name, value in vars(self).items():
            if name in ("pad_height", "pad_width"):
                if not 0 <= value <= MAX_SIZE:
                    raise UsageError(f"{name} must be 0 to {MAX_SIZE}: {value}")
            elif name not in ("input_bits", "per_channel", "bias"):
                _require_size(name, value)
        _require_size("accum_depth", self.taps * self.input_depth)
        _require_size("rows", self.images * self.output_height * self.output_width)

    @property
    def taps(self) -> int:
        """Filter positions; each reads `input_depth` values that lie side by side."""
        return self.filter_height * self.filter_width

    @property
    def is_inside(self) -> tuple[bool, bool]:
        """Whether no filter position falls outside of the image, in (height, width)."""
        ends = (
            (self.output_height - 1) * self.stride_height
            + (self.filter_height - 1) * self.dilation_height,
            (self.output_width - 1) * self.stride_width
            + (self.filter_width - 1) * self.dilation_width,
        )
        return (
            self.pad_height == 0 and ends[0] < self.input_height,
            self.pad_width == 0 and ends[1] < self.input_width,
        )

    @property
    def runs(self) -> tuple[int, int]:
        """(runs down, runs across): how the filter's positions join into neighbouring values.

        Positions side by side are one run where none falls outside of the image's width; rows of
        them too where the filter is as wide as the image.
        """
        inside_height, inside_width = self.is_inside
        if not inside_width or (self.dilation_width > 1 and self.filter_width > 1):
            return self.filter_height, self.filter_width
        whole = self.filter_width == self.input_width and inside_height
        if whole and (self.dilation_height == 1 or self.filter_height == 1):
            return 1, 1
        return self.filter_height, 1

    @property
    def matmul(self) -> Matmul:
        """The same products and sums, with every output pixel a row."""
        return Matmul(
            self.output_depth,
            self.taps * self.input_depth,
            self.images * self.output_height * self.output_width,
            self.input_bits,
            self.per_channel,
            self.bias,
        )

    @property
    def is_matmul(self) -> bool:
        """Whether row r of the product is pixel r of the input: 1x1, stride 1, no padding."""
        return (
            self.taps == self.stride_height == self.stride_width == 1
            and self.pad_height == self.pad_width == 0
            and (self.output_height, self.output_width) == (self.input_height, self.input_width)
        )


def _require_bits(bits: int) -> None:
    if bits not in (8, 16):
        raise UnsupportedError(
            f"no schedule covers inputs of {bits} bits",
            hint="int8 and int16x8 products are covered",
        )


def _require_size(name: str, value: int) -> None:
    if not 1 <= value <= MAX_SIZE:
        raise UsageError(f"{name} must be 1 to {MAX_SIZE}: {value}")
