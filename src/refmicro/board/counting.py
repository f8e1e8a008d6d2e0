"""Counting in the emulator: the plugin `firmware/plugin/count.c`, its plan and its counts.

The plugin is compiled at first use into the user's cache folder, for the version of the plugin
interface that the emulator at hand takes.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from refmicro._files import made_once
from refmicro.errors import EnvironmentMissingError, UsageError

from .elf import Elf
from .emulated import firmware_folder

OTHER = "other"
"""The region of accesses outside all regions: devices, mostly."""

REGIONS_MAX = 24
_FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden")
_COMPILE_TIMEOUT_S = 60
_PROBE_TIMEOUT_S = 20

Place = int | str
"""An address, or a symbol of the program."""

DEFAULT_REGIONS: Mapping[str, tuple[Place, Place]] = {
    "stack": ("__stack_limit", "__stack_top"),
    "ram": ("__ram_start", "__ram_end"),
    "flash": ("__flash_start", "__flash_end"),
}
"""What the linker scripts of `firmware/boards` define; an access counts for the first that fits."""


@dataclass(frozen=True)
class Counts:
    """What was executed: instructions, and accesses and their bytes by region.

    An access is what the emulator reports as one: a word of LDM, STM, LDRD or PUSH each, an element
    of a vector load or store.
    """

    instructions: int
    loads: dict[str, int]
    stores: dict[str, int]
    load_bytes: dict[str, int]
    store_bytes: dict[str, int]

    @property
    def all_loads(self) -> int:
        """Loads in all regions."""
        return sum(self.loads.values())

    @property
    def all_stores(self) -> int:
        """Stores in all regions."""
        return sum(self.stores.values())


@dataclass(frozen=True)
class FunctionCounts:
    """Counts of one function over all its `calls`: `own` code alone, and with all it calls."""

    calls: int
    own: Counts
    inclusive: Counts


@dataclass(frozen=True)
class Counted:
    """Everything one run counted; `spans` and `stretches` hold `(entries, counts)`.

    A stretch is what is executed from a mark of that number to the next mark of any number.
    """

    total: Counts
    functions: dict[str, FunctionCounts]
    spans: dict[str, tuple[int, Counts]]
    stretches: dict[int, tuple[int, Counts]]


@dataclass(frozen=True)
class Plan:
    """What to count: names in the order of the plan's lines, and those lines."""

    regions: tuple[str, ...]
    functions: tuple[str, ...]
    spans: tuple[str, ...]
    text: str


def plan(
    elf: Elf,
    regions: Mapping[str, tuple[Place, Place]] | None = None,
    spans: Mapping[str, tuple[Place, Place]] | None = None,
) -> Plan:
    """Resolve regions and spans (start included, end excluded) against a program's symbols.

    Raises:
        UsageError: if a symbol is not in the program, or a range is empty.
    """
    regions = DEFAULT_REGIONS if regions is None else regions
    spans = spans or {}
    if len(regions) > REGIONS_MAX:
        raise UsageError(f"at most {REGIONS_MAX} regions can be counted: {len(regions)} given")
    lines = []
    for name, (start, end) in regions.items():
        low, high = _address(elf, start), _address(elf, end)
        if high <= low:
            raise UsageError(f"the region {name} is empty: {low:#x} to {high:#x}")
        lines.append(f"region {low:x} {high:x}")
    lines += [f"function {item.start:x} {item.end:x}" for item in elf.functions]
    lines += [f"span {_address(elf, a):x} {_address(elf, b):x}" for a, b in spans.values()]
    # The highest number only ends the stretch before it.
    lines.append(f"stretches {max((number for number, _ in elf.marks), default=0):x} 0")
    lines += [f"mark {address & ~1:x} {number:x}" for number, address in elf.marks]
    return Plan(
        regions=(*regions, OTHER),
        functions=("", *(item.name for item in elf.functions)),
        spans=tuple(spans),
        text="\n".join(lines) + "\n",
    )


def symbol_region(elf: Elf, name: str) -> tuple[int, int]:
    """The addresses of one object of the program, as a region.

    Raises:
        UsageError: if the program has no such object, or it has no size.
    """
    start, size = _address(elf, name), elf.sizes[name]
    if not size:
        raise UsageError(f"the symbol has no size: {name}")
    return start, start + size


def _address(elf: Elf, place: Place) -> int:
    if isinstance(place, int):
        return place
    if place not in elf.symbols:
        raise UsageError(f"the program has no such symbol: {place}")
    return elf.symbols[place]


def parse(text: str, plan: Plan) -> Counted:
    """Read the counts that the plugin wrote.

    Raises:
        EnvironmentMissingError: if they are not whole.
    """
    lines = text.splitlines()
    if not lines or lines[-1] != "end":
        raise EnvironmentMissingError(
            "the emulator ended before it had written its counts",
            hint="was it stopped from outside? run it again",
        )
    total = None
    own: dict[int, tuple[int, Counts]] = {}
    functions: dict[str, FunctionCounts] = {}
    spans: dict[str, tuple[int, Counts]] = {}
    stretches: dict[int, tuple[int, Counts]] = {}
    for line in lines[:-1]:
        what, index, times, *numbers = line.split()
        counts = _counts([int(number) for number in numbers], plan.regions)
        if what == "total":
            total = counts
        elif what == "self":
            own[int(index)] = (int(times), counts)
        elif what == "inclusive" and int(index):
            name = plan.functions[int(index)]
            functions[name] = FunctionCounts(*own[int(index)], counts)
        elif what == "span":
            spans[plan.spans[int(index)]] = (int(times), counts)
        elif what == "stretch":
            stretches[int(index)] = (int(times), counts)
    assert total is not None, "the plugin writes the total first"
    return Counted(total, functions, spans, stretches)


def _counts(numbers: Sequence[int], regions: Sequence[str]) -> Counts:
    columns = [dict(zip(regions, numbers[1 + i :: 4], strict=True)) for i in range(4)]
    return Counts(numbers[0], *columns)


def _compiler() -> list[str]:
    chosen = shlex.split(os.environ.get("CC", ""))
    for command in [chosen] if chosen else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    raise EnvironmentMissingError(
        "counting in the emulator compiles a plugin on first use: no C compiler found",
        hint="install one (for example: apt-get install gcc) or set CC",
    )


def built_plugin(api: int = 1) -> Path:
    """The compiled plugin, from the cache or made now, for that version of QEMU's interface.

    Raises:
        EnvironmentMissingError: if there is no C compiler, or the cache cannot be written.
    """
    from platformdirs import user_cache_dir

    source = firmware_folder() / "plugin" / "count.c"
    flags = (*_FLAGS, f"-DPLUGIN_API={api}")
    key = hashlib.sha256(
        source.read_bytes()
        + "\0".join((*flags, platform.machine(), platform.libc_ver()[1])).encode()
    ).hexdigest()[:32]
    final = Path(user_cache_dir("refmicro", appauthor=False)) / "plugin" / key / "count.so"

    def make(made: Path) -> None:
        _compile([*_compiler(), *flags, str(source), "-o", str(made)])

    return made_once(final, "the emulator's plugin", make)


def _compile(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMPILE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentMissingError(
            f"the C compiler does not run: {error}", hint="set CC to a working compiler"
        ) from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if re.search("error|undefined", line)]
        raise EnvironmentMissingError(
            f"the C compiler cannot build the emulator's plugin: {(said or ['no message'])[0]}",
            hint=f"run it by hand: {shlex.join(command)}",
        )


@functools.cache
def usable_plugin(program: str) -> Path:
    """The plugin for that emulator, which has loaded it once.

    Raises:
        EnvironmentMissingError: the emulator cannot load it, and what it lacks.
    """
    plugin = built_plugin()
    said = _probe(program, plugin)
    api = _wanted_api(said)
    if api is not None:
        plugin = built_plugin(api)
        said = _probe(program, plugin)
    if said:
        raise _refusal(said)
    return plugin


def _probe(program: str, plugin: Path) -> str:
    """What the emulator says against the plugin; nothing if it loads it."""
    command = [program, "-M", "none", "-display", "none"]
    command += ["-plugin", f"file={str(plugin).replace(',', ',,')},probe=1"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentMissingError(
            f"the emulator does not run: {error}", hint=f"try `{program} --version`"
        ) from error
    return done.stderr.strip() or "no message" if done.returncode else ""


def _wanted_api(said: str) -> int | None:
    """The version of the plugin interface that an emulator asks for when it refuses the plugin."""
    found = re.search(
        r"requires (?:API )?version -?\d+, but this QEMU supports only .* (\d+)", said
    )
    return int(found.group(1)) if found else None


def _refusal(said: str) -> EnvironmentMissingError:
    if missing := re.search(r"undefined symbol: (\w+)", said):
        return EnvironmentMissingError(
            f"this QEMU's plugin interface lacks {missing.group(1)}",
            hint="counting needs a QEMU from 7.2 on whose plugins have that function",
        )
    return EnvironmentMissingError(
        f"this QEMU cannot load the counting plugin: {said.splitlines()[0]}",
        hint="it may be built without plugins (--enable-plugins); Debian's packages have them",
    )
