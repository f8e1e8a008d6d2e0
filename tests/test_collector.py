"""The garbage collector is paused where a model is read, and never left so."""

import gc

import pytest

from refmicro._collector import paused
from refmicro.cli.main import main
from refmicro.errors import InvalidModelError
from refmicro.model.reader import parse_model
from tests.models import ALL


def test_as_it_was_afterwards():
    assert gc.isenabled()
    with paused():
        assert not gc.isenabled()
        with paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_who_has_turned_it_off_finds_it_off():
    gc.disable()
    try:
        with paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_an_error_turns_it_on_again():
    with pytest.raises(InvalidModelError):
        parse_model(b"no model")
    assert gc.isenabled()


def test_a_command_leaves_it_as_it_was(capsys):
    assert gc.isenabled()
    assert main(["estimate", str(ALL["hello_world_int8"]), "--json"]) == 0
    assert capsys.readouterr().out
    assert gc.isenabled()
