"""Multipliers, bit for bit: TFLM keeps them in the structs of its operators, where they are read.

A multiplier that is wrong in its last bit changes one output in 10^5 or fewer, which no comparison
of outputs can be sure to see. Here everything that refmicro derived from scales is looked up in the
memory of the real TFLM instead.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.fixedpoint import round_half_away
from refmicro.model.graph import Model
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.ops._requantize import Requantizer
from refmicro.program import prepare_model
from refmicro.types import DType, Tensor, TflmBuild
from tests.ops import (
    pooling,
    test_batch_matmul,
    test_conv_2d,
    test_depthwise_conv_2d,
    test_fully_connected,
    test_svdf,
    test_transpose_conv,
    test_unidirectional_sequence_lstm,
)
from tests.ops.elementwise import operand, pair_model, single_model
from tests.ops.harness import compare, model_of
from tests.ops.reductions import reduction

pytestmark = pytest.mark.oracle

INT8, INT16, INT32 = DType.INT8, DType.INT16, DType.INT32
PAIR = ((3,), (3,), (3,))
Build = Callable[[np.random.Generator], Model]


def scale(rng: np.random.Generator, low: float = -10, high: float = -1) -> float:
    """A float32 of 2^low to 2^high whose last bits are random."""
    return float(np.float32(2.0 ** rng.uniform(low, high)))


def pair(name: str, dtype: DType, output: DType | None = None) -> Build:
    """Models of an operator of two inputs."""

    def build(rng: np.random.Generator) -> Model:
        scales = (scale(rng), scale(rng), scale(rng, -4, 0))
        if output is DType.BOOL:
            scales = (*scales[:2], 0.0)
        options = {"activation": 0} if name in ("ADD", "SUB", "MUL") else {}
        return pair_model(name, dtype, PAIR, scales=scales, output=output, **options)

    return build


def single(
    name: str, dtype: DType, output: DType | None = None, *, out: tuple | None = None, **options
) -> Build:
    """Models of an operator of one input; `out` fixes (scale, zero point) of the output."""

    def build(rng: np.random.Generator) -> Model:
        values = {key: f(rng) if callable(f) else f for key, f in options.items()}
        target, point = out or (scale(rng), 0)
        return single_model(
            name,
            dtype,
            (2, 3),
            scales=(scale(rng), target),
            points=(0, point),
            output=output,
            options=values or None,
        )

    return build


def heavy(module: Any, *shape: Any, extra: int = 0, **options: Any) -> Build:
    """Models of an operator with weights, from its own tests; `extra` scales are appended."""

    def build(rng: np.random.Generator) -> Model:
        scales = (scale(rng), scale(rng), *(scale(rng) for _ in range(extra)), scale(rng, -1, 4))
        return module.model(rng, *shape, scales=scales, **options)

    return build


def batch_matmul(dtype: DType) -> Build:
    """Models of BATCH_MATMUL."""

    def build(rng: np.random.Generator) -> Model:
        scales = (scale(rng), scale(rng), scale(rng, -1, 4))
        return test_batch_matmul.model((2, 3), (3, 2), dtype=dtype, scales=scales)

    return build


def lstm(dtype: DType) -> Build:
    """Models of an LSTM; the cell's scale is any."""

    def build(rng: np.random.Generator) -> Model:
        scales = (scale(rng), scale(rng), scale(rng, -15, -9))
        return test_unidirectional_sequence_lstm.model(rng, dtype=dtype, scales=scales)

    return build


def reduce(name: str, dtype: DType) -> Build:
    """Reductions of one term, whose multiplier a mean does not divide."""

    def build(rng: np.random.Generator) -> Model:
        return reduction(name, (2, 1), (1,), dtype, scales=(scale(rng), scale(rng)))

    return build


def cumsum(rng: np.random.Generator) -> Model:
    """Models of CUMSUM."""
    x, out = operand(INT8, (3,), scale(rng)), operand(INT8, (3,), scale(rng))
    options = {"exclusive": False, "reverse": False}
    return model_of("CUMSUM", [x, operand(INT32, (1,), data=np.array([0]))], [out], options)


def add_n(rng: np.random.Generator) -> Model:
    """Models of ADD_N."""
    of = scale(rng)
    return model_of(
        "ADD_N",
        [operand(INT8, (3,), of)] * 1 + [operand(INT8, (3,), of)],
        [operand(INT8, (3,), scale(rng))],
    )


def prelu(dtype: DType) -> Build:
    """Models of PRELU, whose alpha is int8."""

    def build(rng: np.random.Generator) -> Model:
        x, out = operand(dtype, (3,), scale(rng)), operand(dtype, (3,), scale(rng))
        return model_of("PRELU", [x, operand(INT8, (3,), scale(rng))], [out])

    return build


def any_slope(rng: np.random.Generator) -> float:
    """An alpha or beta."""
    return scale(rng, -6, 1)


CASES: dict[str, tuple[int, Build]] = {
    **{
        f"{name} {dtype}": (3, pair(name, dtype))
        for name in ("ADD", "SUB")
        for dtype in (INT8, INT16)
    },
    **{f"MUL {dtype}": (1, pair("MUL", dtype)) for dtype in (INT8, INT16)},
    "DIV int8": (1, pair("DIV", INT8)),
    **{
        f"SQUARED_DIFFERENCE {dtype}": (3, pair("SQUARED_DIFFERENCE", dtype))
        for dtype in (INT8, INT16)
    },
    **{
        f"{name} int8": (2, pair(name, INT8, DType.BOOL))
        for name in ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
    },
    **{f"PRELU {dtype}": (2, prelu(dtype)) for dtype in (INT8, INT16)},
    "ADD_N int8": (1, add_n),
    "CUMSUM int8": (1, cumsum),
    **{
        f"{name} {dtype}": (1, reduce(name, dtype))
        for name in ("SUM", "MEAN")
        for dtype in (INT8, INT16)
    },
    **{f"ABS {dtype}": (1, single("ABS", dtype)) for dtype in (INT8, INT16)},
    "RSQRT int8": (1, single("RSQRT", INT8)),
    **{f"RELU {dtype}": (1, single("RELU", dtype)) for dtype in (INT8, INT16)},
    **{
        f"LEAKY_RELU {dtype}": (2, single("LEAKY_RELU", dtype, alpha=any_slope))
        for dtype in (INT8, INT16)
    },
    "HARD_SWISH int8": (2, single("HARD_SWISH", INT8)),
    "LOGISTIC int8": (1, single("LOGISTIC", INT8, out=(1 / 256, -128))),
    "TANH int8": (1, single("TANH", INT8, out=(1 / 128, 0))),
    "LOGISTIC int16": (1, single("LOGISTIC", INT16, out=(2.0**-15, 0))),
    "TANH int16": (1, single("TANH", INT16, out=(2.0**-15, 0))),
    "SOFTMAX int8": (1, single("SOFTMAX", INT8, out=(1 / 256, -128), beta=any_slope)),
    "SOFTMAX int8 to int16": (
        1,
        single("SOFTMAX", INT8, INT16, out=(1 / 65536, -32768), beta=any_slope),
    ),
    "SOFTMAX int16": (1, single("SOFTMAX", INT16, out=(2.0**-15, 0), beta=any_slope)),
    "LOG_SOFTMAX int8": (2, single("LOG_SOFTMAX", INT8, out=(1 / 16, 127))),
    **{
        f"QUANTIZE {source} to {target}": (1, single("QUANTIZE", source, target))
        for source, target in (
            (INT8, INT8),
            (INT8, INT16),
            (INT8, INT32),
            (INT8, DType.UINT8),
            (DType.UINT8, INT8),
            (INT16, INT8),
            (INT16, INT16),
            (INT16, INT32),
            (INT32, INT8),
            (INT32, INT16),
        )
    },
    "FULLY_CONNECTED int8": (1, heavy(test_fully_connected, 1, 2, 3)),
    "FULLY_CONNECTED int8 without bias": (1, heavy(test_fully_connected, 1, 2, 3, bias=False)),
    "FULLY_CONNECTED int8 per channel": (3, heavy(test_fully_connected, 1, 2, 3, per_channel=True)),
    "FULLY_CONNECTED int16": (
        1,
        heavy(test_fully_connected, 1, 2, 3, x=INT16, bias_type=DType.INT64),
    ),
    "CONV_2D int8": (4, heavy(test_conv_2d)),
    "CONV_2D int16": (4, heavy(test_conv_2d, x=INT16, bias=DType.INT64)),
    "DEPTHWISE_CONV_2D int8": (3, heavy(test_depthwise_conv_2d)),
    "DEPTHWISE_CONV_2D int16": (3, heavy(test_depthwise_conv_2d, x=INT16, bias=DType.INT64)),
    "TRANSPOSE_CONV int8": (3, heavy(test_transpose_conv)),
    "TRANSPOSE_CONV int16": (3, heavy(test_transpose_conv, x=INT16)),
    "BATCH_MATMUL int8": (1, batch_matmul(INT8)),
    "BATCH_MATMUL int16": (1, batch_matmul(INT16)),
    "SVDF int8": (2, heavy(test_svdf, extra=2, state=INT8)),
    "SVDF int16 state": (2, heavy(test_svdf, extra=2)),
    "LSTM int8": (10, lstm(INT8)),
    "LSTM int16": (10, lstm(INT16)),
}
"""How many multipliers each operator derives at least, and models with random scales."""


def integers_in(value: Any) -> Iterator[int]:
    """All integers that `prepare` returned, however deep."""
    if isinstance(value, (bool, np.bool_, Tensor)):
        return
    if isinstance(value, Requantizer):
        value = value.multipliers
    if isinstance(value, (int, np.integer)):
        yield int(value)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from integers_in(item)
    elif isinstance(value, functools.partial):
        yield from integers_in(value.args)
    elif isinstance(value, FunctionType):
        yield from integers_in([cell.cell_contents for cell in value.__closure__ or ()])
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from integers_in([getattr(value, f.name) for f in dataclasses.fields(value)])


def memory_of(data: bytes) -> bytes:
    """What the real TFLM keeps of a model after AllocateTensors."""
    from refmicro.bridge import IsolatedOracle

    with IsolatedOracle(data) as oracle:
        return oracle.persistent_memory


WIDE, NARROW = range(1 << 30, (1 << 31) - 1), range(1 << 14, (1 << 15) - 1)
"""Multipliers of 31 and of 15 bits; the largest ones are also limits of types."""


@pytest.mark.parametrize("case", list(CASES))
@settings(max_examples=max(5, settings.default.max_examples // 5))
@given(st.integers(0, 2**32 - 1))
def test_multipliers_are_those_of_tflm(case, seed):
    least, build = CASES[case]
    data = write_model(build(np.random.default_rng(seed)))
    try:
        program = prepare_model(parse_model(data), TflmBuild.wheel())
    except (UnsupportedError, InvalidModelError):
        reject()
    ((node,),) = program.nodes
    found = [n for n in integers_in(node.data) if n in WIDE or n in NARROW]
    assert len(found) >= least, found
    memory = memory_of(data)
    memory = memory[len(memory) % 8 :]
    halves = set(np.frombuffer(memory, np.int16).tolist())
    words = set(np.frombuffer(memory, np.int32).tolist())
    missing = [n for n in found if n not in (words if n in WIDE else halves)]
    assert not missing, f"multipliers {missing} of {found} are not those of TFLM"


def scales_at_ties(real: float, low: int, high: int) -> list[float]:
    """float32 scales for which real / scale rounds to another integer in float32 than in double."""
    found = []
    for steps in range(low, high):
        middle = np.float32(real / (steps + 0.5))
        for value in (
            np.nextafter(middle, np.float32(0)),
            middle,
            np.nextafter(middle, np.float32(9)),
        ):
            exact, short = real / float(value), float(np.float32(real) / value)
            if round_half_away(exact) != round_half_away(short):
                found.append(float(value))
    return found


LIMITED = {
    "ADD": lambda s: pair_model(
        "ADD", INT8, PAIR, scales=(s, s, s), points=(-128,) * 3, activation=3
    ),
    "SUB": lambda s: pair_model(
        "SUB", INT8, PAIR, scales=(s, s, s), points=(-128,) * 3, activation=3
    ),
    "MUL": lambda s: pair_model(
        "MUL", INT8, PAIR, scales=(s, s, s), points=(-128,) * 3, activation=3
    ),
    "RELU6": lambda s: single_model("RELU6", INT8, (3,), scales=(s, s), points=(-128, -128)),
    "CONV_2D": lambda s: test_conv_2d.model(
        np.random.default_rng(0), scales=(1.0, 1.0, s), points=(-128, -128), activation=3
    ),
    "DEPTHWISE_CONV_2D": lambda s: test_depthwise_conv_2d.model(
        np.random.default_rng(0), scales=(1.0, 1.0, s), points=(-128, -128), activation=3
    ),
    "TRANSPOSE_CONV": lambda s: test_transpose_conv.model(
        np.random.default_rng(0), scales=(1.0, 1.0, s), points=(-128, -128), activation=3
    ),
    "FULLY_CONNECTED": lambda s: test_fully_connected.model(
        np.random.default_rng(0),
        1,
        2,
        3,
        scales=(1.0, 1.0, s),
        points=(-128, 0, -128),
        activation=3,
    ),
    **{
        name: lambda s, name=name: pooling.model(
            name, scales=(s, s), points=(-128, -128), activation=3
        )
        for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D")
    },
}
"""Models that clamp at 6, by the scale of the output, whose zero point is -128."""


@pytest.mark.parametrize("name", list(LIMITED))
def test_limits_of_activations_are_rounded_as_tflm_does(name):
    scales = scales_at_ties(6.0, 60, 250)
    assert len(scales) > 10
    for of in scales[:: len(scales) // 8]:
        compare(LIMITED[name](of), expect="run")
