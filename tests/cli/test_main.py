"""The command itself: help, versions, wrong words."""

import os
import signal
import subprocess
import sys

import pytest

from refmicro import __version__
from refmicro.cli.main import VERBS, main
from tests.models import ALL


def test_without_a_verb_it_prints_the_menu(capsys):
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(verb in captured.err for verb in VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert verb in capsys.readouterr().out


def test_unknown_verb_is_exit_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fly"])
    assert stop.value.code == 2
    assert "fly" in capsys.readouterr().err


def test_module_is_the_command():
    result = subprocess.run(
        [sys.executable, "-m", "refmicro", "--version"], capture_output=True, text=True
    )
    assert (result.returncode, result.stdout.strip()) == (0, f"refmicro {__version__}")


@pytest.mark.parametrize(
    "args", [["fly"], ["estimate"], ["boards", "x"], ["diff", "--no", "a", "b"]]
)
def test_wrong_words_are_one_sentence_and_a_hint(args, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    captured = capsys.readouterr()
    assert (stop.value.code, captured.out) == (2, "")
    first, second = captured.err.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("hint: `refmicro")


def test_a_mistake_without_a_hint_of_its_own_gets_the_help(capsys):
    assert main(["schedule", "0,1,2"]) == 2
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert (captured.out, first[:7]) == ("", "error: ")
    assert second == "hint: `refmicro schedule --help` shows how it is called"


def test_names_from_files_do_not_reach_the_terminal_as_they_are(capsys):
    assert main(["estimate", "no\x1b[31m\nmodel"]) == 2
    error = capsys.readouterr().err
    assert "\x1b" not in error
    assert r"no\x1b[31m\nmodel" in error.splitlines()[0]


def run_with_stdout(stdout, *args):
    command = [sys.executable, "-m", "refmicro", *args]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_closed_pipe_ends_quietly():
    read, write = os.pipe()
    os.close(read)
    result = run_with_stdout(write, "boards", "--json")
    os.close(write)
    assert (result.returncode, result.stderr) == (141, "")


WAITING = """
import sys, time
from refmicro.cli import boards, main
def run(args):
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("cleaned", flush=True)
boards.run = run
sys.argv = ["refmicro", "boards"]
sys.exit(main.main())
"""
"""The command with a verb that takes long."""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends at once there: run it on Linux")
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_whoever_ends_it_lets_it_clean_up(name, code):
    process = subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(getattr(signal, name))
    assert process.communicate(timeout=30)[0] == "cleaned\n"
    assert process.returncode == code


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full: run it on Linux")
def test_full_disk_is_one_sentence():
    with open("/dev/full", "w") as full:
        result = run_with_stdout(full, "boards")
    assert result.returncode == 2
    assert result.stderr.startswith("error: cannot write to stdout: ")
    assert len(result.stderr.splitlines()) == 1


def test_encoding_without_blocks_is_no_error():
    command = [sys.executable, "-m", "refmicro", "estimate", str(ALL["hello_world_int8"])]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert "arena required" in result.stdout
