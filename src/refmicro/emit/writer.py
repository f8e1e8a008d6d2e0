"""The three files of an emitted model, from its unit and its plan."""

from __future__ import annotations

import re

from refmicro.emit import c_text
from refmicro.emit.c_text import comment, integer
from refmicro.emit.helpers import needed
from refmicro.emit.plan import WIDE_ALIGNMENT_BYTES, Plan
from refmicro.emit.unit import Op, Place, Statement, StatePlace, TensorPlace, Unit
from refmicro.mema.kernel import header as mema_header
from refmicro.types import DType, Tensor


def write(unit: Unit, ops: list[Op], plan: Plan, name: str) -> dict[str, str]:
    """Text by file name."""
    texts = {
        f"{name}.h": _header(unit, plan, name),
        f"{name}.c": _source(unit, ops, plan, name),
        f"{name}_data.h": _data(unit, name),
    }
    if _uses_mema(unit):
        texts["mema.h"] = mema_header()
    return {key: re.sub(r"[ \t]+\n", "\n", text) for key, text in texts.items()}


def statements(op: Op, plan: Plan) -> list[Statement]:
    """What an operator does; nothing where its output already lies over its input."""
    if op.is_view:
        source, output = op.input(0), op.output()
        if source.where is not None and plan.offsets[source.where] == plan.offsets[output.where]:
            return []
    return op.statements


def called(op: Op, plan: Plan) -> list[str]:
    """Names of the functions that an operator calls."""
    return [statement.text.split("(")[0] for statement in statements(op, plan)]


# The header


def _header(unit: Unit, plan: Plan, name: str) -> str:
    upper = name.upper()
    graph = unit.program.model.subgraphs[0]
    lines = []
    for kind, indices in (("INPUT", graph.inputs), ("OUTPUT", graph.outputs)):
        lines.append(f"#define {upper}_{kind}S {len(indices)}u")
        for number, index in enumerate(indices):
            tensor = graph.tensors[index]
            lines.append(f"/* {kind.lower()} {number}: {_described(tensor)} */")
            lines.append(f"#define {upper}_{kind}_{number}_ELEMENTS {tensor.elements}u")
            lines.append(f"#define {upper}_{kind}_{number}_BYTES {tensor.nbytes}u")
    shapes = "\n".join(lines)
    return f"""\
/* {name}: a model as C99, made by refmicro. Do not edit.

   Write the inputs, call {name}_invoke(), read the outputs. Inputs and outputs lie in one static
   arena: an invocation may overwrite its inputs. State is kept from one invocation to the next
   until {name}_reset(), which also must be called once before the first invocation. */

#ifndef {upper}_H
#define {upper}_H

/* Static memory, in bytes; all there is but the stack. State lives on between invocations. */
#define {upper}_ARENA_BYTES {plan.arena_bytes}u
#define {upper}_STATE_BYTES {plan.state_bytes}u

{shapes}

/* State as TFLM resets it. */
void {name}_reset(void);

/* Runs the model once. */
void {name}_invoke(void);

/* Where an input or output lies, and its bytes; a null pointer and 0 beyond the last one. */
void *{name}_input(unsigned index);
void *{name}_output(unsigned index);
unsigned {name}_input_bytes(unsigned index);
unsigned {name}_output_bytes(unsigned index);

#endif
"""


def _described(tensor: Tensor) -> str:
    shape = " x ".join(map(str, tensor.shape)) or "scalar"
    label = f" '{comment(tensor.name)}'" if tensor.name else ""
    text = f"{c_text.TYPES[tensor.dtype]} {shape}{label}"
    if tensor.quantization.is_affine:
        text += f", scale {tensor.scale!r}, zero point {tensor.zero_point}"
    return text


# The data


def _uses_mema(unit: Unit) -> bool:
    return any("struct mema_weights" in text for text in unit.constants.values())


def _data(unit: Unit, name: str) -> str:
    mema = '#include "mema.h"\n' if _uses_mema(unit) else ""
    arrays = c_text.fitted("\n".join(unit.constants.values()))
    total = sum(unit.constant_bytes.values())
    upper = name.upper()
    return f"""\
/* Weights and tables of {name}: {total} bytes. Made by refmicro. Do not edit. */

#ifndef {upper}_DATA_H
#define {upper}_DATA_H

#include <stdint.h>
{mema}
{arrays}
#endif
"""


# The source


def _source(unit: Unit, ops: list[Op], plan: Plan, name: str) -> str:
    upper = name.upper()
    floats = "#include <float.h>\n#include <math.h>\n" if _uses_math(unit) else ""
    functions = c_text.fitted("\n".join(unit.functions.values()))
    graphs = c_text.fitted(_graphs(unit, ops, plan, upper))
    reset = _reset(unit, plan, name)
    helpers = needed("\n".join([functions, graphs, reset]))
    word = "int64_t" if plan.alignment == WIDE_ALIGNMENT_BYTES else "int32_t"
    return f"""\
/* The operators of {name}. Made by refmicro. Do not edit. */

#include "{name}.h"

#include <stdint.h>
{floats}
#include "{name}_data.h"

/* Called before each operator with its number within the model; for counting and tracing. */
#ifndef {upper}_OPERATOR
#define {upper}_OPERATOR(number) ((void)0)
#endif

/* The arena's bytes serve values of different types, one after another. */
#if defined(__GNUC__)
#define ARENA_TYPE __attribute__((__may_alias__))
#else
#define ARENA_TYPE
#endif
{_arena_types(helpers + functions)}
static union {{
    {word} alignment;
    uint8_t bytes[{max(1, plan.arena_bytes)}];
}} arena;

#define AT(offset) ((void *)(arena.bytes + (offset)))

{helpers}
{functions}
{graphs}
{reset}
void {name}_invoke(void)
{{
    subgraph_0();
}}

{_accessors(unit, plan, name)}"""


def _uses_math(unit: Unit) -> bool:
    texts = [*unit.functions.values(), *unit.constants.values()]
    return any(word in text for text in texts for word in ("INFINITY", "NAN", "sqrtf"))


def _arena_types(text: str) -> str:
    names = ("int16_t", "uint16_t", "int32_t", "uint32_t", "int64_t", "uint64_t", "float")
    used = [name for name in names if f"arena_{name} " in text]
    return "".join(f"typedef {name} ARENA_TYPE arena_{name};\n" for name in used)


def _graphs(unit: Unit, ops: list[Op], plan: Plan, upper: str) -> str:
    """A function for each subgraph that runs, those that others call first."""
    runs = sorted({op.node.subgraph for op in ops} | {0})
    calls = {
        graph: [callee for op in ops if op.node.subgraph == graph for callee in op.node.subgraphs]
        for graph in runs
    }
    order: list[int] = []

    def visit(graph: int) -> None:
        if graph not in order:
            for callee in calls.get(graph, []):
                visit(callee)
            order.append(graph)

    visit(0)
    numbers = {id(op): number for number, op in enumerate(ops)}
    texts = []
    for graph in order:
        own = [op for op in ops if op.node.subgraph == graph]
        lines = [line for op in own for line in _invoked(op, plan, upper, numbers[id(op)])]
        body = c_text.indented("\n".join(lines))
        texts.append(f"static void subgraph_{graph}(void)\n{{\n{body}\n}}\n")
    return "\n".join(texts)


def _invoked(op: Op, plan: Plan, upper: str, number: int) -> list[str]:
    found = statements(op, plan)
    lines = [f"/* {number}: {comment(op.node.name)} */"]
    if found:
        lines.append(f"{upper}_OPERATOR({number});")
    lines += [resolved(statement, plan) for statement in found]
    return lines


def resolved(statement: Statement, plan: Plan) -> str:
    """The statement's text with addresses."""
    return statement.text.format(*(address(place, plan) for place in statement.places))


def address(place: Place, plan: Plan) -> str:
    """A pointer to a place."""
    return f"AT({plan.offsets[place]})"


def _reset(unit: Unit, plan: Plan, name: str) -> str:
    """Variable tensors as TFLM's `ResetTensorData`, resource variables, what operators keep."""
    lines = []
    for graph, subgraph in enumerate(unit.program.model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            if tensor.is_variable:
                points = tensor.quantization.zero_point
                value = points[0] & 0xFF if tensor.dtype is DType.INT8 and points else 0
                where = address(TensorPlace(graph, index), plan)
                lines.append(f"filled({where}, {value}, {tensor.nbytes});")
    for place, state in unit.states.items():
        if state.reset is not None:
            lines += _reset_state(unit, place, state.reset, plan)
    body = c_text.indented("\n".join(lines))
    return f"void {name}_reset(void)\n{{\n{body}\n}}\n"


def _reset_state(unit: Unit, place: StatePlace, data: bytes, plan: Plan) -> list[str]:
    where = address(place, plan)
    if len(set(data)) <= 1:
        return [f"filled({where}, {data[0] if data else 0}, {len(data)});"]
    values = ", ".join(integer(value) for value in data)
    return [
        "{",
        f"    static const uint8_t first[{len(data)}] = {{{values}}};",
        f"    copied({where}, first, {len(data)});",
        "}",
    ]


def _accessors(unit: Unit, plan: Plan, name: str) -> str:
    graph = unit.program.model.subgraphs[0]
    texts = []
    for kind, indices in (("input", graph.inputs), ("output", graph.outputs)):
        places = [address(TensorPlace(0, index), plan) for index in indices]
        sizes = [f"{graph.tensors[index].nbytes}u" for index in indices]
        texts.append(_switch(f"void *{name}_{kind}(unsigned index)", places, "0"))
        texts.append(_switch(f"unsigned {name}_{kind}_bytes(unsigned index)", sizes, "0u"))
    return "\n".join(texts)


def _switch(head: str, values: list[str], other: str) -> str:
    cases = "".join(f"    case {i}u: return {value};\n" for i, value in enumerate(values))
    return f"{head}\n{{\n    switch (index) {{\n{cases}    default: return {other};\n    }}\n}}\n"
