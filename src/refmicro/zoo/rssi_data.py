"""Signal strengths as windows for the localisation models, and what the loaders share.

A recording is resampled to `RATE_HZ`; what no packet came for is `GAP_DBM`. Windows are scaled to
[0, 1] by the extremes of the training part. A fault of the data is a `Problem` with file and line:
`Faults` collects them, and a report counts them by kind.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np

from refmicro.errors import UsageError
from refmicro.zoo.quantise import Grid
from refmicro.zoo.speech_commands import Problem

RATE_HZ = 5
GAP_DBM = -120
WINDOW_STEPS = 20
HOP_STEPS = 10

FRAME_GRID = Grid(float(np.float32(1 / 255)), -128)
"""The grid of scaled signal strengths, [0, 1]."""

_SHOWN = 5


class Faults:
    """What was found wrong; every fault is kept, `lines` shows some of each kind and counts all."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, kind: str, place: str, found: object) -> None:
        """One fault at `place`, a file and a line."""
        self.problems.append(Problem(kind, place, str(found)))

    def counts(self) -> dict[str, int]:
        """How many of each kind, in alphabetical order."""
        return dict(sorted(Counter(problem.kind for problem in self.problems).items()))

    def lines(self, *, whole_paths: bool = True) -> list[str]:
        """One line for each of the first faults of a kind, then how many there are.

        Args:
            whole_paths: else a file is named with its folder alone, the same on every machine.
        """
        found = []
        for kind, count in self.counts().items():
            same = [problem for problem in self.problems if problem.kind == kind][:_SHOWN]
            if not whole_paths:
                same = [replace(one, place="/".join(Path(one.place).parts[-2:])) for one in same]
            found += map(str, same)
            if count > _SHOWN:
                found.append(f"{kind}: {count} in all")
        return found


@dataclass(frozen=True)
class Recording:
    """One experiment at `RATE_HZ`.

    Attributes:
        name: of the experiment.
        strengths: float32 (samples, access points), dBm, `GAP_DBM` where no packet came.
        labels: int (samples,), a class each, -1 where the truth is not known.
        places: float32 (samples, 2), metres, NaN where not known.
        file, lines: where the last packet up to each sample stands, int (samples,).
    """

    name: str
    strengths: np.ndarray
    labels: np.ndarray
    places: np.ndarray
    file: Path
    lines: np.ndarray


@dataclass(frozen=True)
class Site:
    """A home or a building, read.

    Attributes:
        name: `A` to `D`, or `UJI`.
        classes: names of the classes, by index.
        access_points: how many.
        train, test: recordings.
        faults: of all files.
        steps: of a window; 1 where samples stand alone.
    """

    name: str
    classes: tuple[str, ...]
    access_points: int
    train: tuple[Recording, ...]
    test: tuple[Recording, ...]
    faults: Faults
    steps: int = WINDOW_STEPS


@dataclass(frozen=True)
class Windows:
    """Windows of one part: scaled strengths (N, T, A), labels (N, T), places (N, 2) at the end."""

    strengths: np.ndarray
    labels: np.ndarray
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def chosen(self, index: np.ndarray) -> Windows:
        """Some of the windows."""
        return Windows(self.strengths[index], self.labels[index], self.places[index])


@dataclass(frozen=True)
class Scaler:
    """Strengths in dBm to [0, 1]; the range is that of the training part."""

    low: float
    high: float

    @staticmethod
    def of(recordings: tuple[Recording, ...]) -> Scaler:
        """From recordings of the training part.

        Raises:
            UsageError: if they hold no sample.
        """
        whole = np.concatenate([r.strengths.reshape(-1) for r in recordings] or [np.zeros(0)])
        if not whole.size:
            raise UsageError("the training part holds no sample", hint="check the experiments")
        low = float(min(whole.min(), GAP_DBM))
        return Scaler(low, max(float(whole.max()), low + 1))

    def __call__(self, strengths: np.ndarray) -> np.ndarray:
        """Scaled, clipped: the test part may be louder."""
        scaled = (strengths - self.low) / (self.high - self.low)
        return np.clip(scaled, 0, 1).astype(np.float32)


def windows(
    recordings: tuple[Recording, ...], scaler: Scaler, site: Site, hop: int = HOP_STEPS
) -> Windows:
    """Windows of `site.steps` samples, `hop` apart; faults go to `site.faults`.

    A window in which no packet came at all, or whose truth is not known throughout, is left out
    and named.
    """
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for recording in recordings:
        hop_here = hop if site.steps > 1 else 1
        for start in range(0, len(recording.labels) - site.steps + 1, hop_here):
            part = slice(start, start + site.steps)
            strengths, labels = recording.strengths[part], recording.labels[part]
            place = f"{recording.file}:{recording.lines[start]}"
            if (strengths == GAP_DBM).all():
                site.faults.add("empty window", place, f"no packet in {site.steps} samples")
            elif (labels < 0).any():
                site.faults.add("window without a room", place, f"{(labels < 0).sum()} samples")
            else:
                found.append((scaler(strengths), labels, recording.places[part][-1]))
    if not found:
        raise UsageError(
            f"no window of {site.steps} samples can be cut from the recordings of {site.name}",
            hint="; ".join(site.faults.lines()[:3]),
        )
    return Windows(*(np.array(column) for column in zip(*found, strict=True)))


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and the named columns of a CSV file with a header.

    Raises:
        UsageError: if the file is missing or lacks a column; a row too short gives empty texts.
    """
    with _opened(path) as file:
        rows = csv.reader(file, skipinitialspace=True)
        header = [name.strip() for name in next(rows, [])]
        missing = [name for name in columns if name not in header]
        if missing:
            raise UsageError(
                f"{path}:1: columns are missing: {', '.join(missing[:5])}",
                hint=f"the header has {', '.join(header[:8]) or 'nothing'}",
            )
        places = [header.index(name) for name in columns]
        for row in rows:
            if row:
                yield rows.line_num, [row[i].strip() if i < len(row) else "" for i in places]


def read_table(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and all cells of a CSV file whose first cell is a number, header or not.

    Raises:
        UsageError: if the file is missing.
    """
    with _opened(path) as file:
        rows = csv.reader(file, skipinitialspace=True)
        for row in rows:
            if row and row[0].strip().isdigit():
                yield rows.line_num, [cell.strip() for cell in row if cell.strip()]


def _opened(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise UsageError(
            f"the file cannot be read: {path}: {error.strerror}",
            hint="unpack the data set whole and name its folder",
        ) from error
