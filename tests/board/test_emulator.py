"""Programs on the emulated boards: they start, count exactly, and never outstay their time."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from refmicro._bridge_build import child_environment
from refmicro.board import build, counting, emulated, emulator, session
from refmicro.board.elf import read_elf
from refmicro.board.protocol import BoardError, Client
from refmicro.errors import DifferenceError, EnvironmentMissingError, UsageError

from .conftest import fake_model, fake_vectors

HELLO = """
#include "board.h"
int variable = 7;
int zero;
float half = 0.5f;
int main(void)
{
    board_debug("hello ");
    board_debug_number(4294967295u);
    half *= 3.0f; /* traps where the floating-point unit is off */
    return variable == 7 && zero == 0 && half == 1.5f ? 42 : 1;
}
"""

COUNTED = """
#include "board.h"
static uint32_t words[64];
__attribute__((noinline, noclone, noipa)) static void store_all(uint32_t value)
{
    for (volatile uint32_t *word = words; word < words + 64; word++) {
        *word = value;
    }
}
__attribute__((noinline, noclone, noipa)) static uint32_t load_all(void)
{
    uint32_t sum = 0;
    for (volatile uint32_t *word = words; word < words + 64; word++) {
        sum += *word;
    }
    return sum;
}
__attribute__((noinline, noclone, noipa)) static uint32_t both(uint32_t value)
{
    store_all(value);
    return load_all();
}
__attribute__((noinline, noclone, noipa)) static uint32_t depth(uint32_t n)
{
    return n ? depth(n - 1) + load_all() : 0;
}
int main(void)
{
    both(1);
    both(2);
    store_all(3);
    return (int)(depth(3) / 64u);
}
"""

ASSEMBLY = """
    .syntax unified
    .thumb
    .text
    .globl several
    .type several, %function
several:
    push {r4-r7, lr}
    ldr r1, =0x12345678
    mov r1, #0x21000000
first:
    ldmia r1, {r4-r7}
    ldrd r2, r3, [r1]
    strd r2, r3, [r1, #8]
    ldrb r2, [r1]
    strh r2, [r1, #2]
past:
    stmia r1, {r4-r6}
    pop {r4-r7, pc}
    .size several, . - several
"""


def compiled(tmp_path: Path, board: emulated.EmulatedBoard, text: str, **options) -> Path:
    source = tmp_path / "program.c"
    source.write_text(text)
    return build.compile_program([source], board, tmp_path / "program.elf", **options)


def test_every_board_starts_prints_and_ends(any_board, tmp_path):
    result = emulator.run(compiled(tmp_path, any_board, HELLO), any_board, timeout_s=20)
    assert (result.stdout, result.exit_code) == ("hello 4294967295", 42)
    assert result.functions["main"].calls == 1


def test_counts_are_exact(any_board, tmp_path):
    elf = compiled(tmp_path, any_board, COUNTED)
    words = counting.symbol_region(read_elf(elf), "words")
    regions = {"words": words, **counting.DEFAULT_REGIONS}
    result = emulator.run(elf, any_board, regions=regions, timeout_s=20)
    assert result.exit_code == 9
    found = result.functions
    assert {name: found[name].calls for name in ("both", "store_all", "load_all")} == {
        "both": 2,
        "store_all": 3,
        "load_all": 5,
    }
    assert found["store_all"].own.stores["words"] == 3 * 64
    assert found["load_all"].own.loads["words"] == 5 * 64
    assert found["load_all"].own.load_bytes["words"] == 5 * 256
    assert found["both"].own.loads["words"] == found["both"].own.stores["words"] == 0
    assert found["both"].inclusive.loads["words"] == found["both"].inclusive.stores["words"] == 128
    assert found["depth"].inclusive.loads["words"] == 3 * 64
    # The startup code clears the array once; nothing else touches it.
    assert result.loads["words"] == 5 * 64
    assert result.stores["words"] == 3 * 64 + 64
    everything = sum(item.own.instructions for item in found.values())
    assert 0 <= result.instructions - everything < 8, "but for those in the machine's own ROM"


def test_several_words_of_one_instruction_count_singly(m4, tmp_path):
    """And a span counts from its first address to its last, files are in memory before."""
    (tmp_path / "several.S").write_text(ASSEMBLY)
    source = tmp_path / "main.c"
    source.write_text("extern int several(void);\nint main(void) { several(); return 0; }\n")
    elf = build.compile_program([source, tmp_path / "several.S"], m4, tmp_path / "program.elf")
    result = emulator.run(
        elf,
        m4,
        regions={"there": (0x21000000, 0x21000100), **counting.DEFAULT_REGIONS},
        spans={"middle": ("first", "past")},
        files={0x21000000: bytes(range(16))},
        timeout_s=20,
    )
    several = result.functions["several"]
    assert several.inclusive.loads == {"there": 7, "stack": 5, "ram": 0, "flash": 1, "other": 0}
    assert several.inclusive.stores == {"there": 6, "stack": 5, "ram": 0, "flash": 0, "other": 0}
    assert several.inclusive.store_bytes["there"] == 8 + 2 + 12
    entries, middle = result.counted.spans["middle"]
    assert (entries, middle.instructions) == (1, 5)
    assert middle.loads["there"] == 7
    assert middle.stores["there"] == 3


def test_code_without_a_symbol_counts_for_its_caller(m4, tmp_path):
    (tmp_path / "nameless.S").write_text(
        ".syntax unified\n.thumb\n.text\n.globl nameless\n.thumb_func\nnameless:\n"
        "ldr r0, [sp]\nldr r0, [sp]\nbx lr\n"
    )
    source = tmp_path / "main.c"
    source.write_text(
        "void nameless(void);\n"
        "__attribute__((noipa)) void caller(void) { nameless(); nameless(); }\n"
        "int main(void) { caller(); caller(); return 0; }\n"
    )
    elf = build.compile_program([source, tmp_path / "nameless.S"], m4, tmp_path / "program.elf")
    # `.thumb_func` makes it a function: what is left is its type, which this takes away.
    strip = [f"{m4.prefix}objcopy", "--strip-symbol=nameless", str(elf)]
    subprocess.run(strip, check=True)
    result = emulator.run(elf, m4, timeout_s=20)
    assert "nameless" not in result.functions
    caller = result.functions["caller"]
    assert caller.calls == 2
    assert caller.inclusive.instructions - caller.own.instructions == 2 * 2 * 3
    assert result.functions["main"].calls == 1


def test_files_are_in_memory_before_the_start(m4, tmp_path):
    text = "int main(void) { return *(volatile unsigned char *)0x21000105; }"
    elf = compiled(tmp_path, m4, text)
    files = {0x21000000: b"\1" * 100, 0x21000100: bytes([0, 0, 0, 0, 0, 99])}
    assert emulator.run(elf, m4, files=files, count=False, timeout_s=20).exit_code == 99


def test_operators_are_counted_between_their_marks(any_board, tmp_path):
    built = build.build_runner(fake_model(), any_board, tmp_path)
    inputs, outputs = fake_vectors(2, 3)
    with emulator.connected(built.elf, any_board, limit_s=60) as running:
        client = session.open_session(running.link, timeout_s=10)
        profile = session.read_profile(client)
        found = session.compare(client, profile, inputs, outputs, 3, timeout_s=10)
        memory = session.read_memory(client)
        client.command("exit")
    assert (found.rows, found.values, found.mismatches) == (6, 1200, 0)
    invoke = running.counted.functions["fake_invoke"]
    stretches = running.counted.stretches
    assert invoke.calls == 6
    assert {number: entries for number, (entries, _) in stretches.items()} == {0: 6, 1: 6}
    within = sum(counts.instructions for _, counts in stretches.values())
    assert 0 <= invoke.inclusive.instructions - within < 6 * 8, "all but the function's first ones"
    # Operator 0 reads each of the 200 input values once, and stores into no array.
    assert stretches[0][1].loads["ram"] >= 6 * 200
    assert stretches[1][1].stores["ram"] == 6 * 200
    assert 256 <= memory.invoke < 512, "operator 1 has 256 bytes on the stack"
    assert memory.invoke < memory.used < memory.stack == build.STACK_BYTES
    assert memory.static == built.sizes.program[".bss"] + built.sizes.program.get(".data", 0)
    assert built.sizes.model[".bss"] == 401


def test_a_stack_that_overflows_faults(m4, tmp_path):
    text = """
    static int deeper(volatile int *last)
    {
        volatile int here[64];
        here[0] = *last + 1;
        return here[0] > 10000 ? 0 : deeper(here) + here[0];
    }
    int main(void) { volatile int zero = 0; return deeper(&zero); }
    """
    result = emulator.run(compiled(tmp_path, m4, text, stack_bytes=2048), m4, timeout_s=20)
    assert result.exit_code == 70
    assert result.stdout == "fault: exception 3\n"


def test_a_models_stack_that_is_too_small_is_told(m4, tmp_path):
    built = build.build_runner(fake_model(), m4, tmp_path, stack_bytes=256)
    with (
        pytest.raises(BoardError, match="has ended: status 70: fault: exception 3") as error,
        emulator.connected(built.elf, m4, limit_s=60) as running,
    ):
        Client(running.link, 1).command("infer 1")
    assert "--stack" in error.value.hint


def test_a_fault_is_told(m4, tmp_path):
    text = "int main(void) { *(volatile int *)0x90000000 = 1; return 0; }"
    result = emulator.run(compiled(tmp_path, m4, text), m4, timeout_s=20)
    assert result.exit_code == 70
    assert result.stdout == "fault: exception 3\n"


def test_a_program_without_end_is_ended(m4, tmp_path):
    text = '#include "board.h"\nint main(void) { board_debug("waiting\\n"); for (;;) { } }'
    elf = compiled(tmp_path, m4, text)
    with pytest.raises(EnvironmentMissingError, match=r"did not end within 1 s: waiting") as error:
        emulator.run(elf, m4, timeout_s=1)
    assert error.value.hint


def test_a_silent_program_is_given_up(m4, tmp_path):
    elf = compiled(tmp_path, m4, "int main(void) { for (;;) { } }")
    with (
        pytest.raises(BoardError, match="does not answer"),
        emulator.connected(elf, m4, limit_s=60) as running,
    ):
        session.open_session(running.link, timeout_s=0.2)


def test_a_program_that_ends_early_is_told(m4, tmp_path):
    text = '#include "board.h"\nint main(void) { board_debug("no more\\n"); return 9; }'
    elf = compiled(tmp_path, m4, text)
    with (
        pytest.raises(BoardError, match="has ended: status 9: no more"),
        emulator.connected(elf, m4, limit_s=60) as running,
    ):
        session.open_session(running.link, timeout_s=5)


def test_a_program_that_goes_on_is_told(m4, tmp_path, monkeypatch):
    monkeypatch.setattr(emulator, "_GRACE_S", 1)
    elf = compiled(tmp_path, m4, "int main(void) { for (;;) { } }")
    with (
        pytest.raises(BoardError, match="does not end"),
        emulator.connected(elf, m4, limit_s=60),
    ):
        pass


def test_the_emulator_dies_with_its_parent(m4, tmp_path):
    """Even a parent that is killed leaves no emulator behind."""
    elf = compiled(tmp_path, m4, "int main(void) { for (;;) { } }")
    code = (
        "import sys; from pathlib import Path; from refmicro.board import emulator, emulated\n"
        "board = emulated.find_emulated('mps2-an386')\n"
        "with emulator.connected(Path(sys.argv[1]), board) as running:\n"
        "    print(running.link._process.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(elf)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
    )
    try:
        emulator_pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        for _ in range(100):
            if not _runs(emulator_pid):
                return
            time.sleep(0.1)
        raise AssertionError("the emulator outlived its parent")
    finally:
        parent.kill()
        parent.communicate()


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


def test_an_emulator_that_is_not_here(m4, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentMissingError, match="no emulator for mps2-an386") as error:
        emulator.emulator_program(m4)
    assert "qemu-system-arm" in error.value.hint
    with pytest.raises(EnvironmentMissingError, match="no compiler for mps2-an386") as error:
        build.compiler(m4)
    assert "gcc-arm-none-eabi" in error.value.hint
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(EnvironmentMissingError, match="no C compiler"):
        counting._compiler()


def plugin_refused_by(program: str, tmp_path: Path, *flags: str, change: tuple = ("", "")) -> str:
    """What an emulator says against a plugin that was compiled like this."""
    source = (emulated.firmware_folder() / "plugin" / "count.c").read_text()
    (tmp_path / "changed.c").write_text(source.replace(*change))
    library = tmp_path / "changed.so"
    command = [*counting._compiler(), *counting._FLAGS, *flags]
    counting._compile([*command, str(tmp_path / "changed.c"), "-o", str(library)])
    return counting._probe(program, library)


def test_an_emulator_with_another_plugin_interface(m4, tmp_path):
    """The words are this emulator's own; a later one says them about version 1."""
    program = emulator.emulator_program(m4)
    said = plugin_refused_by(program, tmp_path, "-DPLUGIN_API=99")
    api = counting._wanted_api(said)
    assert api is not None
    assert 1 <= api < 99
    assert "cannot load the counting plugin" in counting._refusal(said).message
    assert (
        counting._wanted_api(
            "requires API version 1, but this QEMU supports only a minimum version of 2"
        )
        == 2
    )
    change = ("qemu_plugin_mem_is_store", "qemu_plugin_mem_is_gone")
    refusal = counting._refusal(plugin_refused_by(program, tmp_path, change=change))
    assert refusal.message == "this QEMU's plugin interface lacks qemu_plugin_mem_is_gone"


def test_what_cannot_be_counted_is_refused(m4, tmp_path):
    elf = compiled(tmp_path, m4, HELLO)
    with pytest.raises(UsageError, match="no such symbol: nothing"):
        emulator.run(elf, m4, regions={"x": ("nothing", 1)})
    with pytest.raises(UsageError, match="the region x is empty"):
        emulator.run(elf, m4, regions={"x": (5, 5)})
    with pytest.raises(UsageError, match="at most 24 regions"):
        emulator.run(elf, m4, regions={str(i): (i, i + 1) for i in range(25)})
    with pytest.raises(UsageError, match="no such emulated board: toaster"):
        emulator.run(elf, "toaster")


def test_no_program_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read the program"):
        read_elf(tmp_path / "none.elf")
    path = tmp_path / "text.elf"
    path.write_text("hello")
    with pytest.raises(UsageError, match="not a 32-bit little-endian ELF"):
        read_elf(path)
    path.write_bytes(b"\x7fELF\x01\x01" + bytes(20))
    with pytest.raises(UsageError, match="damaged"):
        read_elf(path)


def test_counts_that_are_not_whole_are_refused():
    plan = counting.Plan((), (), (), "")
    with pytest.raises(EnvironmentMissingError, match="before it had written its counts"):
        counting.parse("total 0 1 5", plan)


def test_sources_that_do_not_compile(m4, tmp_path):
    with pytest.raises(UsageError, match=r"does not compile: .*program.c:1:.*error") as error:
        compiled(tmp_path, m4, "int main(void) { return x; }")
    assert "run it by hand" in error.value.hint
    with pytest.raises(UsageError, match=r"does not compile: .*RAM"):
        compiled(tmp_path, m4, "char all[8 << 20]; int main(void) { return all[5]; }")


def test_emitted_c_that_does_not_compile_is_our_fault(m4, tmp_path):
    good = fake_model()
    source = f"{good.name}.c"
    broken = dataclasses.replace(good, files={**good.files, source: b"int x(void) { return y; }"})
    with pytest.raises(DifferenceError, match=r"emitted C must compile for .*error") as error:
        build.build_runner(broken, m4, tmp_path)
    assert error.value.exit_code == 4
    with pytest.raises(UsageError, match="RAM"):
        build.build_runner(good, m4, tmp_path, stack_bytes=64 << 20)


def test_a_compiler_without_a_library(m4, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_library", lambda board: ("--specs=none.specs",))
    with pytest.raises(EnvironmentMissingError, match="no C library here") as error:
        compiled(tmp_path, m4, HELLO)
    assert "libnewlib" in error.value.hint


def test_a_cache_that_is_not_writable(monkeypatch, tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here; gcc makes it run")
    (tmp_path / "refmicro").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(EnvironmentMissingError, match="not writable") as error:
        counting.built_plugin()
    assert "XDG_CACHE_HOME" in error.value.hint


def test_the_plugin_is_compiled_once(monkeypatch, tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here; gcc makes it run")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = counting.built_plugin()
    stamp = first.stat().st_mtime_ns
    assert counting.built_plugin() == first
    assert first.stat().st_mtime_ns == stamp
    assert [path.name for path in first.parent.iterdir()] == ["count.so"]
    assert os.access(first, os.R_OK)
