"""`refmicro diff`: the first difference of two archives of arrays."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("want", type=Path, metavar="A", help="an .npz archive, the expected one")
    parser.add_argument("got", type=Path, metavar="B", help="another .npz archive")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from refmicro._files import read_npz
    from refmicro.cli._json import print_json

    want, got = read_npz(args.want), read_npz(args.got)
    rows = [_compare(name, want.get(name), got.get(name)) for name in _ordered(want, got)]
    differ = [row for row in rows if not row["equal"]]
    if args.json:
        document = {"schema_version": 1, "equal": not differ, "arrays": rows}
        print_json(document)
    else:
        for row in differ:
            print(_line(row))
        print(f"{len(rows) - len(differ)} of {len(rows)} arrays are equal")
    return 4 if differ else 0


def _ordered(*archives: dict[str, np.ndarray]) -> list[str]:
    """All names: tensors (`0:7`) in execution order of their indices, then outputs (`0`)."""

    def key(name: str) -> tuple:
        parts = name.split(":")
        numbers = [int(part) if part.isdecimal() else 0 for part in parts]
        return (len(parts) == 1, numbers, name)

    return sorted(set().union(*archives), key=key)


def _compare(name: str, want: np.ndarray | None, got: np.ndarray | None) -> dict[str, Any]:
    import numpy as np

    if want is None or got is None:
        return {"name": name, "equal": False, "reason": f"only in {'B' if want is None else 'A'}"}
    if want.shape != got.shape or want.dtype != got.dtype:
        reason = f"A {want.dtype}{list(want.shape)}, B {got.dtype}{list(got.shape)}"
        return {"name": name, "equal": False, "reason": reason}
    if want.dtype.kind not in "biuf":
        return {"name": name, "equal": False, "reason": f"no numbers: {want.dtype}"}
    same = _bytes(want) == _bytes(got)
    same = same.all(axis=-1).reshape(want.shape) | ((want != want) & (got != got))
    if same.all():
        return {"name": name, "equal": True, "values": want.size}
    where = np.argwhere(~same)
    first = tuple(int(i) for i in where[0])
    return {
        "name": name,
        "equal": False,
        "values": want.size,
        "mismatches": len(where),
        "largest_distance": _distance(want[~same], got[~same]),
        "first": {"index": list(first), "want": want[first].item(), "got": got[first].item()},
    }


def _bytes(array: np.ndarray) -> np.ndarray:
    """The bytes of each element along a last axis: 0.0 and -0.0 differ."""
    import numpy as np

    raw = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
    return raw.reshape(array.size, array.dtype.itemsize)


def _distance(want: np.ndarray, got: np.ndarray) -> int | float | None:
    """The largest distance, exact for integers; None where none is finite."""
    import numpy as np

    if want.dtype.kind != "f" and want.dtype.itemsize < 8:
        return int(np.abs(want.astype(np.int64) - got.astype(np.int64)).max())
    if want.dtype.kind != "f":
        return max(abs(int(a) - int(b)) for a, b in zip(want, got, strict=True))
    with np.errstate(all="ignore"):
        distance = np.abs(want.astype(np.float64) - got.astype(np.float64))
    finite = distance[np.isfinite(distance)]
    return float(finite.max()) if finite.size else None


def _line(row: dict[str, Any]) -> str:
    from refmicro.report.units import counted

    if "reason" in row:
        return f"{row['name']}: {row['reason']}"
    first = row["first"]
    far = row["largest_distance"]
    by = (
        ""
        if far is None
        else f" by at most {far:,}"
        if isinstance(far, int)
        else f" by at most {far:g}"
    )
    values = counted(row["values"], "value")
    return (
        f"{row['name']}: {row['mismatches']} of {values} differ{by}; first at "
        f"{first['index']}: A {first['want']}, B {first['got']}"
    )
