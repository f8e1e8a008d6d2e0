"""What binds a model to its operators: order, calls, values, collected refusals."""

from __future__ import annotations

import dataclasses

import pytest

from refmicro.errors import InvalidModelError, UnsupportedError
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.model.reader import read_model
from refmicro.model.writer import write_model
from refmicro.program import (
    MAX_CALL_DEPTH,
    MAX_CHANNELS,
    has_state,
    is_computed,
    place,
    prepare_model,
)
from refmicro.types import Abi, DType, Quantization, Tensor, TflmBuild
from tests.models import ALL

FIRMWARE = TflmBuild()
WHEEL = TflmBuild.wheel()

ROW = Tensor("row", DType.INT8, (1, 4), Quantization((0.5,), (0,)))


def reshape(source: int, target: int) -> Operator:
    return Operator(OperatorCode("RESHAPE"), (source,), (target,))


def call(name: str, first: int, second: int, value: int = 0) -> Operator:
    """A WHILE or IF that runs two subgraphs."""
    fields = {
        "WHILE": ("cond_subgraph_index", "body_subgraph_index"),
        "IF": ("then_subgraph_index", "else_subgraph_index"),
    }[name]
    options = dict(zip(fields, (first, second), strict=True))
    table = f"{name.capitalize()}Options"
    return Operator(OperatorCode(name), (value,), (value,), options, table)


def graph(*ops: Operator, tensors: tuple[Tensor, ...] = (ROW,) * 3, **fields: object) -> Subgraph:
    return Subgraph(tensors, **{"inputs": (0,), "outputs": (0,), "operators": ops} | fields)


def model(*ops: Operator, **fields: object) -> Model:
    return Model((graph(*ops, **fields),))


def refused(value: Model, error: type[Exception], *words: str) -> Exception:
    with pytest.raises(error) as caught:
        prepare_model(value, WHEEL)
    for word in words:
        assert word in caught.value.message, caught.value.message
    assert caught.value.hint
    return caught.value


def test_runs_in_order() -> None:
    program = prepare_model(model(reshape(0, 1), reshape(1, 2), outputs=(2,)), FIRMWARE)
    assert [node.name for node in program.nodes[0]] == ["RESHAPE", "RESHAPE"]
    assert [node.index for node in program.nodes[0]] == [0, 1]
    assert program.build is FIRMWARE
    assert program.max_resource_variables == 0


def test_read_before_written() -> None:
    value = model(reshape(1, 2), reshape(0, 1), outputs=(2,))
    refused(value, InvalidModelError, "subgraph 0, operator 0 (RESHAPE)", "input 0", "tensor 1")


def test_output_never_written() -> None:
    refused(model(reshape(0, 1), outputs=(2,)), InvalidModelError, "output tensor 2")


def test_constant_is_written() -> None:
    constant = dataclasses.replace(ROW, data=bytes(4))
    value = model(reshape(0, 1), tensors=(ROW, constant), outputs=(1,))
    refused(value, InvalidModelError, "output 0", "must not be a constant", "tensor 1")


@pytest.mark.parametrize("ready", [{"data": bytes(4)}, {"is_variable": True}])
def test_what_may_be_read_at_once(ready: dict) -> None:
    tensors = (dataclasses.replace(ROW, **ready), ROW)
    prepare_model(model(reshape(0, 1), tensors=tensors, inputs=(), outputs=(1,)), WHEEL)


def test_nothing_needs_no_writer() -> None:
    nothing = dataclasses.replace(ROW, shape=(0,))
    prepare_model(model(reshape(0, 1), tensors=(ROW, ROW, nothing), outputs=(1, 2)), WHEEL)


def test_unknown_operators_are_all_named() -> None:
    ops = tuple(
        Operator(OperatorCode("CUSTOM", name), (0,), (1,)) for name in ("NoSuch", "Nor", "NoSuch")
    )
    error = refused(model(*ops, reshape(0, 1)), UnsupportedError, "NoSuch", "Nor")
    assert [problem.split(":")[0] for problem in error.problems] == [
        "subgraph 0, operator 0 (NoSuch)",
        "subgraph 0, operator 1 (Nor)",
    ]


def test_many_unknown_operators_fit_a_message() -> None:
    ops = tuple(
        Operator(OperatorCode("CUSTOM", f"No{i}\x1b[2J\n" + "x" * 500), (0,), (1,))
        for i in range(99)
    )
    error = refused(model(*ops), UnsupportedError, "and 91 more")
    assert len(error.message) < 1000
    assert error.message.isprintable()
    assert len(error.problems) == 99


def test_refusals_are_collected() -> None:
    wide = dataclasses.replace(ROW, shape=(5,))
    value = model(
        reshape(0, 1), reshape(0, 2), reshape(0, 1), tensors=(ROW, wide, ROW), outputs=(2,)
    )
    error = refused(value, UnsupportedError, "operator 0 (RESHAPE)", "(and 1 more)")
    assert len(error.problems) == 2


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf"), -float("inf")])
def test_scales(scale: float) -> None:
    odd = dataclasses.replace(ROW, quantization=Quantization((0.5, scale), (0,)))
    value = model(reshape(0, 1), tensors=(ROW, ROW, odd), outputs=(1,))
    refused(value, InvalidModelError, "subgraph 0, tensor 2", "scales", str(scale))


@pytest.mark.parametrize("dtype", [DType.STRING, DType.VARIANT])
def test_types_without_a_size(dtype: DType) -> None:
    odd = dataclasses.replace(ROW, dtype=dtype)
    value = model(reshape(0, 1), tensors=(ROW, ROW, odd), outputs=(1,))
    refused(value, UnsupportedError, "subgraph 0, tensor 2", str(dtype))


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", list(DType))
def test_tflm_sizes_the_same_types(dtype: DType) -> None:
    from refmicro.bridge import oracle_run

    odd = dataclasses.replace(ROW, dtype=dtype)
    value = model(reshape(0, 1), tensors=(ROW, ROW, odd), outputs=(1,))
    result = oracle_run(write_model(value), [[bytes(4)]])
    assert (result.refused is None) == (dtype.itemsize_bytes is not None)
    if result.refused is None:
        prepare_model(value, WHEEL)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "change", [{"custom_options": b"abc"}, {"intermediates": (2,)}, {"intermediates": (-1,)}]
)
def test_tflm_refuses_the_same_operators(change: dict) -> None:
    from refmicro.bridge import oracle_run

    value = model(dataclasses.replace(reshape(0, 1), **change), outputs=(1,))
    assert oracle_run(write_model(value), [[bytes(4)]]).refused is not None
    refused(value, (InvalidModelError, UnsupportedError))


def test_dynamic_shapes() -> None:
    for shape in ((0, 4), (1, 0)):
        odd = dataclasses.replace(ROW, shape=shape)
        value = model(reshape(0, 1), tensors=(ROW, odd), outputs=(1,))
        refused(value, UnsupportedError, "output 0", "static shape", str(list(shape)))


def test_intermediates_hold_nothing() -> None:
    op = dataclasses.replace(reshape(0, 1), intermediates=(2,))
    refused(model(op, outputs=(1,)), UnsupportedError, "intermediate 0", "[1, 4]")
    empty = dataclasses.replace(ROW, shape=(0,))
    prepare_model(model(op, tensors=(ROW, ROW, empty), outputs=(1,)), WHEEL)


def test_intermediates_must_be_there() -> None:
    op = dataclasses.replace(reshape(0, 1), intermediates=(-1,))
    refused(model(op, outputs=(1,)), InvalidModelError, "intermediate 0", "none")


@pytest.mark.parametrize("data", [b"\0\1\2\0", b"\xff\0\0\0"])
def test_bools_are_0_or_1(data: bytes) -> None:
    for value, good in ((data, False), (b"\0\1\1\0", True)):
        constant = Tensor("mask", DType.BOOL, (1, 4), data=value)
        result = Tensor("not", DType.BOOL, (1, 4))
        op = Operator(OperatorCode("LOGICAL_NOT"), (0,), (1,))
        whole = model(op, tensors=(constant, result), inputs=(), outputs=(1,))
        if good:
            prepare_model(whole, WHEEL)
        else:
            refused(whole, InvalidModelError, "tensor 0", "bool", "0 and 1")


def test_an_output_that_is_read_on() -> None:
    options = {"padding": 0, "stride_w": 1, "stride_h": 1, "filter_width": 3, "filter_height": 3}
    image = dataclasses.replace(ROW, shape=(1, 4, 4, 1))
    for name, runs in (("ABS", True), ("MAX_POOL_2D", False)):
        op = Operator(OperatorCode(name), (0,), (0,), options if not runs else {})
        whole = model(op, tensors=(image,), outputs=(0,))
        if runs:
            prepare_model(whole, WHEEL)
        else:
            refused(
                whole, InvalidModelError, "MAX_POOL_2D", "an output must be no input", "tensor 0"
            )


def test_builtin_operator_with_custom_options() -> None:
    op = dataclasses.replace(reshape(0, 1), custom_options=b"abc")
    refused(model(op, outputs=(1,)), UnsupportedError, "custom options", "3 bytes")


def test_channels_in_all() -> None:
    scales = (0.5,) * 1024
    channels = dataclasses.replace(ROW, quantization=Quantization(scales, (0,)))
    ops = (reshape(0, 1),) * (MAX_CHANNELS // 1024 + 1)
    value = model(*ops, tensors=(channels, ROW), outputs=(1,))
    refused(value, UnsupportedError, str(MAX_CHANNELS))


def calls(*edges: tuple[int, ...]) -> Model:
    """Subgraph i calls those of `edges[i]`, two by two."""
    flag = Tensor("flag", DType.BOOL, (1,))
    graphs = (
        graph(
            *(call("WHILE", *pair) for pair in zip(edge[::2], edge[1::2], strict=True)),
            tensors=(flag,),
        )
        for edge in edges
    )
    return Model(tuple(graphs))


@pytest.mark.parametrize(
    ("edges", "circle"),
    [
        ([(0, 0)], "0 -> 0"),
        ([(1, 1), (0, 0)], "0 -> 1 -> 0"),
        ([(1, 2), (), (3, 1), (2, 1)], "2 -> 3 -> 2"),
        ([(), (2, 2), (1, 1)], "1 -> 2 -> 1"),
    ],
)
def test_circles(edges: list, circle: str) -> None:
    refused(calls(*edges), InvalidModelError, f"circle: {circle}")


def test_long_circle_fits_a_message() -> None:
    count = 5000
    edges = [((i + 1) % count,) * 2 for i in range(count)]
    assert len(refused(calls(*edges), InvalidModelError, "circle").message) < 200


def test_depth_of_calls() -> None:
    def chain(length: int) -> Model:
        return calls(*[(i + 1, length) for i in range(length - 1)], (), ())

    prepare_model(chain(MAX_CALL_DEPTH), WHEEL)
    refused(chain(MAX_CALL_DEPTH + 1), UnsupportedError, "deep", str(MAX_CALL_DEPTH))


def test_calls_that_double() -> None:
    edges = [(i + 1, i + 1) for i in range(40)]
    refused(calls(*edges, ()), UnsupportedError, "once for each call")


def test_shared_subgraph_is_no_circle() -> None:
    prepare_model(calls((1, 2), (3, 3), (3, 3), ()), WHEEL)


def test_call_of_a_missing_subgraph() -> None:
    for index in (7, -1, 2**31 - 1):
        refused(calls((index, 1), ()), InvalidModelError, "operator 0 (WHILE)", str(index))


@pytest.mark.parametrize("name", sorted(ALL))
@pytest.mark.parametrize("build", [FIRMWARE, WHEEL], ids=["firmware", "wheel"])
def test_real_models(name: str, build: TflmBuild) -> None:
    value = read_model(ALL[name])
    if name == "p_exp_int8":
        with pytest.raises(UnsupportedError, match="EXP"):
            prepare_model(value, build)
        return
    program = prepare_model(value, build)
    assert [len(nodes) for nodes in program.nodes] == [len(g.operators) for g in value.subgraphs]
    for number, nodes in enumerate(program.nodes):
        for node in nodes:
            assert node.operator == value.subgraphs[number].operators[node.index]
            assert all(size >= 0 for size in (*node.init_bytes, *node.persistent_bytes))


def test_builds_differ_in_bytes_only() -> None:
    value = read_model(ALL["s_elu_head_int8"])
    small, large = (prepare_model(value, build).nodes[0][0] for build in (FIRMWARE, WHEEL))
    assert FIRMWARE.abi is Abi.ILP32
    assert small.data == large.data
    assert sum(small.init_bytes) < sum(large.init_bytes)


def test_state() -> None:
    plain, stateful = (ALL[name] for name in ("s_elu_head_int8", "g_elu_inplacevar_int8"))
    assert not has_state(prepare_model(read_model(plain), WHEEL))
    assert has_state(prepare_model(read_model(stateful), WHEEL))


def test_what_tflm_plans() -> None:
    assert is_computed(ROW)
    for fields in ({"data": bytes(4)}, {"is_variable": True}, {"shape": (0,)}):
        assert not is_computed(dataclasses.replace(ROW, **fields))


def test_places_are_fit_for_a_terminal() -> None:
    assert place(1, 2, "ADD") == "subgraph 1, operator 2 (ADD)"
    assert place(0, 0, "\x1b[31m" + "x" * 1000).isprintable()
    assert len(place(0, 0, "x" * 1000)) < 100
