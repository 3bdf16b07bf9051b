"""The nouns of a search space: architecture, workload, stage, and the space itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from search_spaces.chain import Link
    from search_spaces.collapse import Collapse

Choice: TypeAlias = int | float | str
"""One value of one dimension of a search space."""

Shape: TypeAlias = tuple[int, ...]
"""A tensor shape without the batch axis: ``(C, H, W)`` or ``(features,)``."""


@dataclass(frozen=True)
class Architecture:
    """A canonical point of a search space: hashable, without weights.

    Args:
        space: Registered name of the space it belongs to.
        choices: ``(dimension, value)`` pairs, sorted by dimension, with every
            inactive choice collapsed (see `SearchSpace.canonicalize`).
    """

    space: str
    choices: tuple[tuple[str, Choice], ...]

    @cached_property
    def arch_id(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def __getitem__(self, dimension: str) -> Choice:
        return dict(self.choices)[dimension]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready ``{"space": ..., "choices": {...}}``."""
        return {"space": self.space, "choices": dict(self.choices)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Architecture:
        """Rebuild an architecture from `to_dict`."""
        return cls(str(data["space"]), tuple(sorted(data["choices"].items())))


@dataclass(frozen=True)
class Workload:
    """One fused operator with its shapes, attributes and data type.

    An activation belongs to the operator before it, as compilers fuse it there.
    All shapes are without the batch axis, batch is 1.

    Args:
        op: ``conv2d``, ``depthwise_conv2d``, ``linear``, ``global_avg_pool``,
            ``add`` (residual), ``scale`` (channel-wise product) or ``copy`` (a skip that a
            runtime executes).
        input_shape: Shape of the first input.
        output_shape: Shape of the output.
        kernel: Kernel height and width; ``(1, 1)`` where there is none.
        stride: Stride height and width.
        activation: ``none``, ``relu``, ``relu6``, ``hard_swish`` or ``hard_sigmoid``.
        dtype: Data type of weights and activations.
    """

    op: str
    input_shape: Shape
    output_shape: Shape
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    activation: str = "none"
    dtype: str = "float32"


@dataclass(frozen=True)
class Stage:
    """One deployable part of a network: the trunk up to an exit, and that exit's head.

    A network without early exits has exactly one stage.

    Args:
        input_shape: What the stage reads, ``(C, H, W)``.
        output_shape: The features handed to the next stage; ``None`` for the last.
        workloads: Fused operators in execution order, trunk first, then head.
    """

    input_shape: Shape
    output_shape: Shape | None
    workloads: tuple[Workload, ...]


@runtime_checkable
class SearchSpace(Protocol):
    """What can be built. Knows no device and no optimizer."""

    @property
    def name(self) -> str:
        """Registered name."""
        ...

    @property
    def input_shape(self) -> Shape:
        """``(C, H, W)`` of one sample; ``(C, 1, T)`` for sensor windows."""
        ...

    @property
    def n_classes(self) -> int:
        """Width of the classifier."""
        ...

    @property
    def dimensions(self) -> Mapping[str, tuple[Choice, ...]]:
        """Every dimension with its ordered choices, active or not, in a fixed order."""
        ...

    def canonicalize(self, choices: Mapping[str, Choice]) -> Architecture:
        """Collapse inactive choices to the first value of their dimension.

        Raises:
            ValueError: For a missing or unknown dimension or a value outside it.
        """
        ...

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw every dimension uniformly, then canonicalize."""
        ...

    def stages(self, arch: Architecture) -> tuple[Stage, ...]:
        """The network cut at its exits, in execution order; analytic and fast."""
        ...

    def workloads(self, arch: Architecture) -> tuple[Workload, ...]:
        """All fused operators of the network: those of its stages, concatenated."""
        ...

    def build(self, arch: Architecture) -> nn.Module:
        """Build the `StagedNetwork` of an architecture, with torch's default weights."""
        ...


@runtime_checkable
class CollapsingSpace(SearchSpace, Protocol):
    """A space that says what its inactive choices depend on, so that arrays are made canonical."""

    @property
    def collapses(self) -> tuple[Collapse, ...]:
        """What makes choices canonical, in order, as `canonicalize` does."""
        ...


@runtime_checkable
class ChainedSpace(SearchSpace, Protocol):
    """A space that says what its operators depend on, so that arrays of architectures are fast."""

    @property
    def links(self) -> tuple[Link, ...]:
        """What every network is a chain of, so that `chain_stages` gives its `stages`."""
        ...


@runtime_checkable
class StagedSpace(ChainedSpace, Protocol):
    """A space whose networks are a trunk of stages and one head; exits can be added."""

    @property
    def trunk_links(self) -> tuple[tuple[Link, ...], ...]:
        """The links of every trunk stage, in execution order; none of them is a head."""
        ...

    @property
    def head_link(self) -> Link:
        """The final head, always present."""
        ...

    def build_trunk(self, arch: Architecture) -> list[nn.Module]:
        """Build one module per trunk stage; an identity where none of its links is present."""
        ...

    def build_head(self, arch: Architecture) -> nn.Module:
        """Build the final head: features to logits."""
        ...
