"""The board table is complete and sane."""

import json

import pytest

from refmicro.board.emulated import EMULATED_BOARDS, firmware_folder
from refmicro.board.table import boards, find_board
from refmicro.cli.main import main
from refmicro.errors import UsageError
from refmicro.mema.target import find_target


@pytest.mark.parametrize("board", boards().values(), ids=lambda board: board.id)
def test_entries_are_complete(board):
    assert board.name
    assert "Cortex-M" in board.mcu
    assert 4096 <= board.ram_bytes <= 1 << 20
    assert board.ram_bytes < board.flash_bytes
    assert board.source


def test_unknown_board_points_to_the_list():
    with pytest.raises(UsageError) as error:
        find_board("toaster")
    assert "refmicro boards" in error.value.hint


def test_command_lists_all(capsys):
    assert main(["boards", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in document["boards"]] == list(boards())
    assert [row["id"] for row in document["emulated"]] == [f"qemu:{id}" for id in EMULATED_BOARDS]
    assert main(["boards"]) == 0
    text = capsys.readouterr().out
    assert "nucleo-f446re" in text
    assert "qemu:mps2-an386" in text


def test_emulated_boards_have_their_sources_and_a_known_core():
    for board in EMULATED_BOARDS.values():
        assert find_target(board.cpu).name == board.cpu
        for folder in board.folders:
            assert list((firmware_folder() / "boards" / folder).iterdir())
        assert (firmware_folder() / "boards" / board.folders[0] / "board.ld").is_file()
