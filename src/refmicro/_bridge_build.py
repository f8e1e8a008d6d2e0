"""Finds the pinned TFLM wheel and compiles `cbridge` against it, once for each machine.

The compiled library goes to the user's cache folder, under a digest of everything it depends on,
and gets its final name only after a child process has proven that the wheel's library behaves as
`bridge.cc` declares it (`_bridge_check.py`). Several processes may do this at once: each works in
a folder of its own and the last step is one atomic rename.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from ._files import made_once
from .errors import EnvironmentMissingError
from .types import TFLM_WHEEL

TFLM_WHEEL_VERSION = TFLM_WHEEL
"""The only build of TFLM that the bridge's declarations are known to fit."""

CXX_FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-rtti")
COMPILERS = ("c++", "g++", "clang++")
INSTALL_HINT = f"pip install 'refmicro[oracle]' (tflite-micro=={TFLM_WHEEL_VERSION}, cffi)"
COMPILE_TIMEOUT_S = 120
CHECK_TIMEOUT_S = 60


def source_folder() -> Path:
    """The folder of `bridge.h` and `bridge.cc`: in an installed wheel, else in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "cbridge", package.parent.parent / "cbridge"):
        if (folder / "bridge.cc").is_file():
            return folder
    raise EnvironmentMissingError(
        "the C++ sources of the oracle's bridge are missing: cbridge/bridge.cc",
        hint="reinstall refmicro",
    )


def wheel_library() -> Path:
    """The shared library of the pinned TFLM wheel.

    Raises:
        EnvironmentMissingError: if the wheel is absent, another version, or for another system.
    """
    try:
        version = importlib.metadata.version("tflite-micro")
    except importlib.metadata.PackageNotFoundError:
        raise EnvironmentMissingError(
            "the oracle needs the tflite-micro wheel: not installed", hint=INSTALL_HINT
        ) from None
    if version != TFLM_WHEEL_VERSION:
        raise EnvironmentMissingError(
            f"the oracle needs tflite-micro {TFLM_WHEEL_VERSION}: found {version}",
            hint=INSTALL_HINT,
        )
    spec = importlib.util.find_spec("tflite_micro")
    for root in (spec.submodule_search_locations or []) if spec else []:
        library = Path(root) / "python" / "tflite_micro" / "_runtime.so"
        if library.is_file():
            return library.resolve()
    raise EnvironmentMissingError(
        "the tflite-micro wheel has no python/tflite_micro/_runtime.so", hint=INSTALL_HINT
    )


def compiler() -> list[str]:
    """The command of the C++ compiler: `CXX` if it is set, else the first one on the path."""
    chosen = shlex.split(os.environ.get("CXX", ""))
    candidates = [chosen] if chosen else [[name] for name in COMPILERS]
    for command in candidates:
        if shutil.which(command[0]):
            return command
    raise EnvironmentMissingError(
        "the oracle compiles its bridge on first use: no C++ compiler found "
        f"({', '.join(command[0] for command in candidates)})",
        hint="install one (for example: apt-get install g++) or set CXX",
    )


def cache_folder() -> Path:
    """Where compiled bridges are kept."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("refmicro", appauthor=False)) / "bridge"


def key(sources: Path, wheel: Path) -> str:
    """Digest of all that the compiled and checked library depends on.

    The compiler is not part of it: the check, not the compiler, vouches for the library.
    """
    digest = hashlib.sha256()
    check = Path(__file__).with_name("_bridge_check.py")
    for path in (sources / "bridge.h", sources / "bridge.cc", check, wheel):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    text = "\0".join((str(wheel), TFLM_WHEEL_VERSION, platform.machine(), *CXX_FLAGS))
    return hashlib.sha256(digest.digest() + text.encode()).hexdigest()[:32]


def compile_against_wheel(source: Path, wheel: Path, target: Path) -> None:
    """Compile one C++ file to a shared library that finds the wheel's library by its rpath."""
    command = [
        *compiler(),
        *CXX_FLAGS,
        str(source),
        f"-L{wheel.parent}",
        f"-l:{wheel.name}",
        f"-Wl,-rpath,{wheel.parent}",
        "-o",
        str(target),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentMissingError(
            f"the C++ compiler does not run: {error}", hint="set CXX to a working compiler"
        ) from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if re.search("error|undefined", line)]
        raise EnvironmentMissingError(
            f"the C++ compiler cannot build the bridge: {(said or ['no message'])[0].strip()}",
            hint=f"run it by hand: {shlex.join(command)}",
        )


def child_environment() -> dict[str, str]:
    """The environment for `python -m refmicro...`, with this very package on the path."""
    package_parent = str(Path(__file__).resolve().parent.parent)
    known = os.environ.get("PYTHONPATH")
    path = f"{package_parent}{os.pathsep}{known}" if known else package_parent
    return {**os.environ, "PYTHONPATH": path}


def check_library(library: Path) -> None:
    """Prove in a child process that the wheel's library behaves as declared.

    Raises:
        EnvironmentMissingError: with what differs, or with the signal that ended the child.
    """
    command = [sys.executable, "-m", "refmicro._bridge_check", str(library)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=CHECK_TIMEOUT_S,
            check=False,
            env=child_environment(),
        )
    except subprocess.TimeoutExpired:
        what = f"no answer within {CHECK_TIMEOUT_S} s"
    else:
        if done.returncode == 0:
            return
        lines = done.stderr.strip().splitlines()
        what = f"signal {-done.returncode}" if done.returncode < 0 else (lines or ["?"])[-1]
    raise EnvironmentMissingError(
        f"TFLM in the tflite-micro wheel does not behave as the bridge declares it: {what}",
        hint="this machine or wheel is not one the oracle was made for; please report it",
    )


def built_library() -> Path:
    """The compiled and checked bridge, from the cache or made now.

    Raises:
        EnvironmentMissingError: if the wheel or a compiler is missing, or the check fails.
    """
    sources, wheel = source_folder(), wheel_library()
    final = cache_folder() / key(sources, wheel) / "libbridge.so"

    def make(made: Path) -> None:
        compile_against_wheel(sources / "bridge.cc", wheel, made)
        check_library(made)

    return made_once(final, "the oracle's bridge", make)


def built_registration(text: str, name: str) -> Path:
    """A C++ file that registers operators, compiled for the oracle; from the cache or made now.

    Args:
        text: of the file; it is compiled with REFMICRO_BRIDGE defined.
        name: of the library, without a suffix.

    Raises:
        EnvironmentMissingError: if the wheel or a C++ compiler is missing.
    """
    wheel = wheel_library()
    about = "\0".join((text, str(wheel), platform.machine(), *CXX_FLAGS))
    digest = hashlib.sha256(about.encode()).hexdigest()[:32]
    final = cache_folder() / digest / f"{name}.so"

    def make(made: Path) -> None:
        source = made.with_suffix(".cc")
        source.write_text(f"#define REFMICRO_BRIDGE\n{text}")
        compile_against_wheel(source, wheel, made)

    return made_once(final, "the oracle", make)
