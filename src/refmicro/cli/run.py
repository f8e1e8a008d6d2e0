"""`refmicro run`: the integer interpreter on arrays from an archive."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from refmicro.interpreter import Interpreter


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("model", help="a .tflite file")
    parser.add_argument(
        "--input",
        required=True,
        metavar="IN.npz",
        type=Path,
        help="arrays named by input index: 0, 1, ...; each of the tensor's shape "
        "or with one leading batch axis",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="OUT.npz",
        type=Path,
        help="where the outputs go, named by output index",
    )
    parser.add_argument(
        "--all-tensors", action="store_true", help="add every tensor as SUBGRAPH:TENSOR"
    )
    parser.add_argument(
        "--sequence",
        action="store_true",
        help="rows are successive steps of one stream; with two leading axes, "
        "streams and their steps",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from refmicro._files import npz_bytes, read_npz, write_files
    from refmicro.interpreter import Interpreter

    interpreter = Interpreter.from_file(args.model)
    inputs, single = _inputs(interpreter, read_npz(args.input), args.sequence)
    call = interpreter.invoke_sequence if args.sequence else interpreter.invoke_batch
    arrays = {str(index): array for index, array in enumerate(call(inputs))}
    if args.all_tensors:
        tensors, missing = _every_tensor(interpreter, inputs, args.sequence)
        arrays |= tensors
        if missing:
            print(f"left out, not written in every row: {', '.join(missing)}", file=sys.stderr)
    if single:
        arrays = {name: array[0] for name, array in arrays.items()}
    write_files({args.output: npz_bytes(arrays)})
    return 0


def _inputs(
    interpreter: Interpreter, arrays: dict[str, np.ndarray], sequence: bool
) -> tuple[list[np.ndarray], bool]:
    """The arrays in order, with a leading axis, and whether that axis was missing."""
    from refmicro.errors import UsageError

    wanted = [str(index) for index in range(interpreter.input_count)]
    if sorted(arrays) != sorted(wanted):
        raise UsageError(
            f"the model's inputs are named {', '.join(wanted)}: the archive holds "
            f"{', '.join(sorted(arrays)) or 'nothing'}",
            hint="numpy.savez(path, **{'0': first, '1': second})",
        )
    values = [arrays[name] for name in wanted]
    single = not sequence and all(
        array.shape == interpreter.get_input_details(index).shape
        for index, array in enumerate(values)
    )
    return ([array[None] for array in values] if single else values), single


def _every_tensor(
    interpreter: Interpreter, inputs: list[np.ndarray], sequence: bool
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Every tensor of inputs that were run before, and the names of those that some row or step
    does not write."""
    import numpy as np

    rank = len(interpreter.get_input_details().shape) if inputs else 0
    one_stream = sequence and bool(inputs) and inputs[0].ndim == rank + 1
    arrays = [array[None] for array in inputs] if one_stream else inputs
    rows = len(arrays[0]) if arrays else 1
    # Branches and loops run on some rows only; a row at a time, they run on all rows there are.
    size = 1 if len(interpreter.program.model.subgraphs) > 1 else max(rows, 1)
    parts = []
    for start in range(0, max(rows, 1), size):
        recorder = _Recorder()
        call = interpreter.invoke_sequence if sequence else interpreter.invoke_batch
        call([array[start : start + size] for array in arrays], recorder)
        parts.append(recorder.arrays(min(size, rows), sequence))
    names = dict.fromkeys(name for part in parts for name in part)
    missing = [name for name in names if any(part.get(name) is None for part in parts)]
    result = {n: np.concatenate([p[n] for p in parts]) for n in names if n not in missing}
    return ({name: a[0] for name, a in result.items()} if one_stream else result), missing


class _Recorder:
    """Collects every tensor; one that is written several times keeps its last values."""

    def __init__(self) -> None:
        self.steps: list[dict[str, np.ndarray]] = [{}]

    def __call__(self, subgraph: int, operator: int, written: dict[int, np.ndarray]) -> None:
        if subgraph == 0 and operator == -1 and self.steps[-1]:
            self.steps.append({})
        for tensor, values in written.items():
            self.steps[-1][f"{subgraph}:{tensor}"] = values

    def arrays(self, rows: int, sequence: bool) -> dict[str, np.ndarray | None]:
        """Arrays of shape (rows, ...), in a sequence (rows, steps, ...); None where a step does
        not write the tensor."""
        import numpy as np

        def whole(array: np.ndarray) -> np.ndarray:
            return np.broadcast_to(array, (rows, *array.shape[1:]))

        found: dict[str, np.ndarray | None] = {}
        for name in dict.fromkeys(name for step in self.steps for name in step):
            if all(name in step for step in self.steps):
                each = [whole(step[name]) for step in self.steps]
                found[name] = np.stack(each, axis=1) if sequence else each[0]
            else:
                found[name] = None
        return found
