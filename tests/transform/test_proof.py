"""The proof finds every kind of fault, and says where."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from refmicro.memory.arena import model_arena
from refmicro.memory.offline_plan import with_offline_plan
from refmicro.model.graph import Model
from refmicro.model.reader import read_model
from refmicro.program import prepare_model
from refmicro.transform import proof as proof_module
from refmicro.transform.proof import Machine, Open, prove, prove_equal, written
from refmicro.types import Tensor, TflmBuild
from tests.models import ALL

pytestmark = pytest.mark.oracle


def head() -> Model:
    return read_model(ALL["s_elu_head_int8"])


def with_tensor(model: Model, index: int, tensor: Tensor) -> Model:
    graph = model.subgraphs[0]
    tensors = (*graph.tensors[:index], tensor, *graph.tensors[index + 1 :])
    return written(
        dataclasses.replace(
            model, subgraphs=(dataclasses.replace(graph, tensors=tensors),), source=None
        )
    )


def test_a_model_equals_itself() -> None:
    proof = prove_equal(head(), head(), count=5)
    assert proof.equal
    assert proof.vectors == 5
    assert proof.values == 5 * 12
    assert (proof.mismatches, proof.first, proof.faults) == (0, None, ())


def test_state_runs_as_sequences() -> None:
    model = read_model(ALL["g_elu_inplacevar_int8"])
    assert prove_equal(model, model, count=3).vectors == 9


def test_one_weight_is_enough() -> None:
    """One changed byte of 768 shows, with how far it reaches and where it is first."""
    source = head()
    graph = source.subgraphs[0]
    weights = graph.operators[0].inputs[1]
    data = bytearray(graph.tensors[weights].data)
    data[5] ^= 0x40
    changed = dataclasses.replace(graph.tensors[weights], data=bytes(data))
    proof = prove_equal(source, with_tensor(source, weights, changed))
    assert not proof.equal
    assert not proof.tflm_equal
    assert not proof.refmicro_equal
    assert proof.oracle_equal, "both run the changed model alike"
    assert proof.sound
    assert proof.mismatches > 0
    assert proof.largest_difference >= 1
    assert proof.first.between == "result in TFLM against source in TFLM"
    assert proof.first.output == 0
    assert proof.first.index == 0
    assert proof.first.want != proof.first.got


def test_state_that_is_lost_shows_in_a_sequence_only() -> None:
    """The result is right for single vectors, and its second step is not."""
    model = read_model(ALL["g_elu_inplacevar_int8"])

    class Forgetful:
        def __init__(self, inner: Machine) -> None:
            self.inner = inner

        def reset(self) -> None:
            self.inner.reset()

        def invoke(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            self.inner.reset()
            return self.inner.invoke(inputs)

    def arrangement(open_model: Open) -> Machine:
        return Forgetful(open_model(model))

    proof = prove(model, (model,), arrangement, count=4)
    assert not proof.equal
    assert proof.first.row >= 4, "the first sequence is of single vectors"


def test_a_plan_that_destroys_values_is_a_fault() -> None:
    """Two tensors that both live lie on one another; TFLM runs it and gives other numbers."""
    source = read_model(ALL["s_elu_back_int8"])
    zeros = [[0] * len(source.subgraphs[0].tensors)]
    proof = prove_equal(source, written(with_offline_plan(source, zeros)))
    assert not proof.equal
    assert not proof.sound
    assert not proof.tflm_equal
    assert any("must not share memory" in fault for fault in proof.faults)
    assert proof.refmicro_equal, "refmicro has no memory to share"


def test_a_plan_that_is_not_obeyed_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of the memory says something else than TFLM does."""
    model = head()

    def wrong(program: object) -> object:
        arena = model_arena(program)
        tensors = tuple(
            tuple(t._replace(offset=None if t.offset is None else t.offset + 16) for t in graph)
            for graph in arena.tensors
        )
        return dataclasses.replace(
            arena, tensors=tensors, used_bytes=arena.used_bytes - 16, required_bytes=16
        )

    monkeypatch.setattr(proof_module, "model_arena", wrong)
    faults = proof_module.placement_faults(model)
    assert any("TFLM places tensor 0:0 at" in fault for fault in faults)
    assert any(fault.startswith("TFLM uses") for fault in faults)
    assert any(fault.startswith("TFLM needs more than the predicted 16") for fault in faults)


def test_a_smaller_arena_would_do_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    model = head()
    real = model_arena(prepare_model(model, TflmBuild.wheel()))

    def wrong(program: object) -> object:
        return dataclasses.replace(real, required_bytes=real.required_bytes + 16)

    monkeypatch.setattr(proof_module, "model_arena", wrong)
    assert any("needs less" in fault for fault in proof_module.placement_faults(model))


def test_other_outputs_are_a_difference() -> None:
    """As many values or more, of another type: not equal, and no crash."""
    source = head()

    def arrangement(change):
        class Changed:
            def __init__(self, inner: Machine) -> None:
                self.inner = inner
                self.reset = inner.reset

            def invoke(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
                return change(self.inner.invoke(inputs))

        return lambda open_model: Changed(open_model(source))

    for change in (
        lambda outputs: outputs * 2,
        lambda outputs: [outputs[0].astype(np.int16)],
        lambda outputs: [outputs[0][..., :-1]],
    ):
        assert not prove(source, (source,), arrangement(change), count=2).equal


def test_other_shapes_of_the_same_bytes_are_equal() -> None:
    source = head()

    class Flat:
        def __init__(self, inner: Machine) -> None:
            self.inner = inner
            self.reset = inner.reset

        def invoke(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            return [self.inner.invoke(inputs)[0].reshape(-1)]

    assert prove(source, (source,), lambda open_model: Flat(open_model(source)), count=2).equal


def test_progress_is_told() -> None:
    seen = []
    prove_equal(head(), head(), count=3, progress=lambda *step: seen.append(step))
    assert seen == [("proof", 1, 3), ("proof", 2, 3), ("proof", 3, 3)]
