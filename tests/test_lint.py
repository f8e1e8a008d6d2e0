"""Lint says what TFLM refuses, and the resolver names methods that TFLM has."""

import json

import pytest

from refmicro.cli.main import main
from refmicro.lint import lint, resolver_code, resolver_method
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.model.reader import read_model
from refmicro.ops import registry
from refmicro.types import DType
from tests.models import ALL
from tests.ops.harness import tensor

# `Add...` methods of `tensorflow/lite/micro/micro_mutable_op_resolver.h` at 90b983c2.
NAMES = """
    Abs Add AddN ArgMax ArgMin AssignVariable AveragePool2D BatchMatMul BatchToSpaceNd
    BroadcastArgs BroadcastTo CallOnce Cast Ceil CircularBuffer Concatenation Conv2D Cos CumSum
    Decode Delay DepthToSpace DepthwiseConv2D Dequantize DetectionPostprocess Div
    DynamicUpdateSlice EmbeddingLookup Energy Elu Equal EthosU Exp ExpandDims FftAutoScale Fill
    FilterBank FilterBankLog FilterBankSquareRoot FilterBankSpectralSubtraction Floor FloorDiv
    FloorMod Framer FullyConnected Gather GatherNd Greater GreaterEqual HardSwish If Irfft
    L2Normalization L2Pool2D LeakyRelu Less LessEqual Log LogicalAnd LogicalNot LogicalOr Logistic
    LogSoftmax Maximum MaxPool2D MirrorPad Mean Minimum Mul Neg NotEqual OverlapAdd Pack Pad PadV2
    PCAN Prelu Quantize ReadVariable ReduceAll ReduceMax ReduceMin Relu Relu6 Reshape
    ResizeBilinear ResizeNearestNeighbor ReverseV2 Rfft Round Rsqrt SelectV2 Shape Sin Slice
    Softmax SpaceToBatchNd SpaceToDepth Split SplitV Squeeze Sqrt Square SquaredDifference
    StridedSlice Stacker Sub Sum Svdf Tanh TransposeConv Transpose Unpack
    UnidirectionalSequenceLSTM VarHandle While Window ZerosLike
"""
METHODS = set(NAMES.split())
OWN = {"SELECTIVE_SCAN"}
"""Operators that refmicro defines itself; an application registers them with AddCustom."""


@pytest.mark.parametrize("name", sorted(set(registry.names()) - OWN))
def test_resolver_method_exists(name):
    assert resolver_method(name).removeprefix("Add") in METHODS


def test_exp_is_refused_with_advice():
    report = lint(read_model(ALL["p_exp_int8"]))
    errors = [finding for finding in report.findings if finding.severity == "error"]
    assert report.refused
    assert [error.name for error in errors] == ["EXP"]
    assert "float32" in errors[0].message
    assert "ELU" in errors[0].advice


def test_a_model_that_runs_has_notes_but_no_error():
    report = lint(read_model(ALL["g_elu_resvar_int8"]))
    assert not report.refused
    assert {"VAR_HANDLE", "RESHAPE"} <= {finding.name for finding in report.findings}


def test_resolver_counts_each_operator_once():
    report = lint(read_model(ALL["person_detect"]))
    assert "MicroMutableOpResolver<5>" in report.resolver
    assert report.resolver.count("resolver.Add") == 5
    assert "AddDepthwiseConv2D" in report.resolver


def test_own_operators_are_registered_as_custom():
    x, y = (tensor(DType.INT8, (1,)) for _ in range(2))
    custom = Operator(OperatorCode("CUSTOM", "My-Op\n"), (0,), (1,))
    signal = Operator(OperatorCode("CUSTOM", "SignalEnergy"), (0,), (1,))
    code = resolver_code(Model((Subgraph((x, y), (0,), (1,), (custom, signal)),)))
    assert 'resolver.AddCustom("My-Op?", Register_My_Op_()));' in code
    assert "resolver.AddEnergy());" in code


def test_command(capsys):
    assert main(["lint", str(ALL["p_exp_int8"]), "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert document["refused"]
    assert main(["lint", str(ALL["hello_world_int8"])]) == 0
    assert "TFLM runs this model" in capsys.readouterr().out
