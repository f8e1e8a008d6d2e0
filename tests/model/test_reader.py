"""What is read from real files."""

from __future__ import annotations

from pathlib import Path

import pytest
import tflite

from refmicro.errors import InvalidModelError, UsageError
from refmicro.model import reader
from refmicro.model.graph import OperatorCode
from refmicro.types import DType
from tests.models import ALL


@pytest.mark.parametrize("name", sorted(ALL))
def test_against_the_generated_accessors(name: str) -> None:
    data = ALL[name].read_bytes()
    model, want = reader.parse_model(data), tflite.Model.GetRootAs(data, 0)
    assert model.source == data
    assert len(model.subgraphs) == want.SubgraphsLength()
    assert model.version == want.Version()
    assert len(model.metadata) == want.MetadataLength()
    for number, graph in enumerate(model.subgraphs):
        source = want.Subgraphs(number)
        assert len(graph.tensors) == source.TensorsLength()
        assert len(graph.operators) == source.OperatorsLength()
        assert list(graph.inputs) == [source.Inputs(i) for i in range(source.InputsLength())]
        assert list(graph.outputs) == [source.Outputs(i) for i in range(source.OutputsLength())]
        for index, tensor in enumerate(graph.tensors):
            _same_tensor(tensor, source.Tensors(index), want)
        for index, op in enumerate(graph.operators):
            _same_operator(op, source.Operators(index), want)


def _same_tensor(tensor, want, model) -> None:
    assert tensor.name.encode() == (want.Name() or b"")
    assert tensor.dtype.value == want.Type()
    assert tensor.shape == tuple(want.Shape(i) for i in range(want.ShapeLength()))
    assert tensor.has_shape == (not want.ShapeIsNone())
    assert tensor.is_variable is want.IsVariable()
    buffer = model.Buffers(want.Buffer())
    data = bytes(buffer.DataAsNumpy()) if buffer.DataLength() else None
    assert (None if tensor.data is None else bytes(tensor.data)) == data
    quantization = want.Quantization()
    if quantization is None:
        assert not tensor.quantization.scale
        return
    got = tensor.quantization
    scales, points = quantization.ScaleLength(), quantization.ZeroPointLength()
    assert got.scale == tuple(quantization.Scale(i) for i in range(scales))
    assert got.zero_point == tuple(quantization.ZeroPoint(i) for i in range(points))
    assert got.quantized_dimension == quantization.QuantizedDimension()


def _same_operator(op, want, model) -> None:
    code = model.OperatorCodes(want.OpcodeIndex())
    assert getattr(tflite.BuiltinOperator, op.code.builtin) == code.BuiltinCode()
    assert op.code.custom.encode() == (code.CustomCode() or b"")
    assert op.code.version == code.Version()
    assert op.inputs == tuple(want.Inputs(i) for i in range(want.InputsLength()))
    assert op.outputs == tuple(want.Outputs(i) for i in range(want.OutputsLength()))
    custom = [want.CustomOptions(i) for i in range(want.CustomOptionsLength())]
    assert op.custom_options == bytes(custom)
    if not want.BuiltinOptionsType():
        assert (op.options_type, op.options) == ("", {})
        return
    assert getattr(tflite.BuiltinOptions, op.options_type) == want.BuiltinOptionsType()
    options = getattr(tflite, op.options_type)()
    options.Init(want.BuiltinOptions().Bytes, want.BuiltinOptions().Pos)
    for key, value in op.options.items():
        accessor = "".join(part[:1].upper() + part[1:] for part in key.split("_"))
        if isinstance(value, tuple):
            get = getattr(options, accessor)
            assert value == tuple(get(i) for i in range(getattr(options, accessor + "Length")()))
        elif isinstance(value, str):
            assert value.encode() == getattr(options, accessor)()
        else:
            assert value == getattr(options, accessor)()


def test_constants_are_views_of_the_file() -> None:
    model = reader.read_model(ALL["u2_split_int8"])
    views = [t.data for t in model.subgraphs[0].tensors if t.data is not None]
    assert all(isinstance(view, memoryview) and view.readonly for view in views)


def test_custom_operator() -> None:
    model = reader.read_model(ALL["audio_preprocessor_int8"])
    names = {op.name for op in model.subgraphs[0].operators if op.code.builtin == "CUSTOM"}
    assert "SignalWindow" in names
    assert all(
        op.custom_options
        for op in model.subgraphs[0].operators
        if op.code == OperatorCode("CUSTOM", "SignalWindow")
    )


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "no.tflite", tmp_path, "a\0b"):
        with pytest.raises(UsageError, match="cannot read the model file"):
            reader.read_model(path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_endless_file() -> None:
    with pytest.raises(InvalidModelError, match="identifier"):
        reader.read_model("/dev/zero")


def test_accepts_any_bytes() -> None:
    data = ALL["s_elu_head_int8"].read_bytes()
    assert reader.parse_model(bytearray(data)) == reader.parse_model(memoryview(data))


def test_types_of_the_file() -> None:
    tensors = reader.read_model(ALL["trained_lstm_int8"]).subgraphs[0].tensors
    assert {DType.INT8, DType.INT16, DType.INT32} <= {tensor.dtype for tensor in tensors}
