"""Lifetimes against TFLM's clock as written there: one counter, recursion into called subgraphs."""

import random
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmicro.errors import UnsupportedError
from refmicro.memory.lifetimes import MAX_STEPS, Step, lifetimes


def program(graphs):
    """A program of (tensors, inputs, outputs, [(inputs, outputs, callees), ...]) subgraphs."""
    subgraphs, nodes = [], []
    for tensors, inputs, outputs, operators in graphs:
        row = [
            SimpleNamespace(
                index=i, subgraphs=tuple(callees), operator=SimpleNamespace(inputs=a, outputs=b)
            )
            for i, (a, b, callees) in enumerate(operators)
        ]
        nodes.append(row)
        subgraphs.append(
            SimpleNamespace(tensors=[None] * tensors, inputs=inputs, outputs=outputs, operators=row)
        )
    return SimpleNamespace(model=SimpleNamespace(subgraphs=subgraphs), nodes=nodes)


def counted(graphs):
    """First, last and scratch times, and the steps, by literal recursion."""
    first = [[-1] * graph[0] for graph in graphs]
    last = [[-1] * graph[0] for graph in graphs]
    scratch = [[(-1, -1)] * len(graph[3]) for graph in graphs]
    steps = []
    clock = 0

    def create(graph, tensor):
        if first[graph][tensor] == -1:
            first[graph][tensor] = clock

    def mark(graph):
        nonlocal clock
        _, inputs, outputs, operators = graphs[graph]
        steps.append(Step(graph, None))
        for tensor in inputs:
            create(graph, tensor)
            last[graph][tensor] = clock
        for index, (reads, writes, callees) in enumerate(operators):
            clock += 1
            steps.append(Step(graph, index))
            for tensor in writes:
                create(graph, tensor)
            start = clock
            for callee in callees:
                clock += 1
                mark(callee)
            for tensor in (*reads, *writes):
                if tensor >= 0:
                    last[graph][tensor] = clock
            begin = scratch[graph][index][0]
            scratch[graph][index] = (start if begin == -1 else begin, clock)
        for tensor in outputs:
            create(graph, tensor)
            last[graph][tensor] = clock

    mark(0)
    return first, last, scratch, steps


def _picked(rng, tensors, least):
    return [rng.randrange(tensors) for _ in range(rng.randint(least, 3))]


def random_graphs(seed):
    """Subgraphs that call later ones, some more than once and some never."""
    rng = random.Random(seed)
    count = rng.randint(1, 5)
    graphs = []
    for graph in range(count):
        tensors = rng.randint(1, 8)
        pick = partial(_picked, rng, tensors)
        operators = []
        for _ in range(rng.randint(0, 6)):
            later = range(graph + 1, count)
            calls = rng.choices(later, k=rng.randint(1, 2)) if later and rng.random() < 0.4 else []
            reads = [-1 if rng.random() < 0.1 else tensor for tensor in pick(0)]
            operators.append((reads, pick(1), calls))
        graphs.append((tensors, pick(0), pick(0), operators))
    return graphs


@given(st.integers(0, 10**9))
def test_same_times_as_the_counter(seed):
    graphs = random_graphs(seed)
    got = lifetimes(program(graphs))
    first, last, scratch, steps = counted(graphs)
    assert list(got.first_time_used) == first
    assert list(got.last_time_used) == last
    assert list(got.scratch) == scratch
    assert got.timeline() == steps
    assert got.steps == len(steps)


def test_a_chain():
    graphs = [(4, [0], [3], [([0], [1], []), ([1, -1], [2], []), ([2], [3], [])])]
    got = lifetimes(program(graphs))
    assert got.first_time_used == ([0, 1, 2, 3],)
    assert got.last_time_used == ([1, 2, 3, 3],)


def test_an_unused_input_lives_at_the_start_and_an_unused_tensor_never():
    got = lifetimes(program([(3, [0], [1], [([], [1], [])])]))
    assert got.first_time_used == ([0, 1, -1],)
    assert got.last_time_used == ([0, 1, -1],)


def test_callers_buffers_live_through_a_call():
    body = (1, [0], [0], [])
    graphs = [(2, [0], [1], [([0], [1], [1, 2])]), body, body]
    got = lifetimes(program(graphs))
    assert (got.first_time_used[0], got.last_time_used[0]) == ([0, 1], [3, 3])
    assert got.first_time_used[1:] == ([2], [3])
    assert got.scratch[0] == [(1, 3)]
    assert got.timeline() == [Step(0, None), Step(0, 0), Step(1, None), Step(2, None)]


def test_calls_that_double_and_double_are_counted_not_walked():
    """Thirty levels of IF with one subgraph on both branches: a billion steps."""
    levels = [(1, [0], [0], [([0], [0], [i + 1, i + 1])]) for i in range(29)]
    with pytest.raises(UnsupportedError, match="at most") as caught:
        lifetimes(program([*levels, (1, [0], [0], [])]))
    assert str(MAX_STEPS) in str(caught.value)
