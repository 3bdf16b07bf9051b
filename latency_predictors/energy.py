"""Energy of an inference where no power meter is attached: modelled, never measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces import total_bytes_moved, total_macs

if TYPE_CHECKING:
    from latency_predictors._types import Graph
    from targets import EnergyModel


@dataclass(frozen=True)
class ModelledEnergy:
    """A modelled energy with a range instead of a confidence interval.

    Args:
        energy_j: Gross energy of one inference (boundary ``inference_gross``).
        low_j: Lower end of the plausible range.
        high_j: Upper end.
    """

    energy_j: float
    low_j: float
    high_j: float


def modelled_energy(latency_s: float, graph: Graph, model: EnergyModel) -> ModelledEnergy:
    """Model the gross energy of one inference.

    ``E = P_static * t + MACs * e_mac + bytes * e_byte``: power drawn whatever
    the core does, plus the switching energy of arithmetic and of data moved.

    Args:
        latency_s: Time of the inference, seconds.
        graph: Its operators.
        model: Parameters of the target, from its YAML.

    Returns:
        The energy in joules; its range is ``+- relative_uncertainty``.

    References:
        Horowitz (2014), Computing's energy problem, ISSCC, Fig. 1.1.9.
        doi:10.1109/ISSCC.2014.6757323
    """
    energy_j = (
        model.static_power_w * latency_s
        + model.energy_per_mac_j * total_macs(graph)
        + model.energy_per_byte_j * total_bytes_moved(graph)
    )
    return ModelledEnergy(
        energy_j,
        energy_j * (1 - model.relative_uncertainty),
        energy_j * (1 + model.relative_uncertainty),
    )
