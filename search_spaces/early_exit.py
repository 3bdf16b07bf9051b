"""Adds early exits to any staged space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from search_spaces._registry import create
from search_spaces._types import (
    Architecture,
    Choice,
    CollapsingSpace,
    Shape,
    Stage,
    StagedSpace,
    Workload,
)
from search_spaces.chain import Derived, Link, PlacedLink, chain_stages, place
from search_spaces.choices import complete_choices, resolve_choices
from search_spaces.collapse import Collapse, collapsed
from search_spaces.graph_builder import GraphBuilder, classifier

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

_PREFIX = "exit_"
_HEAD_ACTIVATION = "relu6"


class EarlyExitSpace:
    """A staged space whose networks may answer after any stage but the last.

    Dimensions: those of the base space, and per stage but the last
    ``exit_after_s<i>`` (0 or 1) and ``exit_width_s<i>``: channels of a 1x1
    convolution in the exit's head, 0 for pooling and a linear layer alone.

    Args:
        input_shape: ``(C, H, W)``.
        n_classes: Width of every classifier.
        base: Registered name of the staged space to wrap.
        choices: Replaces choice lists; ``exit_after`` and ``exit_width`` are its
            own groups, the others are the base's.
        **base_settings: Further settings of the base space.

    Raises:
        ValueError: If a choice is unknown or impossible, or the base has no stages.
    """

    name = "early_exit"

    def __init__(
        self,
        input_shape: Shape,
        n_classes: int,
        base: str = "depthwise_separable",
        choices: Mapping[str, Sequence[Choice]] | None = None,
        **base_settings: Any,
    ) -> None:
        own = {k: v for k, v in (choices or {}).items() if k.startswith(_PREFIX)}
        rest = {k: v for k, v in (choices or {}).items() if not k.startswith(_PREFIX)}
        wrapped = create(
            base, input_shape=input_shape, n_classes=n_classes, choices=rest, **base_settings
        )
        if not isinstance(wrapped, StagedSpace):
            raise ValueError(f"base: wanted a space with stages. Got {base!r}.")
        self.base: StagedSpace = wrapped
        self.input_shape = input_shape
        self.n_classes = n_classes
        positions = range(len(wrapped.trunk_links) - 1)
        exits: dict[str, tuple[Choice, ...]] = {}
        for i in positions:
            exits |= {f"exit_after_s{i}": (0, 1), f"exit_width_s{i}": (0, 16, 32)}
        groups = {
            group: [f"{group}_s{i}" for i in positions] for group in ("exit_after", "exit_width")
        }
        checks: dict[str, Any] = {
            "exit_after": ("0 or 1", lambda v: v in (0, 1)),
            "exit_width": (
                "a whole number of channels, 0 for none",
                lambda v: isinstance(v, int) and v >= 0,
            ),
        }
        own_dimensions = resolve_choices(exits, groups, checks, own)
        self.dimensions: Mapping[str, tuple[Choice, ...]] = {
            **wrapped.dimensions,
            **own_dimensions,
        }
        possible = enumerate(_possible_exits(wrapped.trunk_links))
        self._exits = tuple(_exit_link(stage, can, n_classes) for stage, can in possible)
        self._exit_collapses = tuple(
            Collapse((link.present,), partial(self._inactive_exit, stage))
            for stage, link in enumerate(self._exits)
        )
        if isinstance(wrapped, CollapsingSpace):
            self.collapses = (*wrapped.collapses, *self._exit_collapses)
        *trunk, last = wrapped.trunk_links
        ending = chain.from_iterable(
            (*links, e) for links, e in zip(trunk, self._exits, strict=True)
        )
        self.links = (*ending, *last, wrapped.head_link)

    def canonicalize(self, choices: Mapping[str, Choice]) -> Architecture:
        """Collapse the base's inactive choices and exits that cannot be; see `SearchSpace`."""
        choices = complete_choices(self.dimensions, choices)
        base = self.base.canonicalize({name: choices[name] for name in self.base.dimensions})
        canonical = collapsed(self._exit_collapses, {**choices, **dict(base.choices)})
        return Architecture(self.name, tuple(sorted(canonical.items())))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw every dimension uniformly; see `SearchSpace`."""
        return self.canonicalize(
            {name: values[rng.integers(len(values))] for name, values in self.dimensions.items()}
        )

    def stages(self, arch: Architecture) -> tuple[Stage, ...]:
        """Cut the network at its exits; see `SearchSpace`."""
        return chain_stages(self.links, self.input_shape, dict(arch.choices))

    def workloads(self, arch: Architecture) -> tuple[Workload, ...]:
        """Return the fused operators of all stages."""
        return tuple(workload for stage in self.stages(arch) for workload in stage.workloads)

    def build(self, arch: Architecture) -> nn.Module:
        """Build the network; see `SearchSpace`."""
        from torch import nn

        from search_spaces.blocks import NetworkStage, StagedNetwork

        base = self._base_architecture(arch)
        placed = place(self.links, self.input_shape, dict(arch.choices))
        exits = {at.link: at for at in placed}
        stages, parts = [], []
        for part, exit_link in zip_longest(self.base.build_trunk(base), self._exits):
            parts.append(part)
            if exit_link in exits:
                head = self._build_exit_head(exits[exit_link])
                stages.append(NetworkStage(nn.Sequential(*parts), head))
                parts = []
        stages.append(NetworkStage(nn.Sequential(*parts), self.base.build_head(base)))
        return StagedNetwork(stages)

    def _base_architecture(self, arch: Architecture) -> Architecture:
        kept = tuple(item for item in arch.choices if item[0] in self.base.dimensions)
        return Architecture(self.base.name, kept)

    def _inactive_exit(self, stage: int, is_active: bool) -> Mapping[str, Choice]:
        """Return the choices of an exit that is none: nothing was computed since the last one."""
        if is_active:
            return {}
        after, width = f"exit_after_s{stage}", f"exit_width_s{stage}"
        values = self.dimensions[after]
        return {after: 0 if 0 in values else values[0], width: self.dimensions[width][0]}

    def _build_exit_head(self, at: PlacedLink) -> nn.Module:
        from torch import nn

        from search_spaces.blocks import Classifier, ConvBnAct

        (width,) = at.arguments
        if not width:
            return Classifier(at.input_shape[0], self.n_classes)
        conv = ConvBnAct(at.input_shape, width, 1, 1, _HEAD_ACTIVATION)
        return nn.Sequential(conv, Classifier(width, self.n_classes))


def _exit_link(stage: int, possible: Derived, n_classes: int) -> Link:
    wanted = f"exit_after_s{stage}"
    return Link(
        Derived((wanted, possible), lambda after, can: after == 1 and can),
        (f"exit_width_s{stage}",),
        partial(_exit_head, n_classes=n_classes),
        is_head=True,
    )


def _exit_head(shape: Shape, width: int, n_classes: int) -> tuple[Workload, ...]:
    builder = GraphBuilder(shape)
    if width:
        builder.conv(width, 1, 1, _HEAD_ACTIVATION)
    return (*builder.workloads, *classifier(builder.shape, n_classes))


def _possible_exits(trunk_links: Sequence[Sequence[Link]]) -> list[Derived]:
    """Tell of each trunk stage but the last whether it computes and is not the last to do so."""
    computes = [Derived(tuple(link.present for link in links), _any) for links in trunk_links]
    possible, later = [], computes[-1]
    for own in reversed(computes[:-1]):
        possible.append(Derived((own, later), lambda this, after: this and after))
        later = Derived((own, later), _any)
    return possible[::-1]


def _any(*values: bool) -> bool:
    return any(values)
