"""Habits that a reader of this code may rely on, held over all Python files of the repository."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "tests", "benchmarks", "golden", "firmware", "cbridge")
OPS = ROOT / "src" / "refmicro" / "ops"

MAX_COLUMNS = 100
MAX_FUNCTION_LINES = 70

OPERATOR_SECTIONS = ("Shapes:", "Quantization:", "Source:")
"""What an operator's docstring says, besides its formula in the first line."""

UNFINISHED = re.compile("TO" + "DO|FIX" + "ME|XX" + "X:")

ELSEWHERE = re.compile("/wo" + "rk/|/tm" + r"p/\w")
"""Paths of some machine: the repository speaks of itself alone."""


@functools.cache
def files() -> tuple[Path, ...]:
    """All Python files but generated ones."""
    found = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    return tuple(path for path in found if "__pycache__" not in path.parts)


def operator_files() -> list[Path]:
    names = (path for path in sorted(OPS.glob("*.py")) if not path.name.startswith("_"))
    return [path for path in names if path.name != "registry.py"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_where(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]


def test_there_is_something_to_look_at() -> None:
    assert len(files()) > 60
    assert len(operator_files()) > 10


def test_every_file_says_what_it_is() -> None:
    silent = [
        name_of(path)
        for path in files()
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent, "\n".join(silent)


def test_lines_are_short() -> None:
    long = lines_where(re.compile(f"^.{{{MAX_COLUMNS + 1},}}"))
    assert not long, "\n".join(long)


def test_functions_are_short() -> None:
    long = [
        f"{name_of(path)}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in files()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not long, "\n".join(long)


def test_nothing_is_left_for_later() -> None:
    found = lines_where(UNFINISHED)
    assert not found, "\n".join(found)


def test_no_paths_of_some_machine() -> None:
    found = lines_where(ELSEWHERE)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", operator_files(), ids=lambda path: path.stem)
def test_operator_is_documented_and_tested(path: Path) -> None:
    tree = ast.parse(path.read_text())
    docstring = ast.get_docstring(tree) or ""
    missing = [part for part in OPERATOR_SECTIONS if f"\n{part}" not in docstring]
    assert not missing, f"the docstring lacks {', '.join(missing)}"
    tests = [test.name for test in (ROOT / "tests" / "ops").glob(f"test_{path.stem}.py")]
    assert len(tests) == 1, f"an operator has one test file: {tests}"
    specs = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "OP"
    ]
    assert len(specs) == 1, "an operator file holds one OP"
