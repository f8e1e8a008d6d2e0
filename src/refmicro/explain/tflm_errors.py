"""What TFLM's error lines mean, and what to do about them.

Each entry is a line that TFLM prints, as a pattern, with where it comes from. A program prints
several: the first one says what happened, those after it only that something above failed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from refmicro.errors import UsageError


@dataclass(frozen=True)
class Line:
    """One line that TFLM can print.

    Attributes:
        pattern: a regular expression; named groups are used in the texts.
        meaning: what happened.
        remedy: what to do.
        source: the file of TFLM that prints it.
    """

    pattern: str
    meaning: str
    remedy: str
    source: str


@dataclass(frozen=True)
class LineExplanation:
    """A line that was recognised, with its own numbers in the texts."""

    line: str
    meaning: str
    remedy: str
    source: str


_ARENA = "tensorflow/lite/micro/arena_allocator/single_arena_buffer_allocator.cc"
_ALLOCATOR = "tensorflow/lite/micro/micro_allocator.cc"
_INTERPRETER = "tensorflow/lite/micro/micro_interpreter.cc"
_GRAPH = "tensorflow/lite/micro/micro_interpreter_graph.cc"
_INFO = "tensorflow/lite/micro/micro_allocation_info.cc"
_RESOLVER = "tensorflow/lite/micro/micro_op_resolver.cc"
_MUTABLE = "tensorflow/lite/micro/micro_mutable_op_resolver.h"
_RESOURCES = "tensorflow/lite/micro/micro_resource_variable.cc"
_PLANNER = "tensorflow/lite/micro/memory_planner/greedy_memory_planner.cc"

_LARGER = (
    "`refmicro estimate MODEL` says how large the arena must be (`required_bytes`), "
    "`refmicro transform MODEL -o OUT --fuse --reorder --plan` makes that less"
)

LINES: tuple[Line, ...] = (
    Line(
        r"Didn't find op for builtin opcode '(?P<name>[^']*)'",
        "the op resolver does not know {name}: the model uses it and nobody registered it",
        "add it to the MicroMutableOpResolver; `refmicro lint MODEL` writes the code that "
        "registers all that the model needs, and says whether TFLM has {name} at all",
        _RESOLVER,
    ),
    Line(
        r"Failed to get registration from op code (?P<name>\S+)",
        "the operator {name} has no registration in the op resolver",
        "register it, see `refmicro lint MODEL`; the line before this one names builtin operators",
        _INTERPRETER,
    ),
    Line(
        r"Operator with CUSTOM builtin_code has no custom_code",
        "an operator code of the model says CUSTOM and has no name",
        "the file is damaged, or its converter left the name out: convert it again",
        _RESOLVER,
    ),
    Line(
        r"Op builtin_code out of range: (?P<code>-?\d+)",
        "the model uses operator code {code}, which this version of TFLM does not know",
        "the converter is newer than TFLM: update TFLM, or convert with an older TensorFlow",
        _RESOLVER,
    ),
    Line(
        r"Couldn't register builtin op #(?P<number>\d+)|"
        r"Couldn't register custom op|is too small \((?P<size>\d+)\)|resolver size is too",
        "the op resolver was made for fewer operators than are added to it",
        "raise the template argument: MicroMutableOpResolver<N>, where N counts all that is added",
        _MUTABLE,
    ),
    Line(
        r"Calling Add(Builtin|Custom) (with|for) the same op more than",
        "one operator is registered twice",
        "remove one of both calls",
        _MUTABLE,
    ),
    Line(
        r"Failed to resize buffer\. Requested: (?P<want>\d+), available (?P<have>\d+), "
        r"missing: (?P<missing>\d+)",
        "the plan of all tensors needs {want} bytes, and {have} are left below the tail: "
        "{missing} too few",
        f"make the arena at least {{missing}} bytes larger; {_LARGER}",
        _ARENA,
    ),
    Line(
        r"Failed to allocate tail memory\. Requested: (?P<want>\d+), available (?P<have>\d+), "
        r"missing: (?P<missing>\d+)",
        "something that stays (structs, operator data, variables) needs {want} bytes, and {have} "
        "are free: {missing} too few, and more may be needed after it",
        f"make the arena larger; {_LARGER}",
        _ARENA,
    ),
    Line(
        r"Failed to allocate temp memory\. Requested: (?P<want>\d+), available (?P<have>\d+), "
        r"missing: (?P<missing>\d+)",
        "memory that is needed only while TFLM prepares or plans does not fit: {want} bytes of "
        "which {missing} are missing",
        "make the arena larger, even where `arena_used_bytes()` is less: while it plans, TFLM "
        f"holds an entry for every tensor; {_LARGER}",
        _ARENA,
    ),
    Line(
        r"Failed to allocate memory for memory planning, (?P<want>\d+) bytes required",
        "the planner's list of all tensors and scratch buffers, {want} bytes, does not fit",
        f"make the arena larger, or have fewer tensors; {_LARGER}",
        _INFO,
    ),
    Line(
        r"Failed to allocate memory for context->(?P<what>\w+)|"
        r"Failed to allocate memory for (?P<other>node_and_registrations|model metadata)|"
        r"Failed to allocate memory for persistent TfLiteTensor|"
        r"Failed to allocate temp\. memory for tensor|Unable to allocate TfLiteAffineQuantization|"
        r"Failed to allocate variable tensor",
        "the arena is too small for what TFLM keeps for each tensor and operator",
        f"make the arena larger; {_LARGER}",
        _ALLOCATOR,
    ),
    Line(
        r"Failed starting model allocation",
        "AllocateTensors failed at its beginning; a line before this one says why",
        "read the first line that was printed, most often about memory",
        _INTERPRETER,
    ),
    Line(
        r"Invoke\(\) called after initialization failed",
        "the interpreter could not be made, and Invoke was called all the same",
        "check what AllocateTensors returns before Invoke; lines before this one say what failed",
        _INTERPRETER,
    ),
    Line(
        r"Node (?P<name>\S+) \(number (?P<number>\d+)f?\) failed to prepare",
        "operator {number}, {name}, refuses its shapes, types or options",
        "`refmicro lint MODEL` says what exactly it refuses and what to write instead",
        _GRAPH,
    ),
    Line(
        r"Node (?P<name>\S+) \(number (?P<number>\d+)f?\) failed to invoke",
        "operator {number}, {name}, failed while it ran",
        "`refmicro run` and `refmicro check MODEL` show whether it does so with these inputs",
        _GRAPH,
    ),
    Line(
        r"Op#(?P<number>\d+) \((?P<name>[^)]*)\) of subgraph (?P<graph>\d+) has dynamic tensor|"
        r"Dynamic tensors are not supported",
        "a tensor's shape is known only when the model runs, and TFLM cannot plan for that",
        "convert with fixed shapes: a concrete function with a batch of 1, no RESHAPE to a "
        "computed shape",
        _GRAPH,
    ),
    Line(
        r"Nbr of offline buffer offsets \((?P<have>\d+)\) in metadata not equal nbr tensors "
        r"\((?P<want>\d+)\)",
        "the model's offline plan is for {have} tensors, the model has {want}: it was changed "
        "after it was planned",
        "plan it again: `refmicro transform MODEL -o OUT --plan`",
        _INFO,
    ),
    Line(
        r"Scratch buffer request exceeds limit per operator \((?P<most>\d+)\)",
        "an operator asks for more than {most} scratch buffers",
        "kMaxScratchBuffersPerOp is a limit of TFLM's build, and custom operators must keep to it",
        _ALLOCATOR,
    ),
    Line(
        r"Too many buffers \(max is (?P<most>\d+)\)",
        "the memory planner has room for {most} buffers only",
        "TFLM gives the planner what is free while it plans: make the arena larger",
        _PLANNER,
    ),
    Line(
        r"Failed to allocate resource variable\. Maximum resource variable count|"
        r"Attempting to read non-existent resource variable|"
        r"ResourceVariables and pass it to the interpreter",
        "the model has more resource variables than the interpreter was given room for",
        "MicroResourceVariables::Create(allocator, N), passed to the interpreter, with N as large "
        "as the model needs; or put the state into variable tensors: `refmicro transform MODEL -o "
        "OUT --stream variable`",
        _RESOURCES,
    ),
    Line(
        r"(Input|Output|Filter) type (?P<type>\w+) \(-?\d+\) not supported|"
        r"(Type|type|Data type) '?(?P<kind>\w+)'? (\(-?\d+\) )?(is )?not (currently )?supported|"
        r"Input (?P<input>\w+), output (?P<output>\w+) not supported|"
        r"Filter type \w+ \(-?\d+\) for input type \w+ not supported",
        "an operator's kernel in TFLM is not written for these types",
        "`refmicro lint MODEL` names the operator and what it takes; most often the model was not "
        "quantized to integers throughout",
        "tensorflow/lite/micro/kernels/",
    ),
    Line(
        r"(?P<file>[\w./]+\.(cc|h)):(?P<number>\d+) (?P<what>.+) was not true",
        "a check in {file}, line {number}, failed: it wanted {what}",
        "the line that follows names the operator; `refmicro lint MODEL` says the same in words",
        "tensorflow/lite/core/c/common.h",
    ),
    Line(
        r"(?P<file>[\w./]+\.(cc|h)):(?P<number>\d+) (?P<left>\S+) != (?P<right>\S+) "
        r"\((?P<a>[^)]*?) != (?P<b>[^)]*)\)",
        "a check in {file}, line {number}, failed: {left} is {a} where {right}, {b}, was wanted",
        "the line that follows names the operator; `refmicro lint MODEL` says the same in words",
        "tensorflow/lite/core/c/common.h",
    ),
    Line(
        r"(Input|Output) index (?P<index>\d+) out of range \(length is (?P<count>\d+)\)",
        "the program asks for input or output {index}, and the model has {count}",
        "count from 0; `refmicro estimate MODEL` lists them",
        _INTERPRETER,
    ),
    Line(
        r"All temp buffers must be freed before|Number of allocated temp buffers",
        "an operator took a temporary tensor and did not give it back",
        "in a custom operator, each AllocateTemp...Tensor needs its DeallocateTempTfLiteTensor",
        _ARENA,
    ),
    Line(
        r"Unsupported behavior: found builtin operator (?P<name>\S+) with custom options",
        "{name} is a builtin operator, and the model gives it options of a custom one",
        "the converter did that: convert again without custom operators of this name",
        _INTERPRETER,
    ),
    Line(
        r"Model provided is schema version (?P<have>\d+) not equal to supported version "
        r"(?P<want>\d+)",
        "the first bytes of the model say version {have}, and TFLM reads version {want}",
        "most often the bytes are no model, or not where the program looks: check the array and "
        "its alignment to 16 bytes, and `refmicro estimate` on the file",
        "tensorflow/lite/micro/examples/person_detection/main_functions.cc",
    ),
    Line(
        r"Did not find a parser for (?P<name>\S+)",
        "{name} is registered without the function that reads its options",
        "register it with its own Add...() method, not by a registration alone",
        _INTERPRETER,
    ),
)


def explain_line(text: str) -> tuple[LineExplanation, ...]:
    """What lines of TFLM's output mean, those that are known, in order.

    Args:
        text: one line or several.

    Raises:
        UsageError: if none of them is known.
    """
    found = []
    joined = re.sub(r"[ \t]*\n(?=Dynamic tensors)", " ", text)
    for line in joined.splitlines():
        for item in LINES:
            match = re.search(item.pattern, line)
            if match is not None:
                names = {name: value or "it" for name, value in match.groupdict().items()}
                texts = (item.meaning.format(**names), item.remedy.format(**names))
                found.append(LineExplanation(line.strip(), *texts, item.source))
                break
    if not found:
        raise UsageError(
            "not a line of TFLM that is known here",
            hint="give it as TFLM prints it, such as \"Didn't find op for builtin opcode 'EXP'\"",
        )
    return tuple(found)
