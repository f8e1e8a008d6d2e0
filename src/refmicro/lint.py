"""What TFLM will refuse in a model, said before it is flashed, and what to write instead.

The verdict is that of each operator's own `prepare`, the same code that the interpreter and the
estimate run; this file adds advice, notes on what runs but costs, and the resolver's C++ code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from refmicro.errors import UnsupportedError
from refmicro.model.graph import Model, Operator, Subgraph
from refmicro.program import place, prepare_model
from refmicro.types import TflmBuild

_ADVICE = {
    "EXP": "exp(x) of x <= 0 is ELU(x) + 1, and ELU has an int8 kernel; for the decay of a "
    "state-space model with A = -n, exp(dt * A) is sigmoid(-z)^n when dt = softplus(z)",
    "LOG": "keep it out of the integer part, or use a table: GATHER on a constant of 256 values",
    "GELU": "x * LOGISTIC(1.702 * x) has int8 and int16 kernels",
    "NEG": "fold the sign into the next MUL, or SUB from a constant 0",
    "SQRT": "RSQRT has an int8 kernel: sqrt(x) = x * RSQRT(x)",
    "SQUARE": "MUL(x, x) has int8 and int16 kernels",
    "SIN": "use a table: GATHER on a constant of 256 values",
    "COS": "use a table: GATHER on a constant of 256 values",
    "POW": "MUL, repeated",
    "SWISH": "x * LOGISTIC(x), or HARD_SWISH",
    "CONCATENATION": "join in a tree of at most 10 inputs each, or PACK, which has no limit",
    "FULLY_CONNECTED": "hybrid layers (float input, int8 filter) need full-integer quantization: "
    "give the converter a representative dataset",
    "CONV_2D": "hybrid layers need full-integer quantization: give the converter a representative "
    "dataset",
    "BATCH_MATMUL": "both operands must have one type",
    "LSTM": "convert with unroll=False and a fixed batch of 1, so that it becomes "
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "TOPK_V2": "ARG_MAX, or sort outside of the model",
    "SOFTPLUS": "ELU(z) + 1 or LOGISTIC(z) after training with it in place",
}

_METHODS = {
    "CONV_2D": "AddConv2D",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "MAX_POOL_2D": "AddMaxPool2D",
    "L2_POOL_2D": "AddL2Pool2D",
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
    "CIRCULAR_BUFFER": "AddCircularBuffer",
    "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    "TFLM_DECODE": "AddDecode",
    "SignalPCAN": "AddPCAN",
}
"""Methods of `MicroMutableOpResolver` that do not follow from the operator's name.

Source: `tensorflow/lite/micro/micro_mutable_op_resolver.h`.
"""


@dataclass(frozen=True)
class Finding:
    """One thing to know: `error` where TFLM refuses, `note` where it runs but costs."""

    severity: str
    subgraph: int
    operator: int
    name: str
    message: str
    advice: str = ""


@dataclass(frozen=True)
class LintReport:
    """All findings of a model and the code that registers its operators."""

    findings: tuple[Finding, ...]
    resolver: str

    @property
    def refused(self) -> bool:
        """Whether TFLM refuses the model."""
        return any(finding.severity == "error" for finding in self.findings)


def lint(model: Model) -> LintReport:
    """Everything that TFLM refuses in `model`, notes, and the resolver.

    Raises:
        InvalidModelError: if the graph could not run on any runtime.
    """
    findings = [*_errors(model), *_notes(model)]
    return LintReport(tuple(findings), resolver_code(model))


def _errors(model: Model) -> list[Finding]:
    try:
        prepare_model(model, TflmBuild.firmware())
    except UnsupportedError as error:
        return [_error(model, text) for text in (error.problems or (error.message,))]
    return []


def _error(model: Model, text: str) -> Finding:
    """The finding of one sentence, which starts with the operator's place."""
    for number, graph in enumerate(model.subgraphs):
        for index, op in enumerate(graph.operators):
            head = f"{place(number, index, op.name)}: "
            if text.startswith(head):
                message = text.removeprefix(head)
                return Finding("error", number, index, op.name, message, advice_for(op.name))
    return Finding("error", -1, -1, "", text)


def advice_for(name: str) -> str:
    """What to write instead of an operator that TFLM refuses; empty where there is no advice."""
    return _ADVICE.get(name, "")


def _notes(model: Model) -> list[Finding]:
    return [
        Finding("note", number, index, op.name, *note)
        for number, graph in enumerate(model.subgraphs)
        for index, op in enumerate(graph.operators)
        for note in _notes_on(graph, op)
    ]


def _notes_on(graph: Subgraph, op: Operator) -> list[tuple[str, str]]:
    """(message, advice) of what one operator costs without need."""
    inputs = [graph.tensors[i] for i in op.inputs if i >= 0]
    notes = []
    if op.name == "RESHAPE" and inputs and not inputs[0].is_constant:
        notes.append(
            (
                f"copies {inputs[0].nbytes} bytes: TFLM has no views",
                "give the operators around it the shapes they need",
            )
        )
    if op.name == "DEQUANTIZE":
        notes.append(
            (
                "leaves the integer domain; what follows runs in float until QUANTIZE",
                "an int8 kernel for the float operators between saves four bytes a value",
            )
        )
    if op.name == "FULLY_CONNECTED" and len(inputs) > 1 and not inputs[1].is_constant:
        notes.append(
            (
                "has a computed filter, which a build of TFLM without NDEBUG ends on where its "
                "zero point is not 0",
                "build TFLM with NDEBUG, or use BATCH_MATMUL",
            )
        )
    if op.name == "WHILE":
        total = sum(tensor.nbytes for tensor in inputs)
        notes.append((f"copies its {total} bytes of loop variables at every trip", ""))
    if op.name == "VAR_HANDLE":
        notes.append(
            (
                "needs MicroResourceVariables, made by the application",
                "MicroResourceVariables::Create(allocator, N), and pass it to the interpreter",
            )
        )
    return notes


def resolver_code(model: Model) -> str:
    """C++ that registers exactly the operators of the model, in TFLM's names.

    Custom operators that TFLM does not bring are the application's own: `Register_NAME` stands for
    the function that gives their registration. Each call is checked by itself: chained with `&&`
    after a failed one, the others are skipped.
    """
    operators = [op for graph in model.subgraphs for op in graph.operators]
    names = {op.name: op.code.builtin == "CUSTOM" for op in operators}
    lines = [
        '#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"',
        "",
        f"tflite::MicroMutableOpResolver<{len(names)}> resolver;",
    ]
    for name in sorted(names):
        call = f"{resolver_method(name)}()"
        if names[name] and not _is_in_tflm(name):
            text = "".join(c if c.isprintable() and c not in '"\\' else "?" for c in name)
            function = re.sub(r"\W", "_", name, flags=re.ASCII)
            call = f'AddCustom("{text}", Register_{function}())'
        lines.append(f"TF_LITE_ENSURE_STATUS(resolver.{call});")
    return "\n".join(lines) + "\n"


def _is_in_tflm(custom: str) -> bool:
    """Whether TFLM's resolver has a method for this custom operator."""
    return custom in _METHODS or custom.startswith("Signal")


def resolver_method(name: str) -> str:
    """`FULLY_CONNECTED` to `AddFullyConnected`, `SignalRfft` to `AddRfft`."""
    known = _METHODS.get(name)
    if known is not None:
        return known
    if name.startswith("Signal"):
        return "Add" + name.removeprefix("Signal")
    return "Add" + "".join(part.capitalize() for part in name.split("_"))


def to_dict(report: LintReport, path: str, model: Model) -> dict[str, Any]:
    """The JSON of `refmicro lint` (schema_version 1)."""
    return {
        "schema_version": 1,
        "model": {"path": path, "sha256": model.sha256},
        "refused": report.refused,
        "findings": [vars(finding) for finding in report.findings],
        "resolver": report.resolver,
    }
