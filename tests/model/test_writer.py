"""Written files: they read back equal, the same bytes each time, and TFLM runs them as before."""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import pytest
from hypothesis import given

from refmicro.errors import UnsupportedError
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.model.reader import parse_model, read_model
from refmicro.model.writer import write_model
from refmicro.types import DType, Quantization, Tensor
from tests.model.models import models
from tests.models import ALL


@pytest.mark.parametrize("name", sorted(ALL))
def test_real_models_read_back_equal(name: str) -> None:
    model = read_model(ALL[name])
    data = write_model(model)
    again = parse_model(data)
    assert again == model
    assert write_model(again) == data
    assert len(data) <= len(model.source)


@given(models())
def test_any_model_reads_back_equal(model: Model) -> None:
    data = write_model(model)
    again = parse_model(data)
    assert again == model
    assert write_model(again) == data


@pytest.mark.oracle
@pytest.mark.parametrize("name", sorted(ALL))
def test_tflm_runs_the_written_file_as_the_source(name: str) -> None:
    from refmicro.bridge import oracle_run

    source = ALL[name].read_bytes()
    model = parse_model(source)
    rng = np.random.default_rng(7)
    graph = model.subgraphs[0]
    steps = [[rng.bytes(graph.tensors[index].nbytes) for index in graph.inputs] for _ in range(2)]
    want, got = oracle_run(source, steps), oracle_run(write_model(model), steps)
    assert got.refused == want.refused
    if want.refused is not None:
        return
    for mine, theirs in zip(got.outputs, want.outputs, strict=True):
        assert [array.tobytes() for array in mine] == [array.tobytes() for array in theirs]
    assert got.arena.used_bytes == want.arena.used_bytes
    assert got.arena.categories == want.arena.categories


def test_constants_are_aligned() -> None:
    for path in ALL.values():
        model = parse_model(write_model(read_model(path)))
        for tensor in model.subgraphs[0].tensors:
            if tensor.data is not None:
                start = np.frombuffer(tensor.data, np.uint8).__array_interface__["data"][0]
                base = np.frombuffer(model.source, np.uint8).__array_interface__["data"][0]
                assert (start - base) % 16 == 0


def one_tensor(**fields: object) -> Model:
    tensor = Tensor("x", DType.INT8, (4,))
    return Model((Subgraph((dataclasses.replace(tensor, **fields),), (0,), (0,), ()),))


def test_equal_constants_share_a_buffer() -> None:
    tensor = Tensor("", DType.INT8, (4096,), data=bytes(4096))
    twins = tuple(dataclasses.replace(tensor, name=str(i)) for i in range(8))
    data = write_model(Model((Subgraph(twins, (), (), ()),)))
    assert len(data) < 2 * 4096


def test_empty_data_is_no_data() -> None:
    model = parse_model(write_model(one_tensor(data=b"", shape=(0,))))
    assert model.subgraphs[0].tensors[0].data is None


def test_scalar_without_shape() -> None:
    for has_shape in (False, True):
        model = one_tensor(shape=(), has_shape=has_shape)
        assert parse_model(write_model(model)) == model


def test_defaults_cost_nothing() -> None:
    options = {"fused_activation_function": 0, "pot_scale_int16": True}
    code = OperatorCode("ADD")
    tensors = (Tensor("", DType.INT8, (1,)),)
    plain = Operator(code, (0, 0), (0,), {}, "AddOptions")
    spelled = Operator(code, (0, 0), (0,), options, "AddOptions")
    first, second = (
        write_model(Model((Subgraph(tensors, (0,), (0,), (op,)),))) for op in (plain, spelled)
    )
    assert first == second


def refused(model: Model, *words: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        write_model(model)
    for word in words:
        assert word in caught.value.message


def test_numbers_that_do_not_fit() -> None:
    refused(one_tensor(shape=(2**31,)), "subgraph 0, tensor 0", "Tensor.shape", "2147483648")
    refused(one_tensor(shape=(1.5,)), "Tensor.shape")
    refused(one_tensor(quantization=Quantization((1.0,), (2**63,))), "zero_point")
    refused(one_tensor(quantization=Quantization((1e300,), (0,))), "scale")
    refused(one_tensor(name=5), "Tensor.name")


@pytest.mark.parametrize(
    ("op", "word"),
    [
        (Operator(OperatorCode("NO_SUCH"), (), ()), "NO_SUCH"),
        (Operator(OperatorCode("ADD"), (), (), {}, "NoOptions"), "NoOptions"),
        (Operator(OperatorCode("ADD"), (), (), {"x": 1}, "AddOptions"), "AddOptions"),
        (Operator(OperatorCode("ADD"), (), (), {"pot_scale_int16": "y"}, "AddOptions"), "'y'"),
        (Operator(OperatorCode("ADD"), (), (), {"axis": 2**31}, "PackOptions"), "axis"),
        (Operator(OperatorCode("ADD"), (), (), {"axis": b"abc"}, "PackOptions"), "axis"),
    ],
)
def test_operators_that_cannot_be_written(op: Operator, word: str) -> None:
    refused(Model((Subgraph((), (), (), (op,)),)), word)


def test_operators_beyond_the_old_code() -> None:
    """Codes above 126 live in a second field, the first says so with 127."""
    codes = [OperatorCode(name) for name in ("ADD", "VAR_HANDLE", "STABLEHLO_ADD", "DILATE")]
    ops = tuple(Operator(code, (), ()) for code in codes)
    data = write_model(Model((Subgraph((), (), (), ops),)))
    assert [op.code for op in parse_model(data).subgraphs[0].operators] == codes


def test_offline_plan_is_kept() -> None:
    plan = struct.pack("<5i", 1, 0, 2, -1, 64)
    model = one_tensor().with_metadata("OfflineMemoryAllocation", plan)
    assert parse_model(write_model(model)).metadata_value("OfflineMemoryAllocation") == plan
