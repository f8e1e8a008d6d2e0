"""The loader: splits, classes, silence, unknown, and every fault named and counted."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from refmicro.errors import UsageError
from refmicro.zoo import speech_commands
from refmicro.zoo.speech_commands import (
    LABELS,
    NOISE_FOLDER,
    OTHER_WORDS,
    SILENCE,
    TEN_WORDS,
    UNKNOWN,
    load_noises,
    load_split,
    read_corpus,
    read_wav,
)

SPEAKERS = {"aaaa0000": "training", "bbbb0000": "validation", "cccc0000": "testing"}


def write(path: Path, samples: np.ndarray, rate: int = 16000, channels: int = 1, width: int = 2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2").tobytes())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """All 35 words by one speaker a split; a clip's samples tell which word and speaker it is."""
    lists: dict[str, list[str]] = {"validation": [], "testing": []}
    for number, word in enumerate(TEN_WORDS + OTHER_WORDS):
        for who, (speaker, split) in enumerate(SPEAKERS.items()):
            name = f"{word}/{speaker}_nohash_0.wav"
            write(tmp_path / name, np.full(15000 + who, 100 * number + who))
            if split in lists:
                lists[split].append(name)
    for split, names in lists.items():
        (tmp_path / f"{split}_list.txt").write_text("\n".join(names))
    write(tmp_path / NOISE_FOLDER / "hum.wav", np.arange(320000) % 1000)
    return tmp_path


def test_ten_words(root: Path) -> None:
    corpus = read_corpus(root)
    assert len(corpus.clips) == 3 * 35
    assert not corpus.problems
    for who, split in enumerate(SPEAKERS.values()):
        found = load_split(corpus, "10", split)
        assert found.classes == TEN_WORDS
        assert sorted(found.labels) == list(range(10))
        for clip, label in zip(found.audio, found.labels, strict=True):
            assert clip[0] == 100 * label + who
            assert clip[15000 + who] == 0
        assert found.audio.shape == (10, 16000)


def test_all_words(root: Path) -> None:
    found = load_split(read_corpus(root), "35", "testing")
    assert len(found.classes) == 35
    assert sorted(found.labels) == list(range(35))


def test_unknown_and_silence(root: Path) -> None:
    found = load_split(read_corpus(root), "12", "training", seed=3)
    names = [found.classes[label] for label in found.labels]
    assert names.count(UNKNOWN) == 1
    assert names.count(SILENCE) == 1
    unknown = found.audio[names.index(UNKNOWN)]
    assert unknown[0] // 100 >= len(TEN_WORDS)
    again = load_split(read_corpus(root), "12", "training", seed=3)
    assert np.array_equal(found.audio, again.audio)


def test_noise_of_the_splits_is_disjoint(root: Path) -> None:
    corpus = read_corpus(root)
    lengths = [len(load_noises(corpus, split)[0][0]) for split in SPEAKERS.values()]
    assert lengths == [256000, 32000, 32000]


@pytest.mark.parametrize(
    ("name", "make", "rule"),
    [
        ("rate", lambda p: write(p, np.zeros(8000), rate=8000), "sample rate must be 16000 Hz"),
        ("stereo", lambda p: write(p, np.zeros(8000), channels=2), "one channel of 16 bits"),
        ("empty", lambda p: write(p, np.zeros(0)), "hold the samples it announces"),
        ("text", lambda p: p.write_bytes(b"no sound at all"), "readable PCM .wav"),
        ("gone", lambda p: p.unlink(), "readable PCM .wav"),
    ],
)
def test_damaged_files_are_named(root: Path, name: str, make, rule: str) -> None:
    path = root / "yes" / "aaaa0000_nohash_0.wav"
    write(root / "yes" / "aaaa0000_nohash_1.wav", np.ones(100))
    corpus = read_corpus(root)
    make(path)
    found = load_split(corpus, "10", "training")
    assert len(found.labels) == 10
    assert [problem.place for problem in found.problems] == ["yes/aaaa0000_nohash_0.wav"]
    assert rule in str(found.problems[0])


def test_a_cut_file_is_named(root: Path) -> None:
    path = root / "no" / "aaaa0000_nohash_0.wav"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="samples it announces"):
        read_wav(path)


def test_an_empty_class_is_refused(root: Path) -> None:
    (root / "go" / "cccc0000_nohash_0.wav").unlink()
    corpus = read_corpus(root)
    assert [problem.place for problem in corpus.problems] == ["go/cccc0000_nohash_0.wav"]
    with pytest.raises(UsageError, match=r"testing split: 1 of 10 have none: go"):
        load_split(corpus, "10", "testing")


def test_a_leaking_speaker_is_refused(root: Path) -> None:
    write(root / "yes" / "cccc0000_nohash_1.wav", np.ones(100))
    with pytest.raises(UsageError, match=r"1 do not: cccc0000"):
        read_corpus(root)


def test_a_file_in_both_lists_is_named(root: Path) -> None:
    first = (root / "testing_list.txt").read_text().split()[0]
    with (root / "validation_list.txt").open("a") as file:
        file.write(f"\n{first}\n")
    corpus = read_corpus(root)
    assert [(p.place, p.found) for p in corpus.problems] == [(first, "both lists name it")]


@pytest.mark.parametrize("name", ["validation_list.txt", "testing_list.txt"])
def test_a_missing_list_is_refused(root: Path, name: str) -> None:
    (root / name).unlink()
    with pytest.raises(UsageError, match=name):
        read_corpus(root)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        read_corpus(tmp_path / "nowhere")


def test_label_sets() -> None:
    assert {name: len(classes) for name, classes in LABELS.items()} == {
        "10": 10,
        "12": 12,
        "35": 35,
    }
    assert speech_commands.CLIP_SAMPLES == 16000
