"""Adds early exits to any staged space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from search_spaces._registry import create
from search_spaces._types import Architecture, Choice, Shape, Stage, StagedSpace, Workload
from search_spaces.choices import complete_choices, resolve_choices
from search_spaces.graph_builder import GraphBuilder

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
        positions = range(wrapped.n_trunk_stages - 1)
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

    def canonicalize(self, choices: Mapping[str, Choice]) -> Architecture:
        """Collapse the base's inactive choices and exits that cannot be; see `SearchSpace`."""
        choices = complete_choices(self.dimensions, choices)
        base = self.base.canonicalize({name: choices[name] for name in self.base.dimensions})
        canonical = dict(base.choices)
        possible = self._possible_exits(base)
        for i in range(self.base.n_trunk_stages - 1):
            after, width = f"exit_after_s{i}", f"exit_width_s{i}"
            active = i in possible and choices[after] == 1
            # an exit where nothing was computed since the one before is none
            canonical[after] = 1 if active else self._without_exit(after)
            canonical[width] = choices[width] if active else self.dimensions[width][0]
        return Architecture(self.name, tuple(sorted(canonical.items())))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw every dimension uniformly; see `SearchSpace`."""
        return self.canonicalize(
            {name: values[rng.integers(len(values))] for name, values in self.dimensions.items()}
        )

    def stages(self, arch: Architecture) -> tuple[Stage, ...]:
        """Cut the network at its exits; see `SearchSpace`."""
        base = self._base_architecture(arch)
        exits, stages = self._exits(arch, base), []
        shape = self.input_shape
        workloads: list[Workload] = []
        for i, trunk in enumerate(self.base.trunk(base)):
            workloads += trunk.workloads
            if i in exits:
                head = self._exit_head(trunk.output_shape, exits[i])
                stages.append(Stage(shape, trunk.output_shape, (*workloads, *head)))
                shape, workloads = trunk.output_shape, []
        return (*stages, Stage(shape, None, (*workloads, *self.base.head(base))))

    def workloads(self, arch: Architecture) -> tuple[Workload, ...]:
        """Return the fused operators of all stages."""
        return tuple(workload for stage in self.stages(arch) for workload in stage.workloads)

    def build(self, arch: Architecture) -> nn.Module:
        """Build the network; see `SearchSpace`."""
        from torch import nn

        from search_spaces.blocks import NetworkStage, StagedNetwork

        base = self._base_architecture(arch)
        exits, stages = self._exits(arch, base), []
        shapes = [stage.output_shape for stage in self.base.trunk(base)]
        parts: list[nn.Module] = []
        for i, part in enumerate(self.base.build_trunk(base)):
            parts.append(part)
            if i in exits:
                head = self._build_exit_head(shapes[i], exits[i])
                stages.append(NetworkStage(nn.Sequential(*parts), head))
                parts = []
        stages.append(NetworkStage(nn.Sequential(*parts), self.base.build_head(base)))
        return StagedNetwork(stages)

    def _base_architecture(self, arch: Architecture) -> Architecture:
        kept = tuple(item for item in arch.choices if item[0] in self.base.dimensions)
        return Architecture(self.base.name, kept)

    def _exits(self, arch: Architecture, base: Architecture) -> dict[int, int]:
        """Return the head width of each exit, by trunk stage."""
        choices = dict(arch.choices)
        return {
            i: cast(int, choices[f"exit_width_s{i}"])
            for i in self._possible_exits(base)
            if choices[f"exit_after_s{i}"] == 1
        }

    def _possible_exits(self, base: Architecture) -> list[int]:
        """Return the trunk stages that compute something and are not the last to do so."""
        computing = [i for i, stage in enumerate(self.base.trunk(base)) if stage.workloads]
        return computing[:-1]

    def _without_exit(self, dimension: str) -> Choice:
        values = self.dimensions[dimension]
        return 0 if 0 in values else values[0]

    def _exit_head(self, shape: Shape, width: int) -> tuple[Workload, ...]:
        builder = GraphBuilder(shape)
        if width:
            builder.conv(width, 1, 1, _HEAD_ACTIVATION)
        builder.global_avg_pool()
        builder.linear(self.n_classes)
        return tuple(builder.workloads)

    def _build_exit_head(self, shape: Shape, width: int) -> nn.Module:
        from torch import nn

        from search_spaces.blocks import Classifier, ConvBnAct

        if not width:
            return Classifier(shape[0], self.n_classes)
        conv = ConvBnAct(shape, width, 1, 1, _HEAD_ACTIVATION)
        return nn.Sequential(conv, Classifier(width, self.n_classes))
