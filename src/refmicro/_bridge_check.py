"""Proof that the wheel's TFLM behaves as `cbridge/bridge.cc` declares it; run in a child process.

Two small models go through every function and structure that the bridge declares: one of two int8
ADDs (scale 1, zero point 0: `y = x + c`, `z = y + y`), and one of a SUM, which needs scratch
buffers. What must come out follows from TFLM's sources and was measured on the pinned wheel. A
wrong layout shows here as a wrong number or as a crash of this process, and never reaches a user's
result.
"""

from __future__ import annotations

import base64
import sys
import zlib
from pathlib import Path

import numpy as np

from . import bridge

MODEL = zlib.decompress(
    base64.b64decode(
        """
eNqVUbEOAUEQfXcucthwiSsuIqJQ6CkUEp0olFeoaX0AKoXP8QG+wxf4Edbb3dmzhUgUb3dmdubNm50CQLlcT4A2cmRQ
SBlJ6IEeUBB9okbExJzHkIgkHtls4PHUWlUMCU/mEUp4hpJbkxvCt5EehmPPh4y4GZu4a60zl9ryPKuX1lGgx8Pph+3f
CvSHtRep/dQ4LT3pM3OhxsjoZiyVOq8XlX1exMHs5j4R2y885Z88RyovOElX/tHMYeaaf+ot7/VP3p3st0Pb85r9rYRz
anelrOP3l0rvkP9XjwPqtrYuMYNmPhjD2on13zY4Lc8="""
    )
)

SCRATCH_MODEL = zlib.decompress(
    base64.b64decode(
        """
eNqNUTsOgkAQfeJGMRKxMIZECgsKSxMtTeyMIZRewNJaC+yMZ7HwGB7Fm+DbnVlcO4G382E+b2YLAIddtcLPM8IEYySI
qRtaoAVkRE50iYh4dYAHwQ9LiLRxCd+hq2OoAaUULZO2qvjnLlZycs2PVEJlof3exJOolN/U5dk+wi+TlJnnCPTYp89T
SvnaUVD73jSN7b0R12DB40KfnXoS8ECQA9y2nqPH1c1hZ0vb2bJvfmSCWKsf69PZ7zilHesMlvdeuax1j9D/iZP/8fL9
arcD43ZgAr/cjHH2B+YqFY8="""
    )
)

PLAIN_USED_BYTES = 880
RECORDING_USED_BYTES = 1120
HEAD_BYTES = 32
NODES = bridge.Allocation(128, 128, 2)
EVAL_TENSORS = bridge.Allocation(96, 96, 4)
INPUT = np.array([[1, 2, 3, -4]], np.int8)
SUM = np.array([[11, 22, 33, 36]], np.int8)
OUTPUT = np.array([[22, 44, 66, 72]], np.int8)


def _expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise SystemExit(f"{what}: expected {wanted}, found {found}")


def _check_arena() -> None:
    with bridge.Oracle(MODEL, recording=False) as plain:
        _expect("arena_used_bytes", plain.arena.used_bytes, PLAIN_USED_BYTES)
        _expect("head", plain.arena.head_bytes, HEAD_BYTES)
        _expect("tail", plain.arena.tail_bytes, PLAIN_USED_BYTES - HEAD_BYTES)
    with bridge.Oracle(MODEL) as recording:
        arena = recording.arena
        _expect("arena_used_bytes, recording", arena.used_bytes, RECORDING_USED_BYTES)
        _expect("head, recording", arena.head_bytes, HEAD_BYTES)
        _expect("nodes", arena.categories["nodes"], NODES)
        _expect("eval tensors", arena.categories["eval_tensors"], EVAL_TENSORS)


def _check_trace() -> None:
    with bridge.Oracle(MODEL, trace=True) as oracle:
        (given,), (result,) = oracle.inputs, oracle.outputs
        _expect(
            "input",
            (given.dtype, given.shape, given.scale, given.zero_point),
            (np.dtype(np.int8), (1, 4), 1.0, 0),
        )
        _expect(
            "places",
            [(p.subgraph, p.tensor, p.offset) for p in oracle.places],
            [(0, 0, 0), (0, 1, None), (0, 2, 16), (0, 3, 0)],
        )
        _expect("offsets", (given.offset, result.offset), (0, 0))
        oracle.set_input(INPUT)
        oracle.invoke()
        _expect("output", oracle.get_output().tolist(), OUTPUT.tolist())
        first, second = oracle.trace
        _expect(
            "operators",
            [(r.subgraph, r.operator, r.status) for r in (first, second)],
            [(0, 0, 0), (0, 1, 0)],
        )
        _expect(
            "tensors",
            [s.tensor for r in (first, second) for s in r.inputs + r.outputs],
            [0, 1, 2, 2, 2, 3],
        )
        _expect("traced input", first.inputs[0].before, INPUT.tobytes())
        _expect("traced sum", first.outputs[0].after, SUM.tobytes())
        _expect("traced output", second.outputs[0].after, OUTPUT.tobytes())


def _check_operator_memory() -> None:
    with bridge.Oracle(MODEL, trace=True) as oracle:
        used = [(row.operator, row.init_bytes, row.prepare_bytes) for row in oracle.operators]
        _expect("persistent bytes of operators", used, [(0, 72, 0), (1, 64, 0)])
    with bridge.Oracle(SCRATCH_MODEL, trace=True) as oracle:
        found = [(row.operator, row.size_bytes, row.offset) for row in oracle.scratches]
        _expect("scratch buffers", found, [(0, 4, 32), (0, 8, 16), (0, 4, 0)])
        oracle.set_input(INPUT)
        oracle.invoke()
        _expect("sum", oracle.get_output().tolist(), [[int(INPUT.sum())]])


def _check_refusal() -> None:
    try:
        bridge.Oracle(MODEL, arena_bytes=PLAIN_USED_BYTES - 16, recording=False).close()
    except bridge.OracleRefusal as refusal:
        if "ailed to" in refusal.log:
            return
        raise SystemExit(f"the log of a refusal was not caught: {refusal.log!r}") from None
    raise SystemExit("an arena that is too small was accepted")


def main(library: str) -> None:
    """Check the bridge at path `library`; exits with a sentence on stderr if something differs."""
    opened = bridge.load(Path(library))
    bridge._bridge = lambda: opened
    _check_arena()
    _check_trace()
    _check_operator_memory()
    _check_refusal()


if __name__ == "__main__":
    main(sys.argv[1])
