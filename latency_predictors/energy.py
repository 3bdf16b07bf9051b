"""Energies with ranges: modelled where no power meter is attached, or learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search_spaces import total_bytes_moved, total_macs

if TYPE_CHECKING:
    from latency_predictors._types import Graph, Prediction, Predictions
    from targets import EnergyModel, Provenance


@dataclass(frozen=True)
class EnergyRange:
    """An energy with the range that it plausibly lies in; no confidence interval.

    Args:
        energy_j: Gross energy of one inference (boundary ``inference_gross``).
        low_j: Lower end of the range.
        high_j: Upper end.
    """

    energy_j: float
    low_j: float
    high_j: float


def modelled_energy(latency_s: float, graph: Graph, model: EnergyModel) -> EnergyRange:
    """Model the gross energy of one inference.

    ``E = P_static * t + MACs * e_mac + bytes * e_byte``: power drawn whatever
    the core does, plus the switching energy of arithmetic and of data moved. Arithmetic in int8
    counts by an energy of its own, see `EnergyModel`; the energy of moving data is of its bytes.

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
        + _arithmetic_j(graph, model)
        + model.energy_per_byte_j * total_bytes_moved(graph)
    )
    return EnergyRange(
        energy_j,
        energy_j * (1 - model.relative_uncertainty),
        energy_j * (1 + model.relative_uncertainty),
    )


def _arithmetic_j(graph: Graph, model: EnergyModel) -> float:
    int8_macs = total_macs(workload for workload in graph if workload.dtype == "int8")
    per_int8_mac_j = model.energy_per_int8_mac_j
    if per_int8_mac_j is None:
        per_int8_mac_j = model.energy_per_mac_j
    float_macs = total_macs(graph) - int8_macs
    return model.energy_per_mac_j * float_macs + per_int8_mac_j * int8_macs


def learned_energy(
    prediction: Prediction, provenance: Provenance, model: EnergyModel
) -> EnergyRange:
    """Return a learned energy with its range.

    Args:
        prediction: Of the gross energy.
        provenance: Of the energies that were learned. A predictor of modelled energies
            knows them no better than the model does: its uncertainty is added.
        model: Of the target.
    """
    blur = _blur(provenance, model)
    return EnergyRange(prediction.mean, prediction.low * (1 - blur), prediction.high * (1 + blur))


def learned_energies(
    predictions: Predictions, provenance: Provenance, model: EnergyModel
) -> Predictions:
    """Return learned energies with their ranges: see `learned_energy`."""
    blur = _blur(provenance, model)
    low, high = predictions.low * (1 - blur), predictions.high * (1 + blur)
    return replace(predictions, low=low, high=high)


def _blur(provenance: Provenance, model: EnergyModel) -> float:
    return model.relative_uncertainty if provenance == "modelled" else 0.0
