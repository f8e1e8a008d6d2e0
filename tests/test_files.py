"""Files appear whole or not at all; damaged archives are refused in words."""

import os
import random
import stat
import threading
import zipfile

import numpy as np
import pytest

from refmicro._files import npz_bytes, read_npz, write_files
from refmicro.errors import UsageError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_and_their_folders_are_made(tmp_path):
    deep = tmp_path / "a b" / "ü"
    write_files({deep / "x": b"1", tmp_path / "y": b"2"})
    assert (deep / "x").read_bytes() == b"1"
    assert (tmp_path / "y").read_bytes() == b"2"
    assert names(deep) == ["x"]


def test_files_are_as_readable_as_any_other(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    write_files({tmp_path / "x": b""})
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("x", "other")}
    assert len(modes) == 1


@pytest.mark.parametrize("blocked", ["folder", "file/x"])
def test_one_that_cannot_be_written_stops_all(tmp_path, blocked):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"kept")
    before = names(tmp_path)
    with pytest.raises(UsageError, match="cannot write: ") as error:
        write_files({tmp_path / "first": b"1", tmp_path / blocked: b"2"})
    assert blocked.split("/")[0] in error.value.message
    assert ".refmicro." not in error.value.message
    assert names(tmp_path) == before
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write_files({tmp_path / "link": b"new"})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_links_that_go_round_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UsageError, match="cannot write"):
        write_files({tmp_path / "a": b""})
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes: run it on Linux or macOS")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_files({pipe: b"through"})
    reader.join(10)
    assert got == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_archives_are_equal_for_equal_arrays(tmp_path):
    arrays = {"0": np.arange(6, dtype=np.int8).reshape(2, 3), "1:2": np.float32([0.5])}
    assert npz_bytes(arrays) == npz_bytes({name: a.copy() for name, a in arrays.items()})
    write_files({tmp_path / "x.npz": npz_bytes(arrays)})
    back = read_npz(tmp_path / "x.npz")
    assert {n: (a.dtype, a.tolist()) for n, a in back.items()} == {
        n: (a.dtype, a.tolist()) for n, a in arrays.items()
    }


def archive_with(path, member, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def test_members_that_are_no_arrays_are_refused(tmp_path):
    path = archive_with(tmp_path / "x.npz", "0", b"hello")
    with pytest.raises(UsageError, match=r"not an \.npz archive"):
        read_npz(path)


def test_header_that_does_not_parse_is_refused(tmp_path):
    path = archive_with(tmp_path / "x.npz", "0.npy", b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16)
    with pytest.raises(UsageError, match=r"not an \.npz archive"):
        read_npz(path)


def test_plain_npy_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(UsageError, match=r"not an \.npz archive"):
        read_npz(tmp_path / "x.npy")


def test_damaged_archives_are_read_or_refused(tmp_path):
    """Every error that zipfile and NumPy have for damaged bytes becomes one sentence."""
    path, chance, refused = tmp_path / "x.npz", random.Random(0), 0
    np.savez_compressed(path, **{"0": np.arange(300, dtype=np.int16)})
    whole = path.read_bytes()
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            read_npz(path)
        except (UsageError, MemoryError):
            refused += 1
    assert refused > 100
