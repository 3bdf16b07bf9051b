"""Kernels called one by one on a device, with random data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from tvm import ir, relax

if TYPE_CHECKING:
    import tvm
    from numpy.typing import NDArray
    from tvm import tirx

Array: TypeAlias = "NDArray[np.float32]"

_SEED = 0


class KernelSession(Protocol):
    """A device with a library of kernels; see `targets.rpc_client.RpcSession`."""

    def load(self, library: bytes) -> None:
        """Load a shared library."""
        ...

    def call_kernel(
        self, name: str, inputs: Sequence[Array], output_shape: tuple[int, ...]
    ) -> Array:
        """Call a kernel and return its output."""
        ...

    def time_kernel(
        self,
        name: str,
        inputs: Sequence[Array],
        output_shape: tuple[int, ...],
        number: int,
        repeat: int,
    ) -> tuple[float, ...]:
        """Return seconds per call, averaged over ``number`` calls, ``repeat`` times."""
        ...


OpenSession: TypeAlias = Callable[[], AbstractContextManager[KernelSession]]


@dataclass(frozen=True)
class KernelArguments:
    """Random arguments of a kernel."""

    inputs: tuple[Array, ...]
    output_shape: tuple[int, ...]

    @classmethod
    def of(cls, function: tirx.PrimFunc) -> KernelArguments:
        """Draw arguments; equal kernels get equal ones."""
        rng = np.random.default_rng(_SEED)
        shapes = [tuple(int(extent) for extent in p.shape) for p in function.params]
        inputs = tuple(rng.standard_normal(shape, dtype=np.float32) for shape in shapes[:-1])
        return cls(inputs, shapes[-1])


def called_kernels(module: tvm.IRModule) -> tuple[str, ...]:
    """Return the names of the kernels that a fused network calls, in execution order."""
    names: list[str] = []

    def visit(expression: object) -> None:
        if (
            isinstance(expression, relax.Call)
            and isinstance(expression.op, ir.Op)
            and expression.op.name == "relax.call_tir"
        ):
            names.append(expression.args[0].name_hint)

    relax.analysis.post_order_visit(module["main"], visit)
    return tuple(names)


def time_kernel(
    session: KernelSession, name: str, arguments: KernelArguments, sample_s: float, repeat: int
) -> tuple[float, ...]:
    """Return seconds per call of a kernel, its data in the cache as far as they fit.

    Args:
        session: With the kernel loaded.
        name: Of the kernel.
        arguments: What to call it with.
        sample_s: How long the calls of one sample take together.
        repeat: Number of samples.
    """
    inputs, output_shape = arguments.inputs, arguments.output_shape
    once_s = session.time_kernel(name, inputs, output_shape, 1, 2)[-1]
    number = max(1, round(sample_s / max(once_s, 1e-8)))
    return session.time_kernel(name, inputs, output_shape, number, repeat)
