"""Files that appear whole or not at all, or are made once; archives equal for equal arrays."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from refmicro.errors import EnvironmentMissingError, UsageError

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)

_NOT_ARRAYS = (
    AttributeError,
    EOFError,
    KeyError,
    RuntimeError,  # encrypted, and as NotImplementedError a compression that Python lacks
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy and zipfile raise on damaged archives."""


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write all files or none: each is written beside its place first, then all are renamed.

    A link is followed; a device or pipe is written to as it is.

    Raises:
        UsageError: if a folder or file cannot be written.
    """
    staged: list[tuple[str, Path]] = []
    direct: list[tuple[Path, bytes]] = []
    path = next(iter(files), Path())
    try:
        for path, data in files.items():
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if path.exists() and not path.is_file():
                direct.append((path, data))
                continue
            target = path.resolve()
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=".refmicro.")
            staged.append((name, target))
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        # mkstemp gives files that only the owner can read; results are for everybody.
        mask = os.umask(0)
        os.umask(mask)
        for name, path in staged:
            os.chmod(name, 0o666 & ~mask)
            os.replace(name, path)
        for path, data in direct:
            path.write_bytes(data)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that go round
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot write: {path}: {reason}") from error
    finally:
        for name, _ in staged:
            with contextlib.suppress(OSError):
                os.unlink(name)


def require_folder(folder: Path) -> None:
    """Find out before long work that files can be written into a folder, which need not exist yet.

    Raises:
        UsageError: a file is in the way, or the folder is not writable.
    """
    place = folder
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UsageError(
            f"cannot write into a folder of this name, a file is in the way: {place}",
            hint="give another folder",
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write into the folder: {place}", hint="give another folder")


def made_once(final: Path, what: str, make: Callable[[Path], None]) -> Path:
    """A file of a cache: it is there, or made now beside its place and then renamed.

    Args:
        final: where it belongs; its folder's name tells what it was made from.
        what: the file's purpose, for messages.
        make: called with the path to write to; its folder is empty and goes away.

    Raises:
        EnvironmentMissingError: if the cache cannot be written.
    """
    if final.is_file():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=final.parent) as scratch:
            made = Path(scratch) / final.name
            make(made)
            made.replace(final)
    except OSError as error:
        raise EnvironmentMissingError(
            f"the cache folder of {what} is not writable: {final.parent} ({error})",
            hint="set XDG_CACHE_HOME to a folder that is",
        ) from error
    return final


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An `.npz` archive without dates or compression: equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", _ZIP_DATE)
            info.compress_type = zipfile.ZIP_STORED
            archive.writestr(info, content.getvalue())
    return buffer.getvalue()


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` archive.

    Raises:
        UsageError: if the file cannot be read or is no such archive.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise TypeError("a member is no array")
        return arrays
    except OSError as error:
        raise UsageError(f"cannot read the arrays: {path}: {error.strerror or error}") from error
    except _NOT_ARRAYS as error:
        raise UsageError(
            f"not an .npz archive of plain arrays: {path}",
            hint="write it with numpy.savez(path, **{'0': array})",
        ) from error
