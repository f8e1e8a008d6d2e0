"""C99 as text: types, literals, arrays of constants.

Everything here is deterministic: equal values give equal text.
"""

from __future__ import annotations

import re

import numpy as np

from refmicro.types import DType

TYPES = {
    DType.FLOAT32: "float",
    DType.INT32: "int32_t",
    DType.UINT8: "uint8_t",
    DType.INT64: "int64_t",
    DType.BOOL: "uint8_t",
    DType.INT16: "int16_t",
    DType.INT8: "int8_t",
    DType.UINT64: "uint64_t",
    DType.RESOURCE: "int32_t",
    DType.UINT32: "uint32_t",
    DType.UINT16: "uint16_t",
    DType.INT4: "int8_t",
}
"""C types of tensor elements; what is not here cannot be emitted."""

NUMPY_TYPES = {
    np.dtype(np.int8): "int8_t",
    np.dtype(np.uint8): "uint8_t",
    np.dtype(np.int16): "int16_t",
    np.dtype(np.uint16): "uint16_t",
    np.dtype(np.int32): "int32_t",
    np.dtype(np.uint32): "uint32_t",
    np.dtype(np.int64): "int64_t",
    np.dtype(np.uint64): "uint64_t",
    np.dtype(np.float32): "float",
    np.dtype(np.bool_): "uint8_t",
}

LINE_CHARACTERS = 96

_WORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int
long main register restrict return short signed sizeof static struct switch typedef union unsigned
void volatile while
"""

KEYWORDS = frozenset(_WORDS.split())

_FILE_NAMES = """
board golden_model golden_runner link mema refmicro_marks runner stdint string
"""

_FILES = frozenset(_FILE_NAMES.split())
"""Files beside a model's own, of which it must not overwrite or hide one."""


def identifier(text: str) -> str:
    """A C identifier made of any text: other characters become underscores, case stays."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII).strip("_") or "model"
    name = f"model_{name}" if name[0].isdigit() else name
    return f"{name}_model" if _is_taken(name) else name


def is_identifier(text: str) -> bool:
    """Whether the text can name C functions, and files beside refmicro's, without trouble."""
    return re.fullmatch(r"[A-Za-z]\w*", text, re.ASCII) is not None and not _is_taken(text)


def _is_taken(name: str) -> bool:
    return name in KEYWORDS or name.lower() in _FILES


def integer(value: int) -> str:
    """A literal of int32, or of int64 where the value needs it."""
    value = int(value)
    if value == -(2**31):
        return "(-2147483647 - 1)"
    if value == -(2**63):
        return "(-9223372036854775807LL - 1)"
    if -(2**31) < value < 2**31:
        return str(value)
    return f"{value}LL" if value < 2**63 else f"{value}ULL"


def real(value: float) -> str:
    """A float32 literal; hexadecimal, so that no digit is lost. Infinities and NaN by macros."""
    value = float(np.float32(value))
    if value != value:
        return "NAN"
    if value in (float("inf"), float("-inf")):
        return "-INFINITY" if value < 0 else "INFINITY"
    return f"{value.hex()}f"


def plus(expression: str, value: int) -> str:
    """`expression + value`, in brackets unless nothing is added."""
    if value == 0:
        return expression
    return f"({expression} {'+' if value > 0 else '-'} {integer(abs(value))})"


def array(c_type: str, name: str, values: np.ndarray) -> str:
    """`static const TYPE NAME[N] = {...};` of all values in order."""
    flat = values.reshape(-1)
    if flat.dtype.kind == "f":
        items = [real(value) for value in flat.tolist()]
    else:
        items = [integer(value) for value in flat.tolist()]
    return f"static const {c_type} {name}[{len(items)}] = {{\n{wrapped(items)}\n}};\n"


def aligned_array(name: str, values: np.ndarray) -> str:
    """The same of int8, as `NAME.values`, at a multiple of four bytes."""
    items = [integer(value) for value in values.reshape(-1).tolist()]
    head = f"static const union {{ int8_t values[{len(items)}]; int32_t alignment; }} {name} = {{{{"
    return f"{head}\n{wrapped(items)}\n}}}};\n"


def wrapped(items: list[str]) -> str:
    """Items with commas, in lines of at most `LINE_CHARACTERS`."""
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > LINE_CHARACTERS:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([*lines, line])


def fitted(text: str) -> str:
    """C code with long lines broken where that changes nothing; strings and `#` lines stay."""
    return "\n".join(part for line in text.split("\n") for part in _broken(line))


def _broken(line: str) -> list[str]:
    indent = len(line) - len(line.lstrip())
    parts = []
    while len(line) > LINE_CHARACTERS and not (set('"#') & set(line) or "/*" in line):
        places = [match.end() for match in _BREAKS.finditer(line, indent, LINE_CHARACTERS + 1)]
        if not places:
            break
        parts.append(line[: places[-1]].rstrip())
        line = " " * (indent + 4) + line[places[-1] :].lstrip()
        indent = len(line) - len(line.lstrip()) - 4
    return [*parts, line]


_BREAKS = re.compile(r", | = | (?=[-+*/?:&|<>] )|\((?=\()")
"""Behind a comma or an assignment, before an operator, between brackets."""


def comment(text: str) -> str:
    """Text that ends no comment and is printable ASCII."""
    text = text.replace("*/", "* /").replace("/*", "/ *")
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def indented(text: str, levels: int = 1) -> str:
    """All lines that are not empty moved to the right."""
    pad = "    " * levels
    return "\n".join(f"{pad}{line}" if line else "" for line in text.split("\n"))
