"""UJIIndoorLoc in its own files, every fault named.

    ROOT/trainingData.csv, ROOT/validationData.csv with a header:
        WAP001 ... WAP520                dBm, 100 where the access point was not heard
        LONGITUDE LATITUDE               metres
        FLOOR BUILDINGID SPACEID RELATIVEPOSITION USERID PHONEID TIMESTAMP (seconds)

Classes are buildings, floors of buildings, or spaces of floors (`LABELS`). The validation file of
the public set has no spaces: all are 0. Spaces are tested on each fourth row of the training file.

Source: Torres-Sospedra et al., UJIIndoorLoc, IPIN 2014; UCI machine learning repository.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from refmicro.errors import UsageError
from refmicro.zoo.rssi_data import GAP_DBM, Faults, Recording, Site, read_rows

ACCESS_POINTS = 520
NOT_HEARD = 100
COLUMNS = tuple(f"WAP{number:03d}" for number in range(1, ACCESS_POINTS + 1))
LABELS = {
    "building": ("BUILDINGID",),
    "floor": ("BUILDINGID", "FLOOR"),
    "space": ("BUILDINGID", "FLOOR", "SPACEID"),
}
FILES = {"train": "trainingData.csv", "test": "validationData.csv"}
_TRUTH = ("BUILDINGID", "FLOOR", "SPACEID", "LONGITUDE", "LATITUDE", "TIMESTAMP")


def read_uji(root: Path, label: str = "floor") -> Site:
    """The building, samples standing alone.

    Args:
        root: the folder of both files.
        label: one of `LABELS`.

    Raises:
        UsageError: if a file or a column is missing, or no row can be used.
    """
    faults = Faults()
    parts = {part: _read_file(root / name, faults) for part, name in FILES.items()}
    names = [name for name in _TRUTH if name in LABELS[label]]
    keys = {
        part: [tuple(int(row[_TRUTH.index(name)]) for name in names) for row in found[1]]
        for part, found in parts.items()
    }
    classes = sorted(set(keys["train"]))
    index = {key: number for number, key in enumerate(classes)}
    recordings = {}
    for part, (strengths, truth, lines) in parts.items():
        labels = np.array([index.get(key, -1) for key in keys[part]], np.int64)
        path = root / FILES[part]
        if label != "space":
            for row in np.flatnonzero(labels < 0):
                faults.add("unknown room", f"{path}:{lines[row]}", keys[part][row])
        recordings[part] = Recording(
            FILES[part], strengths, labels, truth[:, 3:5].astype(np.float32), path, lines
        )
    if label == "space":
        recordings = _fourths(recordings["train"])
    texts = tuple("-".join(map(str, key)) for key in classes)
    train, test = recordings["train"], recordings["test"]
    return Site("UJI", texts, ACCESS_POINTS, (train,), (test,), faults, steps=1)


def _fourths(whole: Recording) -> dict[str, Recording]:
    """Three fourths to train, each fourth row to test."""
    tested = np.arange(len(whole.labels)) % 4 == 3
    return {
        part: Recording(
            part,
            whole.strengths[chosen],
            whole.labels[chosen],
            whole.places[chosen],
            whole.file,
            whole.lines[chosen],
        )
        for part, chosen in (("train", ~tested), ("test", tested))
    }


def _read_file(path: Path, faults: Faults) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strengths (rows, 520), truth (rows, 6) as `_TRUTH`, and lines."""
    strengths, truth, lines = [], [], []
    for line, row in read_rows(path, (*COLUMNS, *_TRUTH)):
        try:
            values = np.array(row, np.float64)
        except ValueError:
            wrong = next(cell for cell in row if not _is_number(cell))
            faults.add("unreadable row", f"{path}:{line}", wrong or "an empty cell")
            continue
        heard = values[:ACCESS_POINTS]
        heard = np.where(heard == NOT_HEARD, GAP_DBM, heard)
        if heard.max() > 20 or heard.min() < GAP_DBM:
            faults.add("impossible strength", f"{path}:{line}", heard.max())
            continue
        strengths.append(heard.astype(np.float32))
        truth.append(values[ACCESS_POINTS:])
        lines.append(line)
    if not strengths:
        raise UsageError(f"no row can be used: {path}", hint="; ".join(faults.lines()[:3]))
    return np.array(strengths), np.array(truth), np.array(lines)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
