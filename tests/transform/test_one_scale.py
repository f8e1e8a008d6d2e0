"""Frames on one scale: frames that repeat, small changes, exact where none is due."""

from __future__ import annotations

import numpy as np
import pytest

from refmicro.errors import UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.model.reader import read_model
from refmicro.transform._repeats import runs
from refmicro.transform.one_scale import one_scale
from refmicro.transform.proof import prove, prove_equal, written
from refmicro.transform.split import SplitMachine, split
from refmicro.vectors import random_inputs
from tests.models import MAMBA
from tests.transform.test_stream import recurrence


def scales(steps: int) -> float:
    """Of the state of one frame."""
    return 0.05 + 0.01 * (steps % 3)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["u2_split_int8", "u3_elu_trained_int8"])
def test_unrolled_models_repeat_frame_after_frame(name: str) -> None:
    """A converter gives every frame its own scales and puts all products first."""
    source = read_model(MAMBA[name])
    assert runs(source.subgraphs[0]) == []
    result = one_scale(source)
    assert result.frames == 49
    assert len(result.changes) == 1
    assert result.model.operator_count == source.operator_count
    (run, *_) = runs(result.model.subgraphs[0])
    assert (run.period, run.times(run.start)) == (7, 48)
    proof = prove_equal(source, written(result.model), count=3)
    assert proof.sound
    assert not proof.equal


def test_numbers_move_by_little_where_nothing_saturates() -> None:
    source = read_model(MAMBA["u2_split_int8"])
    graph = source.subgraphs[0]
    rng = np.random.default_rng(3)
    frames = rng.normal(0, 25, (16, *graph.tensors[graph.inputs[0]].shape))
    inputs = [frames.clip(-128, 127).astype(np.int8)]
    (want,), (got,) = (
        Interpreter(each).invoke_batch(inputs) for each in (source, one_scale(source).model)
    )
    assert 0 < np.abs(want.astype(int) - got).max() < 10


def test_frames_on_one_scale_stay_exact() -> None:
    source = recurrence()
    result = one_scale(source)
    assert result.changes == ()
    graph = source.subgraphs[0]
    inputs = random_inputs([graph.tensors[i] for i in graph.inputs], 8, 0)
    want, got = (Interpreter(each).invoke_batch(inputs) for each in (source, result.model))
    assert [array.tobytes() for array in want] == [array.tobytes() for array in got]


def test_results_go_back_to_the_scale_of_what_joins_them() -> None:
    result = one_scale(recurrence(scales)).model
    graph = result.subgraphs[0]
    (join,) = [op for op in graph.operators if op.name in ("PACK", "CONCATENATION")]
    whole = graph.tensors[join.outputs[0]].quantization
    assert all(graph.tensors[i].quantization.scale == whole.scale for i in join.inputs)


@pytest.mark.oracle
def test_a_frame_becomes_one_model_that_is_called_for_each() -> None:
    source = recurrence(scales)
    result = one_scale(source).model
    parts = split(result, 4000)
    assert parts.repeated
    assert len(parts.models) < len(parts.calls)
    models = [written(part) for part in parts.models]
    proof = prove(result, models, lambda opened: SplitMachine(parts, models, opened), count=6)
    assert proof.equal


def test_what_has_no_frames_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="must have unrolled frames"):
        one_scale(read_model(MAMBA["front_whole_L49_pc"]))
    with pytest.raises(UnsupportedError, match="no state"):
        one_scale(read_model(MAMBA["g_elu_inplacevar_int8"]))
