"""Lines of TFLM: real ones are recognised, each pattern has one, and nothing else is."""

from __future__ import annotations

import re

import pytest

from refmicro import bridge
from refmicro.errors import UsageError
from refmicro.explain.tflm_errors import LINES, explain_line
from tests.models import ALL

EXAMPLES = {
    "Didn't find op for builtin opcode 'EXP'": "does not know EXP",
    "Failed to get registration from op code CUSTOM": "has no registration",
    "Operator with CUSTOM builtin_code has no custom_code.": "has no name",
    "Op builtin_code out of range: 206.": "operator code 206",
    "Couldn't register builtin op #9, resolver size is too small (5).": "made for fewer",
    "Calling AddBuiltin with the same op more than once is not supported": "registered twice",
    "Failed to resize buffer. Requested: 900, available 800, missing: 100": "100 too few",
    "Failed to allocate tail memory. Requested: 96, available 88, missing: 8": "8 too few",
    "Failed to allocate temp memory. Requested: 96, available 88, missing: 8": "8 are missing",
    "Failed to allocate memory for memory planning, 4800 bytes required": "4800 bytes",
    "Failed to allocate memory for context->eval_tensors, 960 bytes required": "too small",
    "Failed to allocate variable tensor of size 2048": "too small",
    "Failed starting model allocation.": "failed at its beginning",
    "Invoke() called after initialization failed": "could not be made",
    "Node CONV_2D (number 3) failed to prepare with status 1": "operator 3, CONV_2D, refuses",
    "Node DIV (number 17f) failed to invoke with status 1": "operator 17, DIV, failed while",
    "Op#1 (RESHAPE) of subgraph 0 has dynamic tensor #4": "only when the model runs",
    "Nbr of offline buffer offsets (40) in metadata not equal nbr tensors (37)": "40 tensors",
    "Scratch buffer request exceeds limit per operator (12)": "more than 12",
    "Too many buffers (max is 30)": "room for 30",
    "Failed to allocate resource variable. Maximum resource variable count (2) reached.": "more",
    "Type FLOAT32 (1) not supported.": "not written for these types",
    "Input INT8, output INT32 not supported.": "not written for these types",
    "tensorflow/lite/micro/kernels/conv_common.cc:93 input->type == filter->type was not true.": (
        "conv_common.cc, line 93"
    ),
    "kernels/add_common.cc:51 input1->type != output->type (INT8 != FLOAT32)": "is INT8 where",
    "Output index 2 out of range (length is 1)": "input or output 2",
    "All temp buffers must be freed before calling ResetTempAllocations()": "give it back",
    "Unsupported behavior: found builtin operator ADD with custom options.": "options of a custom",
    "Model provided is schema version 0 not equal to supported version 3.": "say version 0",
    "Did not find a parser for SVDF": "without the function",
}


@pytest.mark.parametrize("line", sorted(EXAMPLES))
def test_lines_are_explained(line: str) -> None:
    (found,) = explain_line(line)
    assert EXAMPLES[line] in found.meaning
    assert "{" not in found.meaning + found.remedy
    assert found.source.startswith("tensorflow/lite/")


def test_every_pattern_has_an_example_and_its_own() -> None:
    used = {explain_line(line)[0].source + explain_line(line)[0].meaning[:9] for line in EXAMPLES}
    assert len(used) >= len(LINES) - 2
    for item in LINES:
        assert any(re.search(item.pattern, line) for line in EXAMPLES), item.pattern


def test_several_lines_keep_their_order() -> None:
    lines = "noise\nDidn't find op for builtin opcode 'EXP'\nFailed starting model allocation.\n"
    found = explain_line(lines)
    assert [item.line for item in found] == lines.splitlines()[1:]


def test_other_lines_are_not_known() -> None:
    with pytest.raises(UsageError, match="not a line of TFLM"):
        explain_line("Segmentation fault")


@pytest.mark.oracle
def test_what_tflm_prints_is_known() -> None:
    """A model with an operator that TFLM lacks, and an arena that is too small."""
    refused = bridge.oracle_run(ALL["p_exp_int8"].read_bytes(), [], arena=False).refused
    assert refused is not None
    assert any("EXP" in item.meaning for item in explain_line(str(refused)))
    data = ALL["person_detect"].read_bytes()
    small = bridge.oracle_run(data, [], arena=False, arena_bytes=40_000).refused
    assert small is not None
    assert any("too few" in item.meaning for item in explain_line(str(small)))
