"""The arena model against the real TFLM: the wheel on this host, and a Cortex-M4 as measured."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import UnsupportedError
from refmicro.memory.arena import CATEGORIES, model_arena
from refmicro.memory.lifetimes import lifetimes
from refmicro.memory.offline_plan import with_offline_plan
from refmicro.memory.verifier import find_conflicts, placements, tensor_name
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.program import prepare_model
from refmicro.types import DType, Tensor, TflmBuild
from tests.memory.graphs import random_calls, random_model
from tests.ops.harness import model_of, tensor

GOLDEN = Path(__file__).parents[2] / "golden"
MODELS = {
    **{path.parent.name: path for path in sorted(GOLDEN.glob("models/*/model.tflite"))},
    **{path.stem: path for path in sorted(GOLDEN.glob("tflm/*.tflite"))},
}
REFUSED = "p_exp_int8"
"""TFLM has no quantized EXP."""

MEASURED = [
    (kernels, name, truth)
    for kernels, file in (("reference", "ilp32.json"), ("cmsis-nn", "ilp32_cmsis_nn.json"))
    for name, truth in json.loads((GOLDEN / file).read_text()).items()
    if "head" in truth
]


def arena_of(data, build, resource_variables=None):
    """The predicted arena of a file."""
    return model_arena(
        prepare_model(parse_model(data), build, resource_variables=resource_variables)
    )


@pytest.mark.parametrize(
    ("kernels", "name", "truth"), MEASURED, ids=[f"{name}-{k}" for k, name, _ in MEASURED]
)
def test_cortex_m4(kernels, name, truth):
    data = MODELS[name].read_bytes()
    count = truth["resource_variables"]
    assert parse_model(data).sha256 == truth["sha256"]
    plain = arena_of(data, TflmBuild.firmware(kernels=kernels), count)
    recording = arena_of(data, TflmBuild.firmware(kernels=kernels, recording=True), count)
    assert plain.head_bytes == recording.head_bytes == truth["head"]
    assert plain.used_bytes == truth["used_bytes"]
    assert recording.tail_bytes == truth["recording_tail"]
    assert recording.used_bytes == truth["recording_total"]
    rows = {key: row._asdict() for key, row in recording.categories.items() if row.used_bytes}
    assert rows == truth["categories"]
    if "required_bytes" in truth:
        assert plain.required_bytes == truth["required_bytes"]


def compare_with_wheel(data, recording, resource_variables):
    """Everything that TFLM tells about its arena, and the smallest arena by trying."""
    from refmicro import bridge

    settings = {"resource_variables": resource_variables, "recording": recording}
    build = TflmBuild.wheel(recording=recording)
    arena = arena_of(data, build, resource_variables)
    with bridge.IsolatedOracle(data, trace=True, **settings) as oracle:
        measured, places = oracle.arena, oracle.places
    assert arena.used_bytes == measured.used_bytes
    assert arena.head_bytes == measured.head_bytes
    assert arena.tail_bytes == measured.tail_bytes
    for name, want in measured.categories.items():
        assert tuple(arena.categories[name]) == (
            want.requested_bytes,
            want.used_bytes,
            want.count,
        ), name
    planned = 0
    for item in places:
        offset = arena.tensors[item.subgraph][item.tensor].offset
        if offset is not None:
            assert offset == item.offset, item
            planned += 1
    assert planned > 0
    assert bridge.arena_suffices(data, arena.required_bytes, **settings)
    assert not bridge.arena_suffices(data, arena.required_bytes - 16, **settings)
    return arena


@pytest.mark.oracle
@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize("name", sorted(MODELS.keys() - {REFUSED}))
def test_models_in_the_wheel(name, recording):
    data = MODELS[name].read_bytes()
    uses_resources = b"VAR_HANDLE" in data or "resvar" in name
    for count in (16,) if uses_resources else (0, 5):
        compare_with_wheel(data, recording, count)


@pytest.mark.oracle
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 3, 8, 40]), st.booleans(), st.booleans())
def test_random_graphs_in_the_wheel(seed, operators, variables, recording):
    model = random_model(seed, operators, variables=variables)
    data = write_model(model)
    arena = compare_with_wheel(data, recording, seed % 2 * 3)
    assert find_conflicts(placements(arena, model), arena.head_bytes) == []
    assert arena.lower_bound_bytes <= arena.head_bytes
    assert max(peak.bytes for peak in arena.peaks) <= arena.required_bytes
    assert arena.trace[-1].end_bytes == arena.tail_bytes
    assert sum(event.used_bytes for event in arena.trace) == arena.tail_bytes


def refused_and_crashes(program, data):
    """Scratch buffers of a subgraph that nothing runs: TFLM plans them with garbage."""
    from refmicro import bridge

    with pytest.raises(UnsupportedError, match="nothing runs this one"):
        model_arena(program)
    with pytest.raises(bridge.OracleCrash):
        bridge.oracle_run(data, [[bytes(1), bytes(16)]])


@pytest.mark.oracle
@given(st.integers(0, 2**32), st.integers(1, 5), st.booleans())
def test_random_calls_in_the_wheel(seed, subgraphs, recording):
    model = random_calls(seed, subgraphs)
    data = write_model(model)
    program = prepare_model(parse_model(data), TflmBuild.wheel())
    clock = lifetimes(program)
    if any(
        node.scratch_bytes and clock.scratch[node.subgraph][node.index] == (-1, -1)
        for node in itertools.chain.from_iterable(program.nodes)
    ):
        refused_and_crashes(program, data)
        return
    arena = compare_with_wheel(data, recording, 0)
    assert find_conflicts(placements(arena, model), arena.head_bytes) == []
    assert arena.lower_bound_bytes <= arena.head_bytes


@pytest.mark.oracle
@given(st.integers(0, 2**32), st.sampled_from([2, 5, 20]), st.randoms(use_true_random=False))
def test_offline_plans_in_the_wheel(seed, operators, rng):
    """Some tensors fixed far apart so that nothing aliases, the rest left to TFLM."""
    model = random_model(seed, operators, variables=True)
    graph = model.subgraphs[0]
    offsets = [
        1024 * index if not item.is_constant and rng.random() < 0.3 else -1
        for index, item in enumerate(graph.tensors)
    ]
    planned = with_offline_plan(model, [offsets])
    arena = compare_with_wheel(write_model(planned), recording=True, resource_variables=0)
    for index, offset in enumerate(offsets):
        if offset != -1 and graph.tensors[index].nbytes:
            assert arena.tensors[0][index].offset == offset
    # TFLM gives a planned variable's memory away after its last use; the verifier must say so
    kept = {tensor_name(0, i) for i, item in enumerate(graph.tensors) if item.is_variable}
    found = find_conflicts(placements(arena, planned), arena.head_bytes)
    assert all(kept & set(conflict.buffers) for conflict in found)


@pytest.mark.oracle
@pytest.mark.parametrize("channels", [2, 3, 4, 5, 8, 30])
@pytest.mark.parametrize("depth", [1, 6])
def test_persistent_data_over_temporaries(channels, depth):
    """One per-channel operator: its Prepare decides, and TFLM lets blocks grow over temporaries."""
    scales = [0.5] * channels
    x = tensor(DType.INT8, (1, depth), scale=0.5)
    w = np.ones((channels, depth), np.int8)
    w = tensor(DType.INT8, w.shape, scale=scales, zero_point=[0] * channels, data=w)
    y = tensor(DType.INT8, (1, channels), scale=0.5)
    data = write_model(model_of("FULLY_CONNECTED", [x, w, None], [y]))
    arena = compare_with_wheel(data, recording=False, resource_variables=0)
    assert arena.decisive == ("prepare", arena.decisive.bytes, 0, 0)


@pytest.mark.oracle
@pytest.mark.parametrize("adj_x", [False, True])
@pytest.mark.parametrize("adj_y", [False, True])
def test_persistent_data_that_is_written_later(adj_x, adj_y):
    """BATCH_MATMUL asks for tables that it fills while preparing, and for copies filled later."""
    shapes = [(3, 2) if adj_x else (2, 3), (5, 3) if adj_y else (3, 5), (2, 5)]
    a, b, y = (tensor(DType.INT8, shape, scale=0.5) for shape in shapes)
    options = {"adj_x": adj_x, "adj_y": adj_y, "asymmetric_quantize_inputs": False}
    model = model_of("BATCH_MATMUL", [a, b], [y], options, options_type="BatchMatMulOptions")
    compare_with_wheel(write_model(model), recording=False, resource_variables=0)


def test_in_place_aliasing_shows_as_conflicts():
    """A plan may put an output over the input of an elementwise chain; the verifier says so."""
    data = MODELS["m_elu_inplace2_off_int8"].read_bytes()
    model = parse_model(data)
    arena = arena_of(data, TflmBuild.firmware())
    found = find_conflicts(placements(arena, model), arena.head_bytes)
    assert found
    assert {conflict.kind for conflict in found} == {"overlap"}
    pairs = {frozenset(conflict.buffers) for conflict in found}
    assert find_conflicts(placements(arena, model), arena.head_bytes, allowed=pairs) == []


def test_where_the_peak_is():
    data = MODELS["hello_world_int8"].read_bytes()
    arena = arena_of(data, TflmBuild.firmware())
    assert set(CATEGORIES) == set(arena.categories)
    assert arena.decisive.phase == "plan"
    assert len(arena.timeline) == len(arena.live_bytes) == 4
    assert arena.live_bytes == (16, 32, 32, 32)
    assert arena.live_peak == 1
    assert arena.timeline[1] == (0, 0)
    names = [arena.tensors[g][i].bytes for g, i in arena.live_tensors(arena.live_peak)]
    assert names == [16, 1]


def test_scratch_buffers_of_a_subgraph_that_never_runs_are_refused():
    x, y = (Tensor("", DType.INT8, (1, 4)) for _ in range(2))
    idle = random_model_with_scratch()
    main = Subgraph((x, y), (0,), (0,), ())
    with pytest.raises(UnsupportedError, match="nothing runs this one"):
        model_arena(prepare_model(Model((main, idle)), TflmBuild.firmware()))


def random_model_with_scratch() -> Subgraph:
    """A subgraph whose int4 filter is unpacked to a scratch buffer."""
    seed = 0
    while True:
        model = random_model(seed, 6)
        nodes = prepare_model(model, TflmBuild.firmware()).nodes[0]
        if any(node.scratch_bytes for node in nodes):
            return model.subgraphs[0]
        seed += 1


def test_an_empty_subgraph_counts_as_tflm_counts():
    """The recording allocator adds a 32-bit -1 for an array without elements."""
    x = Tensor("", DType.INT8, (1, 4))
    op = Operator(OperatorCode("RESHAPE"), (0,), (1,), {"new_shape": (1, 4)}, "ReshapeOptions")
    graphs = (Subgraph((x, x), (0,), (1,), (op,)), Subgraph((x,), (0,), (0,), ()))
    for build, extra in ((TflmBuild.wheel(recording=True), 2**32), (TflmBuild.firmware(), 0)):
        arena = model_arena(prepare_model(Model(graphs), build))
        assert arena.categories["nodes"].count == 1 + extra
