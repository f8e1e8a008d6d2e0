"""Where everything lies in the one static arena of an emitted model.

State comes first: variable tensors, resource variables and what operators keep. Behind it lie the
tensors that the graph computes and the operators' scratch memory, packed as low as can be, outputs
over inputs where that is legal. An address is a multiple of `ALIGNMENT_BYTES`, so that kernels may
read words; sizes are rounded up to it and not, as TFLM's, to 16.
"""

from __future__ import annotations

from dataclasses import dataclass

from refmicro.emit.unit import Op, Place, TensorPlace, Unit
from refmicro.memory.lifetimes import Lifetimes, lifetimes
from refmicro.memory.verifier import Placement, find_conflicts
from refmicro.program import Program, is_computed
from refmicro.transform._packing import Item, live_bound, pack
from refmicro.transform.in_place import in_place_pairs

ALIGNMENT_BYTES = 4

WIDE_ALIGNMENT_BYTES = 8
"""Of 64-bit values."""

_PACKING_S = 3600.0
"""A limit that no model meets: what the packing finds must not depend on the machine's speed."""


@dataclass(frozen=True)
class Plan:
    """Addresses, in bytes from the start of the arena.

    Attributes:
        offsets: of every place.
        state_bytes, head_bytes: both parts of the arena.
        lower_bound_bytes: no packing of the head is smaller.
        shared: tensors that lie over another one that their operator reads.
        alignment: of the arena itself.
    """

    offsets: dict[Place, int]
    state_bytes: int
    head_bytes: int
    lower_bound_bytes: int
    shared: int
    alignment: int

    @property
    def arena_bytes(self) -> int:
        """All of it."""
        return self.state_bytes + self.head_bytes


@dataclass
class _Buffer:
    """Memory for one or several tensors that share it."""

    nbytes: int
    first: int
    last: int
    home: Place


def plan_arena(unit: Unit, ops: list[Op]) -> Plan:
    """The plan of everything that a unit's operators use."""
    program = unit.program
    offsets, state_bytes = _state(unit)
    clock = lifetimes(program)
    buffers = _buffers(unit, clock)
    home = _share(program, clock, buffers, ops)
    shared = sum(place != root for place, root in home.items())
    items = [Item(buffer.nbytes, buffer.first, buffer.last) for buffer in buffers.values()]
    packing = pack(items, time_limit_s=_PACKING_S, tick=lambda done, total: None)
    found = dict(zip(buffers, packing.offsets, strict=True))
    _verify(buffers, found, packing.height_bytes)
    for place, root in home.items():
        offsets[place] = state_bytes + found[root]
    bound = max(live_bound(items), packing.lower_bound_bytes) if items else 0
    return Plan(offsets, state_bytes, packing.height_bytes, bound, shared, _alignment(unit))


def _aligned(nbytes: int, alignment: int = ALIGNMENT_BYTES) -> int:
    return -(-nbytes // alignment) * alignment


def _state(unit: Unit) -> tuple[dict[Place, int], int]:
    """Offsets of all that lives on, the widest types first, and the size of it."""
    wanted: list[tuple[int, int, Place]] = []
    for graph, subgraph in enumerate(unit.program.model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            if tensor.is_variable:
                size = tensor.dtype.itemsize_bytes or 1
                wanted.append(
                    (max(size, ALIGNMENT_BYTES), tensor.nbytes, TensorPlace(graph, index))
                )
    for place, state in unit.states.items():
        wanted.append((max(state.alignment, ALIGNMENT_BYTES), state.nbytes, place))
    offsets: dict[Place, int] = {}
    end = 0
    for alignment, nbytes, place in sorted(wanted, key=lambda item: -item[0]):
        offsets[place] = end = _aligned(end, alignment)
        end += _aligned(nbytes)
    return offsets, _aligned(end, _alignment(unit))


def _alignment(unit: Unit) -> int:
    """Of every buffer: that of 64-bit values where some tensor holds them."""
    wide = any(
        tensor.dtype.itemsize_bytes == 8 and not tensor.is_constant
        for graph in unit.program.model.subgraphs
        for tensor in graph.tensors
    )
    return WIDE_ALIGNMENT_BYTES if wide else ALIGNMENT_BYTES


def _buffers(unit: Unit, clock: Lifetimes) -> dict[Place, _Buffer]:
    """Every tensor that is computed and used, and all scratch memory."""
    alignment = _alignment(unit)
    found: dict[Place, _Buffer] = {}
    for graph, subgraph in enumerate(unit.program.model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            first, last = clock.first_time_used[graph][index], clock.last_time_used[graph][index]
            if is_computed(tensor) and first >= 0:
                place = TensorPlace(graph, index)
                nbytes = _aligned(tensor.nbytes, alignment)
                found[place] = _Buffer(nbytes, first, max(first, last), place)
    for place, nbytes in unit.scratch.items():
        times = clock.scratch[place.subgraph][place.operator]
        found[place] = _Buffer(_aligned(nbytes, alignment), *times, place)
    return found


def _share(
    program: Program, clock: Lifetimes, buffers: dict[Place, _Buffer], ops: list[Op]
) -> dict[Place, Place]:
    """Put outputs into the buffers of inputs; returns the buffer of every place.

    The whole buffer must be free for the output: all tensors in it are dead by then, unless the
    output is a view of them, and none is an output of its graph.
    """
    home: dict[Place, Place] = {place: place for place in buffers}
    kept = {
        TensorPlace(number, index)
        for number, graph in enumerate(program.model.subgraphs)
        for index in graph.outputs
    }
    views = {(op.node.subgraph, op.node.index): op.is_view for op in ops}
    for pair in in_place_pairs(program, clock):
        source = TensorPlace(pair.subgraph, pair.input)
        output = TensorPlace(pair.subgraph, pair.output)
        if source not in home or home.get(output) != output or output not in buffers:
            continue
        root = home[source]
        old, new = buffers[root], buffers[output]
        is_view = pair.is_view and views.get((pair.subgraph, pair.operator), False)
        if root == output or not (is_view or (old.last == new.first and root not in kept)):
            continue
        del buffers[output]
        old.first, old.last = min(old.first, new.first), max(old.last, new.last)
        home[output] = root
        if output in kept:
            kept.add(root)
    return home


def _verify(buffers: dict[Place, _Buffer], offsets: dict[Place, int], head_bytes: int) -> None:
    """The verifier, which knows no planner, must find nothing: this is a fault of the planner."""
    placements = [
        # The verifier's alignment is TFLM's, four times ours.
        Placement(repr(place), buffer.nbytes * 4, offsets[place] * 4, buffer.first, buffer.last)
        for place, buffer in buffers.items()
    ]
    conflicts = find_conflicts(placements, head_bytes * 4)
    assert not conflicts, conflicts[0]
