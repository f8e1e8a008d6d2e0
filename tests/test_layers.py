"""Who may import whom. `ARCHITECTURE.md` says why; this reads the syntax trees and holds it.

A part is a module or package directly under `refmicro`. It imports parts of the layers below its
own, and of its own layer only where `SIDEWAYS` says so.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.models import ALL

SOURCE = Path(__file__).parents[1] / "src" / "refmicro"

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(parts.split())
    for parts in (
        "errors types",
        "_collector _files _jit _vector_code _gemm _int8_gemm _int8_dots fixedpoint report",
        "model ops mema",
        "program",
        "_run _bound interpreter memory trip_count vectors"
        " bridge _bridge_build _bridge_check _bridge_child _bridge_types _bridge_worker",
        "transform",
        "estimator golden compare lint explain emit board scheduling",
        "zoo validation",
        "cli",
        "__main__",
    )
)

SIDEWAYS = {
    "_gemm": {"_jit"},
    "_int8_gemm": {"_jit", "_vector_code"},
    "_int8_dots": {"_jit", "_vector_code", "_int8_gemm"},
    "_vector_code": {"_jit"},
    "fixedpoint": {"_jit"},
    "_bound": {"_run"},
    "interpreter": {"_bound", "_run"},
    "bridge": {"_bridge_build", "_bridge_types", "_bridge_worker"},
    "_bridge_check": {"bridge"},
    "_bridge_child": {"bridge"},
    "_bridge_worker": {"_bridge_build", "_bridge_types"},
}

NEVER_REACHES = {
    # Oracle and reference share no arithmetic.
    "bridge": {"ops", "fixedpoint", "_gemm", "_jit", "program", "interpreter", "memory"},
    "memory": {"interpreter", "bridge"},
    "interpreter": {"memory", "bridge"},
    "_run": {"memory", "bridge"},
    "_bound": {"memory", "bridge"},
    "model": {"ops"},
    "ops": {"model"},
    "mema": {"model", "ops"},
}

ONLY_IN = {
    "numba": {"_jit"},
    "cffi": {"bridge", "_bridge_build"},
    "tflite_micro": {"bridge", "_bridge_build", "_bridge_child", "_bridge_check"},
    "tensorflow": {"zoo"},
    "keras": {"zoo"},
    "tflite": {"model"},
    "flatbuffers": {"model"},
    "rich": {"cli", "report"},
    "serial": {"board"},
}

PROGRAMS = {"_bridge_check.py", "_bridge_child.py", "__main__.py"}
"""Files that are run in a process of their own and end it with a status."""


@dataclass(frozen=True)
class Import:
    """One import: the file, its part, what it imports, and whether only when a function runs."""

    file: Path
    line: int
    part: str
    target: str
    deferred: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(SOURCE)}:{self.line}: {self.part} imports {self.target}"


def part_of(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


@functools.cache
def files() -> tuple[Path, ...]:
    return tuple(sorted(SOURCE.rglob("*.py")))


@functools.cache
def parts() -> frozenset[str]:
    return frozenset(part_of(file) for file in files())


def _modules(node: ast.AST, package: list[str]) -> Iterator[str]:
    """Full names of what an import statement, or a call of `import_module`, imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        base = [*base, *([node.module] if node.module else [])]
        yield from (".".join([*base, alias.name]) for alias in node.names)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
            yield node.args[0].value


@functools.cache
def imports() -> tuple[Import, ...]:
    """Every import of the package."""
    found = []
    for file in files():
        package = ["refmicro", *file.relative_to(SOURCE).parts[:-1]]

        def visit(
            node: ast.AST, deferred: bool, file: Path = file, package: list[str] = package
        ) -> None:
            for module in _modules(node, package):
                found.append(Import(file, node.lineno, part_of(file), module, deferred))
            deferred = deferred or isinstance(node, ast.FunctionDef | ast.Lambda)
            if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
                for child in ast.iter_child_nodes(node):
                    visit(child, deferred)

        visit(ast.parse(file.read_text()), False)
    return tuple(found)


def within() -> Iterator[tuple[Import, str]]:
    """Imports of one part by another; the package itself, for its version, is no part."""
    for item in imports():
        steps = item.target.split(".")
        if steps[0] != "refmicro" or len(steps) == 1 or steps[1] == item.part:
            continue
        if steps[1] in parts() - {"__init__"}:
            yield item, steps[1]


def layer(part: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("import numba", {"numba"}),
        ("from numba import njit as j", {"numba.njit"}),
        ("from refmicro.ops import registry", {"refmicro.ops.registry"}),
        ("from . import bridge", {"refmicro.bridge"}),
        ("from .ops._spec import Node", {"refmicro.ops._spec.Node"}),
        ("importlib.import_module('numba')", {"numba"}),
        ("__import__('numba')", {"numba"}),
    ],
)
def test_every_kind_of_import_is_seen(statement: str, names: set[str]) -> None:
    nodes = ast.walk(ast.parse(statement))
    assert {name for node in nodes for name in _modules(node, ["refmicro"])} == names


@pytest.mark.parametrize(
    "statement", ["print(1)", "sys.exit(2)", "raise SystemExit(1)", "os._exit(1)", "exit()"]
)
def test_every_kind_of_exit_is_seen(statement: str) -> None:
    assert any(_ends_or_prints(node) for node in ast.walk(ast.parse(statement)))


def test_every_part_has_a_layer() -> None:
    known = frozenset().union(*LAYERS) | {"__init__"}
    assert not parts() - known, "say in LAYERS where these parts stand"
    assert sum(len(layer) for layer in LAYERS) == len(frozenset().union(*LAYERS))


def test_imports_go_downwards() -> None:
    wrong = []
    for item, target in within():
        if item.part == "__init__":
            continue
        if layer(target) == layer(item.part) and target in SIDEWAYS.get(item.part, ()):
            continue
        if layer(target) >= layer(item.part):
            wrong.append(str(item))
    assert not wrong, "\n".join(wrong)


def test_the_package_imports_nothing_until_asked() -> None:
    """`import refmicro` is what every command line pays for."""
    early = [str(item) for item, _ in within() if item.part == "__init__" and not item.deferred]
    assert not early, "\n".join(early)


@pytest.mark.parametrize("start", sorted(NEVER_REACHES))
def test_parts_that_must_not_see_each_other(start: str) -> None:
    reached, found = set(), {start}
    while found:
        reached |= found
        found = {target for item, target in within() if item.part in found} - reached
    assert not reached & NEVER_REACHES[start]


@pytest.mark.parametrize("package", sorted(ONLY_IN))
def test_packages_with_one_home(package: str) -> None:
    users = [item for item in imports() if item.target.split(".")[0] == package]
    wrong = [str(item) for item in users if item.part not in ONLY_IN[package]]
    assert not wrong, "\n".join(wrong)


def _ends_or_prints(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id in ("SystemExit", "exit", "quit")
    if isinstance(node, ast.Attribute):
        return ast.unparse(node) in ("sys.exit", "os._exit", "os.abort")
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "print"


def test_only_the_command_line_prints_or_exits() -> None:
    wrong = [
        f"{file.relative_to(SOURCE)}:{node.lineno}: {ast.unparse(node)}"
        for file in files()
        if part_of(file) != "cli" and file.name not in PROGRAMS
        for node in ast.walk(ast.parse(file.read_text()))
        if _ends_or_prints(node)
    ]
    assert not wrong, "\n".join(wrong)


def test_an_estimate_loads_no_compiler() -> None:
    """The rule's purpose: reading, preparing and counting a model need neither numba nor cffi."""
    code = (
        "import sys; from refmicro import estimate; estimate(sys.argv[1]).to_dict();"
        "found = {'numba', 'cffi', 'tensorflow', 'tflite_micro', 'rich'} & set(sys.modules);"
        "assert not found, found"
    )
    path = str(ALL["s_elu_head_int8"])
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
