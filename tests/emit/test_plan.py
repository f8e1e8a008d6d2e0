"""The arena: what shares memory, what must not, and that the text says the same."""

import re

import numpy as np
import pytest

from refmicro.emit.emitter import emit
from refmicro.emit.plan import ALIGNMENT_BYTES
from refmicro.emit.unit import ScratchPlace, StatePlace, TensorPlace
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.model.reader import read_model
from refmicro.types import DType
from tests.models import MAMBA
from tests.ops.harness import tensor


def chain(*names, tensors, outputs):
    """Operators one after another, each on the tensor before it and a constant where it needs."""
    ops = []
    for number, name in enumerate(names):
        inputs = (number, len(tensors) - 1) if name == "RESHAPE" else (number,)
        ops.append(Operator(OperatorCode(name), inputs, (number + 1,)))
    return Model((Subgraph(tuple(tensors), (0,), outputs, tuple(ops)),))


def activations(count, shape=(1, 100)):
    return [tensor(DType.INT8, shape, scale=0.1) for _ in range(count)]


def places(found):
    return {
        place.tensor: offset
        for place, offset in found.plan.offsets.items()
        if isinstance(place, TensorPlace)
    }


def test_elementwise_operators_work_in_place():
    found = emit(chain("RELU", "RELU", "RELU", tensors=activations(4), outputs=(3,)), as_it_is=True)
    assert found.arena_bytes == 100
    assert set(places(found).values()) == {0}
    assert found.plan.shared == 3


def test_a_model_output_is_not_written_over():
    model = chain("RELU", "RELU", "RELU", tensors=activations(4), outputs=(1, 3))
    found = emit(model, as_it_is=True)
    assert found.arena_bytes == 200
    assert places(found)[1] != places(found)[3]


def test_a_view_costs_nothing():
    shape = tensor(DType.INT32, (2,), data=np.array([10, 10]))
    tensors = [*activations(1), tensor(DType.INT8, (10, 10), scale=0.1), shape]
    found = emit(chain("RESHAPE", tensors=tensors, outputs=(1,)), as_it_is=True)
    assert found.arena_bytes == 100
    assert found.operators[0].calls == ()
    assert b"model_OPERATOR(0)" not in found.files["model.c"]


@pytest.mark.parametrize("name", ["kws_mamba_int8", "g_elu_resvar_int8", "g_elu_while_int8"])
def test_everything_lies_inside_and_aligned(name):
    found = emit(read_model(MAMBA[name]), as_it_is=True)
    for place, offset in found.plan.offsets.items():
        assert offset % ALIGNMENT_BYTES == 0
        assert 0 <= offset < found.arena_bytes
        if isinstance(place, StatePlace):
            assert offset < found.state_bytes
        if isinstance(place, ScratchPlace):
            assert offset >= found.state_bytes
    used = {int(at) for at in re.findall(rb"AT\((\d+)\)", found.files["model.c"])}
    assert used <= set(found.plan.offsets.values())


def test_state_is_a_block_of_its_own():
    """Variable tensors of the keyword spotter: convolution tail, scan, sum of logits."""
    model = read_model(MAMBA["kws_mamba_int8"])
    found = emit(model, as_it_is=True)
    graph = model.subgraphs[0]
    variables = {i: t.nbytes for i, t in enumerate(graph.tensors) if t.is_variable}
    offsets = places(found)
    assert sum(variables.values()) == found.state_bytes
    assert all(offsets[index] < found.state_bytes for index in variables)
    assert all(
        offset >= found.state_bytes for index, offset in offsets.items() if index not in variables
    )
