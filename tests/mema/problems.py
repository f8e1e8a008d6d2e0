"""Problems and layouts for property tests."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st

from refmicro.mema.kernel import Requantization
from refmicro.mema.layout import Layout, layout
from refmicro.mema.problem import Convolution, Matmul
from refmicro.mema.target import TARGETS, Target


@st.composite
def matmuls(draw: st.DrawFn, most: tuple[int, int, int] = (13, 23, 9)) -> Matmul:
    """Products of any small shape, with a constant filter or two activations."""
    sizes = [draw(st.integers(1, size)) for size in most]
    flags = [draw(st.booleans()) for _ in range(3)]
    return Matmul(*sizes, draw(st.sampled_from([8, 16])), *flags)


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    """Convolutions with any stride, dilation and padding, some of them 1x1."""
    small, size = st.integers(1, 3), st.integers(1, 5)
    shape = [draw(small), draw(size), draw(size), draw(st.integers(1, 9)), draw(st.integers(1, 7))]
    window = [draw(size), draw(size), draw(small), draw(small)]
    steps = [draw(small) for _ in range(4)]
    pads = [draw(st.integers(0, 2)) for _ in range(2)]
    bits = draw(st.sampled_from([8, 16]))
    return Convolution(*shape, *window, *steps, *pads, bits, draw(st.booleans()))


targets = st.sampled_from(list(TARGETS.values()))


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Layout, Target]:
    """A layout and its target."""
    problem = draw(st.one_of(matmuls(), convolutions()))
    bits = problem.input_bits
    wide = bits == 16 and draw(st.booleans())
    target = draw(targets)
    return layout(problem, target, wide_sums=wide, scaled=draw(st.booleans())), target


@st.composite
def requantizations(draw: st.DrawFn, bits: int) -> Requantization:
    """Any constants that go with 8 or 16 bits."""
    wide = bits == 16 and draw(st.booleans())
    limit = 1 << (bits - 1)
    low = draw(st.integers(-limit, limit - 2))
    constant = draw(st.sampled_from([None, (1 << 30, -9), ((1 << 31) - 1, -3)]))
    return Requantization(
        output_offset=draw(st.integers(-limit, limit - 1)),
        low=low,
        high=draw(st.integers(low, limit - 1)),
        input_zero_point=draw(st.integers(-128, 127)) if bits == 8 else 0,
        wide=wide,
        wide_sums=wide and draw(st.booleans()),
        left_shifts=draw(st.booleans()),
        constant=constant,
    )


@st.composite
def kernel_cases(draw: st.DrawFn) -> tuple[Matmul | Convolution, Requantization]:
    """A problem that a kernel computes, and its constants."""
    problem = draw(st.one_of(matmuls(), matmuls((40, 70, 5)), convolutions()))
    if isinstance(problem, Matmul):
        problem = dataclasses.replace(problem, constant_filter=True)
    return problem, draw(requantizations(problem.input_bits))
