"""The board table is complete and sane."""

import json

import pytest

from refmicro.board.table import boards, find_board
from refmicro.cli.main import main
from refmicro.errors import UsageError


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
    rows = json.loads(capsys.readouterr().out)["boards"]
    assert [row["id"] for row in rows] == list(boards())
    assert main(["boards"]) == 0
    assert "nucleo-f446re" in capsys.readouterr().out
