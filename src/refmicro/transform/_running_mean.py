"""The mean over time as a sum that runs along: how it is rounded, compared for every possible sum.

MEAN over T int8 frames is a function of their sum alone, and so is a running int16 sum that is
rounded to int8 at the end. Both are asked for every sum there is; where they differ, scales next to
the right one are tried, because the last bit of a multiplier decides where a half goes.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np

from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.transform._tables import all_values, table_of
from refmicro.transform.while_loop import sum_scale
from refmicro.types import DType, Quantization, Tensor

NEIGHBOURS = 64
"""How many float32 values on each side of the right scale are tried."""


@dataclass(frozen=True)
class RunningMean:
    """How to round a running sum.

    Attributes:
        scale: of the int16 sum.
        mean_scale: on which the same bytes are the mean.
        differ, sums: for how many of all sums the result is not that of MEAN.
        steps: by how much at most.
        rounds: whether additions to the sum round already.
    """

    scale: float
    mean_scale: float
    differ: int
    sums: int
    steps: int
    rounds: bool

    @property
    def exact(self) -> bool:
        """Whether it is MEAN for all inputs."""
        return not self.differ and not self.rounds


def running_mean(frame: Tensor, output: Tensor, count: int) -> RunningMean:
    """The best rounding of a sum of `count` int8 frames.

    Args:
        frame: one frame, int8.
        output: the result of MEAN, int8.
        count: T.
    """
    widest, exact = sum_scale(frame, count)
    low, high = count * (-128 - frame.zero_point), count * (127 - frame.zero_point)
    sums = np.arange(low, high + 1)
    if not exact:
        mean_scale = float(np.float32(widest / count))
        return RunningMean(widest, mean_scale, sums.size, sums.size, 0, True)
    want = _mean_of(frame, output, sums, count)
    best: RunningMean | None = None
    most = round(frame.scale / widest)
    for unit, distance in itertools.product(
        (unit for unit in (1, 2, 4) if unit <= most),
        sorted(range(-NEIGHBOURS, NEIGHBOURS + 1), key=abs),
    ):
        right = np.float32(frame.scale / unit / count)
        candidate = float((right.view(np.int32) + np.int32(distance)).view(np.float32))
        got = _rounded(candidate, output)[sums * unit + 32768]
        apart = np.abs(got.astype(np.int64) - want)
        differ, steps = int(np.count_nonzero(apart)), int(apart.max())
        if best is None or differ < best.differ:
            scale = frame.scale / unit
            best = RunningMean(scale, candidate, differ, sums.size, steps, False)
        if not best.differ:
            break
    return best


def _mean_of(frame: Tensor, output: Tensor, sums: np.ndarray, count: int) -> np.ndarray:
    """What MEAN makes of frames with these sums."""
    low = -128 - frame.zero_point
    each, rest = np.divmod(sums - count * low, count)
    values = each[:, None] + (np.arange(count) < rest[:, None]) - 128
    rows = values.astype(np.int8)[:, :, None]
    x = dataclasses.replace(frame, shape=(1, count, 1), data=None, shape_signature=())
    y = dataclasses.replace(output, shape=(1, 1), data=None, shape_signature=())
    axis = Tensor("", DType.INT32, (1,), data=np.array([1], np.int32).tobytes())
    op = Operator(OperatorCode("MEAN"), (0, 2), (1,), {"keep_dims": False}, "ReducerOptions")
    interpreter = Interpreter(Model((Subgraph((x, y, axis), (0,), (1,), (op,)),)))
    (result,) = interpreter.invoke_batch([rows[:, None]])
    return result.reshape(-1).astype(np.int64)


def _rounded(mean_scale: float, output: Tensor) -> np.ndarray:
    """What QUANTIZE makes of every int16 value on a scale."""
    assert all_values(DType.INT16)[0] == -32768
    x = Tensor("", DType.INT16, (1,), Quantization((mean_scale,), (0,)))
    y = dataclasses.replace(output, shape=(1,), data=None, shape_signature=())
    op = Operator(OperatorCode("QUANTIZE"), (0,), (1,), {}, "QuantizeOptions")
    return table_of([x, y], [op], 0, 1)
