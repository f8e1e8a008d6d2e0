"""TFLM_DECODE against the real TFLM."""

import dataclasses
import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import InvalidModelError
from refmicro.interpreter import Interpreter
from refmicro.types import DType
from tests.ops.harness import compare, model_of, tensor

pytestmark = pytest.mark.oracle

LOOKUP, HUFFMAN, PRUNE = range(3)
TYPES = [DType.BOOL, DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32]


def pair(codes, head, table):
    """The two constants of one output."""
    size = -len(codes) % 4
    data = [np.frombuffer(codes + bytes(size), np.uint8)]
    table += bytes(-len(table) % 4)
    data.append(np.frombuffer(bytes(head).ljust(16, b"\0") + table, np.uint8))
    return [tensor(DType.UINT8, values.shape, data=values) for values in data]


def model(pairs, outputs):
    return model_of("TFLM_DECODE", [item for both in pairs for item in both], outputs, custom=True)


def packed(values, width):
    bits = (np.asarray(values)[:, None] >> np.arange(width)[::-1]) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def values_of(dtype, count, rng):
    if dtype is DType.BOOL:
        return rng.integers(0, 2, count).astype(np.bool_)
    if dtype is DType.FLOAT32:
        return rng.normal(0, 3, count).astype(np.float32)
    limits = np.iinfo(dtype.numpy)
    return rng.integers(limits.min, limits.max, count, dtype=dtype.numpy, endpoint=True)


def lookup(dtype, shape, width, *, scales=(), axis=0, seed=0, **head):
    """A look-up of `width` bits, and its output."""
    rng = np.random.default_rng(seed)
    stride = 1 << width
    table = values_of(dtype, stride * max(1, len(scales)), rng)
    codes = packed(rng.integers(0, stride, int(np.prod(shape))), width)
    first = [LOOKUP, 1, 0, 0, 1, width, stride]
    for place, value in head.items():
        first[int(place[1:])] = value
    points = (0,) * len(scales)
    output = tensor(dtype, shape, scale=scales, zero_point=points, axis=axis)
    return pair(codes, first, table.tobytes()), output


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("width", range(1, 8))
def test_lookup(dtype, width):
    for count in (1, 7, 16, 65, 200):
        both, output = lookup(dtype, (count,), width)
        compare(model([both], [output]), expect="run")


@given(
    st.sampled_from([DType.INT8, DType.INT16]),
    st.integers(1, 7),
    st.integers(1, 5),
    st.integers(1, 70),
    st.sampled_from(["first", "last"]),
    st.integers(0, 99),
)
def test_lookup_by_channel(dtype, width, channels, inner, side, seed):
    shape = (channels, inner) if side == "first" else (inner, channels)
    scales = [0.1 + i for i in range(channels)]
    axis = 1 if side == "last" and channels > 1 else 0
    both, output = lookup(dtype, shape, width, scales=scales, axis=axis, seed=seed)
    compare(model([both], [output]), expect="run")


def pruned(dtype, shape, *, scales=(), points=(), axis=0, density=0.4, seed=0, **head):
    rng = np.random.default_rng(seed)
    keep = rng.random(int(np.prod(shape))) < density
    table = values_of(dtype, max(1, int(keep.sum())), rng)
    first = [PRUNE, 1, 0, 0, 1]
    for place, value in head.items():
        first[int(place[1:])] = value
    output = tensor(dtype, shape, scale=scales, zero_point=tuple(points) or 0, axis=axis)
    return pair(packed(keep, 1), first, table.tobytes()), output


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("density", [0, 0.5, 1])
def test_prune(dtype, density):
    for count in (1, 8, 77):
        both, output = pruned(dtype, (count,), density=density)
        compare(model([both], [output]), expect="run")


@pytest.mark.parametrize(("shape", "axis"), [((4, 9), 0), ((9, 4), 1), ((2, 3, 4), 2)])
@pytest.mark.parametrize("points", [(0, 0, 0, 0), (3, 0, -128, 127)])
def test_prune_by_channel(shape, axis, points):
    both, output = pruned(DType.INT8, shape, scales=[0.1] * 4, points=points, axis=axis)
    compare(model([both], [output]), expect="run")


def test_prune_with_one_zero_point():
    both, output = pruned(DType.INT8, (30,), scales=[0.5], points=[-7])
    compare(model([both], [output]), expect="run")


def code_lengths(weights):
    """Huffman: how many bits each symbol's codeword has."""
    heap = [(weight, index, [index]) for index, weight in enumerate(weights)]
    heapq.heapify(heap)
    lengths = [0] * len(weights)
    while len(heap) > 1:
        a, b = heapq.heappop(heap), heapq.heappop(heap)
        for index in a[2] + b[2]:
            lengths[index] += 1
        heapq.heappush(heap, (a[0] + b[0], min(a[1], b[1]), a[2] + b[2]))
    return lengths


def huffman_codes(symbols, weights):
    """{symbol: codeword in text}, canonical."""
    order = sorted(zip(code_lengths(weights), symbols, strict=True))
    code, before, codes = 0, order[0][0], {}
    for length, symbol in order:
        code <<= length - before
        codes[symbol] = f"{code:0{length}b}"
        code, before = code + 1, length
    return codes


def huffman_table(codes, first_bits, more_bits, shift):
    """Entries for the codewords, looked up `first_bits` and then `more_bits` at a time."""
    table = []

    def add(prefix, width):
        start = len(table)
        table.extend([0] * (1 << width))
        for index in range(1 << width):
            bits = prefix + f"{index:0{width}b}"
            known = [s for s, c in codes.items() if bits.startswith(c)]
            if known:
                used = len(codes[known[0]]) - len(prefix)
                symbol = known[0] & ((1 << (8 if shift == 11 else 16)) - 1)
                table[start + index] = (1 << (shift + 4)) | (used << shift) | symbol
            elif any(c.startswith(bits) for c in codes.values()):
                step = len(table) - (start + index)
                table[start + index] = ((more_bits - 1) << shift) | step
                add(bits, more_bits)

    add("", first_bits)
    return table


def huffman(dtype, count, *, wide, first_bits=3, more_bits=2, kinds=9, seed=0, **head):
    rng = np.random.default_rng(seed)
    limits = np.iinfo(np.int8 if dtype is DType.INT8 else np.int16)
    symbols = rng.choice(np.arange(limits.min, limits.max + 1), kinds, replace=False).tolist()
    weights = (1.6 ** np.arange(kinds)).tolist()
    codes = huffman_codes(symbols, weights)
    chosen = rng.choice(symbols, count, p=np.array(weights) / sum(weights)).tolist()
    text = "".join(codes[symbol] for symbol in chosen)
    bits = np.array([int(bit) for bit in text], np.uint8)
    table = huffman_table(codes, first_bits, more_bits, 27 if wide else 11)
    raw = np.array(table, np.uint32 if wide else np.uint16).tobytes()
    first = [HUFFMAN, 1, 0, 0, 1, ((first_bits - 1) << 4) | wide]
    for place, value in head.items():
        first[int(place[1:])] = value
    # TFLM looks beyond the last codeword.
    return pair(np.packbits(bits).tobytes() + bytes(4), first, raw), tensor(dtype, (count,))


@pytest.mark.parametrize(
    ("dtype", "wide"), [(DType.INT8, False), (DType.INT8, True), (DType.INT16, True)]
)
@pytest.mark.parametrize(("first_bits", "more_bits"), [(1, 1), (3, 2), (8, 1), (4, 3)])
def test_huffman(dtype, wide, first_bits, more_bits):
    for count, kinds in ((1, 2), (100, 9), (257, 12)):
        steps = {"first_bits": first_bits, "more_bits": more_bits}
        both, output = huffman(dtype, count, wide=wide, kinds=kinds, seed=count, **steps)
        got = model([both], [output])
        compare(got, expect="run")


@pytest.mark.parametrize("stored", [DType.BOOL, DType.INT8, DType.FLOAT32])
def test_constants_of_any_type_are_bytes(stored):
    parts = [lookup(dtype, (9,), 3) for dtype in TYPES] + [pruned(DType.INT8, (9,))]
    parts.append(huffman(DType.INT16, 20, wide=True))
    for both, output in parts:
        typed = [
            dataclasses.replace(item, dtype=stored, shape=(item.elements // stored.numpy.itemsize,))
            for item in both
        ]
        compare(model([typed], [output]), expect="run")


def test_several_outputs():
    parts = [
        lookup(DType.INT8, (3, 5), 4),
        pruned(DType.INT8, (9,)),
        huffman(DType.INT8, 40, wide=True),
    ]
    compare(model([both for both, _ in parts], [out for _, out in parts]), expect="run")


@pytest.mark.parametrize(
    "part",
    [
        lookup(DType.INT8, (9,), 4, _1=2),
        lookup(DType.INT8, (9,), 4, _4=0),
        lookup(DType.INT8, (9,), 4, _0=3),
        lookup(DType.INT8, (9,), 4, _0=127),
        lookup(DType.INT8, (9,), 4, _0=200),
        lookup(DType.INT8, (2, 3, 4), 4, scales=[0.1] * 3, axis=1),
        lookup(DType.UINT8, (9,), 4),
        pruned(DType.INT16, (9,), scales=[0.5], points=[3]),
        pruned(DType.INT8, (2, 3, 4), scales=[0.1] * 3, points=[1, 2, 3], axis=1),
        pruned(DType.UINT8, (9,)),
        pruned(DType.INT8, (9,), _4=2),
        huffman(DType.INT16, 9, wide=True, _5=0x20),
        huffman(DType.INT32, 9, wide=True),
        huffman(DType.INT8, 9, wide=False, _4=3),
    ],
)
def test_refused(part):
    compare(model([part[0]], [part[1]]), expect="refuse")


def test_constants_and_pairs_are_needed():
    both, output = lookup(DType.INT8, (9,), 4)
    free = tensor(DType.UINT8, both[0].shape)
    compare(model([[free, both[1]]], [output]), expect="refuse")
    compare(model([both[:1]], [output]), expect="refuse")
    compare(model([both, both], [output]), expect="refuse")


def test_damaged_codes_are_refused_here():
    """TFLM would read outside the constants."""
    both, output = lookup(DType.INT8, (90,), 4)
    short = tensor(DType.UINT8, (4,), data=np.zeros(4))
    with pytest.raises(InvalidModelError, match="codes must have 45 bytes"):
        Interpreter(model([[short, both[1]]], [output]))
    bad, _ = lookup(DType.INT8, (90,), 4, _5=0)
    with pytest.raises(InvalidModelError, match="1 to 7 bits"):
        Interpreter(model([bad], [output]))
    with pytest.raises(InvalidModelError, match="ancillary data must have 16 bytes"):
        Interpreter(model([[both[0], short]], [output]))
    head = tensor(DType.UINT8, (20,), data=np.array([0, 1, 0, 0, 1, 4, 16] + [0] * 13))
    for bad in ([both[0], head], [short, huffman(DType.INT8, 90, wide=False)[0][1]]):
        with pytest.raises(InvalidModelError, match="hold every value"):
            Interpreter(model([bad], [output])).invoke()


def test_a_table_that_leads_nowhere_ends():
    """Entries that are no symbols and lead to themselves."""
    _, output = lookup(DType.INT8, (90,), 4)
    bad = pair(bytes(8), [HUFFMAN, 1, 0, 0, 1, 0], bytes(64))
    with pytest.raises(InvalidModelError, match="hold every value"):
        Interpreter(model([bad], [output])).invoke()
