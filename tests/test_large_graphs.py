"""A graph of 100,000 operators is estimated in bounded memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from refmicro.model.graph import Model, Operator, OperatorCode, Subgraph
from refmicro.model.writer import write_model
from refmicro.types import DType, Quantization, Tensor

OPERATORS = 100_000
PEAK_MIB_MAX = 1024
"""It takes about 450 MiB; anything quadratic would take thousands of times that."""

STATUS = Path("/proc/self/status")

CHILD = f"""
import json, sys
from refmicro import estimate
report = estimate(sys.argv[1])
lines = dict(line.split(":", 1) for line in open("{STATUS}"))
print(json.dumps({{
    "required_bytes": report.arena["required_bytes"],
    "peak_mib": int(lines["VmHWM"].split()[0]) // 1024,
}}))
"""
"""getrusage would count what the process had before it was replaced: this one's memory."""


def chain(count: int) -> Model:
    """RELU after RELU."""
    same = Quantization((0.5,), (0,))
    tensors = tuple(Tensor(f"t{i}", DType.INT8, (1, 16), same) for i in range(count + 1))
    code = OperatorCode("RELU", "", 1)
    operators = tuple(Operator(code, (i,), (i + 1,), {}, "") for i in range(count))
    return Model((Subgraph(tensors, (0,), (count,), operators),), description="a chain")


@pytest.mark.skipif(not STATUS.exists(), reason="peak memory is read from /proc: needs Linux")
def test_memory_grows_with_the_graph_and_no_faster(tmp_path):
    path = tmp_path / "chain.tflite"
    path.write_bytes(write_model(chain(OPERATORS)))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["required_bytes"] > 100 * OPERATORS
    assert found["peak_mib"] < PEAK_MIB_MAX
