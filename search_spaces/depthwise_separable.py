"""A space of inverted residuals and depthwise-separable blocks, in stages."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from search_spaces._types import Architecture, Choice, Shape, Stage, Workload
from search_spaces.chain import ALWAYS, Derived, Link, chain_stages, constant, place
from search_spaces.choices import complete_choices, resolve_choices
from search_spaces.collapse import Collapse, collapsed
from search_spaces.graph_builder import GraphBuilder, classifier
from search_spaces.layout import conv_output_shape, round_channels

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

ACTIVATIONS = ("relu6", "hard_swish")
_STEM_KERNEL = 3
# the trunk shrinks the longest axis to no less than about this
_LEAST_AXIS = 4
_STAYS = constant(1)


class DepthwiseSeparableSpace:
    """A stem, stages of inverted residuals, global pooling and a linear classifier.

    Dimensions: ``stem_width``, ``width_multiplier``, ``stride_plan`` (strides of
    the stem and of each stage's first block, as in ``"1-1-2-2"``), and per stage
    ``s<i>_depth``, ``_width``, ``_kernel``, ``_expansion``, ``_se`` (squeeze and
    excitation) and ``_activation``. A stage of depth 0 is left out. Channels are
    width times multiplier, rounded to a multiple of 4.

    Args:
        input_shape: ``(C, H, W)``; ``(C, 1, T)`` gets one-dimensional convolutions.
        n_classes: Width of the classifier.
        choices: Replaces choice lists, by group (``kernel``) or dimension (``s1_kernel``).
        n_stages: Number of stages.

    Raises:
        ValueError: If a choice is unknown or impossible.
    """

    name = "depthwise_separable"

    def __init__(
        self,
        input_shape: Shape,
        n_classes: int,
        choices: Mapping[str, Sequence[Choice]] | None = None,
        n_stages: int = 3,
    ) -> None:
        if n_stages < 1:
            raise ValueError(f"n_stages must be at least 1. Got {n_stages}.")
        self.input_shape = input_shape
        self.n_classes = n_classes
        defaults = _default_choices(input_shape, n_stages)
        self.dimensions: Mapping[str, tuple[Choice, ...]] = resolve_choices(
            defaults, _groups(defaults), _checks(n_stages), choices or {}
        )
        if 0 in self.dimensions["s0_depth"]:
            raise ValueError("choices.s0_depth: the first stage cannot be left out. Got 0.")
        self.trunk_links = tuple(
            (*([_stem_link()] if stage == 0 else []), *self._block_links(stage))
            for stage in range(n_stages)
        )
        self.head_link = Link(ALWAYS, (), partial(classifier, n_classes=n_classes), is_head=True)
        self.links = (*chain.from_iterable(self.trunk_links), self.head_link)
        self.collapses = self._collapses()

    def canonicalize(self, choices: Mapping[str, Choice]) -> Architecture:
        """Collapse choices without effect on the network; see `SearchSpace`.

        Two forms of one network remain where neighbouring stages hold equal blocks and
        differ only in how many of them each one counts as its own.
        """
        canonical = collapsed(self.collapses, complete_choices(self.dimensions, choices))
        return Architecture(self.name, tuple(sorted(canonical.items())))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw every dimension uniformly; see `SearchSpace`."""
        return self.canonicalize(
            {name: values[rng.integers(len(values))] for name, values in self.dimensions.items()}
        )

    def stages(self, arch: Architecture) -> tuple[Stage, ...]:
        """Return the whole network as its one stage."""
        return chain_stages(self.links, self.input_shape, dict(arch.choices))

    def workloads(self, arch: Architecture) -> tuple[Workload, ...]:
        """Return all fused operators in execution order."""
        return self.stages(arch)[0].workloads

    def build(self, arch: Architecture) -> nn.Module:
        """Build the network; see `SearchSpace`."""
        from torch import nn

        from search_spaces.blocks import NetworkStage, StagedNetwork

        trunk = nn.Sequential(*self.build_trunk(arch))
        return StagedNetwork([NetworkStage(trunk, self.build_head(arch))])

    def build_trunk(self, arch: Architecture) -> list[nn.Module]:
        """See `StagedSpace`."""
        from torch import nn

        from search_spaces.blocks import ConvBnAct, InvertedResidual

        choices = dict(arch.choices)
        shape = self.input_shape
        modules: list[nn.Module] = []
        for links in self.trunk_links:
            layers: list[nn.Module] = []
            for at in place(links, shape, choices):
                module = ConvBnAct if at.link.workloads is _stem else InvertedResidual
                layers.append(module(at.input_shape, *at.arguments))
                shape = at.output_shape
            modules.append(nn.Sequential(*layers))
        return modules

    def build_head(self, arch: Architecture) -> nn.Module:
        """See `StagedSpace`."""
        from search_spaces.blocks import Classifier

        head = place(self.links, self.input_shape, dict(arch.choices))[-1]
        return Classifier(head.input_shape[0], self.n_classes)

    def _block_links(self, stage: int) -> list[Link]:
        """Return a link per block that the stage may have; the first one has its stride."""
        s = f"s{stage}"
        deepest = max(cast("tuple[int, ...]", self.dimensions[f"{s}_depth"]))
        channels, first = _channels(f"{s}_width"), _stride(stage + 1)
        rest = (f"{s}_expansion", f"{s}_se", f"{s}_activation")
        return [
            Link(
                Derived((f"{s}_depth",), partial(operator.lt, block)),
                (channels, f"{s}_kernel", first if block == 0 else _STAYS, *rest),
                _inverted_residual,
            )
            for block in range(deepest)
        ]

    def _collapses(self) -> tuple[Collapse, ...]:
        stages = range(len(self.trunk_links))
        present = tuple(Derived((f"s{i}_depth",), _is_present) for i in stages)
        widths = ("stem_width", *(f"s{i}_width" for i in stages))
        return (
            Collapse(("stride_plan", *present), self._first_plan),
            Collapse(("stride_plan", *present), self._without_effect),
            Collapse(("width_multiplier", *widths, *present), self._first_widths),
        )

    def _first_plan(self, plan: str, *present: bool) -> Mapping[str, Choice]:
        """Return the first stride plan that has the same effect."""
        effect = self._effective_strides(plan, present)
        plans = (str(other) for other in self.dimensions["stride_plan"])
        same = (other for other in plans if self._effective_strides(other, present) == effect)
        return {"stride_plan": next(same)}

    def _effective_strides(self, plan: str, present: Sequence[bool]) -> tuple[int, ...]:
        shape, effective = self.input_shape, []
        for stride, applied in zip(_strides(plan), (True, *present), strict=True):
            # on axes of length 1 a stride changes nothing
            effective.append(stride if applied and max(shape[1:]) > 1 else 1)
            shape = conv_output_shape(shape, shape[0], effective[-1])
        return tuple(effective)

    def _without_effect(self, plan: str, *present: bool) -> Mapping[str, Choice]:
        """Return the first choices of what a left-out stage or a single pixel makes irrelevant."""
        first_stride, *strides = _strides(plan)
        shape = conv_output_shape(self.input_shape, self.input_shape[0], first_stride)
        irrelevant = []
        for stage, (stride, is_present) in enumerate(zip(strides, present, strict=True)):
            if not is_present:
                parts = ("width", "kernel", "expansion", "se", "activation")
                irrelevant += [f"s{stage}_{part}" for part in parts]
                continue
            if max(shape[1:]) == 1:
                irrelevant.append(f"s{stage}_kernel")
            shape = conv_output_shape(shape, shape[0], stride)
        return {name: self.dimensions[name][0] for name in irrelevant}

    def _first_widths(self, multiplier: float, *rest: Any) -> Mapping[str, Choice]:
        """Return the first multiplier and widths that give the same channels everywhere."""
        n_stages = len(self.trunk_links)
        widths, present = rest[: n_stages + 1], (True, *rest[n_stages + 1 :])
        names = ("stem_width", *(f"s{i}_width" for i in range(n_stages)))
        channels = {
            name: round_channels(width * multiplier)
            for name, width, is_present in zip(names, widths, present, strict=True)
            if is_present
        }
        candidates = cast("tuple[float, ...]", self.dimensions["width_multiplier"])
        found = (
            {n: self._first_width(n, candidate, wanted) for n, wanted in channels.items()}
            | {"width_multiplier": candidate}
            for candidate in candidates
        )
        # the multiplier itself is one
        return next(cast("dict[str, Choice]", same) for same in found if None not in same.values())

    def _first_width(self, name: str, multiplier: float, channels: int) -> int | None:
        widths = cast("tuple[int, ...]", self.dimensions[name])
        return next((w for w in widths if round_channels(w * multiplier) == channels), None)


def _is_present(depth: int) -> bool:
    return depth > 0


def _stem_link() -> Link:
    arguments = (_channels("stem_width"), constant(_STEM_KERNEL), _stride(0), "s0_activation")
    return Link(ALWAYS, arguments, _stem)


def _channels(width: str) -> Derived:
    """Return the source of the channels of a dimension of widths."""
    return Derived(
        (width, "width_multiplier"), lambda w, multiplier: round_channels(w * multiplier)
    )


def _stride(position: int) -> Derived:
    """Return the source of one stride of the plan."""
    return Derived(("stride_plan",), lambda plan: _strides(plan)[position])


def _stem(shape: Shape, *arguments: Any) -> tuple[Workload, ...]:
    builder = GraphBuilder(shape)
    builder.conv(*arguments)
    return tuple(builder.workloads)


def _inverted_residual(shape: Shape, *arguments: Any) -> tuple[Workload, ...]:
    builder = GraphBuilder(shape)
    builder.inverted_residual(*arguments)
    return tuple(builder.workloads)


def _strides(plan: str) -> tuple[int, ...]:
    return tuple(int(stride) for stride in plan.split("-"))


def _default_choices(input_shape: Shape, n_stages: int) -> dict[str, tuple[Choice, ...]]:
    dimensions: dict[str, tuple[Choice, ...]] = {
        "stem_width": (8, 16),
        "width_multiplier": (0.5, 0.75, 1.0),
        "stride_plan": _default_stride_plans(max(input_shape[1:]), n_stages),
    }
    for i in range(n_stages):
        dimensions |= {
            f"s{i}_depth": (1, 2, 3),
            f"s{i}_width": (8 * (i + 1), 12 * (i + 1), 16 * (i + 1)),
            f"s{i}_kernel": (3, 5, 7),
            f"s{i}_expansion": (1, 2, 3, 4, 6),
            f"s{i}_se": (0, 1),
            f"s{i}_activation": ACTIVATIONS,
        }
    return dimensions


def _default_stride_plans(longest_axis: int, n_stages: int) -> tuple[str, ...]:
    """Return plans that halve as often as the input allows, or once less; early or late."""
    positions = n_stages + 1
    halvings = min(positions, max(0, (longest_axis // _LEAST_AXIS).bit_length() - 1))
    plans = []
    for count in sorted({halvings, max(0, halvings - 1)}, reverse=True):
        for strides in (
            [1] * (positions - count) + [2] * count,
            [2] * count + [1] * (positions - count),
        ):
            plans.append("-".join(map(str, strides)))
    return tuple(dict.fromkeys(plans))


def _groups(dimensions: Mapping[str, object]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in dimensions:
        stage, _, part = name.partition("_")
        per_stage = stage[0] == "s" and stage[1:].isdigit()
        groups.setdefault(part if per_stage else name, []).append(name)
    return groups


def _checks(n_stages: int) -> dict[str, Any]:
    def whole(least: int) -> Any:
        return lambda v: isinstance(v, int) and v >= least

    def is_plan(value: Choice) -> bool:
        return (
            isinstance(value, str)
            and len(parts := value.split("-")) == n_stages + 1
            and all(part in ("1", "2") for part in parts)
        )

    width = ("a whole number of channels, at least 1", whole(1))
    return {
        "stem_width": width,
        "width": width,
        "width_multiplier": (
            "a number above 0, at most 4",
            lambda v: isinstance(v, int | float) and 0 < v <= 4,
        ),
        "stride_plan": (
            f"{n_stages + 1} strides of 1 or 2 (stem, then stages), such as "
            f"{'-'.join(['1', *['2'] * n_stages])!r}",
            is_plan,
        ),
        "depth": ("a whole number, at least 0", whole(0)),
        "kernel": (
            "an odd whole number, at least 1",
            lambda v: isinstance(v, int) and v >= 1 and v % 2 == 1,
        ),
        "expansion": ("a whole number, at least 1", whole(1)),
        "se": ("0 or 1", lambda v: v in (0, 1)),
        "activation": (f"one of {', '.join(ACTIVATIONS)}", lambda v: v in ACTIVATIONS),
    }
