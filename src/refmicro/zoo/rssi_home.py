"""The residential wearable RSSI data set, in its own files, every fault named.

    ROOT/house_A/metadata/ap_mac_addresses.dat   access point, address
    ROOT/house_A/metadata/room_names.dat         room, name
    ROOT/house_A/metadata/room_tags.dat          room, floor tags that lie in it
    ROOT/house_A/metadata/tag_coordinates.dat    tag, x, y, z in centimetres
    ROOT/house_A/experiments/EXPERIMENT/rx_wearable_data.dat
        a packet a line, with a header: timestamp, ap_id, wearable_id, rssi, ...
    ROOT/house_A/experiments/EXPERIMENT/tag_annotations.dat
        where the person was, with a header: timestamp, ..., tag, tag_coord_x, tag_coord_y, ...

Metadata have no header. Experiments whose name begins with `fingerprint` train, those that begin
with `living` test. A packet counts for the sample of 200 ms in which it came, the strongest of an
access point; the room is that of the last annotation, if that is not older than `HOLD_S`.

Source: Byrne et al., Residential wearable RSSI and accelerometer measurements with detailed
location annotations, Scientific Data 5:180168 (2018), figshare collection 6051794, and the files
that public loaders of it read.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np

from refmicro.errors import UsageError
from refmicro.zoo.rssi_data import (
    GAP_DBM,
    RATE_HZ,
    Faults,
    Recording,
    Site,
    read_rows,
    read_table,
)

HOLD_S = 10.0
"""How long the room of an annotation holds."""

MAX_GAP_S = 3600.0
"""A pause longer than this begins a new recording."""

PACKETS = "rx_wearable_data.dat"
ANNOTATIONS = "tag_annotations.dat"
PARTS = {"train": "fingerprint", "test": "living"}
"""Which experiments a part is made of: the beginning of their names."""

_STRONGEST_DBM, _WEAKEST_DBM = 20, -120


@dataclass(frozen=True)
class _Metadata:
    access_points: dict[int, int]
    rooms: tuple[str, ...]
    room_of_tag: dict[int, int]
    place_of_tag: dict[int, tuple[float, float]]


def read_home(root: Path, name: str) -> Site:
    """One home, `A` to `D`.

    Raises:
        UsageError: if a folder, file or column is missing, or a part has no experiment.
    """
    folder = root / f"house_{name}"
    if not folder.is_dir():
        raise UsageError(
            f"the home is not there: {folder}",
            hint="name the unpacked data set, the folder that holds house_A to house_D",
        )
    faults = Faults()
    metadata = _read_metadata(folder / "metadata", faults)
    recordings = {
        part: _read_part(folder / "experiments", part, metadata, faults) for part in PARTS
    }
    heard = np.concatenate([r.strengths for r in recordings["train"]]) > GAP_DBM
    for access_point, column in metadata.access_points.items():
        if not heard[:, column].any():
            faults.add(
                "access point never heard",
                str(folder / "metadata" / "ap_mac_addresses.dat"),
                f"{access_point} in the training part",
            )
    return Site(
        name,
        metadata.rooms,
        len(metadata.access_points),
        recordings["train"],
        recordings["test"],
        faults,
    )


def _read_metadata(folder: Path, faults: Faults) -> _Metadata:
    access_points: dict[int, int] = {}
    for line, row in read_table(folder / "ap_mac_addresses.dat"):
        if int(row[0]) in access_points:
            faults.add("access point twice", f"{folder / 'ap_mac_addresses.dat'}:{line}", row[0])
        access_points.setdefault(int(row[0]), len(access_points))
    names = {int(row[0]): row[1] for _, row in read_table(folder / "room_names.dat") if row[1:]}
    if not access_points or not names:
        raise UsageError(f"the metadata name no access point or no room: {folder}")
    index = {room: number for number, room in enumerate(names)}
    room_of_tag: dict[int, int] = {}
    path = folder / "room_tags.dat"
    for line, row in read_table(path):
        room = int(row[0])
        if room not in index:
            faults.add("unknown room", f"{path}:{line}", room)
            continue
        for tag in row[1:]:
            room_of_tag[int(tag)] = index[room]
    places = {}
    path = folder / "tag_coordinates.dat"
    for line, row in read_table(path):
        try:
            places[int(row[0])] = (float(row[1]) / 100, float(row[2]) / 100)
        except (ValueError, IndexError):
            faults.add("no coordinates", f"{path}:{line}", ",".join(row))
    return _Metadata(access_points, tuple(names.values()), room_of_tag, places)


def _read_part(
    folder: Path, part: str, metadata: _Metadata, faults: Faults
) -> tuple[Recording, ...]:
    experiments = sorted(path for path in folder.glob(f"{PARTS[part]}*") if path.is_dir())
    if not experiments:
        raise UsageError(
            f"no experiment to {part} with: {folder / PARTS[part]}*",
            hint="fingerprint* folders train, living* folders test",
        )
    found = [r for path in experiments for r in _read_experiment(path, metadata, faults)]
    if not found:
        raise UsageError(
            f"the experiments hold no usable packet: {folder / PARTS[part]}*",
            hint="; ".join(faults.lines()[:3]),
        )
    return tuple(found)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _read_packets(
    path: Path, metadata: _Metadata, faults: Faults
) -> list[tuple[float, int, float, int]]:
    """Time, column, strength and line of each packet."""
    found: list[tuple[float, int, float, int]] = []
    last = -np.inf
    for line, (stamp, access_point, rssi) in read_rows(path, ("timestamp", "ap_id", "rssi")):
        place = f"{path}:{line}"
        try:
            time, number, strength = _seconds(stamp), int(access_point), float(rssi)
        except ValueError:
            faults.add("unreadable packet", place, f"{stamp},{access_point},{rssi}")
            continue
        if time < last:
            faults.add("time goes backwards", place, stamp)
        elif number not in metadata.access_points:
            faults.add("unknown access point", place, number)
        elif not _WEAKEST_DBM <= strength <= _STRONGEST_DBM:
            faults.add("impossible strength", place, rssi)
        else:
            last = time
            found.append((time, metadata.access_points[number], strength, line))
    return found


def _read_annotations(
    path: Path, metadata: _Metadata, faults: Faults
) -> tuple[list[float], list[tuple[int, float, float]]]:
    """Times, and room and place at each."""
    times: list[float] = []
    found: list[tuple[int, float, float]] = []
    columns = ("timestamp", "tag", "tag_coord_x", "tag_coord_y")
    for line, (stamp, tag, x, y) in read_rows(path, columns):
        place = f"{path}:{line}"
        try:
            time, number = _seconds(stamp), int(tag)
            beside = float(x), float(y)
        except ValueError:
            faults.add("unreadable annotation", place, f"{stamp},{tag},{x},{y}")
            continue
        if times and time < times[-1]:
            faults.add("time goes backwards", place, stamp)
        elif number not in metadata.room_of_tag:
            faults.add("tag without a room", place, tag)
        else:
            at = metadata.place_of_tag.get(number, (np.nan, np.nan))
            times.append(time)
            found.append((metadata.room_of_tag[number], at[0] + beside[0], at[1] + beside[1]))
    return times, found


def _read_experiment(folder: Path, metadata: _Metadata, faults: Faults) -> list[Recording]:
    packets = _read_packets(folder / PACKETS, metadata, faults)
    times, known = _read_annotations(folder / ANNOTATIONS, metadata, faults)
    if not packets or not times:
        what = PACKETS if not packets else ANNOTATIONS
        faults.add("nothing usable", str(folder / what), "0 lines")
        return []
    starts = [0]
    for number in range(1, len(packets)):
        if packets[number][0] - packets[number - 1][0] > MAX_GAP_S:
            starts.append(number)
    bounds = [*starts, len(packets)]
    return [
        _resampled(folder, packets[a:b], times, known, len(metadata.access_points))
        for a, b in pairwise(bounds)
    ]


def _resampled(
    folder: Path,
    packets: list[tuple[float, int, float, int]],
    times: list[float],
    known: list[tuple[int, float, float]],
    access_points: int,
) -> Recording:
    begin = packets[0][0]
    # A packet at a boundary, to the microsecond of a time stamp, belongs to the later sample.
    steps = [int((time - begin) * RATE_HZ + 1e-4) for time, *_ in packets]
    count = steps[-1] + 1
    strengths = np.full((count, access_points), GAP_DBM, np.float32)
    lines = np.zeros(count, np.int64)
    for step, (_, column, strength, line) in zip(steps, packets, strict=True):
        strengths[step, column] = max(strengths[step, column], strength)
        lines[step] = line
    lines = np.maximum.accumulate(lines)
    labels = np.full(count, -1, np.int64)
    places = np.full((count, 2), np.nan, np.float32)
    for step in range(count):
        now = begin + (step + 1) / RATE_HZ
        index = bisect_right(times, now) - 1
        if index >= 0 and now - times[index] <= HOLD_S:
            labels[step], places[step] = known[index][0], known[index][1:]
    return Recording(folder.name, strengths, labels, places, folder / PACKETS, lines)
