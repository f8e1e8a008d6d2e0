"""`refmicro estimate` as users and scripts call it."""

import json
import subprocess
import sys

import pytest

from refmicro.cli.main import main
from tests.models import ALL

HELLO = str(ALL["hello_world_int8"])


def estimate(capsys, *args):
    code = main(["estimate", *args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_json_has_the_contract_fields(capsys):
    code, out, err = estimate(capsys, HELLO, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["schema_version"] == 1
    assert document["abi"] == "ilp32"
    assert document["kernels"] == "reference"
    assert set(document["model"]) >= {"path", "sha256", "bytes", "subgraphs", "operators"}
    assert set(document["tflm"]) == {"wheel", "revision"}
    assert set(document["arena"]) >= {
        "used_bytes",
        "required_bytes",
        "head_bytes",
        "tail_bytes",
        "lower_bound_bytes",
        "categories",
    }
    assert set(document["arena"]["categories"]) >= {
        "eval_tensors",
        "persistent_tensors",
        "quantization",
        "persistent_buffers",
        "variables",
        "nodes",
        "op_data",
    }
    assert set(document["operators"][0]) >= {
        "subgraph",
        "index",
        "name",
        "macs",
        "live_bytes",
        "scratch_bytes",
        "persistent_bytes",
    }
    assert set(document["tensors"][0]) >= {
        "subgraph",
        "index",
        "name",
        "bytes",
        "offset",
        "first_time_used",
        "last_time_used",
    }
    # Measured with the real TFLM on a Cortex-M4, golden/ilp32.json.
    assert document["arena"]["used_bytes"] == 676
    assert document["arena"]["required_bytes"] == 1072
    assert document["macs"] == 16 + 256 + 16


def test_table_names_the_peak(capsys):
    code, out, _ = estimate(capsys, HELLO)
    assert code == 0
    assert "arena required" in out
    assert "peak:" in out
    assert "FULLY_CONNECTED" in out


@pytest.mark.parametrize(
    ("budget", "code"),
    [("arena=1072", 0), ("arena=1071", 1), ("arena=1MiB,flash=1kB", 1), ("macs=1k", 0)],
)
def test_budget_decides_the_exit_code(capsys, budget, code):
    got, out, _ = estimate(capsys, HELLO, "--json", "--budget", budget)
    assert got == code
    assert all(verdict["fits"] for verdict in json.loads(out)["budget"]) == (code == 0)


def test_board_gives_both_limits(capsys):
    code, out, _ = estimate(capsys, str(ALL["person_detect"]), "--board", "nucleo-l031k6", "--json")
    assert code == 1
    assert {verdict["what"]: verdict["fits"] for verdict in json.loads(out)["budget"]} == {
        "arena": False,
        "flash": False,
    }


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["missing.tflite"], "cannot read"),
        ([HELLO, "--budget", "ram=5"], "budget"),
        ([HELLO, "--budget", "arena=5x"], "unit"),
        ([HELLO, "--budget", "arena=" + "9" * 400], "unit"),
        ([HELLO, "--budget", ""], "budget"),
        ([HELLO, "--board", ""], "no such board"),
        ([HELLO, "--html", "."], "Is a directory"),
        ([HELLO, "--board", "nothing"], "no such board"),
        ([HELLO, "--resource-variables", "-1"], "resource variables"),
        ([HELLO, "--abi", "lp64", "--kernels", "cmsis-nn"], "lp64"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(capsys, args, word):
    code, out, err = estimate(capsys, *args)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert word in err
    assert "Traceback" not in err


def test_refused_model_is_exit_3_in_words(capsys):
    code, out, err = estimate(capsys, str(ALL["p_exp_int8"]))
    assert (code, out) == (3, "")
    assert "EXP" in err
    assert "float32" in err


def test_html_stands_alone(capsys, tmp_path):
    target = tmp_path / "page.html"
    assert estimate(capsys, HELLO, "--html", str(target))[0] == 0
    page = target.read_text()
    assert page.startswith("<!doctype html>")
    assert "<svg" in page
    assert "http" not in page


def test_loop_bodies_count_every_trip(capsys):
    _, out, _ = estimate(capsys, str(ALL["g_elu_while_int8"]), "--json")
    document = json.loads(out)
    runs = {row["subgraph"]: row["executions"] for row in document["operators"]}
    assert runs == {0: 1, 1: 50, 2: 49}
    once = {0: 0, 1: 0, 2: 0}
    for row in document["operators"]:
        once[row["subgraph"]] += row["macs"]
    assert document["macs"] == once[0] + 50 * once[1] + 49 * once[2]


def test_lp64_is_the_wheels_build(capsys):
    small = json.loads(estimate(capsys, HELLO, "--json")[1])
    large = json.loads(estimate(capsys, HELLO, "--json", "--abi", "lp64", "--recording")[1])
    assert large["arena"]["used_bytes"] > small["arena"]["used_bytes"]
    assert large["macs"] == small["macs"]


def test_estimate_imports_neither_numba_nor_cffi():
    code = (
        "import sys; from refmicro.cli.main import main; "
        f"main(['estimate', {HELLO!r}, '--json']); "
        "bad = {'numba', 'cffi', 'tensorflow', 'rich', 'scipy'} & set(sys.modules); "
        "sys.exit(f'imported: {bad}' if bad else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_name_that_is_no_utf8(capsys, tmp_path):
    path, page = tmp_path / "m\udcff.tflite", tmp_path / "page.html"
    path.write_bytes(ALL["hello_world_int8"].read_bytes())
    assert estimate(capsys, str(path), "--html", str(page))[0] == 0
    assert r"m\udcff.tflite" in page.read_text()
