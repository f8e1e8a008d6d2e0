"""`refmicro run`: the integer interpreter on arrays from an archive."""

from __future__ import annotations

import argparse
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
    recorder = _Recorder() if args.all_tensors else None
    call = interpreter.invoke_sequence if args.sequence else interpreter.invoke_batch
    outputs = call(inputs, recorder)
    arrays = {str(index): array for index, array in enumerate(outputs)}
    if recorder:
        arrays.update(recorder.arrays(args.sequence))
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


class _Recorder:
    """Collects every tensor; one that is written several times keeps its last values."""

    def __init__(self) -> None:
        self.steps: list[dict[str, np.ndarray]] = [{}]

    def __call__(self, subgraph: int, operator: int, written: dict[int, np.ndarray]) -> None:
        if subgraph == 0 and operator == -1 and self.steps[-1]:
            self.steps.append({})
        for tensor, values in written.items():
            self.steps[-1][f"{subgraph}:{tensor}"] = values

    def arrays(self, sequence: bool) -> dict[str, np.ndarray]:
        """Arrays of shape (rows, ...); in a sequence the first axis counts its steps."""
        import numpy as np

        rows = max(len(a) for a in self.steps[0].values()) if self.steps[0] else 1

        def whole(array: np.ndarray) -> np.ndarray:
            return np.broadcast_to(array, (rows, *array.shape[1:])) if len(array) == 1 else array

        if not sequence:
            return {name: whole(array) for name, array in self.steps[0].items()}
        names = self.steps[0]
        stacked = {n: np.stack([whole(s[n]) for s in self.steps if n in s], axis=1) for n in names}
        return {n: a[0] if rows == 1 else a for n, a in stacked.items()}
