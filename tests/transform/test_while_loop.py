"""WHILE around a step model: equal to the step run T times, and to a model grafted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from refmicro.errors import UnsupportedError, UsageError
from refmicro.interpreter import Interpreter
from refmicro.memory.arena import model_arena
from refmicro.model.graph import Model
from refmicro.model.reader import read_model
from refmicro.program import prepare_model
from refmicro.transform.fuse import fuse
from refmicro.transform.fuse_scan import fuse_scan
from refmicro.transform.proof import prove, prove_equal
from refmicro.transform.selective_scan_cc import custom_ops_of
from refmicro.transform.step_model import StepModel, read_step
from refmicro.transform.while_loop import COLLECT, Collect, sum_scale, while_loop
from refmicro.trip_count import while_trip_count
from refmicro.types import DType, Tensor, TflmBuild
from tests.models import MAMBA
from tests.ops.graphs import model, op, subgraph
from tests.ops.harness import tensor

PLAIN = {"fused_activation_function": 0}


def i8(*shape: int, scale: float = 0.05, zero_point: int = 3, **more) -> Tensor:
    return tensor(DType.INT8, shape, scale=scale, zero_point=zero_point, **more)


def required(source: Model) -> int:
    return model_arena(prepare_model(source, TflmBuild.firmware())).required_bytes


def small_step(frame: tuple[int, ...] = (1, 4)) -> StepModel:
    """h' = relu(x) + h * x; y = h' with x added."""
    x, h = i8(*frame), i8(*frame)
    a, b = i8(*frame), i8(*frame, scale=0.02)
    new, y = i8(*frame), i8(*frame, scale=0.1, zero_point=-9)
    source = model(
        subgraph(
            [x, h],
            [y, new],
            [
                op("RELU", [x], [a]),
                op("MUL", [h, x], [b], PLAIN),
                op("ADD", [a, b], [new], PLAIN),
                op("ADD", [new, x], [y], PLAIN),
            ],
        )
    )
    return read_step(source, pairs=[(1, 1)])


@pytest.mark.oracle
def test_the_grafted_model_of_the_prototype_comes_out_again() -> None:
    """The same bytes for every sequence, in the same arena."""
    golden = read_model(MAMBA["g_elu_while_int8"])
    head = read_model(MAMBA["s_elu_head_int8"])
    step = read_step(read_model(MAMBA["s_elu_stream_int8"]), mismatch="reinterpret")
    result = while_loop(step, 49, collect="mean", head=head)
    assert result.exact_sum
    assert prove_equal(golden, result.model, count=2).equal
    assert required(result.model) == required(golden)


@pytest.mark.oracle
@pytest.mark.parametrize("collect", COLLECT)
@pytest.mark.parametrize("frame", [(1, 4), (4,), (2, 3)])
def test_a_loop_is_proven_equal_to_the_step_run_many_times(
    collect: Collect, frame: tuple[int, ...]
) -> None:
    result = while_loop(small_step(frame), 7, collect=collect)
    proof = prove(result.model, result.parts, result.arrangement, count=8)
    assert proof.equal, proof


@pytest.mark.oracle
def test_a_selective_scan_in_a_loop() -> None:
    step = read_step(read_model(MAMBA["g_elu_resvar_int8"]))
    plain = while_loop(step, 5, collect="last")
    fused = fuse(fuse_scan(plain.model).model).model
    assert required(fused) < 0.8 * required(plain.model)
    proof = prove_equal(plain.model, fused, count=3, custom_ops=custom_ops_of(fused))
    assert proof.equal


def test_memory_does_not_grow_with_the_number_of_steps_beyond_the_frames() -> None:
    step = read_step(read_model(MAMBA["g_elu_resvar_int8"]))
    few, many = (required(while_loop(step, steps).model) for steps in (49, 98))
    # Frames of 10 bytes lie in the main graph, in its results, and in both subgraphs.
    assert many - few <= 4 * (49 * 10 + 16)


def test_the_trip_count_is_known() -> None:
    result = while_loop(small_step(), 11).model
    main = result.subgraphs[0]
    assert while_trip_count(result, main, main.operators[0]) == 11


def test_the_mean_of_many_steps_is_the_rounded_sum() -> None:
    step = small_step()
    mean, every = (while_loop(step, 20, collect=how) for how in ("mean", "all"))
    assert mean.exact_sum
    rows = np.random.default_rng(0).integers(-128, 128, (16, 20, 4)).astype(np.int8)
    (got,) = Interpreter(mean.model).invoke_batch([rows])
    (results,) = Interpreter(every.model).invoke_batch([rows])
    # Halves may go either way: TFLM rounds the product twice.
    exact = results.astype(np.int64).sum(1) / 20
    assert np.abs(got - exact).max() <= 0.5


@pytest.mark.parametrize(
    ("steps", "zero_point", "power", "exact"),
    [
        (1, 0, 4, True),
        (49, 14, 4, True),
        (64, 0, 2, False),
        (128, 127, 1, True),
        (300, 0, 0, False),
    ],
)
def test_the_scale_of_a_sum(steps: int, zero_point: int, power: int, exact: bool) -> None:
    item = i8(4, scale=0.5, zero_point=zero_point)
    scale, is_exact = sum_scale(item, steps)
    largest = steps * max(128 + zero_point, 127 - zero_point) * 0.5
    assert largest / scale <= 32768
    if power and steps != 64:
        assert scale == 0.5 / power
    assert is_exact == (scale <= 0.5)
    if exact:
        assert is_exact


def test_a_head_must_fit() -> None:
    step = small_step()
    x, y = i8(1, 4), i8(1, 4)
    head = model(subgraph([x], [y], [op("RELU", [x], [y])]))
    with pytest.raises(UsageError, match="a head must take"):
        while_loop(step, 3, collect="last", head=head)
    assert while_loop(step, 3, collect="mean", head=head).tail is not None


def test_what_cannot_be_looped() -> None:
    step = small_step()
    with pytest.raises(UsageError, match="at least one"):
        while_loop(step, 0)
    x, y, z = i8(4), i8(4), i8(4)
    two = model(subgraph([x], [y, z], [op("RELU", [x], [y]), op("RELU", [y], [z])]))
    with pytest.raises(UnsupportedError, match="one result"):
        while_loop(read_step(two, pairs=[]), 3)
