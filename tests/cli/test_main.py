"""The command itself: help, versions, wrong words."""

import subprocess
import sys

import pytest

from refmicro import __version__
from refmicro.cli.main import VERBS, main


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
