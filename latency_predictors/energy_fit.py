"""The energy model of a board without a meter, fitted on a board of its type that has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from search_spaces import total_bytes_moved, total_macs

if TYPE_CHECKING:
    from latency_predictors.measured_architecture import MeasuredArchitecture
    from targets import EnergyModel

_FOLDS = 5
_COVERED = 0.95


def fit_energy_model(measured: Sequence[MeasuredArchitecture]) -> EnergyModel:
    """Fit what an energy model states to the energies that meters measured.

    ``E = P t + MACs e_mac + bytes e_byte``, none of the three negative, by least squares on
    the relative error. Its uncertainty is the 95 % quantile of the relative error on
    architectures left out of the fit (5 folds).

    Args:
        measured: Architectures, with an energy for every stage.

    Returns:
        The model, for the files of other boards of this type. What it gives there is
        ``modelled``, as boards differ, too.

    Raises:
        ValueError: For fewer than 5 architectures, or stages without an energy.
    """
    from targets import EnergyModel

    energies = [m.energy for item in measured for m in item.measurements]
    joules = np.array([e.gross_j.value for e in energies if e is not None])
    if len(measured) < _FOLDS or len(joules) != len(energies):
        raise ValueError(
            f"wanted measured energies of every stage of at least {_FOLDS} architectures, "
            f"got {len(joules)} of {len(energies)} stages of {len(measured)}"
        )
    features = np.array([_features(item, i) for item in measured for i in range(len(item.graphs))])
    fold = np.array([n % _FOLDS for n, item in enumerate(measured) for _ in item.graphs])
    errors = np.empty(len(joules))
    for number in range(_FOLDS):
        out = fold == number
        errors[out] = features[out] @ _fit(features[~out], joules[~out]) / joules[out] - 1
    power_w, per_mac_j, per_byte_j = (float(value) for value in _fit(features, joules))
    first = energies[0]
    uncertainty = float(np.quantile(np.abs(errors), _COVERED))
    return EnergyModel(
        static_power_w=power_w,
        energy_per_mac_j=per_mac_j,
        energy_per_byte_j=per_byte_j,
        relative_uncertainty=min(uncertainty, 0.99),
        source=f"fitted to {len(measured)} architectures measured on "
        f"{first.target if first else ''} ({first.scope if first else ''}), "
        f"{(first.measured_at if first else '')[:10]}",
    )


def _features(item: MeasuredArchitecture, stage: int) -> tuple[float, float, float]:
    graph = item.graphs[stage]
    latency_s = item.measurements[stage].latency_median_s
    return latency_s, float(total_macs(graph)), float(total_bytes_moved(graph))


def _fit(features: NDArray[np.float64], joules: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimize the relative error; columns are scaled alike, since their units differ by 1e10."""
    scale = features.mean(axis=0)
    rows = features / scale / joules[:, None]
    solution, _ = nnls(rows, np.ones(len(joules)))
    return np.asarray(solution / scale)
