"""L2_NORMALIZATION in C: rows of every length, and the localisation models that hold it."""

from __future__ import annotations

import numpy as np
import pytest

from refmicro.emit.compiler import find_compiler
from refmicro.emit.emitter import emit
from refmicro.emit.proof import prove
from refmicro.errors import UnsupportedError
from refmicro.model.graph import Model, Subgraph
from refmicro.model.reader import parse_model
from refmicro.model.writer import write_model
from refmicro.zoo import mdcsa, rssi_mamba
from refmicro.zoo.mdcsa_integer import mdcsa_model
from refmicro.zoo.quantise import Grid
from refmicro.zoo.streaming import Builder

from ..zoo.test_localisation_models import mamba_grids, mdcsa_grids

needs_compiler = pytest.mark.skipif(
    find_compiler() is None, reason="needs a C compiler: install gcc or set CC"
)


def single(depth: int, zero_point: int, bits: int = 8) -> Model:
    """One operator over 64 rows."""
    build = Builder()
    source = build.tensor("x", (64, depth), Grid(0.05, zero_point, bits))
    made = build.tensor("y", (64, depth), Grid(1 / 128, 0, bits))
    build.add("L2_NORMALIZATION", (source,), made)
    graph = Subgraph(tuple(build.tensors), (source,), (made,), tuple(build.operators))
    return parse_model(write_model(Model((graph,))))


@needs_compiler
@pytest.mark.parametrize(("depth", "zero_point"), [(1, 0), (3, -128), (16, 5), (700, 127)])
def test_rows_equal_refmicro(depth: int, zero_point: int) -> None:
    model = single(depth, zero_point)
    proof = prove(emit(model), model, count=24)
    assert proof.equal, proof.first


@needs_compiler
def test_localisation_models_equal_refmicro() -> None:
    window = mdcsa.MdcsaConfig(8, 4, 8, 1)
    step = rssi_mamba.RssiMambaConfig(8, 4, 8, 1)
    models = [
        mdcsa_model(window, mdcsa.initial_parameters(window, 0), mdcsa_grids(window)),
        rssi_mamba.step_model(step, rssi_mamba.initial_parameters(step, 0), mamba_grids(step)),
    ]
    for model in models:
        made = emit(model)
        assert made.ram_bytes < 4096
        proof = prove(made, model, count=4)
        assert proof.equal, proof.first


def test_what_has_no_c_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="float32"):
        emit(single(4, 0, 32))
    with pytest.raises(UnsupportedError, match="may not fit int32"):
        emit(single(40_000, 0))
    assert np.iinfo(np.int32).max < 40_000 * 255 * 255
