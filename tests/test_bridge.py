"""The oracle: it is TFLM and nothing else, it survives TFLM, and it says why it is absent."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refmicro import _bridge_build, _bridge_check, bridge
from refmicro.errors import EnvironmentMissingError, UsageError
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.types import DType, Quantization, Tensor

GOLDEN = Path(__file__).parent.parent / "golden" / "models"
MODELS = (
    "g_elu_inplacevar_int8",
    "g_elu_resvar_int8",
    "g_elu_while_int8",
    "m_elu_inplace2_off_int8",
    "s_elu_stream_int8",
    "stream_sig_bmm_int16x8",
    "u2_split_int8_reord",
)
STEPS = 3
needs_oracle = pytest.mark.oracle

CUSTOM_OP_SOURCE = """
#include <cstdint>
#include <cstdio>
#include <cstdlib>
namespace tflite { namespace micro {
struct TfLiteContext;
struct TfLiteNode;
struct TfLiteEvalTensor { int8_t* data; const void* dims; int32_t type; };
const TfLiteEvalTensor* GetEvalInput(const TfLiteContext*, const TfLiteNode*, int);
TfLiteEvalTensor* GetEvalOutput(const TfLiteContext*, const TfLiteNode*, int);
} }
using namespace tflite::micro;
struct Registration {
  void* init; void* free;
  int (*prepare)(TfLiteContext*, TfLiteNode*);
  int (*invoke)(TfLiteContext*, TfLiteNode*);
  void* reset; int32_t builtin_code; const char* custom_name;
};
static int Invoke(TfLiteContext* context, TfLiteNode* node) {
  const int8_t* in = GetEvalInput(context, node, 0)->data;
  int8_t* out = GetEvalOutput(context, node, 0)->data;
  if (in[0] == 99) { fprintf(stderr, "custom operator gives up\\n"); abort(); }
  if (in[0] == 98) const_cast<int8_t*>(in < out ? in : out)[-1] = 1;
  for (int i = 0; i < 4; ++i) out[i] = ~in[i];
  return 0;
}
extern "C" __attribute__((visibility("default"))) const Registration* Complement() {
  static const Registration registration = {0, 0, 0, Invoke, 0, 0, 0};
  return &registration;
}
"""


def golden_bytes(name: str) -> bytes:
    path = GOLDEN / name / "model.tflite"
    if not path.is_file():
        pytest.skip(f"golden model {name} is not in this checkout; golden/models brings it")
    return path.read_bytes()


def random_inputs(infos: list[bridge.TensorInfo], rng: np.random.Generator) -> list[np.ndarray]:
    return [
        np.frombuffer(rng.bytes(info.size_bytes), info.dtype).reshape(info.shape) for info in infos
    ]


def run_step(oracle: bridge.Oracle | bridge.IsolatedOracle, values: list[np.ndarray]) -> bytes:
    """One invocation with every input set; the bytes of all outputs."""
    for index, value in enumerate(values):
        oracle.set_input(value, index)
    oracle.invoke()
    return b"".join(oracle.get_output(i).tobytes() for i in range(len(oracle.outputs)))


def int8_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    return Tensor(name, DType.INT8, shape, Quantization((1.0,), (0,)))


def one_operator(code: OperatorCode, tensors: tuple[Tensor, ...], **options: object) -> bytes:
    """A model of one operator: the last tensor is its output, the first the graph's input."""
    last = len(tensors) - 1
    operator = Operator(code, tuple(range(last)), (last,), **options)
    return write_model(Model((Subgraph(tensors, (0,), (last,), (operator,)),)))


def reshape_model(dtype: DType) -> bytes:
    return one_operator(
        OperatorCode("RESHAPE"),
        (
            Tensor("x", dtype, (2, 3)),
            Tensor("shape", DType.INT32, (1,), data=np.array([6], np.int32).tobytes()),
            Tensor("y", dtype, (6,)),
        ),
    )


def endless_model() -> bytes:
    """WHILE with a condition that stays true: its body gives x back."""
    x = Tensor("x", DType.INT32, (1,))
    one = Tensor("one", DType.INT32, (1,), data=np.array([1], np.int32).tobytes())
    flag = Tensor("flag", DType.BOOL, (1,))
    loop = Operator(
        OperatorCode("WHILE"),
        (0,),
        (1,),
        {"cond_subgraph_index": 1, "body_subgraph_index": 2},
        "WhileOptions",
    )
    less = Operator(OperatorCode("LESS"), (0, 1), (2,))
    same = Operator(OperatorCode("RESHAPE"), (0, 1), (2,))
    return write_model(
        Model(
            (
                Subgraph((x, x), (0,), (1,), (loop,)),
                Subgraph((x, one, flag), (0,), (2,), (less,)),
                Subgraph((x, one, x), (0,), (2,), (same,)),
            )
        )
    )


@pytest.fixture(scope="session")
def custom_op(tmp_path_factory: pytest.TempPathFactory) -> bridge.CustomOp:
    folder = tmp_path_factory.mktemp("custom_op")
    (folder / "op.cc").write_text(CUSTOM_OP_SOURCE)
    library = folder / "op.so"
    _bridge_build.compile_against_wheel(folder / "op.cc", _bridge_build.wheel_library(), library)
    return bridge.CustomOp("COMPLEMENT", str(library), "Complement")


@pytest.fixture(scope="session")
def custom_model() -> bytes:
    code = OperatorCode("CUSTOM", "COMPLEMENT")
    return one_operator(code, (int8_tensor("x", (4,)), int8_tensor("y", (4,))))


# The oracle is TFLM: the wheel's own Python interpreter says the same.


@needs_oracle
@pytest.mark.parametrize("name", MODELS)
def test_outputs_equal_the_wheels_interpreter(name: str) -> None:
    from tflite_micro import runtime

    model, rng = golden_bytes(name), np.random.default_rng(1)
    wheel = runtime.Interpreter.from_bytes(model, arena_size=1 << 22)
    with bridge.Oracle(model, resource_variables=16) as oracle:
        for step in range(STEPS):
            if step == STEPS - 1:
                wheel.reset()
                oracle.reset()
            for index, value in enumerate(random_inputs(oracle.inputs, rng)):
                wheel.set_input(value, index)
                oracle.set_input(value, index)
            wheel.invoke()
            oracle.invoke()
            for index in range(len(oracle.outputs)):
                ours, theirs = oracle.get_output(index), wheel.get_output(index)
                assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
                assert ours.tobytes() == theirs.tobytes()


@needs_oracle
@pytest.mark.parametrize("name", MODELS)
def test_details_equal_the_wheels_interpreter(name: str) -> None:
    from tflite_micro import runtime

    model = golden_bytes(name)
    wheel = runtime.Interpreter.from_bytes(model, arena_size=1 << 22)
    with bridge.Oracle(model, resource_variables=16) as oracle:
        for infos, details in (
            (oracle.inputs, wheel.get_input_details),
            (oracle.outputs, wheel.get_output_details),
        ):
            for info in infos:
                theirs = details(info.index)
                quantization = theirs["quantization_parameters"]
                assert info.dtype == theirs["dtype"]
                assert list(info.shape) == theirs["shape"].tolist()
                assert list(info.scales) == quantization["scales"].tolist()
                assert list(info.zero_points) == quantization["zero_points"].tolist()


@needs_oracle
@pytest.mark.parametrize("name", MODELS)
def test_arena_equals_what_the_wheel_prints(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    from tflite_micro import runtime

    model = golden_bytes(name)
    variables = runtime.count_resource_variables(model)
    runtime.Interpreter.from_bytes(model, arena_size=1 << 22).print_allocations()
    printed = [line.strip() for line in capfd.readouterr().err.splitlines() if line.strip()]
    with bridge.Oracle(model, resource_variables=variables) as oracle:
        arena = oracle.arena
        assert oracle.print_allocations() == printed
    assert capfd.readouterr().err == ""
    totals = [int(line.split()[-2]) for line in printed[:3]]
    assert totals == [arena.used_bytes, arena.head_bytes, arena.tail_bytes]
    numbers = [tuple(map(int, re.findall(r"\d+", line))) for line in printed[3:]]
    measured = [
        (row.used_bytes, row.requested_bytes, row.count)
        for row in arena.categories.values()
        if row.used_bytes
    ]
    assert measured == numbers


@needs_oracle
@pytest.mark.parametrize("name", ["s_elu_stream_int8", "g_elu_while_int8"])
def test_traced_tensors_equal_those_of_the_wheel(name: str) -> None:
    from tflite_micro import runtime

    model, rng = golden_bytes(name), np.random.default_rng(2)
    # This mode gives every tensor memory of its own, so that all can be read afterwards.
    wheel = runtime.Interpreter.from_bytes(
        model,
        arena_size=1 << 24,
        intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors,
    )
    with bridge.Oracle(model, trace=True) as oracle:
        for index, value in enumerate(random_inputs(oracle.inputs, rng)):
            wheel.set_input(value, index)
            oracle.set_input(value, index)
        wheel.invoke()
        oracle.invoke()
        last = {(row.subgraph, s.tensor): s for row in oracle.trace for s in row.outputs}
    assert len(last) > 30
    for (subgraph, tensor), slot in last.items():
        assert slot.after == wheel.GetTensor(tensor, subgraph)["tensor_data"].tobytes()


# What a trace tells.


@needs_oracle
@pytest.mark.parametrize("name", MODELS)
def test_trace_follows_the_model(name: str) -> None:
    model = golden_bytes(name)
    graph = parse_model(model)
    with bridge.Oracle(model, resource_variables=16, trace=True) as oracle:
        oracle.invoke()
        records, arena = oracle.trace, oracle.arena
        places = {(place.subgraph, place.tensor): place for place in oracle.places}
        result = oracle.get_output(0).tobytes()
    assert [row.sequence for row in records] == list(range(len(records)))
    main = [row for row in records if row.subgraph == 0]
    assert [row.operator for row in main] == list(range(len(graph.subgraphs[0].operators)))
    for row in records:
        subgraph = graph.subgraphs[row.subgraph]
        operator = subgraph.operators[row.operator]
        assert tuple(slot.tensor for slot in row.inputs) == operator.inputs
        assert tuple(slot.tensor for slot in row.outputs) == operator.outputs
        for slot in (s for s in row.inputs + row.outputs if s.tensor >= 0):
            tensor = subgraph.tensors[slot.tensor]
            assert (slot.dtype, slot.shape) == (tensor.dtype.numpy, tensor.shape)
            assert (slot.offset is None) == tensor.is_constant == (slot.after is None)
            if tensor.is_constant or tensor.dtype is DType.RESOURCE:
                continue
            assert len(slot.after) == tensor.nbytes
            assert slot.offset == places[row.subgraph, slot.tensor].offset
            in_head = slot.offset + tensor.nbytes <= arena.head_bytes
            in_tail = slot.offset >= arena.size_bytes - arena.tail_bytes
            assert (in_head, in_tail) == (not tensor.is_variable, tensor.is_variable)
    wanted = graph.subgraphs[0].outputs[0]
    written = [slot.after for row in main for slot in row.outputs if slot.tensor == wanted]
    assert written[-1] == result


@needs_oracle
def test_loop_bodies_are_traced_every_time() -> None:
    model = golden_bytes("g_elu_while_int8")
    with bridge.Oracle(model, trace=True) as oracle:
        oracle.invoke()
        records = oracle.trace
    (loop,) = [row.sequence for row in records if row.builtin_code == 119]  # WHILE
    nested = [row for row in records if row.subgraph != 0]
    assert [row.sequence for row in nested] == list(range(loop + 1, loop + 1 + len(nested)))
    runs = {
        subgraph: sum(row.subgraph == subgraph and row.operator == 0 for row in nested)
        for subgraph in {row.subgraph for row in nested}
    }
    assert sorted(runs.values()) == [49, 50]  # the body, and the condition once more


@needs_oracle
@pytest.mark.parametrize("name", ["g_elu_inplacevar_int8", "g_elu_resvar_int8"])
def test_state_is_kept_until_reset(name: str) -> None:
    model, rng = golden_bytes(name), np.random.default_rng(3)
    with bridge.Oracle(model, resource_variables=16) as oracle:
        values = random_inputs(oracle.inputs, rng)
        outputs = []
        for step in range(3):
            if step == 2:
                oracle.reset()
            outputs.append(run_step(oracle, values))
    assert outputs[0] == outputs[2] != outputs[1]


@needs_oracle
def test_a_tensor_written_in_place_is_seen_before_and_after() -> None:
    model, rng = golden_bytes("g_elu_inplacevar_int8"), np.random.default_rng(3)
    variables = {
        index
        for index, tensor in enumerate(parse_model(model).subgraphs[0].tensors)
        if tensor.is_variable
    }
    with bridge.Oracle(model, trace=True) as oracle:
        run_step(oracle, random_inputs(oracle.inputs, rng))
        slots = [slot for row in oracle.trace for slot in row.inputs + row.outputs]
    moved = {slot.tensor for slot in slots if slot.before != slot.after}
    assert variables & moved


@needs_oracle
def test_places_are_those_of_an_offline_plan() -> None:
    model = golden_bytes("m_elu_inplace2_off_int8")
    plan = np.frombuffer(parse_model(model).metadata_value("OfflineMemoryAllocation"), np.int32)
    offsets = plan[3:]
    with bridge.Oracle(model, trace=True) as oracle:
        found = {place.tensor: place.offset for place in oracle.places if place.subgraph == 0}
    planned = {t: int(o) for t, o in enumerate(offsets) if o >= 0 and t in found}
    assert len(planned) > 1
    assert {tensor: found[tensor] for tensor in planned} == planned


@needs_oracle
@pytest.mark.parametrize("name", MODELS)
def test_operators_account_for_their_memory(name: str) -> None:
    model = golden_bytes(name)
    graph = parse_model(model)
    with bridge.Oracle(model, resource_variables=16, trace=True) as oracle:
        arena, operators, scratches = oracle.arena, oracle.operators, oracle.scratches
    order = [(s, o) for s, g in enumerate(graph.subgraphs) for o in range(len(g.operators))]
    assert [(row.subgraph, row.operator) for row in operators] == order
    total = sum(row.init_bytes + row.prepare_bytes for row in operators)
    assert 0 < total < arena.categories["persistent_buffers"].used_bytes
    for scratch in scratches:
        assert 0 <= scratch.offset <= arena.head_bytes - scratch.size_bytes
    reducing = {
        (s, o)
        for s, o in order
        if graph.subgraphs[s].operators[o].name in ("SUM", "MEAN", "REDUCE_MAX")
    }
    assert {(row.subgraph, row.operator) for row in scratches} == reducing


@needs_oracle
def test_trace_is_bounded() -> None:
    with bridge.Oracle(_bridge_check.MODEL, trace=True, trace_bytes_max=16) as oracle:
        with pytest.raises(UsageError, match="trace_bytes_max"):
            oracle.invoke()
        assert oracle.get_output().tobytes()  # the invocation itself was complete


@needs_oracle
def test_trace_changes_nothing() -> None:
    with (
        bridge.Oracle(_bridge_check.MODEL, trace=True) as traced,
        bridge.Oracle(_bridge_check.MODEL, arena_fill=0x5A) as plain,
    ):
        for oracle in (traced, plain):
            oracle.set_input(_bridge_check.INPUT)
            oracle.invoke()
        assert traced.get_output().tobytes() == plain.get_output().tobytes()
        assert traced.arena == plain.arena
        assert plain.trace == []


# Inputs, outputs, types.


@needs_oracle
@pytest.mark.parametrize(
    "dtype",
    [d for d in DType if d.itemsize_bytes and d not in (DType.RESOURCE, DType.INT4)],
    ids=str,
)
def test_every_element_type_goes_in_and_comes_out(dtype: DType) -> None:
    rng = np.random.default_rng(4)
    with bridge.Oracle(reshape_model(dtype)) as oracle:
        (info,) = oracle.inputs
        value = (rng.integers(0, 100, (2, 3)) % 2**7).astype(dtype.numpy)
        assert (info.dtype, info.shape) == (value.dtype, value.shape)
        oracle.set_input(value)
        oracle.invoke()
        result = oracle.get_output()
    assert (result.dtype, result.shape) == (value.dtype, (6,))
    assert result.tobytes() == value.tobytes()


@needs_oracle
def test_inputs_must_fit() -> None:
    with bridge.Oracle(_bridge_check.MODEL) as oracle:
        with pytest.raises(UsageError, match=r"input 0 is int8 \[1, 4\]: got int16 \[1, 4\]"):
            oracle.set_input(np.zeros((1, 4), np.int16))
        with pytest.raises(UsageError, match=r"got int8 \[4\]"):
            oracle.set_input(np.zeros(4, np.int8))
        with pytest.raises(UsageError, match="has 4 bytes: got 3"):
            oracle.set_input(b"123")
        with pytest.raises(UsageError, match="1 inputs: asked for input 1"):
            oracle.set_input(b"1234", 1)
        with pytest.raises(UsageError, match="1 outputs: asked for output -1"):
            oracle.get_output(-1)
        oracle.set_input(b"\x01\x02\x03\xfc")
        oracle.invoke()
        assert oracle.get_output().tolist() == _bridge_check.OUTPUT.tolist()
    with pytest.raises(UsageError, match="closed"):
        oracle.invoke()


# Refusals, crashes, time.


@needs_oracle
def test_refusal_in_tflms_own_words(capfd: pytest.CaptureFixture[str]) -> None:
    model = one_operator(OperatorCode("EXP"), (int8_tensor("x", (4,)), int8_tensor("y", (4,))))
    with pytest.raises(bridge.OracleRefusal, match="failed to prepare with status 1") as refusal:
        bridge.Oracle(model)
    assert refusal.value.stage == "allocate"
    assert "INT8 != FLOAT32" in refusal.value.log
    result = bridge.oracle_run(model, [])
    assert result.refused == refusal.value.message
    assert result.outputs == ()
    assert capfd.readouterr().err == ""


@needs_oracle
def test_missing_resource_variables_are_refused() -> None:
    model = golden_bytes("g_elu_resvar_int8")
    with pytest.raises(bridge.OracleRefusal, match="requires resource variables"):
        bridge.Oracle(model)
    with pytest.raises(bridge.OracleRefusal, match=r"Maximum resource variable count \(1\)"):
        bridge.Oracle(model, resource_variables=1)


@needs_oracle
def test_a_crash_ends_the_child_only() -> None:
    worker = bridge.Worker()
    try:
        oracle = bridge.IsolatedOracle(_bridge_check.MODEL, worker=worker)
        with pytest.raises(bridge.OracleCrash) as crash:
            bridge.IsolatedOracle(b"\xff" * 64, worker=worker)
        assert crash.value.signal == signal.SIGSEGV
        with pytest.raises(bridge.OracleCrash, match="ended"):
            oracle.invoke()
        with bridge.IsolatedOracle(_bridge_check.MODEL, worker=worker) as fresh:
            fresh.invoke()
            with pytest.raises(bridge.OracleCrash, match="earlier call"):
                oracle.invoke()
        oracle.close()
    finally:
        worker.close()


@needs_oracle
def test_an_endless_model_meets_the_time_limit() -> None:
    with pytest.raises(bridge.OracleTimeout, match=r"within 0\.5 s"):
        bridge.oracle_run(endless_model(), [[np.zeros(1, np.int32)]], timeout_s=0.5)
    assert bridge.oracle_run(endless_model(), [[np.ones(1, np.int32)]]).outputs[0][0] == 1


@needs_oracle
def test_isolated_oracle_equals_the_one_here() -> None:
    model, rng = golden_bytes("s_elu_stream_int8"), np.random.default_rng(5)
    with (
        bridge.Oracle(model, trace=True) as here,
        bridge.IsolatedOracle(model, trace=True) as there,
    ):
        assert (here.inputs, here.outputs, here.arena) == (there.inputs, there.outputs, there.arena)
        assert here.places == there.places
        assert (here.operators, here.scratches) == (there.operators, there.scratches)
        assert len(here.persistent_memory) == len(there.persistent_memory)
        assert len(here.persistent_memory) == here.arena.tail_bytes
        for _ in range(STEPS):
            values = random_inputs(here.inputs, rng)
            assert run_step(here, values) == run_step(there, values)
        assert here.trace == there.trace
        here.reset()
        there.reset()
        assert here.print_allocations() == there.print_allocations()


@needs_oracle
def test_oracle_run_is_a_stream_from_reset_state() -> None:
    model, rng = golden_bytes("s_elu_stream_int8"), np.random.default_rng(6)
    with bridge.Oracle(model) as oracle:
        steps = [random_inputs(oracle.inputs, rng) for _ in range(STEPS)]
        want = [run_step(oracle, step) for step in steps]
    for _ in range(2):
        result = bridge.oracle_run(model, steps, trace=True)
        assert result.refused is None
        assert [b"".join(array.tobytes() for array in step) for step in result.outputs] == want
        assert len(result.trace) == STEPS
        assert result.arena.categories["eval_tensors"].count > 0
    with pytest.raises(UsageError, match=r"has \d inputs: got 1"):
        bridge.oracle_run(model, [steps[0][:1]])


# The arena, by trying.


@needs_oracle
@pytest.mark.parametrize("recording", [False, True])
def test_smallest_arena_is_where_it_begins_to_work(recording: bool) -> None:
    model = _bridge_check.MODEL
    smallest = bridge.smallest_arena(model, recording=recording)
    with bridge.Oracle(model, recording=recording) as oracle:
        assert smallest >= oracle.arena.used_bytes
    suffices = [
        bridge.arena_suffices(model, smallest + 16 * step, recording=recording)
        for step in range(-8, 9)
    ]
    assert suffices == [False] * 8 + [True] * 9


@needs_oracle
def test_an_arena_too_small_for_anything_is_survived() -> None:
    assert not any(bridge.arena_suffices(_bridge_check.MODEL, size) for size in (0, 16, 256))


@needs_oracle
def test_used_bytes_do_not_depend_on_the_arena() -> None:
    sizes = (1 << 14, 1 << 18, None)
    measured = []
    for size in sizes:
        with bridge.Oracle(_bridge_check.MODEL, arena_bytes=size, recording=False) as oracle:
            arena = oracle.arena
            measured.append((arena.used_bytes, arena.head_bytes, arena.tail_bytes))
            assert arena.categories == {}
    assert len(set(measured)) == 1
    assert measured[0][0] == measured[0][1] + measured[0][2]


@needs_oracle
def test_a_closed_oracle_keeps_no_memory() -> None:
    def resident_bytes() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def use(times: int) -> None:
        for _ in range(times):
            with bridge.Oracle(_bridge_check.MODEL, trace=True) as oracle:
                oracle.invoke()

    use(50)
    before = resident_bytes()
    use(1000)
    assert resident_bytes() - before < 1 << 20  # one arena's touched pages a time would be 16 MiB


# Operators of our own.


@needs_oracle
def test_custom_operator(custom_model: bytes, custom_op: bridge.CustomOp) -> None:
    with pytest.raises(bridge.OracleRefusal):
        bridge.Oracle(custom_model)
    value = np.array([1, -2, 3, 4], np.int8)
    for ops in ([custom_op], [("COMPLEMENT", custom_op.library, custom_op.symbol)]):
        result = bridge.oracle_run(custom_model, [[value]], trace=True, custom_ops=ops)
        assert result.outputs[0][0].tolist() == (~value).tolist()
        (record,) = result.trace[0]
        assert record.custom_name == "COMPLEMENT"
        assert record.inputs[0].array().tolist() == value.tolist()
    for wrong in (("COMPLEMENT", "/no/library.so", "f"), ("COMPLEMENT", custom_op.library, "f")):
        with pytest.raises(UsageError):
            bridge.Oracle(custom_model, custom_ops=[wrong])


@needs_oracle
def test_an_abort_leaves_its_last_words(custom_model: bytes, custom_op: bridge.CustomOp) -> None:
    with pytest.raises(bridge.OracleCrash, match=r"SIGABRT.*custom operator gives up") as crash:
        bridge.oracle_run(
            custom_model, [[np.array([99, 0, 0, 0], np.int8)]], custom_ops=[custom_op]
        )
    assert crash.value.signal == signal.SIGABRT


@needs_oracle
def test_a_write_outside_the_arena_is_noticed(
    custom_model: bytes, custom_op: bridge.CustomOp
) -> None:
    with bridge.Oracle(custom_model, custom_ops=[custom_op]) as oracle:
        oracle.set_input(np.array([98, 0, 0, 0], np.int8))
        with pytest.raises(bridge.OracleOverrun):
            oracle.invoke()


# Where there is no oracle.


def test_cffi_reads_the_whole_header() -> None:
    header = (_bridge_build.source_folder() / "bridge.h").read_text()
    declared = bridge.declarations(header)
    assert not re.search(r'^#|extern "C"', declared, re.MULTILINE)
    functions = set(re.findall(r"\b(rm_\w+)\(", header))
    assert functions <= set(re.findall(r"\b(rm_\w+)\(", declared))


def test_another_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bridge_build.importlib.metadata, "version", lambda _: "0.1")
    with pytest.raises(EnvironmentMissingError, match=r"needs .*: found 0\.1") as error:
        _bridge_build.built_library()
    assert "pip install" in error.value.hint


def test_no_wheel_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> str:
        raise _bridge_build.importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(_bridge_build.importlib.metadata, "version", absent)
    with pytest.raises(EnvironmentMissingError, match="not installed") as error:
        _bridge_build.built_library()
    assert error.value.exit_code == 5


def test_no_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvironmentMissingError, match=r"no C\+\+ compiler found") as error:
        _bridge_build.compiler()
    assert "CXX" in error.value.hint


@needs_oracle
def test_a_compiler_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "sh -c 'echo error: broken >&2; exit 1'")
    with pytest.raises(EnvironmentMissingError, match="cannot build the bridge: error: broken"):
        _bridge_build.built_library()


@needs_oracle
@pytest.mark.parametrize(
    ("declared", "wrong"),
    [
        ("kInterpreterBytes = 4096", "kInterpreterBytes = 256"),
        (
            "uint8_t* data;\n  const TfLiteIntArray* dims;\n  size_t bytes;",
            "const TfLiteIntArray* dims;\n  uint8_t* data;\n  size_t bytes;",
        ),
        (
            "virtual const TFLMRegistration* FindOp(BuiltinOperator op) const = 0;",
            "virtual Parser Another() const { return nullptr; }\n"
            "virtual const TFLMRegistration* FindOp(BuiltinOperator op) const = 0;",
        ),
    ],
    ids=["object size", "struct layout", "virtual functions"],
)
def test_a_library_unlike_declared_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, declared: str, wrong: str
) -> None:
    sources = tmp_path / "cbridge"
    sources.mkdir()
    original = _bridge_build.source_folder()
    (sources / "bridge.h").write_text((original / "bridge.h").read_text())
    text = (original / "bridge.cc").read_text()
    assert text.count(declared) == 1
    (sources / "bridge.cc").write_text(text.replace(declared, wrong))
    monkeypatch.setattr(_bridge_build, "source_folder", lambda: sources)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(EnvironmentMissingError, match=r"as the bridge declares it: ."):
        _bridge_build.built_library()


@needs_oracle
def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    environment = _bridge_build.child_environment() | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", "from refmicro import bridge; bridge.require()"]
    children = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    built = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in built] == ["libbridge.so"]


def test_filled_outputs_show_what_is_never_written() -> None:
    data = (GOLDEN.parent / "tflm" / "audio_preprocessor_int8.tflite").read_bytes()
    energies, outputs = [], []
    for fill in (None, 0x00, 0xA5):
        with bridge.Oracle(data, trace=True, output_fill=fill) as oracle:
            oracle.set_input(np.ones(oracle.inputs[0].shape, oracle.inputs[0].dtype), 0)
            oracle.invoke()
            found = [item for item in oracle.trace if item.custom_name == "SignalEnergy"]
            energies.append(found[0].outputs[0].array())
            outputs.append(oracle.get_output(0).tobytes())
    assert (energies[1] != energies[2]).any()
    assert outputs[0] == outputs[1] == outputs[2]
