"""Random models for hypothesis: any value that a `.tflite` file can hold, runnable or not."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from refmicro.model import _schema
from refmicro.model._parsers import OPTIONS_READ, is_foreign
from refmicro.model.graph import Model, Operator, OperatorCode, Signature, Subgraph
from refmicro.types import NO_QUANTIZATION, DType, Quantization, Tensor

OPTIONS_TABLES = sorted(
    name
    for enum in _schema.OPTIONS_UNIONS.values()
    for name in _schema.enum_codes(enum)
    if name != "NONE"
)

BUILTINS = sorted(set(_schema.enum_codes("BuiltinOperator")) - {"CUSTOM"})

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def floats(**limits: float) -> st.SearchStrategy[float]:
    return st.floats(width=32, allow_nan=False, **limits)


def numbers(code: str) -> st.SearchStrategy:
    """Values of a struct format character."""
    if code == "?":
        return st.booleans()
    if code == "f":
        return floats()
    bits = 8 * {"b": 1, "h": 2, "i": 4, "q": 8}[code.lower()]
    low = 0 if code.isupper() else -(2 ** (bits - 1))
    return st.integers(low, low + 2**bits - 1)


def field_values(field: _schema.Field) -> st.SearchStrategy:
    """Values of an options field as the reader gives them."""
    code = field.number.format[-1]
    if field.kind == "scalar":
        return numbers(code)
    if field.kind == "text":
        return st.none() | names
    if field.number.format == "<B":
        return st.just(()) | st.binary(min_size=1, max_size=5)
    return st.lists(numbers(code), max_size=5).map(tuple)


@st.composite
def quantizations(draw: st.DrawFn) -> Quantization:
    scales = draw(st.lists(floats(min_value=0), max_size=4))
    count = draw(st.sampled_from([0, 1, len(scales)]))
    points = draw(st.lists(numbers("i"), min_size=count, max_size=count))
    ranges = st.lists(floats(), max_size=3).map(tuple)
    axis = draw(numbers("i"))
    return Quantization(tuple(scales), tuple(points), axis, draw(ranges), draw(ranges))


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    dtype = draw(st.sampled_from(list(DType)))
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    elements = math.prod(shape)
    need = elements * (dtype.itemsize_bytes or 0)
    need = (elements + 1) // 2 if dtype is DType.INT4 else need
    data = None
    if draw(st.booleans()):
        data = draw(st.binary(min_size=max(1, need), max_size=need + 5))
    return Tensor(
        draw(names),
        dtype,
        shape,
        draw(st.just(NO_QUANTIZATION) | quantizations()),
        data,
        draw(st.booleans()),
        tuple(draw(st.lists(numbers("i"), max_size=3))),
        bool(shape) or draw(st.booleans()),
    )


@st.composite
def operators(draw: st.DrawFn, count: int, codes: st.SearchStrategy[OperatorCode]) -> Operator:
    some = st.lists(st.integers(0, count - 1), max_size=3).map(tuple) if count else st.just(())
    optional = st.lists(st.integers(-1, count - 1), max_size=3).map(tuple)
    code = draw(codes)
    table = draw(st.just("") | st.sampled_from(OPTIONS_TABLES))
    if is_foreign(code.builtin, table):
        table = draw(st.sampled_from(["", OPTIONS_READ[code.builtin]]))
    options = {}
    if table:
        fields = _schema.fields(table).items()
        options = {key: draw(field_values(field)) for key, field in fields}
    return Operator(
        code,
        draw(optional),
        draw(some),
        options,
        table,
        draw(st.binary(max_size=9)),
        draw(optional),
    )


@st.composite
def operator_codes(draw: st.DrawFn) -> OperatorCode:
    version = draw(numbers("i"))
    if draw(st.booleans()):
        return OperatorCode("CUSTOM", draw(names.filter(bool)), version)
    return OperatorCode(draw(st.sampled_from(BUILTINS)), "", version)


@st.composite
def subgraphs(draw: st.DrawFn) -> Subgraph:
    items = tuple(draw(st.lists(tensors(), max_size=5)))
    ops = draw(st.lists(operators(len(items), operator_codes()), max_size=4))
    some = st.just(())
    if items:
        some = st.lists(st.integers(0, len(items) - 1), max_size=3).map(tuple)
    return Subgraph(items, draw(some), draw(some), tuple(ops), draw(names))


@st.composite
def models(draw: st.DrawFn) -> Model:
    """A model of one to three subgraphs that reads back as it was written."""
    pairs = st.lists(st.tuples(names, st.integers(0, 9)), max_size=2).map(tuple)
    signatures = st.builds(Signature, names, st.integers(0, 3), pairs, pairs)
    metadata = st.tuples(names.filter(lambda name: name != "COMPRESSION_METADATA"), st.binary())
    return Model(
        tuple(draw(st.lists(subgraphs(), min_size=1, max_size=3))),
        tuple(draw(st.lists(metadata, max_size=3))),
        draw(names),
        draw(st.integers(0, 2**32 - 1)),
        tuple(draw(st.lists(signatures, max_size=2))),
    )
