"""Fewer operators and tensors with the same bytes at every output.

Each operator and tensor costs TFLM memory whatever it computes: a node, an eval tensor, operator
data, and while it plans an entry for every tensor. `fuse` removes what adds nothing:

- DEQUANTIZE, a float function, QUANTIZE become the function's own int8 or int16 operator where both
  give the same result for every value there is;
- RESHAPE and other copies that leave all bytes where they are go, where their neighbours agree to
  one shape, and the RESHAPEs that stay lose their shape input, which TFLM does not read;
- RELU and its like become the fused activation of the operator before them;
- what depends on constants alone is computed once, equal constants and equal computations are
  shared, and what nobody needs is dropped.

Everything is exact. Only `changes=True` takes an int8 operator whose results differ, and says by
how much, and `per_channel_to_per_tensor` changes numbers by what it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refmicro.memory.arena import model_arena
from refmicro.model.graph import Model, Operator
from refmicro.program import prepare_model
from refmicro.transform._draft import EFFECTS, STATEFUL, Draft, Order, same_values, with_drafts
from refmicro.transform._shapes import Shapes, without_shape_input
from refmicro.transform._tables import all_values, constant_results, table_of
from refmicro.types import DType, Quantization, Tensor, TflmBuild

FLOAT_FUNCTIONS = frozenset(
    {
        "ABS",
        "ELU",
        "EXP",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LOG",
        "LOGISTIC",
        "NEG",
        "RELU",
        "RELU6",
        "RSQRT",
        "SQRT",
        "SQUARE",
        "TANH",
    }
)
"""Operators of one input that may have an integer kernel; whether they do is asked of refmicro."""

COPIES = frozenset(
    {
        "BROADCAST_TO",
        "CONCATENATION",
        "EXPAND_DIMS",
        "PACK",
        "PAD",
        "PADV2",
        "QUANTIZE",
        "RESHAPE",
        "SLICE",
        "SPLIT",
        "SPLIT_V",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TRANSPOSE",
        "UNPACK",
    }
)
"""Operators that may do nothing but copy; `_copied_slot` says when they do."""

ACTIVATIONS = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
"""Operators that are a fused activation, and its code in `ActivationFunctionType`."""

ACTIVATED = frozenset({"ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL", "SUB"})
"""Operators whose kernels clamp to a fused activation as exactly as RELU does."""

CHANGED_STEPS_MAX = 2
"""An integer operator that is further off, in steps of its output, is another function: a LOGISTIC
with an output scale that its kernel does not look at."""

FOLDED_BYTES_MAX = 1 << 20
"""Results of constants are not stored in the file where they are larger."""


@dataclass(frozen=True)
class Fused:
    """A model with less in it.

    Attributes:
        model: the result.
        removed: what was done, in words.
        changes: where numbers change and by how much, in words; empty for an exact result.
        kept: what could have been fused but would have changed numbers.
        operators_before, operators_after, tensors_before, tensors_after: counts of all subgraphs.
    """

    model: Model
    removed: tuple[str, ...]
    changes: tuple[str, ...]
    kept: tuple[str, ...]
    operators_before: int
    operators_after: int
    tensors_before: int
    tensors_after: int


@dataclass
class _Notes:
    """What the rules have to say; `changes_allowed` lets them change numbers."""

    changes_allowed: bool
    removed: list[str]
    changes: list[str]
    kept: list[str]


Rule = Callable[[Draft, _Notes], bool]
"""Changes a draft where it can and tells whether it did; the draft comes and goes indexed."""


def fuse(model: Model, *, changes: bool = False) -> Fused:
    """Remove what adds nothing; the result gives the same bytes at every output.

    Args:
        model: the source.
        changes: also replace float functions by int8 operators whose results differ; how far is
            told in `Fused.changes`.

    Raises:
        UnsupportedError, InvalidModelError: if refmicro refuses the source.
    """
    prepare_model(model, TflmBuild.firmware())
    notes = _Notes(changes, [], [], [])
    drafts = [Draft.of(graph) for graph in model.subgraphs]
    for draft in drafts:
        _until_still(draft, notes)
    result, unplanned = with_drafts(model, drafts)
    if unplanned:
        notes.removed.append("the offline plan, which was for other tensors")
    elif result is not model:
        result = _numbered_well(model, result, drafts)
    return Fused(
        result,
        tuple(notes.removed),
        tuple(notes.changes),
        tuple(dict.fromkeys(notes.kept)),
        model.operator_count,
        result.operator_count,
        sum(len(graph.tensors) for graph in model.subgraphs),
        sum(len(graph.tensors) for graph in result.subgraphs),
    )


ORDERS: tuple[Order, ...] = (
    lambda used: used,
    lambda used: used[::-1],
    lambda used: sorted(used, reverse=True),
)
"""Other numberings of tensors that are tried."""


def _numbered_well(model: Model, result: Model, drafts: list[Draft]) -> Model:
    """The result under numbers with which TFLM's planner needs no more than for the source.

    Among buffers of one size the planner places the one with the highest number first, so that by
    accident it may need more for fewer tensors.
    """
    limit = _required_bytes(model)
    best, least = result, _required_bytes(result)
    for order in ORDERS:
        if least <= limit:
            break
        other, _ = with_drafts(model, drafts, order)
        if (need := _required_bytes(other)) < least:
            best, least = other, need
    return best


def _required_bytes(model: Model) -> int:
    return model_arena(prepare_model(model, TflmBuild.firmware())).required_bytes


def _until_still(draft: Draft, notes: _Notes) -> None:
    """Apply all rules until none finds anything; each application removes or shrinks something."""
    rules: tuple[Rule, ...] = (
        _fold_constants,
        _fuse_functions,
        _remove_copies,
        _fuse_activations,
        _share_constants,
        _share_operators,
        _drop_unused,
        _drop_shape_inputs,
    )
    while sum(rule(draft, notes) for rule in rules):
        pass


def _where(number: int, op: Operator) -> str:
    return f"operator {number} ({op.name})"


def fold_constants(model: Model) -> Model:
    """The model with all computed that depends on constants alone, and nothing else changed."""
    drafts = [Draft.of(graph) for graph in model.subgraphs]
    notes = _Notes(False, [], [], [])
    for draft in drafts:
        while _fold_constants(draft, notes):
            pass
    return with_drafts(model, drafts)[0] if notes.removed else model


# Constants


def _fold_constants(draft: Draft, notes: _Notes) -> bool:
    found = False
    for number, op in enumerate(draft.operators):
        if op is None or op.name in EFFECTS | STATEFUL or op.code.builtin == "CUSTOM":
            continue
        outputs = [draft.tensors[i] for i in op.outputs]
        foldable = (
            op.inputs
            and all(i < 0 or draft.tensors[i].is_constant for i in op.inputs)
            and all(draft.is_plain(i) for i in op.outputs)
            and sum(item.nbytes for item in outputs) <= FOLDED_BYTES_MAX
        )
        results = constant_results(draft.tensors, op) if foldable else None
        if results is None:
            continue
        for index, item, values in zip(op.outputs, outputs, results, strict=True):
            draft.tensors[index] = dataclasses.replace(item, data=values.tobytes())
        draft.put(number, None)
        notes.removed.append(f"{_where(number, op)}: depends on constants alone")
        found = True
    return found


def _share_constants(draft: Draft, notes: _Notes) -> bool:
    """Equal constants become one tensor; entries of a slice that its masks hide are made equal."""
    for number, op in enumerate(draft.operators):
        if op is not None and op.name == "STRIDED_SLICE":
            _level_masked(draft, number, op)
    known: dict[tuple, int] = {}
    found = 0
    for index in sorted(draft.readers):
        item = draft.tensors[index]
        if not item.is_constant or not draft.readers[index] or index in draft.outputs:
            continue
        key = (item.dtype, item.shape, item.quantization, bytes(item.data))
        first = known.setdefault(key, index)
        if first != index:
            draft.replace_inputs(index, first)
            found += 1
    if found:
        notes.removed.append(f"{found} constant{'s' * (found > 1)} that {_repeat(found)} another")
    return bool(found)


def _repeat(count: int) -> str:
    return "repeat" if count > 1 else "repeats"


def _level_masked(draft: Draft, number: int, op: Operator) -> None:
    """Set ends and begins that a mask hides to 1, as most strides are, so that tensors are equal.

    Source: `StridedSliceStartForAxis` and `StridedSliceEndForAxis` in
    `tensorflow/lite/kernels/internal/strided_slice_logic.h`.
    """
    shrunk = op.options.get("shrink_axis_mask", 0)
    if op.options.get("ellipsis_mask", 0) or op.options.get("new_axis_mask", 0):
        return
    inputs = list(op.inputs)
    for slot, key in ((1, "begin_mask"), (2, "end_mask")):
        item = draft.tensors[inputs[slot]]
        if not item.is_constant:
            continue
        values = item.array().copy()
        for axis in range(values.size):
            if op.options.get(key, 0) >> axis & 1 and not shrunk >> axis & 1:
                values[axis] = 1
        if values.tobytes() != bytes(item.data):
            inputs[slot] = draft.add_tensor(dataclasses.replace(item, data=values.tobytes()))
    draft.put(number, dataclasses.replace(op, inputs=tuple(inputs)))


# Equal computations, and unused ones


def _share_operators(draft: Draft, notes: _Notes) -> bool:
    known: dict[tuple, tuple[int, ...]] = {}
    found = False
    for number, op in enumerate(draft.operators):
        if op is None or op.name in EFFECTS | STATEFUL or op.code.builtin == "CUSTOM":
            continue
        if not all(i < 0 or draft.is_frozen(i) for i in op.inputs):
            continue
        if not op.outputs or not all(draft.is_plain(i) for i in op.outputs):
            continue
        made = tuple(_kind(draft.tensors[i]) for i in op.outputs)
        options = tuple(sorted(op.options.items()))
        key = (op.code, op.inputs, op.intermediates, options, op.options_type, made)
        first = known.setdefault(key, op.outputs)
        if first == op.outputs:
            continue
        for old, new in zip(op.outputs, first, strict=True):
            draft.replace_inputs(old, new)
        draft.put(number, None)
        notes.removed.append(f"{_where(number, op)}: computes what another one has computed")
        found = True
    return found


def _kind(tensor: Tensor) -> tuple:
    return tensor.dtype, tensor.shape, tensor.quantization


def _drop_unused(draft: Draft, notes: _Notes) -> bool:
    dropped = draft.tidy()
    if dropped:
        notes.removed.append(f"{len(dropped)} operators whose results nobody needs")
    return bool(dropped)


# Float functions between DEQUANTIZE and QUANTIZE


def _fuse_functions(draft: Draft, notes: _Notes) -> bool:
    found = False
    for number, op in enumerate(draft.operators):
        if op is None or op.name != "QUANTIZE":
            continue
        chain = _float_chain(draft, number)
        if chain is None:
            continue
        fused = _integer_operator(draft, chain, notes)
        if fused is not None:
            draft.put(number, fused)
            found = True
    return found


def _float_chain(draft: Draft, number: int) -> list[Operator] | None:
    """DEQUANTIZE, perhaps a float function, and the QUANTIZE at `number`; None if it is not so."""
    chain = [draft.operators[number]]
    while True:
        producer = draft.producer(chain[0].inputs[0])
        op = None if producer is None else draft.operators[producer]
        if op is None or len(chain) == 3 or not draft.is_frozen(op.inputs[0]):
            return None
        chain.insert(0, op)
        if op.name == "DEQUANTIZE":
            return chain
        if op.name not in FLOAT_FUNCTIONS or len(op.inputs) != 1:
            return None


def _integer_operator(draft: Draft, chain: list[Operator], notes: _Notes) -> Operator | None:
    """The one operator that does what a chain does, None where there is none that may be taken."""
    source, result = chain[0].inputs[0], chain[-1].outputs[0]
    x, output = draft.tensors[source], draft.tensors[result]
    if x.dtype is not output.dtype or x.elements != output.elements:
        return None
    if len(chain) == 3:
        pattern = chain[1]
        fused = dataclasses.replace(pattern, inputs=(source,), outputs=(result,))
    else:
        pattern = chain[1]
        fused = dataclasses.replace(pattern, inputs=(source,))
    want = table_of(draft.tensors, chain, source, result)
    got = table_of(draft.tensors, [fused], source, result)
    if want is None or got is None:
        return None
    what = f"DEQUANTIZE, {', '.join(op.name for op in chain[1:])}"
    distance = np.abs(want.astype(np.int64) - got.astype(np.int64))
    if distance.any():
        count, most = int(np.count_nonzero(distance)), int(distance.max())
        text = f"{what}: {output.dtype} {fused.name} differs for {count} of {want.size} values"
        text += f" by up to {most} of the output's steps"
        if not notes.changes_allowed or most > CHANGED_STEPS_MAX:
            notes.kept.append(text)
            return None
        notes.changes.append(text)
    notes.removed.append(f"{what}: one {output.dtype} {fused.name} does the same")
    return fused


def _fuse_activations(draft: Draft, notes: _Notes) -> bool:
    found = False
    for number, op in enumerate(draft.operators):
        if op is None or op.name not in ACTIVATIONS:
            continue
        producer = draft.producer(op.inputs[0])
        before = None if producer is None else draft.operators[producer]
        if before is None or not _takes_activation(draft, before, op):
            continue
        options = {**before.options, "fused_activation_function": ACTIVATIONS[op.name]}
        draft.put(producer, dataclasses.replace(before, options=options, outputs=op.outputs))
        draft.put(number, None)
        notes.removed.append(f"{_where(number, op)}: a fused activation of {before.name}")
        found = True
    return found


def _takes_activation(draft: Draft, before: Operator, op: Operator) -> bool:
    x, output = draft.tensors[op.inputs[0]], draft.tensors[op.outputs[0]]
    return (
        before.name in ACTIVATED
        and not before.options.get("fused_activation_function", 0)
        and len(draft.readers[op.inputs[0]]) == 1
        and draft.is_plain(op.inputs[0])
        and len(draft.writers[op.outputs[0]]) == 1
        and not output.is_variable
        and x.shape == output.shape
        and same_values(x, output)
        and x.dtype in (DType.INT8, DType.INT16)
        and _is_clamp(draft, op)
    )


def _is_clamp(draft: Draft, op: Operator) -> bool:
    """Whether an integer activation only clamps, as the fused one does; a float one may not: RELU
    keeps infinity, a fused one ends at the largest number."""
    table = table_of(draft.tensors, [op], op.inputs[0], op.outputs[0])
    if table is None:
        return False
    values = all_values(draft.tensors[op.inputs[0]].dtype)
    return bool((table == values.clip(table[0], table[-1])).all())


# Copies


def _remove_copies(draft: Draft, notes: _Notes) -> bool:
    found = False
    for number, op in enumerate(draft.operators):
        slot = None if op is None else _copied_slot(draft, op)
        if slot is not None and _merge(draft, number, op.inputs[slot], op.outputs[0]):
            notes.removed.append(f"{_where(number, op)}: copies and changes nothing")
            found = True
    return found


def _copied_slot(draft: Draft, op: Operator) -> int | None:
    """The input whose bytes an operator copies whole and in order; None for all other operators."""
    if op.name not in COPIES or len(op.outputs) != 1:
        return None
    data = [slot for slot, index in enumerate(op.inputs) if index >= 0]
    if op.name in ("CONCATENATION", "PACK"):
        if len(data) != 1:
            return None
        slot = data[0]
    else:
        slot = 1 if op.name == "SPLIT" else 0
    x, output = draft.tensors[op.inputs[slot]], draft.tensors[op.outputs[0]]
    if not same_values(x, output) or x.elements != output.elements or x.is_constant:
        return None
    if op.name == "STRIDED_SLICE" and not _goes_forward(draft, op):
        return None
    if op.name == "TRANSPOSE" and not _keeps_order(draft, op, x):
        return None
    return slot


def _goes_forward(draft: Draft, op: Operator) -> bool:
    """All strides are positive: with as many elements in as out, nothing is left out or moved."""
    strides = draft.tensors[op.inputs[3]]
    return strides.is_constant and bool((strides.array() > 0).all())


def _keeps_order(draft: Draft, op: Operator, x: Tensor) -> bool:
    """Only dimensions of size 1 change their places."""
    order = draft.tensors[op.inputs[1]]
    if not order.is_constant:
        return False
    axes = [int(axis) % len(x.shape) for axis in order.array().reshape(-1)] if x.shape else []
    long = [axis for axis in axes if x.shape[axis] > 1]
    return long == sorted(long)


def _merge(draft: Draft, number: int, source: int, copy: int) -> bool:
    """Let one tensor stand for an operator's input and output and remove the operator."""
    if not draft.is_frozen(source) or not draft.is_frozen(copy):
        return False
    if not draft.is_plain(copy) and not draft.is_plain(source):
        return False
    stays, goes = (source, copy) if draft.is_plain(copy) else (copy, source)
    for shape in dict.fromkeys((draft.tensors[stays].shape, draft.tensors[goes].shape)):
        attempt = Shapes(draft, number, {goes: stays})
        if attempt.assign(stays, shape) and attempt.settle():
            break
    else:
        return False
    draft.put(number, None)
    attempt.apply()
    draft.replace_inputs(goes, stays)
    for writer in draft.writers.get(goes, ()):
        op = draft.operators[writer]
        if op is not None:
            outputs = tuple(stays if i == goes else i for i in op.outputs)
            draft.put(writer, dataclasses.replace(op, outputs=outputs))
    return True


def _drop_shape_inputs(draft: Draft, notes: _Notes) -> bool:
    found = False
    for number, op in enumerate(draft.operators):
        if op is None or op.name != "RESHAPE" or len(op.inputs) != 2:
            continue
        shape = draft.tensors[op.outputs[0]].shape
        if shape == (0,) or not draft.tensors[op.inputs[1]].is_constant:
            continue
        draft.put(number, without_shape_input(op, shape))
        found = True
    if found:
        notes.removed.append("shape inputs of RESHAPE, which TFLM does not read")
    return found


# Per-channel weights


def per_channel_to_per_tensor(model: Model) -> Fused:
    """FULLY_CONNECTED with one scale for all channels; this changes numbers.

    TFLM keeps a multiplier and a shift for each channel of each such operator in the arena, 8 bytes
    a channel. The scale that stays is the largest one; weights and biases are rounded to it anew.
    """
    notes = _Notes(True, [], [], [])
    drafts = [Draft.of(graph) for graph in model.subgraphs]
    for draft in drafts:
        for number, op in enumerate(draft.operators):
            if op.name == "FULLY_CONNECTED":
                _one_scale(draft, number, op, notes)
    result, _ = with_drafts(model, drafts)
    count = sum(len(graph.tensors) for graph in model.subgraphs)
    operators = model.operator_count
    return Fused(result, (), tuple(notes.changes), (), operators, operators, count, count)


def _one_scale(draft: Draft, number: int, op: Operator, notes: _Notes) -> None:
    x, weights = draft.tensors[op.inputs[0]], draft.tensors[op.inputs[1]]
    scales = np.array(weights.quantization.scale, np.float64)
    if scales.size < 2 or weights.dtype is not DType.INT8 or not weights.is_constant:
        return
    rows = weights.array().astype(np.float64).reshape(scales.size, -1) * scales[:, None]
    scale = float(np.float32(np.abs(rows).max() / 127)) or float(np.float32(scales.max()))
    values = np.rint(rows / scale).clip(-127, 127).astype(np.int8)
    inputs = list(op.inputs)
    inputs[1] = draft.add_tensor(
        dataclasses.replace(
            weights, quantization=Quantization((scale,), (0,)), data=values.tobytes()
        )
    )
    if len(inputs) > 2 and inputs[2] >= 0:
        bias = draft.tensors[inputs[2]]
        limits = np.iinfo(bias.dtype.numpy)
        old = bias.array().astype(np.float64) * scales * x.scale
        new = np.rint(old / (x.scale * scale)).clip(limits.min, limits.max)
        inputs[2] = draft.add_tensor(
            dataclasses.replace(
                bias,
                quantization=Quantization((float(np.float32(x.scale * scale)),), (0,)),
                data=new.astype(bias.dtype.numpy).tobytes(),
            )
        )
    draft.put(number, dataclasses.replace(op, inputs=tuple(inputs)))
    worst = float(np.abs(values * scale - rows).max())
    notes.changes.append(
        f"{_where(number, op)}: {scales.size} scales become one, {scale:.4g}; "
        f"weights move by up to {worst:.4g}"
    )
