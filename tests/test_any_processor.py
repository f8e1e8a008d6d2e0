"""A processor without special instructions gives the same bytes by other paths."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

PROGRAM = """
import os
from refmicro import Interpreter
from refmicro._jit import has_vectors
from refmicro.vectors import random_inputs
from tests.models import ALL

if "NUMBA_CPU_NAME" in os.environ:
    assert not has_vectors()
for name in ("person_detect", "u2_split_int8_reord", "s_elu_stream_int8", "kws_mamba_int8"):
    model = Interpreter.from_file(ALL[name])
    graph = model.program.model.subgraphs[0]
    inputs = random_inputs([graph.tensors[i] for i in graph.inputs], 24, 0)
    for _ in range(3):
        outputs = model.invoke_batch(inputs)
    print(name, *(array.tobytes().hex() for array in outputs))
"""


def outputs(environment):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_outputs_do_not_depend_on_the_processor():
    plain = outputs({"NUMBA_CPU_NAME": "generic"})
    assert len(plain.splitlines()) == 4
    assert plain == outputs({})
