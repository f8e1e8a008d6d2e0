"""`refmicro estimate`: arena, flash, operations and memory accesses without running TFLM."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refmicro._collector import paused

if TYPE_CHECKING:
    from refmicro.estimator import Report


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("model", help="a .tflite file")
    parser.add_argument(
        "--abi",
        choices=("ilp32", "lp64"),
        default="ilp32",
        help="ilp32: Cortex-M firmware (default); lp64: the tflite-micro wheel",
    )
    parser.add_argument("--board", metavar="ID", help="compare with a board's RAM and flash")
    parser.add_argument(
        "--kernels",
        choices=("reference", "cmsis-nn"),
        default="reference",
        help="which kernels the firmware is built with (default: reference)",
    )
    parser.add_argument(
        "--resource-variables",
        type=int,
        metavar="N",
        help="capacity of MicroResourceVariables (default: 16 where needed)",
    )
    parser.add_argument(
        "--recording", action="store_true", help="add the overhead of TFLM's recording allocator"
    )
    parser.add_argument(
        "--budget",
        metavar="arena=64KiB,flash=256KiB,macs=5M",
        help="exit with 1 where a limit is exceeded",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures")
    parser.set_defaults(run=run)


# Start-up is most of the work, and what is made here lives until the process ends.
@paused()
def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    limits = _limits(args.budget, args.board)
    # No matrix product runs, so BLAS need not start its threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from refmicro.estimator import estimate

    report = estimate(
        args.model,
        abi=args.abi,
        kernels=args.kernels,
        resource_variables=args.resource_variables,
        recording=args.recording,
    )
    document = report.to_dict() if limits else report._document
    verdicts = _verdicts(report, limits)
    if limits:
        document["budget"] = verdicts
    if args.html:
        from refmicro._files import write_files
        from refmicro.report.estimate_html import page

        write_files({args.html: page(document).encode(errors="backslashreplace")})
    if args.json:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        from refmicro.report.estimate_text import print_report

        print_report(document)
    return 1 if any(not verdict["fits"] for verdict in verdicts) else 0


def _limits(budget: str | None, board: str | None) -> dict[str, tuple[int, str]]:
    """(limit, where it comes from) by name: arena, flash, macs."""
    limits: dict[str, tuple[int, str]] = {}
    if board is not None:
        from refmicro.board.table import find_board

        found = find_board(board)
        limits["arena"] = (found.ram_bytes, found.name)
        limits["flash"] = (found.flash_bytes, found.name)
    if budget is not None:
        from refmicro.errors import UsageError
        from refmicro.report.units import parse_quantity

        for item in budget.split(","):
            name, equals, text = item.partition("=")
            if not equals or name.strip() not in ("arena", "flash", "macs"):
                raise UsageError(
                    f"a budget is a list such as arena=64KiB,flash=256KiB,macs=5M: {item}"
                )
            limits[name.strip()] = (parse_quantity(text, f"budget {name.strip()}"), "--budget")
    return limits


def _verdicts(report: Report, limits: dict[str, tuple[int, str]]) -> list[dict[str, Any]]:
    figures = {
        "arena": report["arena"]["required_bytes"],
        "flash": report["flash"]["model_bytes"],
        "macs": report["macs"],
    }
    return [
        {
            "what": name,
            "needs": figures[name],
            "limit": limit,
            "of": source,
            "fits": figures[name] <= limit,
        }
        for name, (limit, source) in limits.items()
    ]
