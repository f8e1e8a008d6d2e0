"""The step of a selective scan, or all steps of an unrolled one, become one SELECTIVE_SCAN.

The operator does what the stock operators did, requantisation by requantisation, so that the result
is equal byte for byte; its multipliers, tables and constants are taken from what those operators
were prepared with. What it saves is memory: no (D, N) product is ever held, none of its parameters
lies in the arena, and a node and its tensors take the place of a dozen or, unrolled, of hundreds.

`wide_state=True` keeps the state, and all that lies between the operator's int8 inputs and its int8
output, in 16 bits. That is more precise and no longer equal.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from refmicro.errors import UnsupportedError
from refmicro.model.graph import Model, Operator, OperatorCode
from refmicro.ops.selective_scan import (
    COLUMNS,
    DRIVEN,
    MINUS_A,
    MINUS_DELTA,
    SKIP,
    SUM,
    SUM_SHIFT,
    UNIT,
    Product,
    Scan,
    Step,
    Sum,
    decay_entries,
    encode_options,
)
from refmicro.program import PreparedNode, prepare_model
from refmicro.transform._draft import Draft, with_drafts
from refmicro.transform._scan_pattern import Factors, ScanMatch, StepMatch, find_scans
from refmicro.transform._values import Values
from refmicro.transform._wide_scan import wide_scan
from refmicro.transform.fuse import fuse
from refmicro.transform.selective_scan_cc import NAME
from refmicro.types import DType, Quantization, Tensor, TflmBuild

CODE = OperatorCode("CUSTOM", NAME)


@dataclass(frozen=True)
class FusedScan:
    """A model with SELECTIVE_SCAN in it.

    Attributes:
        model: the result; TFLM needs the registration in `selective_scan.cc` to run it.
        scans: for each scan T, D and N.
        removed: what was done, in words.
        changes: where numbers change, in words; empty for an exact result.
    """

    model: Model
    scans: tuple[tuple[int, int, int], ...]
    removed: tuple[str, ...]
    changes: tuple[str, ...]


def fuse_scan(model: Model, *, wide_state: bool = False) -> FusedScan:
    """Replace every selective scan of a model; a model without one comes back as it is.

    Args:
        model: the source.
        wide_state: keep the state in 16 bits, which changes numbers.

    Raises:
        UnsupportedError: with `wide_state` where the state is an input or output of the model, or a
            scan has operators for which there is no 16-bit form.
    """
    program = prepare_model(model, TflmBuild.firmware())
    drafts = [Draft.of(graph) for graph in model.subgraphs]
    scans, removed, changes = [], [], []
    for number, (graph, draft) in enumerate(zip(model.subgraphs, drafts, strict=True)):
        values = Values.of(graph)
        for match in find_scans(values):
            builder = _Builder(values, draft, match, program.nodes[number])
            place = builder.place()
            if place is None:
                continue
            if wide_state:
                changes.append(builder.put_wide(place))
            else:
                builder.put(place)
            scans.append((len(match.steps), match.channels, match.size))
        if scans:
            dropped = draft.tidy()
            removed.append(f"subgraph {number}: {len(dropped)} operators that made up scans")
    result, unplanned = with_drafts(model, drafts)
    if unplanned:
        removed.append("the offline plan, which was for other tensors")
    if scans:
        # Copies around the stock operators are of no use to SELECTIVE_SCAN, which counts elements.
        tidy = fuse(result)
        result = tidy.model
        removed += tidy.removed
    return FusedScan(result, tuple(scans), tuple(removed), tuple(changes))


class _Builder:
    """Puts one operator in the place of a scan."""

    def __init__(
        self, values: Values, draft: Draft, match: ScanMatch, nodes: tuple[PreparedNode, ...]
    ) -> None:
        self.values = values
        self.draft = draft
        self.match = match
        self.nodes = nodes

    def place(self) -> int | None:
        """Where the operator can stand: at the last one of the scan. None if somebody would read
        the new state before that, or the old one after it."""
        match, values = self.match, self.values
        last = values.graph.producer(match.y)
        own = {self._output_place(step) for step in match.steps} | {
            step.keep.operator for step in match.steps if step.keep is not None
        }
        for step in match.steps[:-1]:
            if values.is_output(step.new) or self._outside(step.new, own):
                return None
        if any(number <= last for number in self._outside(match.new, own)):
            return None
        if self._variable() is not None and self._outside(match.old, own):
            return None
        stays = match.new in values.variable and self._variable() is None
        return None if stays else last

    def _output_place(self, step: StepMatch) -> int:
        return step.output.operator

    def _outside(self, value: int, own: set[int]) -> list[int]:
        """Operators beyond the scan that read a value."""
        return [number for number, _ in self.values.readers(value) if number not in own]

    def _variable(self) -> int | None:
        """The variable tensor that is read as the old state and written as the new one."""
        old, values = self.match.old, self.values
        if old is None or not values.tensor(old).is_variable:
            return None
        same = values.variable.get(self.match.new) == old and values.final[old] == self.match.new
        return old if same else None

    def needs_new_state(self) -> bool:
        """Whether anybody reads the state after the scan, other than the next invocation."""
        own = {self._output_place(step) for step in self.match.steps}
        new = self.match.new
        return self._variable() is None and (
            self.values.is_output(new) or bool(self._outside(new, own))
        )

    def put(self, place: int) -> None:
        """The exact operator."""
        match = self.match
        steps = tuple(self._step(step) for step in match.steps)
        same = all(step == steps[0] for step in steps)
        gate = () if match.gate is None else match.gate.table
        scan = Scan(
            8,
            len(steps),
            match.channels,
            match.size,
            self._start(),
            match.delta.table,
            gate,
            self.flags(),
            steps[:1] if same else steps,
        )
        self._operator(place, scan)

    def put_wide(self, place: int) -> str:
        """The operator with a 16-bit state; what changes, in words."""
        match, values = self.match, self.values
        variable = self._variable()
        if variable is None and (match.old is not None or self.needs_new_state()):
            raise UnsupportedError(
                "a state of 16 bits must be a variable tensor or begin with zero: found a state "
                "that comes in or goes out",
                hint="make the state an in-place variable first",
            )
        scan, scale = wide_scan(values, match, self.nodes, self.flags())
        if variable is not None:
            old = self.draft.tensors[variable]
            quantization = Quantization((scale,), (0,))
            self.draft.tensors[variable] = dataclasses.replace(
                old, dtype=DType.INT16, quantization=quantization
            )
        self._operator(place, scan)
        return f"a scan of {scan.channels} x {scan.size} values keeps its state in 16 bits"

    def flags(self) -> int:
        """Flags of the options."""
        match = self.match
        flags = SKIP if match.skip is not None else 0
        flags |= UNIT if match.total is not None and match.skip is None else 0
        flags |= COLUMNS if match.a is None else 0
        delta_sign, a_sign = match.signs or (1, 1)
        flags |= SUM if match.signs is not None else 0
        flags |= (MINUS_DELTA if delta_sign < 0 else 0) | (MINUS_A if a_sign < 0 else 0)
        return flags | (DRIVEN if match.drive is None else 0)

    def _start(self) -> int:
        """Zero, as the first step knows it."""
        first = self.match.steps[0]
        return 0 if first.old is None else self.values.tensor(first.old).zero_point

    def _operator(self, place: int, scan: Scan) -> None:
        match, draft = self.match, self.draft
        state = match.old if match.old is not None else -1
        outputs = [self._own(match.y)]
        if self.needs_new_state():
            if match.old is None:
                state = self._zero_state()
            outputs.append(self._own(match.new))
        elif match.old is not None and self._variable() is None:
            outputs.append(draft.add_tensor(self.values.tensor(match.new)))
        inputs = (
            match.u,
            match.delta.source,
            self._shared_rows(match.a),
            match.b,
            match.c,
            -1 if match.skip is None else match.skip,
            -1 if match.gate is None else match.gate.source,
            state,
        )
        for step in match.steps:
            for factors in (step.update, step.keep, step.output):
                if factors is not None:
                    draft.put(factors.operator, None)
        draft.put(
            place,
            Operator(CODE, inputs, tuple(outputs), custom_options=encode_options(scan)),
        )

    def _own(self, value: int) -> int:
        """The tensor that a value is in the model."""
        return self.values.variable.get(value, value)

    def _zero_state(self) -> int:
        item = self.values.tensor(self.match.steps[0].new)
        data = np.full(item.shape, item.zero_point, item.dtype.numpy).tobytes()
        return self.draft.add_tensor(dataclasses.replace(item, data=data))

    def _shared_rows(self, a: int | None) -> int:
        """A, as one row where all channels have the same; -1 where there is none."""
        if a is None:
            return -1
        item = self.values.tensor(a)
        rows = item.array().reshape(-1, self.match.size)
        if len(rows) == 1 or not (rows == rows[0]).all():
            return a
        short: Tensor = dataclasses.replace(
            item, shape=(1, self.match.size), data=rows[0].tobytes(), shape_signature=()
        )
        return self.draft.add_tensor(short)

    def _step(self, step: StepMatch) -> Step:
        match = self.match
        given = self._product(step.given)
        drive = Product() if match.drive is None else self._product(match.drive)
        common = {
            "drive": drive,
            "input": given,
            "output": self._dot_product(step.output),
            "skip": self._product(match.skip_product),
            "total": self._sum(match.total),
            "gate": self._product(match.gate_product),
        }
        if step.old is None:
            return Step(
                argument=Product(),
                decay=(0,) * decay_entries(8, self.flags(), match.size),
                keep=Product(),
                update=Sum(),
                fresh=True,
                **common,
            )
        decay = self._columns(step) if step.decay is None else step.decay.table
        summed = step.signs is not None
        return Step(
            argument=Product() if summed else self._product(step.argument),
            shifted=self._sum(step.argument) if summed else Sum(),
            decay=decay,
            keep=self._product(step.keep),
            update=self._sum(step.update),
            **common,
        )

    def _columns(self, step: StepMatch) -> tuple[int, ...]:
        """The decay of each column for each value of the operator's input delta."""
        given = self.values.function(step.delta).table
        return tuple(column.table[value + 128] for column in step.columns for value in given)

    def _data(self, factors: Factors) -> Any:
        return self.nodes[factors.operator].data

    def _product(self, factors: Factors | None) -> Product:
        """A MUL as it was prepared."""
        if factors is None:
            return Product()
        record = Product(*self._data(factors).arguments)
        if factors.swapped:
            record = record._replace(a_offset=record.b_offset, b_offset=record.a_offset)
        return record

    def _sum(self, factors: Factors | None) -> Sum:
        """An ADD or SUB as it was prepared; the flags hold its signs."""
        if factors is None:
            return Sum()
        left_shift, *rest = self._data(factors).arguments
        assert left_shift == SUM_SHIFT, left_shift
        a_offset, b_offset, am, a_shift, bm, b_shift, multiplier, shift, _, *limits = rest
        if factors.swapped:
            a_offset, am, a_shift, b_offset, bm, b_shift = (
                b_offset, bm, b_shift, a_offset, am, a_shift
            )  # fmt: skip
        return Sum(a_offset, b_offset, am, a_shift, bm, b_shift, multiplier, shift, *limits)

    def _dot_product(self, factors: Factors) -> Product:
        """A FULLY_CONNECTED of the state and C as it was prepared."""
        node = self.nodes[factors.operator].node
        state, c = node.inputs[1::-1] if factors.swapped else node.inputs[:2]
        requantize = self._data(factors).requantize
        return Product(
            -state.zero_point,
            -c.zero_point,
            requantize.multipliers[0],
            requantize.shifts[0],
            requantize.output_offset,
            requantize.low,
            requantize.high,
        )
