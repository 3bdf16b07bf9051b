"""Energies of front members, where the target has power meters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from hwnas.measuring import told
from hwnas.search_context import SearchContext
from latency_predictors import MeasuredArchitecture
from search_spaces.onnx_export import stage_models
from targets import Artifact, EnergyMeasurement, Failure

if TYPE_CHECKING:
    from torch import nn

Measured = tuple[str, MeasuredArchitecture]


def with_energies(
    context: SearchContext, measured: Iterator[Measured], network: Callable[[str], nn.Module]
) -> Iterator[Measured]:
    """Add to measured members what the target's power meters say of them.

    All members of a batch are measured together, so that their trials come in random
    order. Where a member's energy cannot be measured the reason is told, and its energy
    stays modelled. Without meters every member passes as soon as it comes.

    Args:
        context: The running search.
        measured: Members and their measurements, by architecture.
        network: Returns the trained network of an architecture.
    """
    if not context.target.spec.meters:
        yield from measured
        return
    batch = dict(measured)
    artifacts = {arch_id: _artifacts(context, network(arch_id)) for arch_id in batch}
    wanted = [artifact for stages in artifacts.values() for artifact in stages]
    # a search that goes on need not repeat what took minutes each
    config = context.config.energy_measurement.for_target(context.config.seed)
    context.progress.phase("Measuring energies", config.trials * len(wanted))
    found = context.target.measure_energy(
        wanted, config, observer=lambda _, trial: context.progress.advance(told(trial))
    )
    energies = dict(zip([a.sha256 for a in wanted], found, strict=True))
    for arch_id, member in batch.items():
        stages = [energies[artifact.sha256] for artifact in artifacts[arch_id]]
        for reason in dict.fromkeys(s.message for s in stages if isinstance(s, Failure)):
            context.progress.message(f"{arch_id}: energy not measured: {reason}")
        yield arch_id, _joined(member, stages)


def _artifacts(context: SearchContext, network: nn.Module) -> list[Artifact]:
    """Return a network's compiled stages from the target's cache; none where one fails."""
    models = stage_models(network, context.space.input_shape)
    compiled = [context.target.compile(model) for model in models]
    artifacts = [artifact for artifact in compiled if isinstance(artifact, Artifact)]
    return artifacts if len(artifacts) == len(compiled) else []


def _joined(
    member: MeasuredArchitecture, stages: list[EnergyMeasurement | Failure]
) -> MeasuredArchitecture:
    if len(stages) != len(member.measurements):
        return member
    measurements = tuple(
        measurement if isinstance(energy, Failure) else replace(measurement, energy=energy)
        for measurement, energy in zip(member.measurements, stages, strict=True)
    )
    return replace(member, measurements=measurements)
