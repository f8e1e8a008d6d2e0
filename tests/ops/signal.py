"""What the tests of the signal library share: custom options, streams with invalid outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flatbuffers import flexbuffers

from refmicro.bridge import oracle_run
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model
from refmicro.model.writer import write_model
from refmicro.types import Tensor
from tests.ops.harness import model_of


def signal_model(
    name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], **options: float
) -> Model:
    """A model of one operator of the signal library."""
    packed = bytes(flexbuffers.Dumps(options)) if options else b""
    return model_of(name, inputs, outputs, custom=True, custom_options=packed)


def compare_valid(model: Model, inputs: Sequence[np.ndarray], *, reset_at: int = 0) -> int:
    """Both sides agree on a stream of steps, and on output 0 wherever output 1 says it is valid.

    Args:
        model: an operator with outputs and a flag.
        inputs: one array an input, of shape (steps, *shape).
        reset_at: step in front of which both are reset, 0 for none.

    Returns:
        How many outputs were valid.
    """
    data = write_model(model)
    interpreter = Interpreter.from_bytes(data)
    steps = len(inputs[0])
    valid = 0
    for start, end in ((0, reset_at), (reset_at, steps)):
        part = [[array[step] for array in inputs] for step in range(start, end)]
        result = oracle_run(data, part)
        assert result.refused is None
        interpreter.reset()
        for values, want in zip(part, result.outputs, strict=True):
            for index, value in enumerate(values):
                interpreter.set_input(value, index)
            interpreter.invoke()
            flag = interpreter.get_output(1)
            assert flag.tobytes() == want[1].tobytes()
            if flag:
                assert interpreter.get_output(0).tobytes() == want[0].tobytes()
                valid += 1
    return valid
