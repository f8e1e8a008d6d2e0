"""Cuts: the best of all, parts that give the source's bytes, and C++ that does the same in TFLM."""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from refmicro import _bridge_build
from refmicro.cli.main import main
from refmicro.errors import OverBudgetError, UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.memory.abi import align
from refmicro.memory.arena import model_arena
from refmicro.model.graph import Model
from refmicro.model.reader import parse_model, read_model
from refmicro.model.writer import write_model
from refmicro.program import prepare_model
from refmicro.transform._cuts import Flow
from refmicro.transform._repeats import runs
from refmicro.transform.plan import plan_offsets
from refmicro.transform.proof import RefmicroMachine, prove, written
from refmicro.transform.split import Split, SplitMachine, _Cutter, part_model, split
from refmicro.transform.split_files import manifest, split_files
from refmicro.types import DType, Tensor, TflmBuild
from refmicro.vectors import random_inputs
from tests.models import ALL
from tests.ops.graphs import join, model, op, rotate, subgraph, take
from tests.ops.harness import tensor
from tests.transform.unrolled import unrolled

HERE = Path(__file__).parent
FIRMWARE = TflmBuild.firmware()


def vector(size: int) -> Tensor:
    return tensor(DType.INT8, (size,), scale=0.5)


def random_model(seed: int, operators: int, *, through: bool = False) -> Model:
    """Joins, pieces and sums of vectors, each made of earlier ones; some are outputs."""
    rng = np.random.default_rng(seed)
    inputs = [vector(int(rng.integers(20, 90))) for _ in range(2)]
    values, ops = list(inputs), []
    for _ in range(operators):
        a, b = (values[int(i)] for i in rng.integers(max(len(values) - 4, 0), len(values), 2))
        size = a.shape[0]
        if rng.random() < 0.4 and a is not b and size + b.shape[0] < 300:
            y = vector(size + b.shape[0])
            ops.append(join([a, b], y))
        elif rng.random() < 0.6 and size > 8:
            y = vector(size // 2)
            ops.append(take(a, y, 3, 3 + size // 2))
        else:
            y = vector(size)
            ops.append(op("ADD", [a, a], [y], {"fused_activation_function": 0}))
        values.append(y)
    outputs = [values[-1], values[len(values) // 2], *(inputs[:1] if through else [])]
    return parse_model(write_model(model(subgraph(inputs, outputs, ops))))


def assert_runs_alike(source: Model, result: Split, rows: int = 3) -> None:
    """Parts and source give the same bytes in refmicro."""
    graph = source.subgraphs[0]
    inputs = random_inputs([graph.tensors[i] for i in graph.inputs], rows, 5)
    whole = Interpreter(source)
    machine = SplitMachine(result, [written(m) for m in result.models], RefmicroMachine)
    for row in range(rows):
        got = machine.invoke([array[row] for array in inputs])
        for index, array in enumerate(inputs):
            whole.set_input(array[row], index)
        whole.invoke()
        for index, value in enumerate(got):
            assert value.tobytes() == whole.get_output(index).tobytes()


# Against all cuts there are


def all_paths(flow: Flow) -> list[list[tuple[int, int]]]:
    """Every way to cut."""
    count = len(flow.graph.operators)
    inner = [cut for cut in range(1, count) if flow.allowed[cut]]
    paths = []
    for length in range(len(inner) + 1):
        for cuts in itertools.combinations(inner, length):
            paths.append(list(itertools.pairwise((0, *cuts, count))))
    return paths


def carried_bytes(flow: Flow, segment: tuple[int, int]) -> int:
    """What must lie outside of a part's arena, counted value by value."""
    graph, (start, end) = flow.graph, segment
    count, most = len(graph.operators), 0
    users = [{*item.inputs} for item in graph.operators]
    for cut, inside in ((start, start > 0), (end, end < count)):
        total = 0
        for index, item in enumerate(graph.tensors):
            made = [k for k, one in enumerate(graph.operators) if index in one.outputs]
            is_input, is_output = index in graph.inputs, index in graph.outputs
            if not is_input and not (made and made[0] < cut):
                continue
            needed = is_output or any(index in users[k] for k in range(cut, count))
            if needed and (inside or (is_input and is_output)):
                total += align(item.nbytes, 16)
        most = max(most, total)
    return most


@pytest.mark.parametrize("seed", range(12))
def test_the_best_of_all_cuts_is_found(seed: int) -> None:
    source = random_model(seed, 8, through=seed % 3 == 0)
    program = prepare_model(source, FIRMWARE)
    flow = Flow.of(program.model.subgraphs[0])
    arenas = {}
    for segment in itertools.combinations(range(9), 2):
        part = prepare_model(part_model(program, flow, segment), FIRMWARE)
        arena = model_arena(part)
        if part.model.subgraphs[0].outputs:
            arenas[segment] = arena.required_bytes + carried_bytes(flow, segment)
    costs = {
        tuple(path): max(arenas[s] for s in path)
        for path in all_paths(flow)
        if all(s in arenas for s in path)
    }
    cutter = _Cutter(program, (), 60.0, lambda what, done, total: None)
    smallest = cutter.smallest()
    assert smallest.optimal
    assert max(arenas[s] for s in smallest.path) == min(costs.values())
    for limit in sorted({*costs.values()})[::3]:
        within = [path for path, cost in costs.items() if cost <= limit]
        fewest = min(map(len, within))
        found = cutter.fewest(limit)
        assert found is not None
        assert found.optimal
        assert len(found.path) == fewest
        best = min(costs[path] for path in within if len(path) == fewest)
        # A single part that is small enough is taken without looking for more.
        assert costs[tuple(found.path)] == best
    assert cutter.fewest(min(costs.values()) - 1) is None


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("through", [False, True])
def test_parts_run_as_their_source(seed: int, through: bool) -> None:
    source = random_model(100 + seed, 14, through=through)
    reached = smallest_of(source)
    result = split(source, reached)
    assert len(result.calls) > 1
    assert_runs_alike(source, result)
    layout = result.layout
    assert layout.total_bytes <= reached
    for a, b in itertools.combinations(layout.carried, 2):
        apart = a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset
        assert apart or a.last < b.first or b.last < a.first
    for number, (start, call) in enumerate(zip(layout.starts, result.calls, strict=True)):
        part = prepare_model(result.models[call.model], FIRMWARE)
        assert start + model_arena(part).required_bytes <= layout.total_bytes
        for item in layout.carried:
            if item.first <= 2 * number + 1 and item.last >= 2 * number:
                end = start + model_arena(part).required_bytes
                assert item.offset + item.bytes <= start or item.offset >= end


def smallest_of(source: Model, build: TflmBuild = FIRMWARE) -> int:
    """What the refusal of an impossible limit says can be reached."""
    with pytest.raises(OverBudgetError, match="smallest that cuts") as refusal:
        split(source, 16, build=build)
    return int(refusal.value.hint.split("--split ")[1].split(",")[0])


# What is refused, and what is one part


def test_operators_that_remember_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="its state in variables of its own: an operator"):
        split(read_model(ALL["trained_lstm_int8"]), 1 << 20)
    with pytest.raises(UnsupportedError, match="what operators remember cannot be taken out of Si"):
        split(read_model(ALL["audio_preprocessor_int8"]), 1 << 20)


def test_constant_outputs_are_refused() -> None:
    x, y = vector(20), vector(20)
    constant = tensor(DType.INT8, (4,), scale=0.5, data=np.arange(4))
    add = op("ADD", [x, x], [y], {"fused_activation_function": 0})
    with pytest.raises(UnsupportedError, match="tensor 2 is a constant"):
        split(model(subgraph([x], [y, constant], [add])), 1 << 20)


def test_a_model_that_fits_stays_whole() -> None:
    source = read_model(ALL["hello_world_int8"])
    result = split(source, 1 << 20)
    assert len(result.calls) == 1
    assert result.optimal
    assert result.layout.carried == ()
    arena = model_arena(prepare_model(source, FIRMWARE))
    assert result.layout.total_bytes == arena.required_bytes


def test_a_loop_stays_in_its_part_with_the_subgraphs_it_runs() -> None:
    source = read_model(ALL["g_elu_while_int8"])
    result = split(source, smallest_of(source))
    loops = [m for m in result.models if len(m.subgraphs) > 1]
    assert len(loops) == 1
    assert len(loops[0].subgraphs) == len(source.subgraphs)
    assert len(result.models) > 1
    assert_runs_alike(source, result, 2)


def repeated_model(times: int) -> Model:
    """The same rotation again and again."""
    values = [tensor(DType.INT32, (64,)) for _ in range(times + 1)]
    ops = [one for x, y in itertools.pairwise(values) for one in rotate(x, y, 5)]
    return parse_model(write_model(model(subgraph(values[:1], values[-1:], ops))))


def test_equal_parts_are_one_model() -> None:
    source = repeated_model(12)
    result = split(source, smallest_of(source))
    assert len(result.models) < len(result.calls)
    assert len({write_model(m) for m in result.models}) == len(result.models)
    assert_runs_alike(source, result)


def test_operators_that_repeat_become_one_model() -> None:
    """One frame of an unrolled recurrence is a model that is called many times."""
    source = parse_model(write_model(in_order(unrolled(20))))
    longest = runs(source.subgraphs[0])[0]
    assert (longest.period, longest.times(longest.start)) == (7, 15)
    limit = smallest_of(source) + 2000
    plain, result = split(source, limit, repeats=False), split(source, limit)
    assert (plain.repeated, result.repeated) == (False, True)
    assert result.models_bytes < 0.7 * plain.models_bytes
    assert result.layout.total_bytes <= limit
    calls = [call.model for call in result.calls]
    assert max(map(calls.count, calls)) >= 15
    assert_runs_alike(source, result)


def in_order(source: Model) -> Model:
    """The same operators depth first, frame after frame."""
    graph = source.subgraphs[0]
    maker = {i: number for number, item in enumerate(graph.operators) for i in item.outputs}
    order: list[int] = []

    def visit(number: int) -> None:
        if number not in order:
            for i in graph.operators[number].inputs:
                if i in maker:
                    visit(maker[i])
            order.append(number)

    for number in range(len(graph.operators)):
        if graph.operators[number].name == "ADD" and number > len(graph.operators) // 2:
            visit(number)
    order += [number for number in range(len(graph.operators)) if number not in order]
    operators = tuple(graph.operators[number] for number in order)
    return dataclasses.replace(source, subgraphs=(dataclasses.replace(graph, operators=operators),))


# State


def kept_model(extra: bool = False) -> Model:
    """s' = s + x twice, y = 2 s'; with `extra` another state that becomes what s was."""
    x, y, s = vector(48), vector(48), dataclasses.replace(vector(48), is_variable=True)
    once, other = vector(48), dataclasses.replace(vector(48), is_variable=True)
    plain = {"fused_activation_function": 0}
    ops = [op("ADD", [s, x], [once], plain)]
    z = vector(48)
    if extra:
        ops.append(op("ADD", [once, other], [z], plain))
        ops.append(op("RESHAPE", [s], [other], {"new_shape": (48,)}))
    ops.append(op("ADD", [once, x], [s], plain))
    ops.append(op("ADD", [s, z if extra else s], [y], plain))
    return parse_model(write_model(model(subgraph([x], [y], ops))))


def assert_sequences_alike(source: Model, result: Split, rows: int = 9) -> None:
    graph = source.subgraphs[0]
    inputs = random_inputs([graph.tensors[i] for i in graph.inputs], rows, 5)
    whole = Interpreter(source)
    machine = SplitMachine(result, [written(m) for m in result.models], RefmicroMachine)
    for row in range(rows):
        if row == rows // 2:
            whole.reset()
            machine.reset()
        for index, array in enumerate(inputs):
            whole.set_input(array[row], index)
        whole.invoke()
        got = machine.invoke([array[row] for array in inputs])
        assert [v.tobytes() for v in got] == [
            whole.get_output(i).tobytes() for i in range(whole.output_count)
        ]


@pytest.mark.parametrize("extra", [False, True])
def test_state_lies_in_the_buffer(extra: bool) -> None:
    source = kept_model(extra)
    result = split(source, smallest_of(source))
    assert len(result.calls) > 1
    assert len(result.kept) == 1 + extra
    assert_sequences_alike(source, result)
    layout = result.layout
    places = {item.tensor: item for item in layout.carried}
    for item in result.kept:
        place = places[item.old]
        assert (place.first, place.last) == (0, 2 * len(result.calls) - 1)
        for number, call in enumerate(result.calls):
            start = layout.starts[number]
            arena = model_arena(prepare_model(result.models[call.model], FIRMWARE)).required_bytes
            assert place.offset + place.bytes <= start or start + arena <= place.offset


@pytest.mark.parametrize("name", ["g_elu_inplacevar_int8", "g_elu_resvar_int8"])
def test_streaming_models_are_cut_with_their_state(name: str) -> None:
    source = read_model(ALL[name])
    result = split(source, smallest_of(source))
    assert len(result.calls) > 1
    assert sum(len(item.initial) for item in result.kept) == 2048 + 384
    assert_sequences_alike(source, result, 4)


# Real models, and size


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "limit", "calls"),
    [("person_detect", 62_880, 2), ("u2_split_int8_reord", 60_000, 5)],
)
def test_real_models_are_proven_equal_in_tflm(name: str, limit: int, calls: int) -> None:
    source = read_model(ALL[name])
    result = split(source, limit)
    assert len(result.calls) == calls
    assert result.optimal
    models = [written(m) for m in result.models]
    proof = prove(source, models, lambda open_: SplitMachine(result, models, open_), count=4)
    assert proof.equal


def test_a_thousand_operators_take_seconds() -> None:
    source = random_model(1, 1000)
    arena = model_arena(prepare_model(source, FIRMWARE)).required_bytes
    result = split(source, arena // 4, time_limit_s=20)
    assert len(result.calls) > 3
    assert_runs_alike(source, result, 1)


def test_of_many_cuts_those_that_carry_least_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = random_model(11, 30)
    flow = Flow.of(prepare_model(source, FIRMWARE).model.subgraphs[0]).thinned(6)
    cuts = [cut for cut, allowed in enumerate(flow.allowed) if allowed]
    assert len(cuts) == 8
    assert flow.carried_bytes[cuts[1]] == min(flow.carried_bytes[1:6])
    free = smallest_of(source)
    monkeypatch.setattr("refmicro.transform.split.MAX_CUTS", 6)
    result = split(source, smallest_of(source))
    assert result.layout.total_bytes >= free
    assert not result.optimal
    assert {call.operators[0] for call in result.calls} <= set(cuts)
    assert_runs_alike(source, result)


# Files


def test_files_are_deterministic_and_tell_of_plans() -> None:
    source = random_model(7, 20)
    result = split(source, smallest_of(source))
    names = [f"part_{k:02}" for k in range(len(result.models))]
    files = split_files(result, names, result.models, "a-model 1")
    assert files == split_files(split(source, result.max_bytes), names, result.models, "a-model 1")
    document = json.loads(files["manifest.json"])
    assert document["buffer_bytes"] == result.layout.total_bytes
    assert b"namespace a_model_1 {" in files["split.h"]
    planned = [plan_offsets(m, time_limit_s=0.1).model for m in result.models]
    later = manifest(result, names, planned, result.layout_of(planned))
    assert [m["sha256"] for m in later["models"]] == [written(m).sha256 for m in planned]
    assert later["buffer_bytes"] <= document["buffer_bytes"]
    for number, call in enumerate(document["calls"]):
        for item in call["inputs"]:
            assert item["from"].get("call", -1) < number
            assert item["carried"] is not None or (number == 0 and "input" in item["from"])


@pytest.mark.oracle
@pytest.mark.parametrize(
    "case",
    ["random", "through", "repeated", "kept", "kept twice", "person_detect", "u2_split_int8_reord"],
)
def test_the_cpp_runs_in_tflm_within_its_buffer(case: str, tmp_path: Path) -> None:
    makers = {
        "random": lambda: random_model(40, 20),
        "through": lambda: random_model(40, 20, through=True),
        "repeated": lambda: repeated_model(6),
        "kept": kept_model,
        "kept twice": lambda: kept_model(True),
    }
    source = makers[case]() if case in makers else read_model(ALL[case])
    wheel = TflmBuild.wheel()
    limit = {"person_detect": 66_000, "u2_split_int8_reord": 70_000}.get(case)
    limit = limit or smallest_of(source, wheel)
    result = split(source, limit, build=wheel)
    assert len(result.calls) > 1
    run = compiled(result, tmp_path)
    size = result.layout.total_bytes
    graph = source.subgraphs[0]
    inputs = random_inputs([graph.tensors[i] for i in graph.inputs], 6, 2)
    whole = Interpreter(source)
    for row in range(6):
        rows = [array[row] for array in inputs]
        status, got = run(rows, size, fresh=row in (0, 4))
        assert status == 0
        if row == 4:
            whole.reset()
        for index, value in enumerate(rows):
            whole.set_input(value, index)
        whole.invoke()
        assert got == b"".join(whole.get_output(i).tobytes() for i in range(whole.output_count))


@pytest.mark.skipif(
    shutil.which("arm-none-eabi-g++") is None, reason="arm-none-eabi-g++ on PATH would run this"
)
@pytest.mark.parametrize("make", [lambda: random_model(40, 20), lambda: kept_model(True)])
def test_a_compiler_for_cortex_m_takes_the_cpp(make: Callable[[], Model], tmp_path: Path) -> None:
    source = make()
    sources = written_files(split(source, smallest_of(source)), tmp_path)
    flags = ["-mcpu=cortex-m4", "-mthumb", "-std=c++17", "-fno-exceptions", "-fno-rtti", "-Os"]
    warnings = ["-Wall", "-Wextra", "-Werror"]
    for path in sources:
        subprocess.run(
            ["arm-none-eabi-g++", *flags, *warnings, "-c", "-I", tmp_path, path],
            cwd=tmp_path,
            check=True,
        )


def written_files(result: Split, folder: Path) -> list[Path]:
    """Writes the C++ of a split and the names that it needs of TFLM; gives the sources."""
    names = [f"part_{k:02}" for k in range(len(result.models))]
    for name, data in split_files(result, names, result.models, "host").items():
        (folder / name).write_bytes(data)
    declared = (HERE / "split_tflm.h").read_text()
    micro = folder / "tensorflow" / "lite" / "micro"
    for header in ("micro_interpreter.h", "micro_op_resolver.h"):
        micro.mkdir(parents=True, exist_ok=True)
        (micro / header).write_text(declared)
    schema = folder / "tensorflow" / "lite" / "schema"
    schema.mkdir()
    (schema / "schema_generated.h").write_text(declared)
    return [folder / "split.cc", folder / "split_models.cc"]


def compiled(result: Split, folder: Path):
    """The C++ of a split against the wheel: run(inputs, buffer bytes, fresh) -> (status, outputs).

    The runner stays from run to run; `fresh` sets its state back.
    """
    written_files(result, folder)
    host = folder / "host.cc"
    host.write_text((HERE / "split_host.cc").read_text().replace("SPLIT_SPACE", "host"))
    library = folder / "host.so"
    _bridge_build.compile_against_wheel(host, _bridge_build.wheel_library(), library)
    function = ctypes.CDLL(str(library)).run_split
    function.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int]
    sizes = [result.source.tensors[t].nbytes for t in result.outputs]
    room = np.full(result.layout.total_bytes + 4096, 0xA5, np.uint8)
    start = -room.ctypes.data % 64

    def run(inputs: list[np.ndarray], size: int, fresh: bool) -> tuple[int, bytes]:
        out = np.zeros(sum(sizes), np.uint8)
        data = b"".join(array.tobytes() for array in inputs)
        status = function(room.ctypes.data + start, data, out.ctypes.data, fresh)
        assert (room[:start] == 0xA5).all()
        assert (room[start + size :] == 0xA5).all()
        return status, out.tobytes()

    return run


# The command


@pytest.mark.oracle
def test_command_writes_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "parts"
    arguments = ["transform", str(ALL["person_detect"]), "-o", str(out), "--count", "2"]
    assert main([*arguments, "--split", "64KiB", "--plan", "--json", "--time-limit", "1"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["proof"]["equal"]
    told = json.loads((out / "manifest.json").read_text())
    assert told["buffer_bytes"] <= 65_536
    for item in told["models"]:
        assert read_model(out / item["file"]).sha256 == item["sha256"]
    assert {path.name for path in out.iterdir()} == {
        "manifest.json",
        "split.h",
        "split.cc",
        "split_models.cc",
        *(item["file"] for item in told["models"]),
    }


@pytest.mark.oracle
def test_command_says_what_can_be_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "parts"
    arguments = ["transform", str(ALL["person_detect"]), "-o", str(out)]
    assert main([*arguments, "--split", "20KiB"]) == 1
    assert "62,880 bytes" in capsys.readouterr().err
    assert main([*arguments, "--split", "much"]) == 2
    assert not out.exists()


@pytest.mark.oracle
def test_command_writes_nothing_where_parts_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = SplitMachine.invoke

    def wrong(self: SplitMachine, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return [value ^ np.int8(1) for value in right(self, inputs)]

    monkeypatch.setattr(SplitMachine, "invoke", wrong)
    out = tmp_path / "parts"
    arguments = ["transform", str(ALL["person_detect"]), "-o", str(out), "--count", "1"]
    assert main([*arguments, "--split", "64KiB"]) == 4
    assert "proven" in capsys.readouterr().err
    assert not out.exists()
