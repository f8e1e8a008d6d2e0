"""Keyword clips in the directory layout of Speech Commands v2, read with every fault named.

    ROOT/WORD/SPEAKER_nohash_N.wav    16 kHz, mono, 16 bits, at most a second
    ROOT/validation_list.txt          lines WORD/FILE.wav
    ROOT/testing_list.txt             lines WORD/FILE.wav; whatever neither list names is training
    ROOT/_background_noise_/*.wav     long recordings, cut into the class "silence"

Source: `README.md` of the Speech Commands data set, version 0.02.
"""

from __future__ import annotations

import wave
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refmicro.errors import UsageError

SAMPLE_RATE = 16000
CLIP_SAMPLES = 16000
SPLITS = ("training", "validation", "testing")
NOISE_FOLDER = "_background_noise_"
LISTS = {"validation": "validation_list.txt", "testing": "testing_list.txt"}
SILENCE = "_silence_"
UNKNOWN = "_unknown_"

TEN_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "eight", "five", "follow", "forward", "four"),
    *("happy", "house", "learn", "marvin", "nine", "one", "seven", "sheila", "six", "three"),
    *("tree", "two", "visual", "wow", "zero"),
)

LABELS = {
    "10": TEN_WORDS,
    "12": (SILENCE, UNKNOWN, *TEN_WORDS),
    "35": tuple(sorted(TEN_WORDS + OTHER_WORDS)),
}
"""Classes by the name of their set: ten words, ten words with silence and unknown, all words."""

_NOISE_SHARES = {"training": (0.0, 0.8), "validation": (0.8, 0.9), "testing": (0.9, 1.0)}
"""Which part of each recording of noise a split may hear."""


@dataclass(frozen=True)
class Problem:
    """One fault of the data: what kind, where, and what was found."""

    kind: str
    place: str
    found: str

    def __str__(self) -> str:
        return f"{self.place}: {self.kind}: {self.found}"


@dataclass(frozen=True)
class Clip:
    """One recording of a word."""

    path: Path
    word: str
    speaker: str
    split: str


@dataclass(frozen=True)
class Corpus:
    """What a folder holds; `problems` names every file that cannot be used."""

    root: Path
    clips: tuple[Clip, ...]
    noises: tuple[Path, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Split:
    """Sound and labels of one split.

    Attributes:
        audio: int16, (N, 16000).
        labels: int32, (N,), indices into `classes`.
        classes: names of the classes.
        problems: files that were left out, each with its reason.
    """

    audio: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    problems: tuple[Problem, ...]


def read_corpus(root: Path) -> Corpus:
    """List the clips of `root` with their splits and speakers; reads no sound.

    Raises:
        UsageError: if the folder or a list is missing, or a speaker is in more than one split.
    """
    if not root.is_dir():
        raise UsageError(
            f"no such folder of keyword clips: {root}",
            hint="unpack Speech Commands v2 there, or leave --data out to synthesise a corpus",
        )
    listed, problems = _read_lists(root)
    clips = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("_")):
        for path in sorted(folder.glob("*.wav")):
            split = listed.pop(f"{folder.name}/{path.name}", "training")
            clips.append(Clip(path, folder.name, path.name.split("_nohash_")[0], split))
    problems += [Problem("a listed file must exist", name, split) for name, split in listed.items()]
    if not clips:
        raise UsageError(f"a corpus must hold folders of .wav files: {root}")
    _refuse_leaks(clips)
    noises = tuple(sorted((root / NOISE_FOLDER).glob("*.wav")))
    return Corpus(root, tuple(clips), noises, tuple(problems))


def _read_lists(root: Path) -> tuple[dict[str, str], list[Problem]]:
    listed: dict[str, str] = {}
    problems = []
    for split, name in LISTS.items():
        try:
            lines = (root / name).read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"cannot read the list of the {split} split: {root / name}",
                hint="a corpus needs validation_list.txt and testing_list.txt beside its words",
            ) from error
        for line in lines:
            if listed.get(line, split) != split:
                problems.append(Problem("a file must be in one list", line, "both lists name it"))
            listed[line] = split
    return listed, problems


def _refuse_leaks(clips: list[Clip]) -> None:
    """A speaker heard in training must not be tested: the accuracy would be of the voice."""
    splits: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        splits[clip.speaker].add(clip.split)
    leaks = sorted(speaker for speaker, found in splits.items() if len(found) > 1)
    if leaks:
        raise UsageError(
            f"speakers must stay within one split: {len(leaks)} do not: {', '.join(leaks[:5])}"
            + (", ..." if len(leaks) > 5 else ""),
            hint="a speaker is the part of a file's name before _nohash_",
        )


def read_wav(path: Path) -> np.ndarray:
    """Samples of a 16 kHz, mono, 16-bit file: int16, (samples,).

    Raises:
        ValueError: with the rule that is broken and what was found, as `rule: found`.
    """
    try:
        with wave.open(str(path), "rb") as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            count = file.getnframes()
            data = file.readframes(count)
    except (OSError, EOFError, wave.Error, ZeroDivisionError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it ends too early"
        raise ValueError(f"a clip must be a readable PCM .wav file: {reason}") from error
    if rate != SAMPLE_RATE:
        raise ValueError(f"the sample rate must be {SAMPLE_RATE} Hz: {rate}")
    if (channels, width) != (1, 2):
        raise ValueError(f"a clip must have one channel of 16 bits: {channels} of {8 * width}")
    if not count or len(data) != 2 * count:
        raise ValueError(f"a clip must hold the samples it announces: {len(data) // 2} of {count}")
    return np.frombuffer(data, "<i2")


def load_split(corpus: Corpus, labels: str, split: str, *, seed: int = 0) -> Split:
    """Read the sound of one split.

    Args:
        corpus: what `read_corpus` gave.
        labels: a key of `LABELS`.
        split: one of `SPLITS`.
        seed: which unknown words and which cuts of noise are taken.

    Raises:
        UsageError: if a class has no clips, named with its count in that split.
    """
    classes = LABELS[labels]
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    chosen = [(clip, clip.word) for clip in corpus.clips if clip.split == split]
    wanted = [(clip, word) for clip, word in chosen if word in classes]
    per_class = max(1, len(wanted) // max(1, len([c for c in classes if c[0] != "_"])))
    if UNKNOWN in classes:
        others = [clip for clip, word in chosen if word not in classes]
        rng.shuffle(others)
        wanted += [(clip, UNKNOWN) for clip in others[:per_class]]
    problems: list[Problem] = []
    audio: list[np.ndarray] = []
    found: list[str] = []
    for clip, word in wanted:
        try:
            audio.append(one_second(read_wav(clip.path)))
            found.append(word)
        except ValueError as error:
            problems.append(_problem(corpus, clip.path, error))
    if SILENCE in classes:
        cuts, faults = _silence(corpus, split, per_class, rng)
        audio += cuts
        found += [SILENCE] * len(cuts)
        problems += faults
    _refuse_empty(classes, found, split, problems)
    index = {name: number for number, name in enumerate(classes)}
    return Split(
        np.stack(audio),
        np.array([index[word] for word in found], np.int32),
        classes,
        tuple(problems),
    )


def _problem(corpus: Corpus, path: Path, error: ValueError) -> Problem:
    kind, _, found = str(error).partition(": ")
    return Problem(kind, path.relative_to(corpus.root).as_posix(), found)


def _refuse_empty(
    classes: tuple[str, ...], found: list[str], split: str, problems: list[Problem]
) -> None:
    counts = Counter(found)
    empty = [name for name in classes if not counts[name]]
    if empty:
        unusable = f", {len(problems)} files cannot be used" if problems else ""
        raise UsageError(
            f"every class must have clips in the {split} split: {len(empty)} of {len(classes)} "
            f"have none: {', '.join(empty)}{unusable}",
            hint=str(problems[0]) if problems else "are the folders named like the words?",
        )


def one_second(samples: np.ndarray) -> np.ndarray:
    """Cut or zero-padded at its end to one second: int16, (16000,)."""
    cut = samples[:CLIP_SAMPLES]
    return np.pad(cut, (0, CLIP_SAMPLES - len(cut)))


def load_noises(corpus: Corpus, split: str) -> tuple[list[np.ndarray], list[Problem]]:
    """The parts of the recordings of noise that `split` may hear, each at least a second."""
    first, last = _NOISE_SHARES[split]
    parts, problems = [], []
    for path in corpus.noises:
        try:
            samples = read_wav(path)
        except ValueError as error:
            problems.append(_problem(corpus, path, error))
            continue
        part = samples[int(first * len(samples)) : int(last * len(samples))]
        if len(part) < CLIP_SAMPLES:
            rule = "a recording of noise must last a second in each split"
            name = path.relative_to(corpus.root).as_posix()
            problems.append(Problem(rule, name, f"{len(part)} samples in {split}"))
        else:
            parts.append(part)
    return parts, problems


def _silence(
    corpus: Corpus, split: str, count: int, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[Problem]]:
    """Seconds of noise at random loudness, one in ten of them pure silence."""
    parts, problems = load_noises(corpus, split)
    cuts = []
    for number in range(count if parts else 0):
        part = parts[rng.integers(len(parts))]
        start = rng.integers(len(part) - CLIP_SAMPLES + 1)
        gain = 0.0 if number % 10 == 0 else rng.uniform(0.0, 1.0)
        cuts.append((part[start : start + CLIP_SAMPLES] * gain).astype(np.int16))
    return cuts, problems
