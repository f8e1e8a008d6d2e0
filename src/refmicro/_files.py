"""Files that appear whole or not at all, and archives of arrays that are equal for equal arrays."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from refmicro.errors import UsageError

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write all files or none: each is written beside its place first, then all are renamed.

    Raises:
        UsageError: if a folder or file cannot be written.
    """
    staged: list[tuple[str, Path]] = []
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            staged.append((name, path))
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        # mkstemp gives files that only the owner can read; results are for everybody.
        mask = os.umask(0)
        os.umask(mask)
        for name, path in staged:
            os.chmod(name, 0o666 & ~mask)
            os.replace(name, path)
    except OSError as error:
        place = error.filename or next(iter(files))
        raise UsageError(f"cannot write: {place}: {error.strerror or error}") from error
    finally:
        for name, _ in staged:
            with contextlib.suppress(OSError):
                os.unlink(name)


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
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise UsageError(f"cannot read the arrays: {path}: {error.strerror or error}") from error
    except (ValueError, zipfile.BadZipFile, EOFError, AttributeError, TypeError) as error:
        raise UsageError(
            f"not an .npz archive of plain arrays: {path}",
            hint="write it with numpy.savez(path, **{'0': array})",
        ) from error
