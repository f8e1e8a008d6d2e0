"""What the operators on resource variables share: which variable an id names is known here."""

from __future__ import annotations

from refmicro.emit.unit import Op, Place, StatePlace


def variable(op: Op) -> tuple[Place, int]:
    """The place and bytes of the variable that input 0 names."""
    node = op.node
    handle = node.operator.inputs[0]
    program = op.unit.program
    tensor = program.model.subgraphs[node.subgraph].tensors[handle]
    makers = [
        other
        for other in program.nodes[node.subgraph]
        if other.name == "VAR_HANDLE" and other.operator.outputs[0] == handle
    ]
    if makers:
        identifier = int(makers[0].data.value.reshape(-1)[0])
    elif tensor.is_constant:
        identifier = int(tensor.array().reshape(-1)[0])
    else:
        op.refuse("takes an id that no VAR_HANDLE beside it makes")
    known = identifier < len(program.resources) and program.resources[identifier].nbytes
    if not known:
        op.refuse("uses a resource variable that is assigned nowhere")
    return StatePlace(("resource", identifier)), known
