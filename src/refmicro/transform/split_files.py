"""What lies beside the parts of a split model: a manifest, and C++ that runs the parts in TFLM.

The texts depend on the parts alone, so that equal results give equal files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from refmicro.errors import OverBudgetError
from refmicro.memory.abi import BUFFER_ALIGNMENT_BYTES
from refmicro.memory.arena import model_arena
from refmicro.model.graph import Model
from refmicro.program import prepare_model
from refmicro.transform._carried import Layout
from refmicro.transform._kept import Kept
from refmicro.transform.proof import model_bytes, written
from refmicro.transform.split import Split
from refmicro.types import TflmBuild

SCHEMA_VERSION = 1
"""Of the manifest."""

_BYTES_A_LINE = 16


def split_files(
    result: Split, names: Sequence[str], models: Sequence[Model], namespace: str
) -> Mapping[str, bytes]:
    """All files but the models, by name.

    Args:
        result: the cuts.
        names: of the models' files, without the ending.
        models: the parts as they are now, with a plan where there is one.
        namespace: of the C++, made an identifier.

    Raises:
        OverBudgetError: if what was done to the parts since made them too large.
    """
    layout = result.layout if tuple(models) == result.models else result.layout_of(models)
    if layout.total_bytes > result.max_bytes:
        raise OverBudgetError(
            f"parts and what they carry must keep within {result.max_bytes:,} bytes: they take "
            f"{layout.total_bytes:,} bytes now"
        )
    document = manifest(result, names, models, layout)
    space = re.sub(r"\W", "_", namespace, flags=re.ASCII)
    space = f"split_{space}" if not space or space[0].isdigit() else space
    return {
        "manifest.json": (json.dumps(document, indent=1) + "\n").encode(),
        "split.h": _header(document, space).encode(),
        "split.cc": _source(document, space).encode(),
        "split_models.cc": _models_source(document, models, space).encode(),
    }


# Manifest


def manifest(
    result: Split, names: Sequence[str], models: Sequence[Model], layout: Layout
) -> dict[str, Any]:
    """What flows where, as plain values.

    A value's place is `{"carried": n}` for one in the list of carried values, `{"call": k,
    "input": i}` for an input that is written into a part's arena, or `{"call": k, "output": i}`
    for an output that is read there; None for an input that nothing reads.
    """
    slots = {item.tensor: number for number, item in enumerate(layout.carried)}
    slots |= {new: slots[old] for new, old in result.over.items()}
    makers = _makers(result)
    described = _models(result, names, models)
    calls = _calls(result, layout, described, slots)
    return {
        "schema_version": SCHEMA_VERSION,
        "abi": result.build.abi.value,
        "kernels": result.build.kernels,
        "max_bytes": result.max_bytes,
        "buffer_bytes": layout.total_bytes,
        "largest_arena_bytes": max(call["arena_required_bytes"] for call in calls),
        "most_carried_bytes": layout.carried_bytes,
        "optimal": result.optimal,
        "operators": sorted(
            {op.name for model in models for graph in model.subgraphs for op in graph.operators}
        ),
        "models": described,
        "calls": calls,
        "carried": [
            {
                "from": makers[item.tensor],
                "bytes": item.bytes,
                "offset_bytes": item.offset,
                "first_call": item.first // 2,
                "last_call": item.last // 2,
            }
            for item in layout.carried
        ],
        "states": [_state(result, layout, slots, item) for item in result.kept],
        "inputs": [_input(result, slots, tensor) for tensor in result.inputs],
        "outputs": [
            {"place": _place(slots, makers, tensor), **_described(result, tensor)}
            for tensor in result.outputs
        ],
    }


def _models(result: Split, names: Sequence[str], models: Sequence[Model]) -> list[dict[str, Any]]:
    """Every model, with its arena in both ABIs."""
    return [
        {
            "name": name,
            "file": f"{name}.tflite",
            "sha256": written(model).sha256,
            "bytes": len(model_bytes(model)),
            "calls": sum(names[call.model] == name for call in result.calls),
            "arena": _arenas(model, result.build),
        }
        for name, model in zip(names, models, strict=True)
    ]


def _calls(
    result: Split, layout: Layout, models: Sequence[dict[str, Any]], slots: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Every run of a part, in order."""
    makers, abi = _makers(result), result.build.abi.value
    return [
        {
            "model": models[call.model]["name"],
            "operators": list(call.operators),
            "arena_offset_bytes": start,
            "arena_required_bytes": models[call.model]["arena"][abi]["required_bytes"],
            "inputs": [
                {"from": makers[t], "carried": slots.get(t), "bytes": _nbytes(result, t)}
                for t in call.inputs
            ],
            "outputs": [
                {"carried": slots.get(t), "bytes": _nbytes(result, t)} for t in call.outputs
            ],
        }
        for call, start in zip(result.calls, layout.starts, strict=True)
    ]


def _nbytes(result: Split, tensor: int) -> int:
    return result.source.tensors[tensor].nbytes


def _described(result: Split, tensor: int) -> dict[str, Any]:
    item = result.source.tensors[tensor]
    return {
        "name": item.name,
        "type": item.dtype.name,
        "shape": list(item.shape),
        "bytes": item.nbytes,
    }


def _state(result: Split, layout: Layout, slots: Mapping[int, int], item: Kept) -> dict[str, Any]:
    """What stays from run to run; after each run `copied_from` is copied to its place."""
    place = layout.carried[slots[item.old]]
    copied = item.new not in result.over
    same = len(set(item.initial)) <= 1
    return {
        **_described(result, item.old),
        "name": item.name,
        "carried": slots[item.old],
        "offset_bytes": place.offset,
        "copied_from": slots[item.new] if copied else None,
        "initial_byte": item.initial[0] if same and item.initial else 0 if same else None,
        "initial_hex": None if same else item.initial.hex(),
    }


def _makers(result: Split) -> dict[int, dict[str, int]]:
    """Where each value comes from: an input of the model, or an output of a call."""
    makers = {tensor: {"input": number} for number, tensor in enumerate(result.inputs)}
    makers |= {item.old: {"state": number} for number, item in enumerate(result.kept)}
    for number, call in enumerate(result.calls):
        for index, tensor in enumerate(call.outputs):
            makers[tensor] = {"call": number, "output": index}
    return makers


def _place(
    slots: Mapping[int, int], makers: Mapping[int, dict[str, int]], tensor: int
) -> dict[str, int]:
    return {"carried": slots[tensor]} if tensor in slots else makers[tensor]


def _input(result: Split, slots: Mapping[int, int], tensor: int) -> dict[str, Any]:
    place: dict[str, int] | None = None
    if tensor in slots:
        place = {"carried": slots[tensor]}
    elif tensor in result.calls[0].inputs:
        place = {"call": 0, "input": result.calls[0].inputs.index(tensor)}
    return {"place": place, **_described(result, tensor)}


def _arenas(model: Model, build: TflmBuild) -> dict[str, dict[str, int]]:
    """Arenas in the split's build and, where it is another, in the wheel's."""
    arenas = {}
    for each in (TflmBuild.wheel(), build):
        arena = model_arena(prepare_model(model, each))
        arenas[each.abi.value] = {
            "used_bytes": arena.used_bytes,
            "required_bytes": arena.required_bytes,
        }
    return dict(sorted(arenas.items()))


# C++

_HEADER = """\
// A model that was cut into parts: they run one after another in one arena.
//
// Use: give Runner an op resolver and a buffer of kBufferBytes, aligned to {alignment}. Begin()
// allocates the first part; then fill every Input(i), call Run(), and read every Output(i), which
// holds until the next Begin(). Call Begin() again before the next run.{state_text}
//
// Operators that the resolver must know: {operators}.
#ifndef {guard}
#define {guard}

#include <cstddef>
#include <cstdint>

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_op_resolver.h"

namespace tflite {{
namespace micro {{}}
}}  // namespace tflite

namespace {space} {{

// TFLM's names were global or in `tflite` once and are moving into `tflite::micro`.
using namespace tflite;         // NOLINT
using namespace tflite::micro;  // NOLINT

// Arenas as in a build of TFLM with the ABI {abi} and {kernels} kernels.
constexpr size_t kBufferBytes = {buffer_bytes};
constexpr size_t kBufferAlignment = {alignment};
constexpr int kInputCount = {inputs};
constexpr int kOutputCount = {outputs};
constexpr int kCallCount = {calls};
constexpr int kStateCount = {states};
// One more than there are, so that no array is empty.
constexpr size_t kInputBytes[kInputCount + 1] = {{{input_bytes}0}};
constexpr size_t kOutputBytes[kOutputCount + 1] = {{{output_bytes}0}};

class Runner {{
 public:
  Runner(const MicroOpResolver& resolver, uint8_t* buffer)
      : resolver_(resolver), buffer_(buffer) {{
    Reset();
  }}
  ~Runner() {{ Close(); }}
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // Sets all state to what it is at first.
  void Reset();
  // Allocates the first part, after which inputs may be filled.
  TfLiteStatus Begin();
  // kInputBytes[index] bytes to fill; null for an input that no part reads.
  void* Input(int index);
  // Runs all parts.
  TfLiteStatus Run();
  // kOutputBytes[index] bytes; null before Run().
  const void* Output(int index);

 private:
  TfLiteStatus Open(int call);
  void Close();

  const MicroOpResolver& resolver_;
  uint8_t* const buffer_;
  int call_ = -1;
  bool done_ = false;
  MicroInterpreter* interpreter_ = nullptr;
  alignas(MicroInterpreter) uint8_t storage_[sizeof(MicroInterpreter)];
}};

}}  // namespace {space}

#endif  // {guard}
"""

_STATE_TEXT = """
// State stays in the buffer from run to run; Reset() takes it back to what it is at first."""

_SOURCE = """\
#include "split.h"

#include <cstring>
#include <new>

#include "tensorflow/lite/schema/schema_generated.h"

namespace {space} {{

{externs}

namespace {{

// One copy between a part's tensor and the carried values.
struct Copy {{
  int tensor;
  size_t offset;
  size_t bytes;
}};

// One run of a part: where its arena is, and ranges of kCopies.
struct Call {{
  const unsigned char* model;
  size_t arena_offset;
  size_t arena_bytes;
  int inputs_begin, inputs_end;
  int outputs_begin, outputs_end;
}};

// A tensor of a part, or where `carried` is not negative an offset in the buffer.
struct Place {{
  int tensor;
  int carried;
}};

// What stays from run to run: after each run it is copied from `made`, unless that is its place.
// At first it is `initial`, or `byte` all over.
struct State {{
  size_t offset;
  size_t made;
  size_t bytes;
  unsigned char byte;
  const unsigned char* initial;
}};

constexpr Copy kCopies[] = {{
{copies}
    {{0, 0, 0}},
}};

constexpr Call kCalls[] = {{
{calls}
}};

{initials}constexpr State kStates[kStateCount + 1] = {{
{kept}
    {{0, 0, 0, 0, nullptr}},
}};

constexpr Place kInputs[kInputCount + 1] = {{
{inputs}
    {{-1, -1}},
}};

constexpr Place kOutputs[kOutputCount + 1] = {{
{outputs}
    {{-1, -1}},
}};

}}  // namespace

void Runner::Close() {{
  if (interpreter_ != nullptr) interpreter_->~MicroInterpreter();
  interpreter_ = nullptr;
}}

TfLiteStatus Runner::Open(int call) {{
  Close();
  const Call& next = kCalls[call];
  interpreter_ = new (storage_) MicroInterpreter(
      GetModel(next.model), resolver_, buffer_ + next.arena_offset,
      next.arena_bytes);
  call_ = call;
  return interpreter_->AllocateTensors();
}}

void Runner::Reset() {{
  for (int i = 0; i < kStateCount; ++i) {{
    const State& state = kStates[i];
    if (state.initial != nullptr) {{
      std::memcpy(buffer_ + state.offset, state.initial, state.bytes);
    }} else {{
      std::memset(buffer_ + state.offset, state.byte, state.bytes);
    }}
  }}
}}

TfLiteStatus Runner::Begin() {{
  done_ = false;
  const TfLiteStatus status = Open(0);
  if (status != kTfLiteOk) Close();
  return status;
}}

void* Runner::Input(int index) {{
  if (interpreter_ == nullptr || call_ != 0 || index < 0 || index >= kInputCount) return nullptr;
  const Place& place = kInputs[index];
  if (place.carried >= 0) return buffer_ + place.carried;
  return place.tensor < 0 ? nullptr : interpreter_->input(place.tensor)->data.data;
}}

TfLiteStatus Runner::Run() {{
  if (interpreter_ == nullptr || call_ != 0 || done_) return kTfLiteError;
  for (int number = 0; number < kCallCount; ++number) {{
    if (number > 0 && Open(number) != kTfLiteOk) return kTfLiteError;
    const Call& call = kCalls[number];
    for (int i = call.inputs_begin; i < call.inputs_end; ++i) {{
      const Copy& copy = kCopies[i];
      std::memcpy(interpreter_->input(copy.tensor)->data.data, buffer_ + copy.offset, copy.bytes);
    }}
    if (interpreter_->Invoke() != kTfLiteOk) return kTfLiteError;
    for (int i = call.outputs_begin; i < call.outputs_end; ++i) {{
      const Copy& copy = kCopies[i];
      std::memcpy(buffer_ + copy.offset, interpreter_->output(copy.tensor)->data.data, copy.bytes);
    }}
  }}
  for (int i = 0; i < kStateCount; ++i) {{
    const State& state = kStates[i];
    if (state.made != state.offset) {{
      std::memcpy(buffer_ + state.offset, buffer_ + state.made, state.bytes);
    }}
  }}
  done_ = true;
  return kTfLiteOk;
}}

const void* Runner::Output(int index) {{
  if (!done_ || index < 0 || index >= kOutputCount) return nullptr;
  const Place& place = kOutputs[index];
  if (place.carried >= 0) return buffer_ + place.carried;
  return interpreter_->output(place.tensor)->data.data;
}}

}}  // namespace {space}
"""


def _header(document: dict[str, Any], space: str) -> str:
    return _HEADER.format(
        guard=f"{space.upper()}_SPLIT_H_",
        space=space,
        alignment=BUFFER_ALIGNMENT_BYTES,
        operators=", ".join(document["operators"]),
        abi=document["abi"],
        kernels=document["kernels"],
        buffer_bytes=document["buffer_bytes"],
        inputs=len(document["inputs"]),
        outputs=len(document["outputs"]),
        calls=len(document["calls"]),
        states=len(document["states"]),
        state_text=_STATE_TEXT if document["states"] else "",
        input_bytes="".join(f"{item['bytes']}, " for item in document["inputs"]),
        output_bytes="".join(f"{item['bytes']}, " for item in document["outputs"]),
    )


def _source(document: dict[str, Any], space: str) -> str:
    copies: list[str] = []
    calls = []

    def enter(slots: list[dict[str, Any]]) -> str:
        begin = len(copies)
        for tensor, slot in enumerate(slots):
            if slot["carried"] is not None:
                offset = document["carried"][slot["carried"]]["offset_bytes"]
                copies.append(f"    {{{tensor}, {offset}, {slot['bytes']}}},")
        return f"{begin}, {len(copies)}"

    for call in document["calls"]:
        ranges = f"{enter(call['inputs'])}, {enter(call['outputs'])}"
        arena = f"{call['arena_offset_bytes']}, {call['arena_required_bytes']}"
        calls.append(f"    {{{_array(call['model'])}, {arena}, {ranges}}},")
    names = [_array(model["name"]) for model in document["models"]]
    return _SOURCE.format(
        space=space,
        externs="\n".join(f"extern const unsigned char {name}[];" for name in names),
        copies="\n".join(copies) or "    // None.",
        calls="\n".join(calls),
        initials=_initials(document),
        kept=_kept(document) or "    // None.",
        inputs=_places(document, "inputs", "input") or "    // None.",
        outputs=_places(document, "outputs", "output") or "    // None.",
    )


def _initials(document: dict[str, Any]) -> str:
    """Arrays of first values that are not one byte all over."""
    text = ""
    for number, item in enumerate(document["states"]):
        if item["initial_hex"] is not None:
            data = bytes.fromhex(item["initial_hex"])
            lines = "\n".join(_rows(data))
            text += f"constexpr unsigned char kInitial{number}[] = {{\n{lines}\n}};\n\n"
    return text


def _kept(document: dict[str, Any]) -> str:
    lines = []
    for number, item in enumerate(document["states"]):
        made, source = item["offset_bytes"], item["copied_from"]
        if source is not None:
            made = document["carried"][source]["offset_bytes"]
        byte = item["initial_byte"]
        initial = "nullptr" if byte is not None else f"kInitial{number}"
        cells = f"{item['offset_bytes']}, {made}, {item['bytes']}, {byte or 0}, {initial}"
        lines.append(f"    {{{cells}}},")
    return "\n".join(lines)


def _rows(data: bytes) -> list[str]:
    """Bytes as lines of C++."""
    return [
        "    " + " ".join(f"0x{byte:02x}," for byte in data[start : start + _BYTES_A_LINE])
        for start in range(0, len(data), _BYTES_A_LINE)
    ]


def _places(document: dict[str, Any], side: str, word: str) -> str:
    lines = []
    for item in document[side]:
        place = item["place"] or {}
        carried = -1
        if "carried" in place:
            carried = document["carried"][place["carried"]]["offset_bytes"]
        lines.append(f"    {{{place.get(word, -1)}, {carried}}},")
    return "\n".join(lines)


def _array(name: str) -> str:
    """The C++ name of a model's bytes."""
    return f"k{''.join(word.capitalize() for word in re.split(r'[^0-9A-Za-z]+', name))}"


def _models_source(document: dict[str, Any], models: Sequence[Model], space: str) -> str:
    lines = [f"namespace {space} {{"]
    for item, model in zip(document["models"], models, strict=True):
        data = model_bytes(model)
        name = _array(item["name"])
        lines += [
            "",
            f"extern const unsigned char {name}[];",
            f"alignas({BUFFER_ALIGNMENT_BYTES}) const unsigned char {name}[{len(data)}] = {{",
            *_rows(data),
            "};",
        ]
    return "\n".join([*lines, "", f"}}  // namespace {space}", ""])
