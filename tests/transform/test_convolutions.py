"""Convolution networks with branches: orders and plans never above TFLM's own, and at the bound."""

from __future__ import annotations

import pytest

from refmicro.memory.arena import model_arena
from refmicro.model.graph import Model
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.program import prepare_model
from refmicro.transform.plan import plan_offsets
from refmicro.transform.proof import prove_equal, written
from refmicro.transform.reorder import reorder
from refmicro.types import TflmBuild
from tests.transform.convolutions import NETWORKS, random_wires


def head_bytes(source: Model) -> int:
    return model_arena(prepare_model(source, TflmBuild.firmware())).head_bytes


def drawn(name: str) -> Model:
    make = NETWORKS[name] if name in NETWORKS else lambda: random_wires(int(name))
    return parse_model(write_model(make()))


@pytest.mark.parametrize("name", [*sorted(NETWORKS), "1", "2", "3", "4"])
def test_a_plan_is_at_the_bound_of_its_order(name: str) -> None:
    source = drawn(name)
    bound = model_arena(prepare_model(source, TflmBuild.firmware())).lower_bound_bytes
    result = plan_offsets(source, in_place=False)
    assert result.head_bytes == head_bytes(result.model) == bound
    assert result.head_bytes <= head_bytes(source)


@pytest.mark.parametrize("name", [*sorted(NETWORKS), "1", "2", "3", "4"])
@pytest.mark.parametrize("in_place", [False, True])
def test_order_and_plan_are_at_the_bound_of_all_orders(name: str, in_place: bool) -> None:
    source = drawn(name)
    ordered = reorder(source, in_place=in_place, time_limit_s=20)
    assert ordered.optimal
    assert ordered.peak_bytes <= ordered.source_peak_bytes
    result = plan_offsets(ordered.model, in_place=in_place)
    assert result.head_bytes == ordered.lower_bound_bytes
    assert result.head_bytes <= head_bytes(source)


def test_greedy_is_above_the_bound_where_branches_cross() -> None:
    """So that there is something to gain: two orders, one plan of each."""
    source = drawn("random_wires")
    assert head_bytes(source) == 36_864
    assert plan_offsets(source, in_place=False).head_bytes == 33_792
    ordered = reorder(source)
    assert plan_offsets(ordered.model, in_place=False).head_bytes == 28_672


@pytest.mark.oracle
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_they_are_proven_equal(name: str) -> None:
    source = drawn(name)
    result = plan_offsets(reorder(source, in_place=True).model).model
    proof = prove_equal(source, written(result), count=2)
    assert proof.equal, (proof.first, proof.faults)
