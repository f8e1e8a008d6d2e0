"""`refmicro check` as a command."""

import json

import pytest

from refmicro.cli.main import main
from tests.models import ALL

pytestmark = pytest.mark.oracle


def test_json_of_several_models(capsys):
    paths = [str(ALL["hello_world_int8"]), str(ALL["s_elu_head_int8"])]
    assert main(["check", *paths, "--json", "--count", "2"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    for path, row in zip(paths, document["models"], strict=True):
        assert row["path"] == path
        assert set(row) >= {"sha256", "equal", "values", "mismatches", "tensors", "first", "arena"}
        assert row["equal"]
        assert row["mismatches"] == 0
        assert row["arena"]["equal"]


def test_lines_for_people(capsys):
    assert main(["check", str(ALL["hello_world_int8"]), "--count", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("equal")
    assert "0 differ" in out


def test_refused_by_both_is_exit_3(capsys):
    assert main(["check", str(ALL["p_exp_int8"]), str(ALL["hello_world_int8"])]) == 3
    assert "both refuse it" in capsys.readouterr().out


@pytest.mark.parametrize("args", [["--count", "0"], ["--seed", "-1"]])
def test_wrong_numbers_are_exit_2(capsys, args):
    assert main(["check", str(ALL["hello_world_int8"]), *args]) == 2
    assert "error: " in capsys.readouterr().err


def test_damaged_file_is_named_among_others(capsys, tmp_path):
    path = tmp_path / "damaged.tflite"
    path.write_bytes(ALL["hello_world_int8"].read_bytes()[:1000])
    assert main(["check", str(ALL["hello_world_int8"]), str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_endless_counts_are_refused(capsys):
    assert main(["check", str(ALL["hello_world_int8"]), "--count", "9" * 30]) == 2
    assert "too many" in capsys.readouterr().err
