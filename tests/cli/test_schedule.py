"""`refmicro schedule` as users and scripts call it."""

from __future__ import annotations

import json

import pytest

from refmicro.cli.main import main
from refmicro.mema.target import TARGETS
from tests.models import ALL

MAMBA = str(ALL["s_sig_stream_int8"])


def schedule(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(["schedule", *args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("target", sorted(TARGETS))
@pytest.mark.parametrize("bits", ["8", "16"])
def test_a_shape_on_every_target(
    capsys: pytest.CaptureFixture[str], target: str, bits: str
) -> None:
    code, out, err = schedule(capsys, "64,144,256", "--target", target, "--bits", bits, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["schema_version"] == 1
    assert document["target"]["name"] == target
    (entry,) = document["products"]
    assert entry["macs"] == 64 * 144 * 256
    counted = sum(entry["loads"].values()) + sum(entry["stores"].values())
    assert entry["floor"] <= entry["accesses"] == counted
    level = entry["levels"]
    assert level["sram"]["loads"] + level["flash"]["loads"] == sum(entry["loads"].values())
    assert entry["accesses"] == min(other["accesses"] for other in entry["orders"])
    assert entry["kernel"]["accesses"] >= entry["floor"]


def test_a_shape_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = schedule(capsys, "256,64,1", "--target", "cortex-m3")
    assert (code, err) == (0, "")
    for words in ("cortex-m3", "output-stationary", "floor", "flash loads", "generated kernel"):
        assert words in out
    assert "frames a pass" in out


def test_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = schedule(capsys, MAMBA, "--json")
    document = json.loads(out)
    assert code == 0
    assert {entry["name"] for entry in document["products"]} <= {
        "FULLY_CONNECTED",
        "CONV_2D",
        "BATCH_MATMUL",
    }
    total = document["total"]
    assert total["accesses"] == sum(entry["accesses"] for entry in document["products"])
    frames = document["frames"]
    assert [item["frames"] for item in frames] == [1, 2, 3, 4]
    code, out, _ = schedule(capsys, MAMBA)
    assert code == 0
    assert f"{total['accesses']:,}" in out


def test_more_rows_share_weights(capsys: pytest.CaptureFixture[str]) -> None:
    def loads(rows: str) -> int:
        _, out, _ = schedule(capsys, MAMBA, "--rows", rows, "--json")
        products = json.loads(out)["products"]
        return sum(entry["loads"].get("filter", 0) for entry in products)

    assert loads("2") < 2 * loads("1")


def test_a_product_of_activations_has_no_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = schedule(capsys, str(ALL["stream_sig_bmm_int16x8"]), "--json")
    entries = [
        entry
        for entry in json.loads(out)["products"]
        if not entry["constant_filter"] or entry["batches"] > 1
    ]
    assert code == 0
    assert entries
    assert all(entry["kernel"] is None for entry in entries)
    assert all(entry["levels"]["flash"]["loads"] == 0 for entry in entries)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["1,2"], 2, "a shape is three numbers"),
        (["1,2,3,4"], 2, "a shape is three numbers"),
        (["0,2,3"], 2, "output_depth must be 1 to"),
        (["1,-2,3"], 2, "accum_depth must be 1 to"),
        (["1,2,99999999999999999999"], 2, "numbers must be 1 to"),
        (["1,2,3", "--target", "z80"], 2, "no such target"),
        (["1,2,3", "--rows", "0"], 2, "--rows must be 1 to"),
        (["missing.tflite"], 2, "missing.tflite"),
        ([str(ALL["person_detect"]), "--bits", "16"], 2, "--bits is the type of a shape"),
        ([str(ALL["simple_add_model"])], 3, "no schedule covers"),
        ([str(ALL["p_exp_int8"])], 3, "EXP"),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str], args: list[str], code: int, words: str
) -> None:
    found, out, err = schedule(capsys, *args)
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


def test_a_narrow_terminal_tells_the_orders_apart(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads(schedule(capsys, MAMBA, "--json")[1])
    monkeypatch.setattr("refmicro.report.schedule_text.PIPE_COLUMNS", 80)
    _, out, _ = schedule(capsys, MAMBA)
    lines = [line.split() for line in out.splitlines() if line[:2] == "0:"]
    orders = [entry["order"].split("-")[0] for entry in document["products"]]
    assert [line[5].rstrip(",") for line in lines] == orders
