"""A keyword corpus from speech synthesis, in the layout of Speech Commands v2.

Debian's `espeak-ng` (formant synthesis: voice variants in several accents of English) and `flite`
(recorded diphones and units) speak the words; each clip gets its own speed, pitch, loudness, place
in the second, room and noise. A speaker is an engine's voice in one accent. Splits are disjoint in
voices, not only in speakers: a timbre that was trained is never tested in another accent.

The same seed and the same engine versions give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import wave
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from refmicro._files import write_files
from refmicro.errors import EnvironmentMissingError, UsageError
from refmicro.zoo.speech_commands import (
    CLIP_SAMPLES,
    LISTS,
    NOISE_FOLDER,
    OTHER_WORDS,
    SAMPLE_RATE,
    TEN_WORDS,
)

Progress = Callable[[str, int, int], None]

VERSION = 1
"""Raised whenever the same settings would give other sound."""

_ACCENTS = (
    *("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029"),
    *("en-us-nyc", "en-gb-x-gbclan", "en-gb-x-gbcwmd"),
)
_VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5"),
    *("klatt", "klatt2", "klatt3", "klatt4", "klatt5", "klatt6", "Alex", "Alicia", "Andrea"),
    *("Andy", "Annie", "Denis", "Diogo", "Gene", "Gene2", "Henrique", "Hugo", "Jacky", "Lee"),
    *("Marco", "Mario", "Michael", "Mike", "Storm", "Tweaky", "adam", "anika", "announcer"),
    *("antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed", "edward"),
    *("edward2", "grandma", "grandpa", "gustave", "iven", "iven2", "iven3", "iven4", "john"),
    *("kaukovalta", "linda", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "paul"),
    *("pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "steph2", "steph3"),
    *("travis", "victor", "zac", "whisper", "whisperf"),
)
_FLITE_VOICES = {"kal16": "training", "awb": "training", "slt": "validation", "rms": "testing"}
"""flite has few voices; each belongs to one split."""
_SHARES = (("training", 0.7), ("validation", 0.1), ("testing", 0.2))


@dataclass(frozen=True)
class Settings:
    """What decides the corpus.

    Attributes:
        seed: of everything random.
        speakers: how many voices in accents speak.
        keyword_takes: clips of each of the ten words by each speaker.
        other_share: how many of the other 25 words a speaker says, as a share.
    """

    seed: int = 0
    speakers: int = 480
    keyword_takes: int = 2
    other_share: float = 0.5


@dataclass(frozen=True)
class Speaker:
    """A voice of an engine in an accent, with its own pitch and speed."""

    engine: str
    voice: str
    accent: str
    split: str
    pitch: float
    speed: float

    @property
    def identity(self) -> str:
        """Eight hexadecimal digits, as Speech Commands names its speakers."""
        text = f"{self.engine}/{self.voice}/{self.accent}/{self.pitch:.3f}/{self.speed:.3f}"
        return hashlib.sha256(text.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class _Job:
    """One clip to speak."""

    speaker: Speaker
    word: str
    take: int
    path: Path


def default_folder(settings: Settings) -> Path:
    """Where the corpus of these settings is cached."""
    from platformdirs import user_cache_dir

    text = json.dumps({"version": VERSION, **asdict(settings)}, sort_keys=True)
    return Path(user_cache_dir("refmicro")) / "keywords" / f"{zlib.crc32(text.encode()):08x}"


def synthesise(
    folder: Path,
    settings: Settings,
    *,
    progress: Progress = lambda what, done, total: None,
) -> Path:
    """Make the corpus in `folder`; what is already there is kept, so that a stop costs nothing.

    Returns:
        `folder`.

    Raises:
        EnvironmentMissingError: if an engine is not installed.
        UsageError: if the folder holds a corpus of other settings or cannot be written.
    """
    record = folder / "corpus.json"
    wanted = {"version": VERSION, **asdict(settings)}
    if record.exists():
        found = json.loads(record.read_text(encoding="utf-8"))
        if found.get("settings") != wanted:
            raise UsageError(
                f"the folder holds a corpus of other settings: {folder}", hint="name another folder"
            )
        return folder
    engines = engine_versions()
    people = speakers(settings)
    jobs = _jobs(folder, people, settings)
    _write_noises(folder, settings.seed)
    todo = [job for job in jobs if not job.path.exists()]
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        done = len(jobs) - len(todo)
        for _ in pool.map(lambda job: _speak(job, settings.seed), todo):
            done += 1
            progress("synthesis", done, len(jobs))
    files = {folder / name: _list_text(jobs, split) for split, name in LISTS.items()}
    description = {
        "settings": wanted,
        "engines": engines,
        "clips": len(jobs),
        "speakers": {split: sum(p.split == split for p in people) for split, _ in _SHARES},
        "voices": len({(p.engine, p.voice) for p in people}),
    }
    files[record] = (json.dumps(description, indent=1, sort_keys=True) + "\n").encode()
    write_files(files)
    return folder


def engine_versions() -> dict[str, str]:
    """What the engines say of themselves.

    Raises:
        EnvironmentMissingError: if one is not installed.
    """
    missing = [name for name in ("espeak-ng", "flite") if shutil.which(name) is None]
    if missing:
        raise EnvironmentMissingError(
            f"a corpus is synthesised by programs that are not here: {', '.join(missing)}",
            hint="apt-get install espeak-ng flite, or give Speech Commands v2 with --data",
        )
    versions = {}
    for name in ("espeak-ng", "flite"):
        ran = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
        line = next(
            (text for text in ran.stdout.splitlines() if "ersion" in text or ":" in text), ""
        )
        versions[name] = line.split("  Data at")[0].strip()
    return versions


def speakers(settings: Settings) -> list[Speaker]:
    """The speakers of these settings, in a fixed order."""
    rng = np.random.default_rng([settings.seed, 1])
    variants = [str(name) for name in rng.permutation(_VARIANTS)]
    split_of = {}
    start = 0.0
    for split, share in _SHARES:
        last = round((start + share) * len(variants))
        split_of.update(dict.fromkeys(variants[round(start * len(variants)) : last], split))
        start += share
    pairs = [("espeak-ng", v, a, split_of[v]) for a in _ACCENTS for v in variants]
    # Pairs are drawn so that each split keeps its share of the speakers.
    order = rng.permutation(len(pairs))
    flite = [("flite", v, "en-us", s) for v, s in _FLITE_VOICES.items() for _ in range(6)]
    limits = {split: round(share * settings.speakers) for split, share in _SHARES}
    people: list[Speaker] = []
    for engine, voice, accent, split in [*flite, *(pairs[i] for i in order)]:
        if limits[split] > 0:
            limits[split] -= 1
            pitch, speed = rng.uniform(0.75, 1.3), rng.uniform(0.8, 1.25)
            people.append(Speaker(engine, voice, accent, split, float(pitch), float(speed)))
    return people


def _jobs(folder: Path, people: list[Speaker], settings: Settings) -> list[_Job]:
    rng = np.random.default_rng([settings.seed, 2])
    jobs = []
    for person in people:
        count = round(settings.other_share * len(OTHER_WORDS))
        others = [str(word) for word in rng.permutation(OTHER_WORDS)[:count]]
        takes = [(w, t) for w in TEN_WORDS for t in range(settings.keyword_takes)]
        for word, take in takes + [(word, 0) for word in others]:
            path = folder / word / f"{person.identity}_nohash_{take}.wav"
            jobs.append(_Job(person, word, take, path))
    return jobs


def _list_text(jobs: list[_Job], split: str) -> bytes:
    names = sorted(f"{job.word}/{job.path.name}" for job in jobs if job.speaker.split == split)
    return "".join(f"{name}\n" for name in names).encode()


def _speak(job: _Job, seed: int) -> None:
    """One clip: engine, trim, place, room, noise, loudness, file."""
    key = zlib.crc32(f"{job.speaker.identity}/{job.word}/{job.take}".encode())
    rng = np.random.default_rng([seed, 3, key])
    pitch = job.speaker.pitch * rng.uniform(0.92, 1.08)
    speed = job.speaker.speed * rng.uniform(0.88, 1.14)
    speech = _trim(_say(job.speaker, job.word, pitch, speed))
    clip = np.zeros(CLIP_SAMPLES)
    speech = speech[:CLIP_SAMPLES]
    start = rng.integers(CLIP_SAMPLES - len(speech) + 1)
    clip[start : start + len(speech)] = speech
    clip = _room(clip, rng)
    level = np.sqrt(np.mean(speech**2)) + 1e-9
    noise = _noise(str(rng.choice(_NOISE_KINDS)), CLIP_SAMPLES, rng)
    clip += noise * level * 10 ** (-rng.uniform(3.0, 30.0) / 20)
    clip *= rng.uniform(0.08, 0.9) / (np.max(np.abs(clip)) + 1e-9)
    write_files({job.path: wav_bytes(clip)})


def _say(speaker: Speaker, word: str, pitch: float, speed: float) -> np.ndarray:
    """What the engine says, at 16 kHz, as floats."""
    from scipy.signal import resample_poly

    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        if speaker.engine == "espeak-ng":
            voice = f"{speaker.accent}+{speaker.voice}"
            # 50 is the voice's own pitch, 160 words a minute an easy pace.
            tone, pace = str(int(np.clip(50 * pitch, 5, 99))), str(int(160 * speed))
            command = ["espeak-ng", "-v", voice, "-p", tone, "-s", pace, "-w", file.name, word]
        else:
            tone = f"int_f0_target_mean={105 * pitch:.1f}"
            pace = f"duration_stretch={1 / speed:.3f}"
            command = ["flite", "-voice", speaker.voice, "--setf", tone, "--setf", pace]
            command += ["-t", word, "-o", file.name]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        with wave.open(file.name, "rb") as sound:
            rate = sound.getframerate()
            samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32768
    if ran.returncode or not samples.size:
        raise EnvironmentMissingError(
            f"a speech engine failed: {' '.join(command)}: {ran.stderr.strip()[:200]}"
        )
    common = np.gcd(rate, SAMPLE_RATE)
    return resample_poly(samples, SAMPLE_RATE // common, rate // common)


def _trim(samples: np.ndarray) -> np.ndarray:
    """Without the silence before and after the word."""
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.max(np.abs(samples)))
    return samples[loud[0] : loud[-1] + 1] if loud.size else samples


def _room(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A short decaying echo, and now and then a narrow microphone."""
    from scipy.signal import butter, fftconvolve, sosfilt

    seconds = rng.uniform(0.02, 0.25)
    count = int(seconds * SAMPLE_RATE)
    tail = rng.standard_normal(count) * np.exp(-6.9 * np.arange(count) / count)
    tail *= rng.uniform(0.0, 0.5) / np.sqrt(np.sum(tail**2))
    tail[0] += 1.0
    clip = fftconvolve(clip, tail)[:CLIP_SAMPLES]
    if rng.uniform() < 0.3:
        band = [rng.uniform(80, 300), rng.uniform(3000, 7000)]
        clip = sosfilt(butter(2, band, "bandpass", fs=SAMPLE_RATE, output="sos"), clip)
    return clip


_NOISE_KINDS = ("white", "pink", "brown", "hum", "tapping", "babble")


def _noise(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of one kind with a mean square of 1."""
    if kind in ("white", "pink", "brown"):
        spectrum = np.fft.rfft(rng.standard_normal(count))
        slope = {"white": 0.0, "pink": 0.5, "brown": 1.0}[kind]
        noise = np.fft.irfft(spectrum / np.maximum(1, np.arange(len(spectrum))) ** slope, count)
    elif kind == "hum":
        time = np.arange(count) / SAMPLE_RATE
        base = rng.uniform(45, 130)
        noise = sum(
            np.sin(2 * np.pi * (base * k * time + rng.uniform())) / k for k in range(1, 8)
        ) + 0.1 * rng.standard_normal(count)
    elif kind == "tapping":
        noise = 0.02 * rng.standard_normal(count)
        for start in rng.integers(0, count, max(1, count // 3000)):
            length = min(400, count - start)
            knock = rng.standard_normal(length) * np.exp(-np.arange(length) / 60)
            noise[start : start + length] += knock
    else:
        # Voices afar: tones of speech pitch with slowly changing loudness.
        time = np.arange(count) / SAMPLE_RATE
        noise = 0.05 * rng.standard_normal(count)
        for _ in range(12):
            envelope = np.interp(
                time,
                np.arange(0, time[-1] + 0.3, 0.12),
                np.abs(rng.standard_normal(len(np.arange(0, time[-1] + 0.3, 0.12)))),
            )
            noise += envelope * np.sin(2 * np.pi * rng.uniform(90, 2500) * time)
    return noise / (np.sqrt(np.mean(noise**2)) + 1e-9)


def _write_noises(folder: Path, seed: int) -> None:
    """A minute of each kind, as Speech Commands has it."""
    for number, kind in enumerate(_NOISE_KINDS):
        path = folder / NOISE_FOLDER / f"{kind}.wav"
        if not path.exists():
            rng = np.random.default_rng([seed, 4, number])
            write_files({path: wav_bytes(0.1 * _noise(kind, 60 * SAMPLE_RATE, rng))})


def wav_bytes(samples: np.ndarray) -> bytes:
    """A mono 16-bit 16 kHz .wav file of samples within -1 to 1."""
    import io

    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        limited = np.clip(np.round(samples * 32767), -32768, 32767)
        file.writeframes(limited.astype("<i2").tobytes())
    return buffer.getvalue()
