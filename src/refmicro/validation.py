"""A model on a board: golden vectors in, bytes out, compared here; and what it costs there.

For an emulated board the model is emitted as C, compiled with `firmware/apps/golden_runner` and
run in QEMU. A board on a serial port runs what its user has put there: the same program, or
`firmware/tflm_harness`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refmicro import __version__
from refmicro._files import read_npz, write_files
from refmicro.board import build, emulator, serial_link, session
from refmicro.board.counting import Counted
from refmicro.board.elf import read_elf
from refmicro.board.emulated import EmulatedBoard, find_emulated, firmware_folder
from refmicro.board.protocol import BoardError, Client
from refmicro.emit.c_text import identifier
from refmicro.emit.emitter import Emitted, emit
from refmicro.errors import UsageError
from refmicro.golden import write_golden
from refmicro.model.graph import Model

INVOKE_TIMEOUT_S = 60.0
EMULATOR_TIMEOUT_S = 20.0
"""For one attempt at a command: a busy machine lets an emulator wait for seconds."""

RUNNER_INVOKE = "call_invoke"
"""The function of `firmware/common/runner.c` within which a model is invoked."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Vectors:
    """Golden vectors, rows first: inputs and what TFLM answers to them.

    Attributes:
        steps: rows of one stream; a stream begins from reset.
        source: `oracle`, or the folder they were read from.
    """

    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    count: int
    steps: int
    seed: int
    source: str


@dataclass(frozen=True)
class Validation:
    """What one validation found; `document` is the JSON of `refmicro validate`."""

    equal: bool
    document: dict[str, Any]


def recorded_vectors(
    model: Model,
    name: str,
    *,
    count: int,
    seed: int,
    steps: int | None,
    progress: Progress = lambda text, done, total: None,
) -> Vectors:
    """Vectors that the oracle writes now.

    Raises:
        EnvironmentMissingError: if the oracle is not here.
        OracleError: if TFLM refuses the model.
        UsageError: if count or steps are below 1.
    """
    with tempfile.TemporaryDirectory(prefix="refmicro-") as folder:
        write_golden(
            model,
            name,
            Path(folder),
            count=count,
            seed=seed,
            steps=steps,
            formats=("npz",),
            progress=lambda done, total: progress("vectors from TFLM", done, total),
        )
        return _read(Path(folder), model, "oracle")


def stored_vectors(model: Model, folder: Path) -> Vectors:
    """Vectors that `refmicro golden` wrote.

    Raises:
        UsageError: if they are damaged, or of another model.
    """
    return _read(folder, model, str(folder))


def _read(folder: Path, model: Model, source: str) -> Vectors:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        count, steps, seed = (int(manifest[key]) for key in ("count", "steps", "seed"))
        digest, arrays = manifest["model"]["sha256"], (manifest["inputs"], manifest["outputs"])
        checksums = [[int(entry["crc32"]) for entry in entries] for entries in arrays]
    except OSError as error:
        raise UsageError(
            f"no golden vectors here: {path}: {error.strerror or error}",
            hint="`refmicro golden MODEL -o DIR` writes them",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"not a manifest of golden vectors: {path}") from error
    if digest != model.sha256:
        raise UsageError(
            f"the golden vectors are of another model: {path} says SHA-256 {digest}",
            hint="write them again with `refmicro golden`",
        )
    graph = model.subgraphs[0]
    found = []
    for file, sums, tensors in (
        ("inputs.npz", checksums[0], graph.inputs),
        ("outputs.npz", checksums[1], graph.outputs),
    ):
        stored = read_npz(folder / file)
        lead = (count, steps) if steps > 1 else (count,)
        rows = []
        for number, tensor in enumerate(tensors):
            array = stored.get(str(number))
            if array is None or array.shape[: len(lead)] != lead or len(sums) != len(tensors):
                raise UsageError(f"the golden vectors are not whole: {folder / file}")
            array = np.ascontiguousarray(array).reshape(count * steps, *array.shape[len(lead) :])
            if zlib.crc32(array.tobytes()) != sums[number]:
                raise UsageError(
                    f"the golden vectors are damaged: {folder / file}, array {number}",
                    hint="write them again with `refmicro golden`",
                )
            if array[0].nbytes != graph.tensors[tensor].nbytes:
                raise UsageError(f"the golden vectors do not fit the model: {folder / file}")
            rows.append(array)
        found.append(tuple(rows))
    return Vectors(found[0], found[1], count, steps, seed, source)


def validate_emulated(
    model: Model,
    path: Path,
    board: EmulatedBoard,
    vectors: Vectors,
    *,
    emitted: Emitted | None = None,
    stack_bytes: int = build.STACK_BYTES,
    timeout_s: float = INVOKE_TIMEOUT_S,
    keep: Path | None = None,
    progress: Progress = lambda text, done, total: None,
) -> Validation:
    """Emit, build, run and compare on an emulated board, and count what is executed.

    Args:
        emitted: the model's C for this board; without, it is made now.
        stack_bytes: size of the stack.
        timeout_s: for one invocation.
        keep: a folder for the sources and the program; without, they are removed.

    Raises:
        UnsupportedError: operators that cannot be emitted.
        EnvironmentMissingError: no compiler or emulator, or the board fails.
        UsageError: the program does not fit the board.
    """
    emitted = emitted or emitted_for(model, path, board)
    with tempfile.TemporaryDirectory(prefix="refmicro-") as scratch:
        folder = scratch if keep is None else keep
        progress(f"building for {board.id}", 0, 1)
        built = build.build_runner(
            runner_model(emitted, model), board, Path(folder), stack_bytes=stack_bytes
        )
        found, counted = _emulated(built.elf, model, board, vectors, timeout_s, progress)
    document = _head(model, path, vectors, found.comparison)
    document["board"] = _board(board)
    document["ram"] = _ram(found.memory, emitted.ram_bytes)
    document["flash"] = {"model": built.sizes.model, "program": built.sizes.program}
    document["counts"] = _counts(counted, emitted, found.comparison.rows)
    return Validation(document["equal"], document)


def validate_program(
    model: Model,
    path: Path,
    elf: Path,
    board: EmulatedBoard,
    vectors: Vectors,
    *,
    timeout_s: float = INVOKE_TIMEOUT_S,
    progress: Progress = lambda text, done, total: None,
) -> Validation:
    """Compare a program of the user's, for example `tflm_harness`, on an emulated board.

    Raises:
        EnvironmentMissingError: no emulator, or the board fails.
        BoardError: the program is not refmicro's runner, or runs another model.
        UsageError: the file is no program.
    """
    sizes = build.section_bytes(elf)
    found, counted = _emulated(elf, model, board, vectors, timeout_s, progress)
    document = _head(model, path, vectors, found.comparison)
    document["board"] = _board(board)
    document["ram"] = _ram(found.memory, None)
    document["flash"] = {"model": None, "program": sizes}
    invoke = counted.functions.get(RUNNER_INVOKE)
    document["counts"] = None
    if invoke is not None:
        rows = found.comparison.rows
        document["counts"] = {"invocations": rows, **asdict(invoke.inclusive), "operators": []}
    return Validation(document["equal"], document)


@dataclass(frozen=True)
class _Found:
    """What a session with a board gave."""

    comparison: session.Comparison
    memory: session.Memory


def _emulated(
    elf: Path,
    model: Model,
    board: EmulatedBoard,
    vectors: Vectors,
    timeout_s: float,
    progress: Progress,
) -> tuple[_Found, Counted]:
    """Run a program with a runner in it, and end it."""
    limit_s = 600 + vectors.count * vectors.steps * timeout_s
    with emulator.connected(elf, board, regions=_regions(elf), limit_s=limit_s) as running:
        client = session.open_session(running.link, timeout_s=EMULATOR_TIMEOUT_S)
        found = _compared(client, model, vectors, timeout_s, board.id, progress)
        client.command("exit")
    assert running.counted is not None, "the program has ended"
    return found, running.counted


def _board(board: EmulatedBoard) -> dict[str, str]:
    return {"id": f"qemu:{board.id}", "name": board.name, "cpu": board.cpu}


def emitted_for(model: Model, path: Path, board: EmulatedBoard) -> Emitted:
    """The model's C for an emulated board.

    Raises:
        UnsupportedError: operators that cannot be emitted.
    """
    return emit(model, board.cpu, name=model_name(path))


def validate_serial(
    model: Model,
    path: Path,
    port: str,
    vectors: Vectors,
    *,
    baud: int = serial_link.BAUD,
    timeout_s: float = INVOKE_TIMEOUT_S,
    progress: Progress = lambda text, done, total: None,
) -> Validation:
    """Compare a board on a serial port, which runs this model already.

    Raises:
        EnvironmentMissingError: no pyserial, no port, or the board fails.
        BoardError: the board runs another model or another program.
    """
    with serial_link.connected(port, baud=baud) as link:
        client = session.open_session(link)
        found = _compared(client, model, vectors, timeout_s, port, progress)
    document = _head(model, path, vectors, found.comparison)
    document["board"] = {"id": f"serial:{port}", "name": port, "cpu": None}
    document["ram"] = _ram(found.memory, None)
    document["flash"] = document["counts"] = None
    return Validation(document["equal"], document)


def _compared(
    client: Client,
    model: Model,
    vectors: Vectors,
    timeout_s: float,
    name: str,
    progress: Progress,
) -> _Found:
    profile = session.read_profile(client)
    wanted = build.model_digest(model.source or b"")
    if profile.digest != wanted:
        raise BoardError(
            f"the board runs another model: {profile.model} with {profile.digest}, not {wanted}",
            hint="`refmicro validate MODEL --export DIR` writes the sources to flash",
        )
    comparison = session.compare(
        client,
        profile,
        vectors.inputs,
        vectors.outputs,
        vectors.steps,
        timeout_s=timeout_s,
        progress=lambda done, total: progress(f"vectors on {name}", done, total),
    )
    return _Found(comparison, session.read_memory(client))


def model_name(path: Path) -> str:
    """The prefix of the model's functions, from its file or, for `NAME/model.tflite`, folder."""
    return identifier(path.resolve().parent.name if path.stem == "model" else path.stem)


def runner_model(emitted: Emitted, model: Model) -> build.RunnerModel:
    """The emitted model as `build` needs it."""
    return build.RunnerModel(
        name=emitted.name,
        files=emitted.files,
        digest=build.model_digest(model.source or b""),
        operators=len(emitted.operators),
    )


def export_sources(model: Model, path: Path, target: str, folder: Path) -> list[Path]:
    """Write all C files of a runner but the board's own: what a user compiles and flashes.

    Returns:
        The files.

    Raises:
        UnsupportedError: operators that cannot be emitted.
        UsageError: no such target, or the files cannot be written.
    """
    ready = runner_model(emit(model, target, name=model_name(path)), model)
    files = {folder / name: data for name, data in ready.files.items()}
    files[folder / "golden_model.h"] = build.golden_model_header(ready).encode()
    common = firmware_folder() / "common"
    headers = [common / name for name in ("board.h", "link.h", "runner.h")]
    for source in [*build.runner_sources(), *headers]:
        name = "golden_runner.c" if source.name == "main.c" else source.name
        files[folder / name] = source.read_bytes()
    write_files(files)
    return sorted(files)


def _regions(elf: Path) -> dict[str, tuple[int | str, int | str]]:
    """Stack, other RAM, constants, and the rest of flash, where literals stand among the code."""
    program = read_elf(elf)
    places = {
        "stack": ("__stack_limit", "__stack_top"),
        "ram": ("__ram_start", "__ram_end"),
        "code": ("__flash_start", "__flash_end"),
    }
    # A program of the user's may have been linked otherwise: then less is told apart.
    known = {name: place for name, place in places.items() if set(place) <= set(program.symbols)}
    code = known.pop("code", None)
    regions: dict[str, tuple[int | str, int | str]] = {**known}
    for section in program.sections:
        if section.name == ".rodata" and section.size_bytes:
            regions["constants"] = (section.address, section.address + section.size_bytes)
    return regions if code is None else {**regions, "code": code}


def _head(
    model: Model, path: Path, vectors: Vectors, comparison: session.Comparison
) -> dict[str, Any]:
    first = comparison.first
    return {
        "schema_version": 1,
        "refmicro": __version__,
        "model": {
            "path": str(path),
            "sha256": hashlib.sha256(model.source or b"").hexdigest(),
            "bytes": len(model.source or b""),
        },
        "vectors": {
            "source": vectors.source,
            "count": vectors.count,
            "steps": vectors.steps,
            "seed": vectors.seed,
        },
        "equal": comparison.mismatches == 0,
        "values": comparison.values,
        "mismatches": comparison.mismatches,
        "first": None
        if first is None
        else {
            "stream": first.row // vectors.steps,
            "step": first.row % vectors.steps,
            "output": first.output,
            "index": first.index,
            "want": first.want,
            "got": first.got,
        },
        "invocations": comparison.rows,
        "time_us": comparison.time_us,
    }


def _ram(memory: session.Memory, model_static: int | None) -> dict[str, int | None]:
    """RAM in bytes: the model's own, and the whole program's; null where it is not known."""
    measured = memory.stack > 0
    return {
        "model_static_bytes": model_static,
        "invoke_stack_bytes": memory.invoke if measured else None,
        "model_bytes": model_static + memory.invoke
        if measured and model_static is not None
        else None,
        "program_static_bytes": memory.static,
        "stack_bytes": memory.stack,
        "stack_used_bytes": memory.used if measured else None,
    }


def _counts(counted: Counted, emitted: Emitted, invocations: int) -> dict[str, Any]:
    """Sums over all invocations: of the model, and of each operator."""
    invoke = counted.functions[f"{emitted.name}_invoke"]
    operators = []
    for number, operator in enumerate(emitted.operators):
        entries, counts = counted.stretches.get(number, (0, None))
        if counts is not None and entries:
            operators.append(
                {
                    "number": number,
                    "subgraph": operator.subgraph,
                    "index": operator.index,
                    "name": operator.name,
                    "entries": entries,
                    **asdict(counts),
                }
            )
    return {"invocations": invocations, **asdict(invoke.inclusive), "operators": operators}


def find_board(text: str) -> tuple[str, EmulatedBoard | str]:
    """What `--board` says: (`qemu`, the board) or (`serial`, the port).

    Raises:
        UsageError: it is neither, or there is no such emulated board.
    """
    kind, _, rest = text.partition(":")
    if kind == "qemu" and rest:
        return kind, find_emulated(rest)
    if kind == "serial" and rest:
        return kind, rest
    raise UsageError(
        f"--board must be qemu:NAME or serial:PORT: {text}",
        hint="for example qemu:mps2-an386, or serial:/dev/ttyACM0",
    )
