"""What the operators on resource variables share."""

from __future__ import annotations

import numpy as np

from refmicro.errors import UsageError
from refmicro.ops._spec import EvalContext


def resource_id(ctx: EvalContext) -> int:
    """The variable that input 0 names, the same for all rows of a batch.

    Raises:
        UsageError: the graph chose different variables for different rows.
    """
    identifiers = ctx.input(0).reshape(-1)
    if (identifiers != identifiers[0]).any():
        raise UsageError(
            "all rows of a batch must use one resource variable: "
            f"ids {np.unique(identifiers).tolist()}",
            hint="run the vectors one by one",
        )
    return int(identifiers[0])
