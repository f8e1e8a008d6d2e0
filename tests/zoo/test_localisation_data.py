"""Loaders name every fault with file and line; simulated data are deterministic and well formed."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from refmicro.errors import UsageError
from refmicro.zoo.rssi_data import GAP_DBM, Faults, Recording, Scaler, Site, windows
from refmicro.zoo.rssi_home import read_home
from refmicro.zoo.rssi_simulator import PLANS, Settings, simulate_building, simulate_homes
from refmicro.zoo.rssi_uji import ACCESS_POINTS, read_uji

SMALL = Settings(tag_s=2.0, living_s=60.0, livings=1, building_rows=40, building_tests=12)
PACKETS = "experiments/living_1/rx_wearable_data.dat"
WALKED = "experiments/living_1/tag_annotations.dat"


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All homes and the building, small."""
    root = tmp_path_factory.mktemp("homes")
    simulate_homes(root, SMALL)
    simulate_building(root / "uji", SMALL)
    return root


@pytest.fixture
def home(homes: Path, tmp_path: Path) -> Path:
    """A home that a test may spoil: the folder of `house_A`."""
    shutil.copytree(homes / "house_A", tmp_path / "house_A")
    return tmp_path / "house_A"


def digest(root: Path) -> str:
    """Of all files under a folder, names and bytes."""
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file():
            whole.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return whole.hexdigest()


def spoil(path: Path, line: int, text: str | None) -> int:
    """Replace a line, counted from 1, or append one; gives its number."""
    lines = path.read_text().splitlines()
    if line > len(lines):
        lines.append(text or "")
        line = len(lines)
    elif text is None:
        del lines[line - 1]
    else:
        lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")
    return line


def places(site: Site, kind: str) -> list[str]:
    """Where faults of a kind are, the file's name and the line."""
    return [Path(p.place).name for p in site.faults.problems if p.kind == kind]


def test_equal_seeds_give_equal_bytes(homes: Path, tmp_path: Path) -> None:
    simulate_homes(tmp_path, SMALL)
    simulate_building(tmp_path / "uji", SMALL)
    assert digest(tmp_path) == digest(homes)
    other = Settings(**{**SMALL.__dict__, "seed": 1})
    assert digest(simulate_homes(tmp_path / "other", other)) != digest(homes)


@pytest.mark.parametrize(("name", "access_points", "rooms"), [("A", 8, 4), ("B", 11, 11)])
def test_homes_have_the_published_shape(
    homes: Path, name: str, access_points: int, rooms: int
) -> None:
    site = read_home(homes, name)
    assert (site.access_points, len(site.classes)) == (access_points, rooms)
    assert not site.faults.problems
    assert {r.name for r in site.train} == {"fingerprint_floor"}
    assert {r.name for r in site.test} == {"living_1"}
    # Every room is walked through; 60 s at 5 Hz, but for a lost sample at either end.
    assert set(site.train[0].labels) == set(range(rooms))
    assert abs(len(site.test[0].labels) - 300) <= 2
    heard = site.test[0].strengths > GAP_DBM
    assert heard.any(1).mean() > 0.95
    assert site.test[0].strengths[heard].max() < 0


def test_shapes_of_all_plans() -> None:
    found = {plan.name: (plan.access_points, len(plan.rooms)) for plan in PLANS}
    assert found == {"A": (8, 4), "B": (11, 11), "C": (11, 9), "D": (11, 10)}


def test_a_person_is_in_the_room_of_the_label(homes: Path) -> None:
    plan = next(plan for plan in PLANS if plan.name == "B")
    for recording in read_home(homes, "B").test:
        for label, (x, y) in zip(recording.labels, recording.places, strict=True):
            x0, y0, x1, y1 = plan.rectangle(label)
            # A sample is 0.2 s: a step beyond the door, and a sway.
            assert x0 - 0.4 <= x <= x1 + 0.4
            assert y0 - 0.4 <= y <= y1 + 0.4


def test_windows_and_scaling(homes: Path) -> None:
    site = read_home(homes, "A")
    scaler = Scaler.of(site.train)
    cut = windows(site.test, scaler, site)
    count = len(site.test[0].labels)
    assert len(cut) == (count - 20) // 10 + 1
    assert cut.strengths.shape[1:] == (20, 8)
    assert cut.strengths.min() == 0.0
    assert scaler.low == GAP_DBM
    first = scaler(site.test[0].strengths[10:30])
    assert np.array_equal(cut.strengths[1], first)
    assert np.array_equal(cut.labels[1], site.test[0].labels[10:30])


def test_empty_windows_and_unknown_rooms_are_named(tmp_path: Path) -> None:
    strengths = np.full((60, 2), GAP_DBM, np.float32)
    strengths[:20] = -60
    labels = np.zeros(60, int)
    labels[45] = -1
    strengths[41:] = -50
    nowhere = np.zeros((60, 2), np.float32)
    recording = Recording("living_1", strengths, labels, nowhere, tmp_path / "f", np.arange(60) + 2)
    site = Site("A", ("one",), 2, (recording,), (recording,), Faults())
    cut = windows((recording,), Scaler.of((recording,)), site)
    assert site.faults.counts() == {"empty window": 1, "window without a room": 2}
    assert places(site, "empty window") == ["f:22"]
    assert places(site, "window without a room") == ["f:32", "f:42"]
    assert len(cut) == 2
    silent = Recording("x", strengths[20:41], labels[20:41], nowhere, tmp_path / "f", np.arange(21))
    with pytest.raises(UsageError, match="no window of 20 samples"):
        windows((silent,), Scaler.of((silent,)), site)


@pytest.mark.parametrize(
    ("file", "text", "kind"),
    [
        (PACKETS, "2017-03-02 09:30:00.000,99,1,-60", "unknown access point"),
        (PACKETS, "2017-03-02 08:00:00.000,1,1,-60", "time goes backwards"),
        (PACKETS, "2017-03-02 09:00:30.000,1,1,loud", "unreadable packet"),
        (PACKETS, "2017-03-02 09:30:00.000,1,1,60", "impossible strength"),
        (PACKETS, "yesterday,1,1,-60", "unreadable packet"),
        (PACKETS, "2017-03-02 09:00:30.000,1", "unreadable packet"),
        (WALKED, "2017-03-02 08:00:00.000,1,1,0,0,0", "time goes backwards"),
        (WALKED, "2017-03-02 09:30:00.000,1,999,0,0,0", "tag without a room"),
        (WALKED, "2017-03-02 09:30:00.000,1,kitchen,0,0,0", "unreadable annotation"),
    ],
)
def test_a_wrong_line_is_named_and_counted(home: Path, file: str, text: str, kind: str) -> None:
    line = spoil(home / file, 10**9, text)
    site = read_home(home.parent, "A")
    assert site.faults.counts() == {kind: 1}
    assert places(site, kind) == [f"{Path(file).name}:{line}"]


def test_unknown_rooms_of_tags_are_named(home: Path) -> None:
    line = spoil(home / "metadata/room_tags.dat", 10**9, "9,1,2,3")
    assert places(read_home(home.parent, "A"), "unknown room") == [f"room_tags.dat:{line}"]


def test_an_access_point_that_is_never_heard_is_named(home: Path) -> None:
    spoil(home / "metadata/ap_mac_addresses.dat", 10**9, "9,b8:27:eb:00:00:09")
    site = read_home(home.parent, "A")
    assert site.access_points == 9
    assert site.faults.counts() == {"access point never heard": 1}


@pytest.mark.parametrize(
    "file", ["metadata/room_names.dat", "metadata/ap_mac_addresses.dat", PACKETS, WALKED]
)
def test_a_missing_file_stops_with_its_name(home: Path, file: str) -> None:
    (home / file).unlink()
    with pytest.raises(UsageError, match=Path(file).name):
        read_home(home.parent, "A")


def test_missing_columns_and_folders_stop(home: Path) -> None:
    spoil(home / PACKETS, 1, "timestamp,ap_id,wearable_id")
    with pytest.raises(UsageError, match=r"rx_wearable_data.dat:1: columns are missing: rssi"):
        read_home(home.parent, "A")
    shutil.rmtree(home / "experiments/living_1")
    with pytest.raises(UsageError, match="no experiment to test"):
        read_home(home.parent, "A")
    with pytest.raises(UsageError, match="the home is not there"):
        read_home(home.parent, "B")


def test_only_packets_without_a_use_stop(home: Path) -> None:
    (home / PACKETS).write_text("timestamp,ap_id,wearable_id,rssi\n")
    with pytest.raises(UsageError, match="no usable packet"):
        read_home(home.parent, "A")


def test_faults_are_shown_in_part_and_counted_whole() -> None:
    faults = Faults()
    for line in range(8):
        faults.add("time goes backwards", f"/data/living_1/f:{line}", line)
    assert faults.counts() == {"time goes backwards": 8}
    assert len(faults.lines()) == 6
    assert faults.lines()[0].startswith("/data/living_1/f:0: ")
    assert faults.lines(whole_paths=False)[0].startswith("living_1/f:0: ")
    assert faults.lines()[-1] == "time goes backwards: 8 in all"


def test_the_building_has_the_public_columns(homes: Path) -> None:
    site = read_uji(homes / "uji")
    assert (site.access_points, site.steps) == (ACCESS_POINTS, 1)
    assert set(site.classes) <= {f"{b}-{f}" for b in range(3) for f in range(5)}
    assert site.train[0].strengths.shape == (40, ACCESS_POINTS)
    heard = site.train[0].strengths > GAP_DBM
    assert 5 < heard.sum(1).mean() < 100
    assert len(windows(site.train, Scaler.of(site.train), site)) == 40
    spaces = read_uji(homes / "uji", "space")
    assert (len(spaces.train[0].labels), len(spaces.test[0].labels)) == (30, 10)
    assert len(read_uji(homes / "uji", "building").classes) == 3


def test_wrong_rows_of_the_building_are_named(homes: Path, tmp_path: Path) -> None:
    shutil.copytree(homes / "uji", tmp_path / "uji")
    path = tmp_path / "uji/validationData.csv"
    rows = path.read_text().splitlines()
    heard, unknown, loud = rows[1].split(","), rows[2].split(","), rows[3].split(",")
    heard[7], unknown[ACCESS_POINTS + 2], loud[3] = "loud", "9", "60"
    rows[1], rows[2], rows[3] = (",".join(row) for row in (heard, unknown, loud))
    path.write_text("\n".join(rows) + "\n")
    site = read_uji(tmp_path / "uji")
    assert places(site, "unreadable row") == ["validationData.csv:2"]
    assert places(site, "impossible strength") == ["validationData.csv:4"]
    assert "validationData.csv:3" in places(site, "unknown room")
    path.write_text(path.read_text().replace("WAP007,", "", 1))
    with pytest.raises(UsageError, match=r"validationData.csv:1: columns are missing: WAP007"):
        read_uji(tmp_path / "uji")
