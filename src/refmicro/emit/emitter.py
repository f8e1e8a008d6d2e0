"""A model as freestanding C99: no heap, no library, one static arena.

`NAME.h` is what an application sees, `NAME.c` are the operators, `NAME_data.h` are weights and
tables, which `NAME.c` alone includes, and `mema.h`, where matrix kernels need it, is the same for
all models. The text depends on the model, the target and
the name alone: no dates, no paths.
"""

from __future__ import annotations

from dataclasses import dataclass

from refmicro.emit import c_text, registry, writer
from refmicro.emit.plan import Plan, plan_arena
from refmicro.emit.simplify import simplified
from refmicro.emit.unit import Op, State, StatePlace, Unit
from refmicro.errors import UnsupportedError, UsageError
from refmicro.mema.target import find_target
from refmicro.memory.lifetimes import lifetimes
from refmicro.model.graph import Model
from refmicro.program import Program, prepare_model
from refmicro.types import TflmBuild


@dataclass(frozen=True)
class EmittedOperator:
    """One operator of the C file.

    Attributes:
        subgraph, index, name: where it is in the model that was emitted.
        calls: names of the functions that it calls; empty where nothing is to be done.
        scratch_bytes: memory that it uses while it runs.
    """

    subgraph: int
    index: int
    name: str
    calls: tuple[str, ...]
    scratch_bytes: int


@dataclass(frozen=True)
class Emitted:
    """The C of a model.

    Attributes:
        name: prefix of all public names.
        target: name of the machine.
        model: what was emitted; the source, or what transforms made of it.
        transforms: what was done to the source before, in words.
        files: text by file name.
        arena_bytes: the one static arena, of which `state_bytes` live on between invocations.
        state_bytes, head_bytes: both parts of it.
        head_lower_bound_bytes: no plan of the same tensors is smaller.
        static_bytes: static variables beside the arena.
        constant_bytes: weights and tables by name.
        operators: in order, those of each subgraph.
        plan: all addresses.
    """

    name: str
    target: str
    model: Model
    transforms: tuple[str, ...]
    files: dict[str, bytes]
    arena_bytes: int
    state_bytes: int
    head_bytes: int
    head_lower_bound_bytes: int
    static_bytes: int
    constant_bytes: dict[str, int]
    operators: tuple[EmittedOperator, ...]
    plan: Plan

    @property
    def is_portable(self) -> bool:
        """Whether any C99 compiler takes the files; kernels of other families hold assembly or
        intrinsics."""
        return find_target(self.target).family == "plain"

    @property
    def ram_bytes(self) -> int:
        """All static memory; the stack comes to it."""
        return self.arena_bytes + self.static_bytes


def emit(
    model: Model, target: str = "host", *, name: str = "model", as_it_is: bool = False
) -> Emitted:
    """The C of a model.

    Args:
        model: the model.
        target: a name of `refmicro.mema.target.TARGETS`.
        name: prefix of all public names, a C identifier.
        as_it_is: every operator of the model as it stands; by default exact transforms come first.

    Raises:
        UnsupportedError: all operators that cannot be emitted, at once.
        InvalidModelError: if the model cannot run.
        UsageError: if there is no such target or the name is no identifier.
    """
    find_target(target)
    if not c_text.is_identifier(name):
        raise UsageError(
            f"the name must be a C identifier that is free: {name}",
            hint="letters, digits and underscores, no word of C and no file of refmicro's",
        )
    model, transforms = (model, ()) if as_it_is else simplified(model)
    program = prepare_model(model, TflmBuild.firmware())
    unit = Unit(program, target)
    _add_resources(unit)
    ops = _emit_operators(unit)
    plan = plan_arena(unit, ops)
    text = writer.write(unit, ops, plan, name)
    operators = tuple(
        EmittedOperator(
            op.node.subgraph,
            op.node.index,
            op.node.name,
            tuple(writer.called(op, plan)),
            sum(
                size
                for known, size in unit.scratch.items()
                if (known.subgraph, known.operator) == (op.node.subgraph, op.node.index)
            ),
        )
        for op in ops
    )
    return Emitted(
        name=name,
        target=target,
        model=model,
        transforms=transforms,
        files={key: value.encode() for key, value in text.items()},
        arena_bytes=plan.arena_bytes,
        state_bytes=plan.state_bytes,
        head_bytes=plan.head_bytes,
        head_lower_bound_bytes=plan.lower_bound_bytes,
        static_bytes=0,
        constant_bytes=dict(unit.constant_bytes),
        operators=operators,
        plan=plan,
    )


def _add_resources(unit: Unit) -> None:
    """Resource variables live in the arena's state."""
    for identifier, variable in enumerate(unit.program.resources):
        if variable.nbytes:
            reset = bytes([variable.reset_byte]) * variable.nbytes
            key = StatePlace(("resource", identifier))
            unit.states[key] = State(variable.nbytes, 4, reset)


def _emit_operators(unit: Unit) -> list[Op]:
    """Every operator of the subgraphs that run; all refusals are collected."""
    program = unit.program
    clock = lifetimes(program)
    problems: list[str] = []
    refused: set[str] = set()
    hint = ""
    ops: list[Op] = []
    for graph, nodes in enumerate(program.nodes):
        for node in nodes:
            if clock.scratch[graph][node.index][0] < 0:
                continue
            op = Op(unit, node)
            found = registry.find(node.name)
            try:
                if found is None:
                    op.refuse("there is no C for this operator yet")
                found(op)
            except UnsupportedError as error:
                refused.add(node.name)
                hint = error.hint
                problems += error.problems
            ops.append(op)
    problems += _bad_interfaces(program)
    if problems:
        raise UnsupportedError(
            _summary(problems, refused),
            hint=hint or "copy such an output by an operator",
            problems=tuple(problems),
        )
    return ops


def _summary(problems: list[str], refused: set[str]) -> str:
    """One problem in full, and the names of all operators that have one."""
    if len(problems) == 1:
        return problems[0]
    names = ", ".join(sorted(refused)) or "none"
    return f"{problems[0]} (and {len(problems) - 1} more; operators: {names})"


def _bad_interfaces(program: Program) -> list[str]:
    """Outputs that are constants have no place in the arena."""
    graph = program.model.subgraphs[0]
    return [
        f"output {number} of the model is a constant: cannot be emitted as C"
        for number, index in enumerate(graph.outputs)
        if graph.tensors[index].is_constant and not graph.tensors[index].is_variable
    ]
