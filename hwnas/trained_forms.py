"""Networks of one front member, as trained with several seeds, and what runs of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hwnas.candidate_training import load_network
from hwnas.form_judging import SeedLogits
from hwnas.front import Candidate
from hwnas.retraining import finalist_outcomes
from hwnas.search_context import SearchContext
from hwnas.variants import NetworkForm, Precision, Training

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from search_spaces.blocks import StagedNetwork

Models = tuple["onnx.ModelProto", ...]


@dataclass(frozen=True)
class TrainedNetworks:
    """Networks that differ in their training seed alone.

    Args:
        arch_id: Architecture they come from.
        training: How their weights came about.
        checkpoint: File name of the weights of the first one, which is deployed.
        networks: One per seed.
        has_exits: Whether the architecture's early exits are part of them.
        selected: Whether the architecture was chosen by how these very networks did on the
            validation split, which makes that optimistic.
    """

    arch_id: str
    training: Training
    checkpoint: str
    networks: tuple[nn.Module, ...]
    has_exits: bool = True
    selected: bool = False

    def form(
        self, precision: Precision, n_stages: int, float_operators: Sequence[str] = ()
    ) -> NetworkForm:
        """Return what describes them in a precision."""
        form = NetworkForm(
            self.arch_id,
            self.training,
            precision,
            self.checkpoint,
            (),
            tuple(float_operators),
            self.has_exits,
        )
        names = [f"{form.network_id}-stage_{k}.onnx" for k in range(n_stages)]
        return replace(form, models=tuple(names))

    def static(self) -> TrainedNetworks:
        """Return them without their early exits."""
        from search_spaces.blocks import without_exits

        networks = [without_exits(cast("StagedNetwork", n)) for n in self.networks]
        return replace(self, networks=tuple(networks), has_exits=False)


def searched_networks(context: SearchContext, member: Candidate) -> TrainedNetworks:
    """Return a member's networks as they were trained as a finalist, or in the search alone."""
    run, arch_id = context.run, member.architecture.arch_id
    deployed = member.deployment
    # a name only: a front.json from elsewhere must not reach out of the run
    checkpoint = Path(deployed.checkpoint).name
    paths = {deployed.seed: run.checkpoints / checkpoint}
    retrained = finalist_outcomes(context, arch_id)
    for seed in retrained:
        paths.setdefault(seed, run.checkpoint(arch_id, seed))
    return replace(load_networks(context, member, "plain", paths), selected=not retrained)


def load_networks(
    context: SearchContext, member: Candidate, training: Training, paths: Mapping[int, Path]
) -> TrainedNetworks:
    """Return networks of a member's architecture from their weights, by training seed."""
    networks = [load_network(context.space, member.architecture, p) for p in paths.values()]
    first = next(iter(paths.values())).name
    return TrainedNetworks(member.architecture.arch_id, training, first, tuple(networks))


def stage_graphs(context: SearchContext, network: nn.Module) -> Models:
    """Return the float32 ONNX graphs of a network's stages."""
    from search_spaces.onnx_export import stage_models

    return stage_models(network, context.space.input_shape)


def torch_answers(context: SearchContext, trained: TrainedNetworks) -> tuple[SeedLogits, ...]:
    """Return what float32 networks answer on the validation and test splits."""
    from hwnas.training import predict_logits

    validation, test = context.dataset.validation.x, context.dataset.test.x
    return tuple(
        SeedLogits(predict_logits(n, validation), predict_logits(n, test)) for n in trained.networks
    )
