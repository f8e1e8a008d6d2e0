"""Homes and a building simulated, written in the files of the public sets.

Four homes with the published numbers of access points and rooms: A 8 and 4, B 11 and 11, C 11 and
9, D 11 and 10. Rooms are rectangles on one or two floors, joined by doors. A wearable at 5 Hz:

    strength = -45 - 10 n log10(distance) - walls - floors - shadowing - body + noise

Walls are counted along the line between person and access point. Shadowing is a smooth random map
for each access point; a part of it, and an offset, differ between the fingerprint walk and the free
living days, as furniture and time do. The body is in the way of what lies behind it. The weaker a
packet, the more often it is lost.

Fingerprint walk: each floor tag of a metre's grid in turn, facing four ways. Free living: a room is
chosen, the way through the doors is walked, the person stays there for a random time and shifts.

The building, of UJIIndoorLoc's shape: three parts, four or five floors, 520 access points; phones
differ, and each part of a floor has its rooms.

Everything comes from the seed: equal seeds give equal bytes.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from refmicro._files import write_files
from refmicro.zoo.rssi_data import RATE_HZ
from refmicro.zoo.rssi_uji import ACCESS_POINTS, COLUMNS, FILES, NOT_HEARD

_PEOPLE_M_S = 0.9
_STEP_S = 1 / RATE_HZ
_WALL_DB, _FLOOR_DB, _BODY_DB = 4.0, 13.0, 9.0
_FLOOR_M = 2.6
_EXPONENT = 2.2
_SENSITIVITY_DBM = -96.0
_HEADER = {
    "rx_wearable_data.dat": "timestamp,ap_id,wearable_id,rssi",
    "tag_annotations.dat": "timestamp,wearable_id,tag,tag_coord_x,tag_coord_y,tag_coord_z",
}

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class Plan:
    """A home: rooms as (name, floor, x0, y0, x1, y1) in metres, doors as (room, room, x, y)."""

    name: str
    access_points: int
    rooms: tuple[tuple[str, int, float, float, float, float], ...]
    doors: tuple[tuple[int, int, float, float], ...]

    def floor(self, room: int) -> int:
        """The floor of a room."""
        return self.rooms[room][1]

    def rectangle(self, room: int) -> Rectangle:
        """x0, y0, x1, y1."""
        return self.rooms[room][2:]


PLANS = (
    Plan(
        "A",
        8,
        (
            ("foyer", 0, 3.5, 0.0, 5.0, 3.5),
            ("bedroom", 0, 0.0, 0.0, 3.5, 4.5),
            ("living_room", 0, 0.0, 4.5, 6.5, 9.0),
            ("bathroom", 0, 5.0, 0.0, 7.0, 2.5),
        ),
        ((0, 1, 3.5, 1.5), (0, 3, 5.0, 1.2), (0, 2, 4.2, 4.2)),
    ),
    Plan(
        "B",
        11,
        (
            ("hall", 0, 3.5, 0.0, 5.0, 7.0),
            ("living_room", 0, 0.0, 0.0, 3.5, 4.0),
            ("dining_room", 0, 0.0, 4.0, 3.5, 7.0),
            ("kitchen", 0, 5.0, 3.0, 8.0, 7.0),
            ("toilet", 0, 5.0, 0.0, 6.5, 1.5),
            ("study", 0, 5.0, 1.5, 8.0, 3.0),
            ("landing", 1, 3.5, 0.0, 5.0, 7.0),
            ("bedroom_1", 1, 0.0, 0.0, 3.5, 4.0),
            ("bedroom_2", 1, 0.0, 4.0, 3.5, 7.0),
            ("bedroom_3", 1, 5.0, 3.0, 8.0, 7.0),
            ("bathroom", 1, 5.0, 0.0, 8.0, 3.0),
        ),
        (
            *((0, 1, 3.5, 2.0), (0, 2, 3.5, 5.0), (0, 3, 5.0, 5.0), (0, 4, 5.0, 0.8)),
            *((0, 5, 5.0, 2.2), (0, 6, 4.2, 6.5), (6, 7, 3.5, 2.0), (6, 8, 3.5, 5.0)),
            *((6, 9, 5.0, 5.0), (6, 10, 5.0, 1.5)),
        ),
    ),
    Plan(
        "C",
        11,
        (
            ("hall", 0, 3.0, 0.0, 4.5, 6.0),
            ("living_room", 0, 0.0, 0.0, 3.0, 6.0),
            ("kitchen", 0, 4.5, 2.5, 8.5, 6.0),
            ("dining_room", 0, 4.5, 0.0, 8.5, 2.5),
            ("landing", 1, 3.0, 0.0, 4.5, 6.0),
            ("bedroom_1", 1, 0.0, 0.0, 3.0, 3.2),
            ("bedroom_2", 1, 0.0, 3.2, 3.0, 6.0),
            ("bedroom_3", 1, 4.5, 2.5, 8.5, 6.0),
            ("bathroom", 1, 4.5, 0.0, 8.5, 2.5),
        ),
        (
            *((0, 1, 3.0, 3.0), (0, 2, 4.5, 4.0), (0, 3, 4.5, 1.2), (0, 4, 3.8, 5.5)),
            *((4, 5, 3.0, 1.5), (4, 6, 3.0, 4.5), (4, 7, 4.5, 4.0), (4, 8, 4.5, 1.2)),
        ),
    ),
    Plan(
        "D",
        11,
        (
            ("hall", 0, 4.0, 0.0, 5.2, 8.0),
            ("living_room", 0, 0.0, 0.0, 4.0, 4.5),
            ("dining_room", 0, 0.0, 4.5, 4.0, 8.0),
            ("kitchen", 0, 5.2, 4.0, 8.0, 8.0),
            ("toilet", 0, 5.2, 0.0, 8.0, 1.6),
            ("landing", 1, 4.0, 0.0, 5.2, 8.0),
            ("bedroom_1", 1, 0.0, 0.0, 4.0, 4.5),
            ("bedroom_2", 1, 0.0, 4.5, 4.0, 8.0),
            ("bedroom_3", 1, 5.2, 4.0, 8.0, 8.0),
            ("bathroom", 1, 5.2, 0.0, 8.0, 4.0),
        ),
        (
            *((0, 1, 4.0, 2.0), (0, 2, 4.0, 6.0), (0, 3, 5.2, 6.0), (0, 4, 5.2, 0.8)),
            *((0, 5, 4.6, 7.5), (5, 6, 4.0, 2.0), (5, 7, 4.0, 6.0), (5, 8, 5.2, 6.0)),
            (5, 9, 5.2, 2.0),
        ),
    ),
)
"""The homes."""


@dataclass(frozen=True)
class Settings:
    """How much is recorded, and from which seed."""

    seed: int = 0
    tag_s: float = 24.0
    living_s: float = 2400.0
    livings: int = 2
    building_rows: int = 3000
    building_tests: int = 800


@dataclass(frozen=True)
class _Tag:
    number: int
    room: int
    x: float
    y: float


@dataclass(frozen=True)
class _Radio:
    """Access points of a home: (x, y, floor, room) each, and waves of their shadowing maps."""

    places: np.ndarray
    rooms: tuple[int, ...]
    waves: np.ndarray
    phases: np.ndarray


def simulate_homes(root: Path, settings: Settings | None = None) -> Path:
    """Write `house_A` to `house_D` under `root` and return it."""
    settings = settings or Settings()
    for number, plan in enumerate(PLANS):
        _write_home(root / f"house_{plan.name}", plan, settings, number)
    return root


def _write_home(folder: Path, plan: Plan, settings: Settings, number: int) -> None:
    rng = np.random.default_rng([settings.seed, 60, number])
    tags = _tags(plan)
    radio = _radio(plan, rng)
    files = {
        folder / "metadata" / name: text for name, text in _metadata(plan, tags, radio).items()
    }
    walk = _fingerprint_walk(plan, tags, settings, rng)
    days = [("fingerprint_floor", walk, 0)]
    for day in range(1, settings.livings + 1):
        days.append((f"living_{day}", _free_living(plan, settings, rng), day))
    for name, path, day in days:
        begin = datetime(2017, 3, 1 + day, 9, 0, tzinfo=UTC).replace(tzinfo=None)
        packets, annotations = _recorded(plan, tags, radio, path, begin, day, rng)
        at = folder / "experiments" / name
        files[at / "rx_wearable_data.dat"] = packets
        files[at / "tag_annotations.dat"] = annotations
    write_files({path: text.encode() for path, text in files.items()})


def _tags(plan: Plan) -> list[_Tag]:
    """A tag each metre, at least one a room."""
    found: list[_Tag] = []
    for room in range(len(plan.rooms)):
        x0, y0, x1, y1 = plan.rectangle(room)
        for x in np.linspace(x0 + 0.5, x1 - 0.5, max(1, round(x1 - x0 - 0.5))):
            for y in np.linspace(y0 + 0.5, y1 - 0.5, max(1, round(y1 - y0 - 0.5))):
                found.append(_Tag(len(found) + 1, room, float(x), float(y)))
    return found


def _radio(plan: Plan, rng: np.random.Generator) -> _Radio:
    """An access point in each room, the larger rooms twice where there are more of them."""
    areas = [(r[4] - r[2]) * (r[5] - r[3]) for r in plan.rooms]
    order = sorted(range(len(areas)), key=lambda room: -areas[room])
    rooms = [order[i % len(order)] for i in range(plan.access_points)]
    places = []
    for room in rooms:
        x0, y0, x1, y1 = plan.rectangle(room)
        x = x0 + 0.2 if rng.uniform() < 0.5 else x1 - 0.2
        places.append((x, rng.uniform(y0 + 0.2, y1 - 0.2), plan.floor(room)))
    waves = rng.normal(0, 0.9, (plan.access_points, 2, 12, 2))
    phases = rng.uniform(0, 2 * math.pi, (plan.access_points, 2, 12))
    return _Radio(np.array(places), tuple(rooms), waves, phases)


def _metadata(plan: Plan, tags: list[_Tag], radio: _Radio) -> dict[str, str]:
    """The files of `metadata/`, without headers as in the public set."""
    rooms = range(len(plan.rooms))
    floors = sorted({room[1] for room in plan.rooms})
    near = {
        tag.number: [
            other.number
            for other in tags
            if other is not tag
            and other.room == tag.room
            and math.hypot(other.x - tag.x, other.y - tag.y) < 1.6
        ]
        for tag in tags
    }

    def table(rows: list[list[object]]) -> str:
        return "".join(",".join(map(str, row)) + "\n" for row in rows)

    def centimetres(x: float, y: float, floor: int) -> list[object]:
        return [round(100 * x, 1), round(100 * y, 1), round(100 * _FLOOR_M * floor, 1)]

    numbers = range(1, plan.access_points + 1)
    return {
        "ap_mac_addresses.dat": table([[n, f"b8:27:eb:00:00:{n:02x}"] for n in numbers]),
        "ap_coordinates.dat": table(
            [[n, *centimetres(x, y, int(f))] for n, (x, y, f) in enumerate(radio.places, 1)]
        ),
        "ap_rooms.dat": table([[n, plan.rooms[radio.rooms[n - 1]][0]] for n in numbers]),
        "room_names.dat": table([[room + 1, plan.rooms[room][0]] for room in rooms]),
        "room_tags.dat": table(
            [[room + 1, *(tag.number for tag in tags if tag.room == room)] for room in rooms]
        ),
        "tag_coordinates.dat": table(
            [[tag.number, *centimetres(tag.x, tag.y, plan.floor(tag.room))] for tag in tags]
        ),
        "tag_adjacency.dat": table([[tag, *others] for tag, others in near.items()]),
        "floor_tags.dat": table(
            [
                [floor + 1, *(tag.number for tag in tags if plan.floor(tag.room) == floor)]
                for floor in floors
            ]
        ),
        "floor_aps.dat": table(
            [
                [floor + 1, *(n for n in numbers if radio.places[n - 1][2] == floor)]
                for floor in floors
            ]
        ),
    }


def _fingerprint_walk(
    plan: Plan, tags: list[_Tag], settings: Settings, rng: np.random.Generator
) -> np.ndarray:
    """Rows (x, y, room, heading): each tag in turn, facing four ways."""
    rows = []
    for tag in tags:
        for step in range(int(settings.tag_s * RATE_HZ)):
            heading = math.pi / 2 * (step * 4 // int(settings.tag_s * RATE_HZ))
            sway = rng.normal(0, 0.12, 2)
            rows.append((tag.x + sway[0], tag.y + sway[1], tag.room, heading))
    return np.array(rows)


def _way(plan: Plan, start: int, end: int) -> list[tuple[int, float, float]]:
    """Doors from room to room: the room behind each and where it is."""
    before: dict[int, tuple[int, float, float] | None] = {start: None}
    queue = deque([start])
    while queue:
        room = queue.popleft()
        for a, b, x, y in plan.doors:
            if room in (a, b):
                other = b if room == a else a
                if other not in before:
                    before[other] = (room, x, y)
                    queue.append(other)
    found = []
    room = end
    while (step := before[room]) is not None:
        found.append((room, step[1], step[2]))
        room = step[0]
    return found[::-1]


def _free_living(plan: Plan, settings: Settings, rng: np.random.Generator) -> np.ndarray:
    """Rows (x, y, room, heading) of a day."""
    areas = np.array([(r[4] - r[2]) * (r[5] - r[3]) for r in plan.rooms])
    # People spend most time in few rooms, a little in each.
    liking = areas * rng.uniform(0.5, 1.5, len(areas)) + 3
    liking /= liking.sum()
    room = int(rng.integers(len(plan.rooms)))
    x0, y0, x1, y1 = plan.rectangle(room)
    place = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    rows: list[tuple[float, float, int, float]] = []
    total = int(settings.living_s * RATE_HZ)

    def walk(target: np.ndarray, inside: int, speed: float) -> None:
        nonlocal place
        delta = target - place
        count = max(1, int(np.linalg.norm(delta) / (speed * _STEP_S)))
        heading = math.atan2(delta[1], delta[0])
        for i in range(1, count + 1):
            x, y = place + delta * i / count
            rows.append((x, y, inside, heading + rng.normal(0, 0.2)))
        place = target

    while len(rows) < total:
        goal = int(rng.choice(len(plan.rooms), p=liking))
        for behind, x, y in _way(plan, room, goal):
            walk(np.array([x, y]), room, _PEOPLE_M_S * rng.uniform(0.7, 1.2))
            room = behind
        x0, y0, x1, y1 = plan.rectangle(room)
        stay = rng.lognormal(3.4, 0.7)
        until = len(rows) + int(stay * RATE_HZ)
        while len(rows) < until:
            target = np.array([rng.uniform(x0 + 0.3, x1 - 0.3), rng.uniform(y0 + 0.3, y1 - 0.3)])
            walk(target, room, _PEOPLE_M_S * rng.uniform(0.4, 1.0))
            heading = rng.uniform(0, 2 * math.pi)
            for _ in range(int(rng.exponential(12.0) * RATE_HZ)):
                rows.append((*(place + rng.normal(0, 0.05, 2)), room, heading + rng.normal(0, 0.3)))
    return np.array(rows[:total])


def _walls(plan: Plan, places: np.ndarray, floors: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Walls between each place and an access point: changes of room along the line."""
    share = np.linspace(0, 1, 33)
    line = places[:, None] + (point[:2] - places)[:, None] * share[:, None]
    # Rooms of the access point's floor above, of the person's below, which differ at most by slabs.
    room = np.full(line.shape[:2], -1)
    for number in range(len(plan.rooms)):
        x0, y0, x1, y1 = plan.rectangle(number)
        inside = (line[..., 0] >= x0) & (line[..., 0] < x1)
        inside &= (line[..., 1] >= y0) & (line[..., 1] < y1)
        room[inside & (floors == plan.floor(number))[:, None]] = number
    return (np.diff(room, axis=1) != 0).sum(1)


def _strengths(
    plan: Plan, radio: _Radio, path: np.ndarray, day: int, rng: np.random.Generator
) -> np.ndarray:
    """dBm of each access point at each sample, NaN where the packet is lost."""
    places, rooms, heading = path[:, :2], path[:, 2].astype(int), path[:, 3]
    floors = np.array([plan.floor(room) for room in rooms])
    found = np.empty((len(path), plan.access_points))
    for number, point in enumerate(radio.places):
        delta = point[:2] - places
        height = _FLOOR_M * (point[2] - floors) + 0.7
        distance = np.maximum(0.4, np.sqrt((delta**2).sum(1) + height**2))
        loss = 45 + 10 * _EXPONENT * np.log10(distance)
        loss += _WALL_DB * np.minimum(_walls(plan, places, floors, point), 4)
        loss += _FLOOR_DB * np.abs(point[2] - floors)
        for part, weight in ((0, 3.0), (1, 2.2 if day else 0.0)):
            turn = 1.3 * day if part else 0.0
            angle = places @ radio.waves[number, part].T + radio.phases[number, part] + turn
            loss += weight * np.sqrt(2 / 12) * np.cos(angle + 2.0 * floors[:, None]).sum(1)
        if day:
            loss += rng.normal(0, 1.5)
        behind = np.cos(np.arctan2(delta[:, 1], delta[:, 0]) - heading)
        loss += _BODY_DB * (1 - behind) / 2
        found[:, number] = np.round(-loss + rng.normal(0, 3.0, len(path)))
    margin = np.clip(found - _SENSITIVITY_DBM, -30, 30)
    heard = rng.uniform(size=found.shape) < 0.93 / (1 + np.exp(-margin / 2.5))
    return np.where(heard, np.clip(found, -110, -20), np.nan)


def _recorded(
    plan: Plan,
    tags: list[_Tag],
    radio: _Radio,
    path: np.ndarray,
    begin: datetime,
    day: int,
    rng: np.random.Generator,
) -> tuple[str, str]:
    """The two files of an experiment."""
    strengths = _strengths(plan, radio, path, day, rng)
    packets = [_HEADER["rx_wearable_data.dat"]]
    annotations = [_HEADER["tag_annotations.dat"]]
    by_room = [[tag for tag in tags if tag.room == room] for room in range(len(plan.rooms))]
    last = -1
    for step, (x, y, room, _) in enumerate(path):
        stamp = (begin + timedelta(seconds=step * _STEP_S)).isoformat(" ", "milliseconds")
        for column in np.flatnonzero(~np.isnan(strengths[step])):
            packets.append(f"{stamp},{column + 1},1,{int(strengths[step, column])}")
        same = by_room[int(room)]
        if step % RATE_HZ == 0 or int(room) != last:
            tag = min(same, key=lambda tag: (tag.x - x) ** 2 + (tag.y - y) ** 2)
            annotations.append(f"{stamp},1,{tag.number},{x - tag.x:.2f},{y - tag.y:.2f},0.00")
            last = int(room)
    return "\n".join(packets) + "\n", "\n".join(annotations) + "\n"


_PARTS = ((0.0, 0.0, 4), (110.0, 20.0, 4), (220.0, 0.0, 5))
"""The building's parts: x, y of a corner in metres, and floors."""

_PART_M = (90.0, 60.0)
_ROOMS_ALONG = (6, 3)


def simulate_building(root: Path, settings: Settings | None = None) -> Path:
    """Write UJIIndoorLoc's two files under `root` and return it."""
    settings = settings or Settings()
    rng = np.random.default_rng([settings.seed, 61])
    part = rng.integers(0, len(_PARTS), ACCESS_POINTS)
    places = np.stack(
        [
            np.array([_PARTS[p][0] for p in part]) + rng.uniform(0, _PART_M[0], ACCESS_POINTS),
            np.array([_PARTS[p][1] for p in part]) + rng.uniform(0, _PART_M[1], ACCESS_POINTS),
            np.array([rng.integers(0, _PARTS[p][2]) for p in part]),
        ],
        -1,
    )
    waves = rng.normal(0, 0.15, (ACCESS_POINTS, 6, 2))
    for name, count, drift in (
        (FILES["train"], settings.building_rows, 0.0),
        (FILES["test"], settings.building_tests, 5.0),
    ):
        text = _building_rows(places, waves, count, drift, rng)
        write_files({root / name: text.encode()})
    return root


def _building_rows(
    places: np.ndarray, waves: np.ndarray, count: int, drift: float, rng: np.random.Generator
) -> str:
    columns = ("LONGITUDE", "LATITUDE", "FLOOR", "BUILDINGID", "SPACEID", "RELATIVEPOSITION")
    lines = [",".join((*COLUMNS, *columns, "USERID", "PHONEID", "TIMESTAMP"))]
    changed = rng.normal(0, 1, ACCESS_POINTS) * drift
    phones = rng.normal(0, 3, 20)
    for row in range(count):
        part = int(rng.integers(len(_PARTS)))
        x, y, floors = _PARTS[part]
        floor = int(rng.integers(floors))
        place = np.array([x + rng.uniform(0, _PART_M[0]), y + rng.uniform(0, _PART_M[1])])
        delta = places[:, :2] - place
        slabs = np.abs(places[:, 2] - floor)
        distance = np.maximum(1, np.sqrt((delta**2).sum(1) + (4 * slabs) ** 2))
        phone = int(rng.integers(10)) + (10 if drift else 0)
        loss = 50 + 38 * np.log10(distance) + 4 * slabs + changed
        loss += 6 * np.cos(waves @ place + 1.7 * floor).sum(1)
        seen = np.round(-loss + phones[phone] + rng.normal(0, 5, ACCESS_POINTS)).astype(int)
        heard = (seen > -104) & (rng.uniform(size=ACCESS_POINTS) < 0.9)
        strengths = np.where(heard, np.clip(seen, -104, 0), NOT_HEARD)
        along = ((place - (x, y)) / _PART_M * _ROOMS_ALONG).astype(int)
        # The public validation file has no spaces.
        space = 0 if drift else 1 + int(along[0] * _ROOMS_ALONG[1] + along[1])
        truth = (f"{place[0]:.4f}", f"{place[1]:.4f}", floor, part, space, 0 if drift else 2)
        tail = (1 + row % 18 if not drift else 0, phone, 1371713733 + 10 * row)
        lines.append(",".join(map(str, (*strengths, *truth, *tail))))
    return "\n".join(lines) + "\n"
