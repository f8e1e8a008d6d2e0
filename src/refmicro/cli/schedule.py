"""`refmicro schedule`: the loop order and tiles with the fewest memory accesses."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("what", metavar="MODEL|M,K,N", help="a .tflite file, or a product's shape")
    parser.add_argument(
        "--target", default="cortex-m4", metavar="NAME", help="a processor (default: cortex-m4)"
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=1,
        metavar="N",
        help="frames a pass: rows of each matrix-vector product (default: 1)",
    )
    parser.add_argument(
        "--bits",
        type=int,
        choices=(8, 16),
        help="type of a shape: int8, or int16 with an int8 filter (default: 8)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from refmicro.errors import UsageError
    from refmicro.mema.target import find_target
    from refmicro.scheduling import parse_shape, schedule_model, schedule_shape

    target = find_target(args.target)
    if not 1 <= args.rows <= 1 << 16:
        raise UsageError(f"--rows must be 1 to {1 << 16}: {args.rows}")
    shape = parse_shape(args.what)
    if shape is None:
        if args.bits is not None:
            raise UsageError(
                f"--bits is the type of a shape M,K,N: a model's tensors have types: {args.what}",
                hint="leave --bits out",
            )
        document = schedule_model(args.what, target, rows=args.rows)
    else:
        problem = dataclasses.replace(shape, input_bits=args.bits or 8)
        document = schedule_shape(problem, target, rows=args.rows)
    if args.json:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        from refmicro.report.schedule_text import print_schedule

        print_schedule(document)
    return 0
