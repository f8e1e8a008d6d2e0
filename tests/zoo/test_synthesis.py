"""The synthesised corpus: disjoint voices, reproducible bytes, and the loader reads it."""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from refmicro.errors import EnvironmentMissingError, UsageError
from refmicro.zoo import synthesis
from refmicro.zoo.speech_commands import SPLITS, load_split, read_corpus
from refmicro.zoo.synthesis import Settings, speakers, synthesise

pytest.importorskip("scipy", reason="needs scipy: pip install 'refmicro[train]'")
engines = pytest.mark.skipif(
    shutil.which("espeak-ng") is None or shutil.which("flite") is None,
    reason="needs the speech engines: apt-get install espeak-ng flite",
)
SMALL = Settings(seed=5, speakers=20, keyword_takes=1, other_share=0.04)


def test_voices_stay_in_one_split() -> None:
    people = speakers(Settings())
    splits = defaultdict(set)
    for person in people:
        splits[person.engine, person.voice].add(person.split)
    assert all(len(found) == 1 for found in splits.values())
    counts = Counter(person.split for person in people)
    assert counts == {"training": 336, "validation": 48, "testing": 96}
    assert len({person.identity for person in people}) == len(people)


def test_the_seed_decides() -> None:
    assert speakers(Settings(seed=1)) == speakers(Settings(seed=1))
    assert speakers(Settings(seed=1)) != speakers(Settings(seed=2))


@engines
def test_corpus(tmp_path: Path) -> None:
    first = synthesise(tmp_path / "a", SMALL)
    second = tmp_path / "b"
    # A corpus that was begun elsewhere is completed, not made anew.
    shutil.copytree(first / "yes", second / "yes")
    kept = sorted(second.glob("yes/*.wav"))
    stamps = [path.stat().st_mtime_ns for path in kept[:5]]
    for path in kept[5:]:
        path.unlink()
    synthesise(second, SMALL)
    assert [path.stat().st_mtime_ns for path in kept[:5]] == stamps
    names = sorted(str(p.relative_to(first)) for p in first.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(second)) for p in second.rglob("*") if p.is_file())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    corpus = read_corpus(first)
    assert not corpus.problems
    for split in SPLITS:
        found = load_split(corpus, "10", split)
        assert not found.problems
        loudest = np.abs(found.audio.astype(np.int32)).max(1)
        assert loudest.min() > 1000
    described = json.loads((first / "corpus.json").read_text())
    assert described["clips"] == len(corpus.clips) == 20 * 11


@engines
def test_other_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus.json").write_text('{"settings": {}}')
    with pytest.raises(UsageError, match="other settings"):
        synthesise(tmp_path, SMALL)


def test_missing_engines_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis.shutil, "which", lambda name: None)
    with pytest.raises(EnvironmentMissingError, match="espeak-ng, flite"):
        synthesise(tmp_path, SMALL)
