"""Generated kernels in the place of real models' operators, against the interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refmicro import scheduling
from refmicro.interpreter import Interpreter
from refmicro.mema.kernel import Requantization, generate, sums_fit_int32
from refmicro.mema.problem import Matmul
from refmicro.mema.target import find_target
from refmicro.program import PreparedNode
from refmicro.types import DType
from tests.mema.reference import call, compile_host, needs_gcc
from tests.models import ALL


def recorded(interpreter: Interpreter, seed: int) -> dict[int, np.ndarray]:
    """Every tensor of subgraph 0 that the interpreter wrote for one random input."""
    random, seen = np.random.default_rng(seed), {}
    for index in range(interpreter.input_count):
        details = interpreter.get_input_details(index)
        info = np.iinfo(details.dtype)
        values = random.integers(info.min, info.max, details.shape, details.dtype, endpoint=True)
        interpreter.set_input(values, index)

    def trace(subgraph: int, operator: int, values: dict[int, np.ndarray]) -> None:
        if subgraph == 0:
            seen.update({tensor: np.array(array) for tensor, array in values.items()})

    interpreter.invoke(trace)
    return seen


def kernel_of(node: PreparedNode, target: str, name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """The kernel of an operator with its constants, and its arrays."""
    data: Any = node.data
    problem = scheduling.node_problem(node)
    assert problem is not None
    rule = data.requantize
    weights = np.ascontiguousarray(data.weights.T)
    bias = data.constant_bias if data.bias is not None else None
    used = Requantization(
        rule.output_offset,
        rule.low,
        rule.high,
        data.input_zero_point,
        wide=rule.wide,
        wide_sums=rule.wide and not sums_fit_int32(weights, bias, problem.input_bits),
    )
    kernel = generate(problem, find_target(target), used, name=name)
    return kernel, kernel.pack(weights, bias, rule.multipliers, rule.shifts)


@needs_gcc
@pytest.mark.parametrize("target", ["cortex-m3", "host"])
@pytest.mark.parametrize("name", ["person_detect", "s_sig_stream_int8", "front_whole_L49_pc"])
def test_operators_of_models(name: str, target: str, tmp_path: Path) -> None:
    interpreter = Interpreter.from_file(ALL[name])
    tensors = recorded(interpreter, 5)
    nodes = [
        node
        for node in interpreter.program.nodes[0]
        if node.name in ("FULLY_CONNECTED", "CONV_2D")
        and node.node.inputs[1].is_constant
        and node.node.inputs[0].dtype is DType.INT8
        and node.operator.inputs[0] in tensors
    ]
    assert len(nodes) >= 2
    made = [kernel_of(node, target, f"kernel_{i}") for i, node in enumerate(nodes)]
    library = compile_host([kernel for kernel, _ in made], tmp_path)
    for node, (kernel, packed) in zip(nodes, made, strict=True):
        want = tensors[node.operator.outputs[0]].reshape(-1)
        got = call(library, kernel, packed, tensors[node.operator.inputs[0]], want.size)
        np.testing.assert_array_equal(got, want, err_msg=f"{node.index} {node.name}")


def test_a_float_operator_has_no_problem() -> None:
    interpreter = Interpreter.from_file(ALL["simple_add_model"])
    assert not any(
        isinstance(scheduling.node_problem(node), Matmul)
        for node in interpreter.program.nodes[0]
        if node.name in scheduling.PRODUCTS
    )
