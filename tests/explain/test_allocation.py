"""Places: every planned buffer's is found again, and the tail is told in words."""

from __future__ import annotations

import pytest

from refmicro.errors import UsageError
from refmicro.explain.allocation import (
    PlaceExplanation,
    TailExplanation,
    explain_allocation,
    explain_tensor,
)
from refmicro.memory.arena import model_arena
from refmicro.model.reader import read_model
from refmicro.program import prepare_model
from refmicro.types import TflmBuild
from tests.models import ALL

FIRMWARE = TflmBuild.firmware()


@pytest.mark.parametrize(
    "name",
    [
        "person_detect",
        "g_elu_while_int8",
        "m_elu_inplace2_off_int8",
        "audio_preprocessor_int8",
        "keyword_scrambled_8bit",
    ],
)
@pytest.mark.parametrize("build", [FIRMWARE, TflmBuild.wheel()], ids=["ilp32", "lp64"])
def test_every_place_is_replayed(name: str, build: TflmBuild) -> None:
    """The replay raises where it comes to another offset than the arena model."""
    source = read_model(ALL[name])
    arena = model_arena(prepare_model(source, build))
    turns = []
    for graph, tensors in enumerate(arena.tensors):
        for index, item in enumerate(tensors):
            found = explain_tensor(source, graph, index, build)
            assert isinstance(found, PlaceExplanation) == (item.offset is not None)
            if isinstance(found, PlaceExplanation):
                assert found.buffer.offset == item.offset
                assert all(other.meets(found.buffer) for other in found.neighbours)
                turns.append(found.turn)
    assert len(set(turns)) == len(turns)


def test_the_largest_is_first() -> None:
    source = read_model(ALL["person_detect"])
    first = explain_allocation(source, 0, FIRMWARE)
    assert isinstance(first, PlaceExplanation)
    assert (first.turn, first.buffer.bytes, first.buffer.offset) == (1, 36_864, 0)
    assert first.neighbours == ()
    assert "operator 2 (CONV_2D)" in first.what


def test_scratch_buffers_have_a_place() -> None:
    source = read_model(ALL["keyword_scrambled_8bit"])
    found = [explain_allocation(source, number, FIRMWARE) for number in range(12)]
    scratch = [
        item
        for item in found
        if isinstance(item, PlaceExplanation) and item.buffer.label.startswith("scratch buffer 0")
    ]
    assert scratch
    assert scratch[0].buffer.first == scratch[0].buffer.last


def test_an_offline_place_is_named_so() -> None:
    source = read_model(ALL["m_elu_inplace2_off_int8"])
    found = explain_allocation(source, 0, FIRMWARE)
    assert isinstance(found, PlaceExplanation)
    assert found.buffer.offline


def test_what_is_not_planned() -> None:
    source = read_model(ALL["g_elu_inplacevar_int8"])
    graph = source.subgraphs[0]
    variable = next(i for i, item in enumerate(graph.tensors) if item.is_variable)
    constant = next(i for i, item in enumerate(graph.tensors) if item.is_constant)
    for index, words in ((variable, "it is a variable"), (constant, "it is a constant")):
        found = explain_tensor(source, 0, index, FIRMWARE)
        assert isinstance(found, TailExplanation)
        assert found.sentences[0].startswith(words)


def test_every_allocation_of_the_tail() -> None:
    source = read_model(ALL["hello_world_int8"])
    arena = model_arena(prepare_model(source, FIRMWARE))
    planned = sum(item.offset is not None for tensors in arena.tensors for item in tensors)
    for number, item in enumerate(arena.trace):
        found = explain_allocation(source, planned + number, FIRMWARE)
        assert isinstance(found, TailExplanation)
        assert found.label == item.what
        assert f"{item.end_bytes} bytes below" in found.sentences[2]
    with pytest.raises(UsageError, match="an allocation must be below"):
        explain_allocation(source, planned + len(arena.trace), FIRMWARE)


def test_tensors_that_are_not_there() -> None:
    source = read_model(ALL["hello_world_int8"])
    with pytest.raises(UsageError, match="a subgraph must be below 1"):
        explain_tensor(source, 1, 0, FIRMWARE)
    with pytest.raises(UsageError, match="a tensor of subgraph 0"):
        explain_tensor(source, 0, 99, FIRMWARE)
