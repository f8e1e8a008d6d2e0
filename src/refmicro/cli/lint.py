"""`refmicro lint`: what TFLM refuses in a model, what to write instead, and the resolver's code."""

from __future__ import annotations

import argparse
import json
import sys


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("model", help="a .tflite file")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from refmicro.lint import lint, to_dict
    from refmicro.model.reader import read_model

    model = read_model(args.model)
    report = lint(model)
    if args.json:
        json.dump(to_dict(report, args.model, model), sys.stdout, indent=1)
        print()
        return 3 if report.refused else 0
    grouped: dict[tuple[str, str, str, str], list[str]] = {}
    for finding in report.findings:
        key = (finding.severity, finding.name, finding.message, finding.advice)
        grouped.setdefault(key, []).append(f"{finding.subgraph}:{finding.operator}")
    for (severity, name, message, advice), places in grouped.items():
        more = f" and {len(places) - 4} more" if len(places) > 4 else ""
        print(f"{severity}: {name} ({', '.join(places[:4])}{more}): {message}")
        if advice:
            print(f"  instead: {advice}" if severity == "error" else f"  hint: {advice}")
    print(f"{'TFLM refuses this model' if report.refused else 'TFLM runs this model'}\n")
    print(report.resolver, end="")
    return 3 if report.refused else 0
