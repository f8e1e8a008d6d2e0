"""Parameter counts are the paper's; integer models equal TFLM and are small."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from refmicro import estimate
from refmicro.compare import check_model
from refmicro.errors import UnsupportedError
from refmicro.interpreter import Interpreter
from refmicro.model.graph import Model
from refmicro.zoo import crf, mdcsa, rssi_mamba
from refmicro.zoo.localisation_report import PUBLISHED
from refmicro.zoo.mdcsa import MdcsaConfig
from refmicro.zoo.mdcsa_integer import mdcsa_model
from refmicro.zoo.quantise import Grid
from refmicro.zoo.rssi_data import FRAME_GRID
from refmicro.zoo.rssi_mamba import RssiMambaConfig, step_model

SITES = {"A": (8, 4), "B": (11, 11), "C": (11, 9), "D": (11, 10), "UJI": (520, 59)}
"""Access points and classes."""

MAMBA_NAMES = (
    *("tail", "conv", "x", "step_low", "step", "b", "c", "u", "decay_log", "h", "input"),
    *("scan", "skip", "y", "gate", "gate_silu", "gated", "out", "sum", "n1"),
)
MDCSA_NAMES = (
    *("q_in", "k_in", "q", "k", "scores", "mix", "r1", "c1", "n1", "x1", "wide", "elu", "b_in"),
    *("a_in", "gated", "r2", "c2", "n2", "x2"),
)


def mamba_grids(config: RssiMambaConfig) -> dict[str, Grid]:
    """A grid for each activation."""
    names = [f"{layer}.{name}" for layer in range(config.layers) for name in MAMBA_NAMES]
    return different((*names, "embed", "logits"))


def mdcsa_grids(config: MdcsaConfig) -> dict[str, Grid]:
    """A grid for each activation."""
    names = [f"{head}.{name}" for head in range(config.layers) for name in MDCSA_NAMES]
    shared = ("embed", "place", "rows", "scores", "mix", "c3", "logits")
    return different((*names, *shared))


def different(names: tuple[str, ...]) -> dict[str, Grid]:
    """Grids that differ from one another, as calibrated ones do."""
    return {name: Grid((32 + i) / 2048) for i, name in enumerate(names)} | {"frame": FRAME_GRID}


def shaken(parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Biases that are not zero and norms that are not one, so that a lost one is seen."""
    rng = np.random.default_rng(5)
    return {
        name: value + rng.normal(0, 0.1, value.shape).astype(np.float32)
        for name, value in parameters.items()
    }


def make(config: MdcsaConfig | RssiMambaConfig, bits: int = 8) -> Model:
    """An untrained model."""
    if isinstance(config, MdcsaConfig):
        parameters = shaken(mdcsa.initial_parameters(config, 0))
        return mdcsa_model(config, parameters, mdcsa_grids(config), bits=bits)
    parameters = shaken(rssi_mamba.initial_parameters(config, 0))
    return step_model(config, parameters, mamba_grids(config), bits=bits)


def count(site: str, name: str) -> int:
    """Parameters of FAMILY-HIDDEN-LAYERS at a site."""
    family, hidden, layers = name.split("-")
    dimensions = (*SITES[site], int(hidden), int(layers))
    if family == "mdcsa":
        return mdcsa.parameter_count(MdcsaConfig(*dimensions))
    return rssi_mamba.parameter_count(RssiMambaConfig(*dimensions))


def test_parameter_counts_are_the_papers() -> None:
    assert {key: count(*key) for key in PUBLISHED} == {
        key: values[0] for key, values in PUBLISHED.items()
    }
    others = {
        ("UJI", "mamba-32-1"): 32111,
        ("UJI", "mamba-8-1"): 9543,
        ("UJI", "mdcsa-8-1"): 10978,
        ("C", "mamba-64-4"): 132259,
    }
    assert {key: count(*key) for key in others} == others


def test_the_one_count_that_does_not_follow() -> None:
    # The paper says 5,020.
    assert count("UJI", "mamba-2-1") == 5013


def test_counts_are_those_of_the_arrays() -> None:
    for layers in (1, 3):
        config = MdcsaConfig(11, 9, 8, layers)
        arrays = mdcsa.initial_parameters(config, 0) | crf.initial_parameters(9, 0)
        found = sum(array.size for array in arrays.values())
        assert found + mdcsa.unreached_count(config) == mdcsa.parameter_count(config)
    config = RssiMambaConfig(11, 9, 16, 2)
    arrays = rssi_mamba.initial_parameters(config, 0) | crf.initial_parameters(9, 0)
    assert sum(array.size for array in arrays.values()) == rssi_mamba.parameter_count(config)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("config", "bits"),
    [
        (MdcsaConfig(8, 4, 16, 1), 8),
        (MdcsaConfig(8, 4, 8, 1), 16),
        (MdcsaConfig(8, 4, 8, 1), 32),
        (MdcsaConfig(8, 4, 4, 3), 8),
        (MdcsaConfig(30, 5, 8, 1, steps=1), 8),
        (RssiMambaConfig(8, 4, 8, 1), 8),
        (RssiMambaConfig(8, 4, 8, 2), 8),
        (RssiMambaConfig(8, 4, 8, 1), 16),
        (RssiMambaConfig(8, 4, 8, 1), 32),
    ],
    ids=str,
)
def test_models_equal_tflm(config: MdcsaConfig | RssiMambaConfig, bits: int) -> None:
    checked = check_model(make(config, bits), "untrained", count=3)
    assert checked.equal, checked


@pytest.mark.parametrize("site", ["A", "B", "C", "D"])
def test_sizes_are_below_half_of_the_papers_marks(site: str) -> None:
    for config, limit in (
        (MdcsaConfig(*SITES[site], 16, 1), 32_000),
        (RssiMambaConfig(*SITES[site], 8, 1), 16_000),
    ):
        model = make(config)
        assert estimate(model).arena["required_bytes"] + len(model.source or b"") < limit


def test_every_operator_is_an_integer_one() -> None:
    for config in (MdcsaConfig(8, 4, 16, 1), RssiMambaConfig(8, 4, 8, 1)):
        model = make(config)
        types = {tensor.dtype.name for tensor in model.subgraphs[0].tensors}
        assert types <= {"INT8", "INT32"}


def test_the_mambas_arena_does_not_depend_on_the_window() -> None:
    found = {
        steps: estimate(make(RssiMambaConfig(8, 4, 8, 1, steps=steps))).arena["required_bytes"]
        for steps in (5, 20, 200)
    }
    assert len(set(found.values())) == 1
    windows = [estimate(make(MdcsaConfig(8, 4, 8, 1, steps=steps))) for steps in (20, 60)]
    assert windows[0].arena["required_bytes"] < windows[1].arena["required_bytes"]


def test_the_step_model_keeps_its_state_until_reset() -> None:
    model = make(RssiMambaConfig(8, 4, 8, 1))
    frames = np.random.default_rng(1).integers(-128, 128, (1, 6, 1, 8)).astype(np.int8)
    whole = Interpreter(model).invoke_sequence([frames])[0][0, :, 0]
    again = Interpreter(model).invoke_sequence([frames[:, 3:]])[0][0, :, 0]
    assert not np.array_equal(whole[3:], again)
    alone = Interpreter(model)
    for step in range(6):
        alone.set_input(frames[0, step], 0)
        alone.invoke()
        assert np.array_equal(alone.get_output(0)[0], whole[step])


def test_widths_whose_norm_is_not_exact_are_refused() -> None:
    config = MdcsaConfig(8, 4, 12, 1)
    with pytest.raises(UnsupportedError, match="power of 2"):
        mdcsa_model(config, mdcsa.initial_parameters(config, 0), mdcsa_grids(config))


def test_viterbi_finds_the_best_path() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(5, 4, 3)).astype(np.float32)
    parameters = {
        name: rng.normal(size=value.shape).astype(np.float32)
        for name, value in crf.initial_parameters(3, 0).items()
    }

    def total(row: np.ndarray, path: tuple[int, ...]) -> float:
        value = parameters["crf_start"][path[0]] + parameters["crf_end"][path[-1]]
        value += sum(row[step, one] for step, one in enumerate(path))
        return value + sum(parameters["crf"][a, b] for a, b in pairwise(path))

    found = crf.viterbi(scores, parameters)
    for row, path in zip(scores, found, strict=True):
        best = max(np.ndindex(3, 3, 3, 3), key=lambda other: total(row, other))
        assert tuple(path) == best
