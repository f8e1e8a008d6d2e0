"""Worked arithmetic: equal to the interpreter's for every operator that is written out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from refmicro.errors import UsageError
from refmicro.explain.element import MAX_TERMS, explain_element
from refmicro.model.graph import Model
from refmicro.model.reader import read_model
from refmicro.types import DType
from refmicro.vectors import random_inputs
from tests.models import ALL
from tests.ops.graphs import model, op, subgraph
from tests.ops.harness import tensor
from tests.transform.convolutions import NETWORKS

WORKED = {
    "ADD",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "MUL",
    "QUANTIZE",
    "RESHAPE",
    "SUB",
}


def inputs_of(source: Model, seed: int = 1) -> list[np.ndarray]:
    graph = source.subgraphs[0]
    return [array[5] for array in random_inputs([graph.tensors[i] for i in graph.inputs], 6, seed)]


@pytest.mark.parametrize(
    "name",
    [
        "front_whole_L49_pc",
        "g_elu_inplacevar_int8",
        "kws_mamba_int8",
        "person_detect",
        "stream_sig_bmm_int16x8",
        "trained_lstm_int8",
        "audio_preprocessor_int8",
    ],
)
def test_elements_of_real_models(name: str) -> None:
    """`explain_element` compares what it worked out with the interpreter's value itself."""
    source = read_model(ALL[name])
    inputs = inputs_of(source)
    rng = np.random.default_rng(0)
    found: Counter[tuple[str, bool]] = Counter()
    graph = source.subgraphs[0]
    for number in rng.permutation(len(graph.operators))[:16]:
        output = graph.operators[number].outputs[0]
        place = (0, output, [int(rng.integers(graph.tensors[output].elements))])
        explained = explain_element(source, inputs, place)
        # Of several operators that write a variable the last one counts.
        assert output in graph.operators[explained.operator].outputs
        assert explained.formula
        quantized = graph.tensors[output].quantization.is_affine
        if explained.operator_name in WORKED and quantized:
            assert explained.is_worked
            assert explained.steps[-1].value == explained.value
        found[explained.operator_name, explained.is_worked] += 1
    assert sum(found.values()) == min(16, len(graph.operators))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_elements_at_the_borders_of_images(name: str) -> None:
    source = NETWORKS[name]()
    graph = source.subgraphs[0]
    inputs = inputs_of(source)
    for item in graph.operators[::5]:
        shape = graph.tensors[item.outputs[0]].shape
        for place in ((0, 0, 0, 0), tuple(size - 1 for size in shape)):
            explained = explain_element(source, inputs, (0, item.outputs[0], place))
            assert explained.index == place


def test_the_steps_of_a_product() -> None:
    """Two terms, a bias, a multiplier of 0.4: every number is known."""
    x = tensor(DType.INT8, (1, 2), scale=0.5, zero_point=-1)
    w = tensor(DType.INT8, (1, 2), scale=0.2, data=np.array([[10, -3]]))
    bias = tensor(DType.INT32, (1,), scale=0.1, data=np.array([7]))
    y = tensor(DType.INT8, (1, 1), scale=0.25, zero_point=4)
    ops = [op("FULLY_CONNECTED", [x, w, bias], [y], {"fused_activation_function": 0})]
    source = model(subgraph([x], [y], ops))
    found = explain_element(source, [np.array([[5, 2]], np.int8)], (0, 3, (0, 0)))
    values = [step.value for step in found.steps]
    # (5 + 1) * 10 + (2 + 1) * -3 = 51, and 58 with the bias; 58 * 0.4 = 23.2, and 4.
    assert values[:2] == [51, 58]
    real = 0.5 * float(np.float32(0.2)) / 0.25
    assert values[2] == round(real * 2**32)
    assert values[-2:] == [27, 27]
    assert found.value == 27
    assert found.real == pytest.approx(5.75)
    assert found.steps[0].terms[0] == "[0] (5 - -1) * (10 - 0) = 60"


def test_long_sums_are_cut() -> None:
    source = read_model(ALL["front_whole_L49_pc"])
    output = source.subgraphs[0].operators[1].outputs[0]
    explained = explain_element(source, inputs_of(source), (0, output, [3]))
    assert len(explained.steps[0].terms) == MAX_TERMS + 1
    assert explained.steps[0].terms[-1].startswith("and ")


def test_what_nobody_computes() -> None:
    source = read_model(ALL["hello_world_int8"])
    graph = source.subgraphs[0]
    given = explain_element(source, [np.array([[17]], np.int8)], (0, graph.inputs[0], [0]))
    assert (given.operator_name, given.value) == ("input", 17)
    weights = graph.operators[0].inputs[1]
    constant = explain_element(source, [np.array([[17]], np.int8)], (0, weights, [2]))
    assert constant.operator_name == "constant"
    assert constant.value == graph.tensors[weights].array().reshape(-1)[2]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ((3, 0, [0]), "a subgraph must be below 1"),
        ((0, 999, [0]), "a tensor of subgraph 0 must be below"),
        ((0, 0, [7]), "a flat index must be below 1"),
        ((0, 0, [0, 0, 0]), "an index must lie inside of"),
    ],
)
def test_places_that_are_not_there(place: tuple, message: str) -> None:
    source = read_model(ALL["hello_world_int8"])
    with pytest.raises(UsageError, match=message):
        explain_element(source, [np.array([[17]], np.int8)], place)
