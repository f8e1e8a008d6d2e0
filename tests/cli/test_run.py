"""`refmicro run` and `refmicro diff` on files."""

import json

import numpy as np
import pytest

from refmicro.cli.main import main
from refmicro.interpreter import Interpreter
from tests.models import ALL, GOLDEN

HELLO = str(ALL["hello_world_int8"])
STREAM = GOLDEN / "models" / "g_elu_inplacevar_int8"


def save(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def test_batch_and_single(tmp_path):
    x = np.arange(-5, 5, dtype=np.int8).reshape(10, 1, 1)
    many, one = tmp_path / "many.npz", tmp_path / "one.npz"
    assert (
        main(["run", HELLO, "--input", save(tmp_path / "x.npz", **{"0": x}), "--output", str(many)])
        == 0
    )
    assert (
        main(
            ["run", HELLO, "--input", save(tmp_path / "y.npz", **{"0": x[3]}), "--output", str(one)]
        )
        == 0
    )
    assert np.load(many)["0"].shape == (10, 1, 1)
    assert (np.load(one)["0"] == np.load(many)["0"][3]).all()


def test_all_tensors_hold_every_intermediate(tmp_path):
    x = np.zeros((4, 1, 1), np.int8)
    out = tmp_path / "out.npz"
    assert (
        main(
            [
                "run",
                HELLO,
                "--input",
                save(tmp_path / "x.npz", **{"0": x}),
                "--output",
                str(out),
                "--all-tensors",
            ]
        )
        == 0
    )
    arrays = np.load(out)
    graph = Interpreter.from_file(HELLO).program.model.subgraphs[0]
    names = {f"0:{i}" for i in (*graph.inputs, *(o for op in graph.operators for o in op.outputs))}
    assert set(arrays.files) == names | {"0"}
    assert all(arrays[name].shape[0] == 4 for name in arrays.files)


def test_sequence_reproduces_golden_streams(tmp_path):
    out = tmp_path / "out.npz"
    args = ["run", str(STREAM / "model.tflite"), "--sequence", "--output", str(out)]
    assert main([*args, "--input", str(STREAM / "inputs.npz")]) == 0
    assert main(["diff", str(STREAM / "outputs.npz"), str(out)]) == 0
    first = {name: a[0] for name, a in np.load(STREAM / "inputs.npz").items()}
    assert main([*args, "--input", save(tmp_path / "first.npz", **first), "--all-tensors"]) == 0
    want = np.load(STREAM / "outputs.npz")["0"][0]
    assert (np.load(out)["0"] == want).all()


def test_diff_names_the_first_difference(tmp_path, capsys):
    a = np.arange(12, dtype=np.int8).reshape(3, 4)
    b = a.copy()
    b[1, 2] += 3
    code = main(
        ["diff", save(tmp_path / "a.npz", **{"0": a}), save(tmp_path / "b.npz", **{"0": b})]
    )
    out = capsys.readouterr().out
    assert code == 4
    assert "[1, 2]" in out
    assert "by at most 3" in out


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"0": np.zeros((1, 2), np.int8)}, "must be int8[N, 1, 1]"),
        ({"0": np.zeros((1, 1), np.float32)}, "got float32"),
        ({"1": np.zeros((1, 1), np.int8)}, "named 0"),
        ({}, "nothing"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, capsys, arrays, word):
    out = tmp_path / "out.npz"
    code = main(["run", HELLO, "--input", save(tmp_path / "x.npz", **arrays), "--output", str(out)])
    assert code == 2
    assert word in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"not an archive"])
def test_broken_archives_are_refused(tmp_path, capsys, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert main(["run", HELLO, "--input", str(path), "--output", str(tmp_path / "o.npz")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_unwritable_output_leaves_nothing(tmp_path, capsys):
    x = save(tmp_path / "x.npz", **{"0": np.zeros((1, 1), np.int8)})
    folder = tmp_path / "file"
    folder.write_text("no folder")
    assert main(["run", HELLO, "--input", x, "--output", str(folder / "o.npz")]) == 2
    assert "cannot write" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "x.npz"]


LOOP = str(ALL["g_elu_while_int8"])


def test_no_rows_give_no_rows(tmp_path):
    x, out = save(tmp_path / "x.npz", **{"0": np.zeros((0, 1, 1), np.int8)}), tmp_path / "o.npz"
    assert main(["run", HELLO, "--input", x, "--output", str(out), "--all-tensors"]) == 0
    arrays = dict(np.load(out))
    assert "0" in arrays
    assert {len(array) for array in arrays.values()} == {0}


def test_tensors_of_loops_have_every_row(tmp_path):
    """Each row as it is alone, whatever the others do."""
    inputs = np.load(ALL["g_elu_while_int8"].parent / "inputs.npz")
    rows = {name: array[:3] for name, array in inputs.items()}
    both = tmp_path / "both.npz"
    args = ["run", LOOP, "--all-tensors"]
    assert main([*args, "--input", save(tmp_path / "x.npz", **rows), "--output", str(both)]) == 0
    together = dict(np.load(both))
    assert any(name.startswith("2:") for name in together)
    for row in range(3):
        one = save(tmp_path / "one.npz", **{name: array[row] for name, array in rows.items()})
        assert main([*args, "--input", one, "--output", str(tmp_path / "o.npz")]) == 0
        alone = np.load(tmp_path / "o.npz")
        assert set(alone.files) == set(together)
        for name in alone.files:
            assert (alone[name] == together[name][row]).all()


def test_streams_keep_their_axes_with_all_tensors(tmp_path):
    inputs = {name: array[:1] for name, array in np.load(STREAM / "inputs.npz").items()}
    out = tmp_path / "o.npz"
    args = ["run", str(STREAM / "model.tflite"), "--sequence", "--all-tensors"]
    assert main([*args, "--input", save(tmp_path / "x.npz", **inputs), "--output", str(out)]) == 0
    lead = inputs["0"].shape[:2]
    assert {array.shape[:2] for array in np.load(out).values()} == {lead}


@pytest.mark.parametrize(
    ("a", "b", "code"),
    [
        (np.float32([np.nan, 1]), np.float32([np.nan, 1]), 0),
        (np.float32([0.0]), np.float32([-0.0]), 4),
        (np.float32([np.inf, 1]), np.float32([-np.inf, np.nan]), 4),
        (np.int64([2**63 - 1]), np.int64([-(2**63)]), 4),
        (np.array([True]), np.array([False]), 4),
        (np.array(["a"]), np.array(["b"]), 4),
        (np.array([1j]), np.array([2j]), 4),
        (np.zeros((0, 3), np.int8), np.zeros((0, 3), np.int8), 0),
    ],
)
def test_diff_of_any_type_is_one_strict_document(tmp_path, capsys, a, b, code):
    paths = [save(tmp_path / "a.npz", x=a), save(tmp_path / "b.npz", x=b)]
    assert main(["diff", *paths, "--json"]) == code

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    document = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert document["equal"] == (code == 0)
    assert main(["diff", *paths]) == code


def test_distance_of_integers_is_exact(tmp_path, capsys):
    low, high = np.int64([-(2**63)]), np.int64([2**63 - 1])
    paths = [save(tmp_path / "a.npz", x=low), save(tmp_path / "b.npz", x=high)]
    main(["diff", *paths, "--json"])
    assert json.loads(capsys.readouterr().out)["arrays"][0]["largest_distance"] == 2**64 - 1


def test_diff_of_odd_names(tmp_path, capsys):
    a = save(tmp_path / "a.npz", **{"²": np.zeros(1), "0:10": np.zeros(1), "0:9": np.zeros(1)})
    assert main(["diff", a, save(tmp_path / "b.npz", **{"0": np.zeros(1)})]) == 4
    names = [line.partition(" ")[0] for line in capsys.readouterr().out.splitlines()]
    assert names[:2] == ["0:9:", "0:10:"]
