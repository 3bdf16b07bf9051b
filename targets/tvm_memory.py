"""Peak memory of a compiled Relax module, from its memory plan."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm import IRModule, ir, relax


def peak_ram_bytes(planned: IRModule, workspace_bytes: int) -> int:
    """Return the bytes of activations a run holds at its peak, weights excluded.

    The storages that TVM planned are all held throughout a run. To them come the
    largest workspace of any kernel (such as a padded copy of its input), the
    inputs and the outputs.

    Args:
        planned: After ``StaticPlanBlockMemory``.
        workspace_bytes: The largest of its kernels'.
    """
    main = planned["main"]
    storages = 0

    def add_storage(expression: Any) -> None:
        nonlocal storages
        if _calls(expression, "relax.memory.alloc_storage"):
            storages += math.prod(int(extent) for extent in expression.args[0].values)

    relax.analysis.post_order_visit(main, add_storage)
    inputs = sum(_type_bytes(parameter.ty) for parameter in main.params)
    return storages + workspace_bytes + inputs + _type_bytes(main.ret_ty)


def _calls(expression: Any, operator: str) -> bool:
    return (
        isinstance(expression, relax.Call)
        and isinstance(expression.op, ir.Op)
        and expression.op.name == operator
    )


def _type_bytes(kind: Any) -> int:
    if isinstance(kind, ir.TupleType | relax.TupleType):
        return sum(_type_bytes(field) for field in kind.fields)
    return math.prod(int(extent) for extent in kind.shape) * _itemsize(kind.dtype)


def _itemsize(dtype: Any) -> int:
    return np.dtype(str(dtype)).itemsize
