"""Every metric of a trained candidate, from its training and its measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hwnas.accuracy import mean_accuracy_interval, wilson_interval
from hwnas.candidate_energy import current_metrics, energy_metrics, product_metrics
from hwnas.candidate_training import SplitResult, TrainingOutcome
from hwnas.costs import ArchitectureCosts
from hwnas.early_exit import expected_cost
from hwnas.front import Candidate, Deployment, Metric
from hwnas.product_config import ProductConfig
from hwnas.study import Evaluated
from latency_predictors import MeasuredArchitecture
from latency_predictors.tail import path_p99_s, worst_p99_bound_s
from search_spaces import SearchSpace, Stage, total_macs, total_params
from targets import EnergyModel, Provenance


def measured_candidate(
    evaluated: Evaluated,
    searched: TrainingOutcome,
    retrained: Sequence[TrainingOutcome],
    deployment: Deployment,
    measured: MeasuredArchitecture,
    costs: ArchitectureCosts,
    space: SearchSpace,
    energy_model: EnergyModel,
    product: ProductConfig | None = None,
) -> Candidate:
    """Join the trainings of one architecture with its measurements on the target.

    Args:
        evaluated: Its trial.
        searched: Outcome of the trial's training, by which the architecture was chosen.
        retrained: Outcomes of a finalist's later trainings, one per seed; empty for others.
            Where there are any, accuracies are means over them: none was chosen by.
        deployment: The network deployed and its exit policy, which decides the
            expected costs. Which seed is deployed is fixed beforehand, not chosen.
        measured: One measurement per stage.
        costs: What was predicted.
        space: Its search space.
        energy_model: Of the target.
        product: What surrounds the network, where the experiment says so.
    """
    shares = deployment.exit_shares
    metrics = {
        **accuracy_metrics(searched, retrained),
        **latency_metrics(measured, shares, costs),
        **_with_prediction(energy_metrics(measured, shares, energy_model), costs, shares),
        **size_metrics(measured, costs),
        **count_metrics(space.stages(evaluated.architecture), shares),
    }
    supply_voltage_v = None
    if product is not None:
        metrics |= product_metrics(metrics, measured.measurements, product)
        supply_voltage_v = product.supply_voltage_v
    metrics |= current_metrics(metrics, measured.measurements, supply_voltage_v)
    return Candidate(evaluated.number, evaluated.architecture, metrics, deployment)


def _with_prediction(
    energies: Mapping[str, Metric], costs: ArchitectureCosts, shares: Sequence[float]
) -> dict[str, Metric]:
    """Put beside energies what was predicted before they were measured."""
    predicted = {
        "energy_j": costs.expected("energy_j", shares),
        "worst_energy_j": costs.energy_j.energy_j,
    }
    return {
        name: replace(metric, predicted=predicted.get(name)) for name, metric in energies.items()
    }


def accuracy_metrics(
    searched: TrainingOutcome, retrained: Sequence[TrainingOutcome]
) -> dict[str, Metric]:
    """Return test accuracy (judged by) and validation accuracy (chosen by), where known.

    The architecture was chosen by the validation accuracy of its training in the search,
    which says so, and which stands beside that of later trainings where there are any.
    """
    outcomes = retrained or [searched]
    metrics = {}
    if tests := [o.test for o in outcomes if o.test]:
        metrics["accuracy"] = _accuracy(tests, "test")
    if validations := [o.validation for o in outcomes if o.validation]:
        metrics["validation_accuracy"] = _accuracy(validations, "validation", not retrained)
    if retrained and searched.validation:
        metrics["search_validation_accuracy"] = _accuracy([searched.validation], "validation", True)
    return metrics


def _accuracy(results: Sequence[SplitResult], split: str, selected: bool = False) -> Metric:
    accuracies = [r.accuracy for r in results]
    n = results[0].n
    low, high = (
        mean_accuracy_interval(accuracies, n)
        if len(results) > 1
        else wilson_interval(round(accuracies[0] * n), n)
    )
    return Metric(
        float(np.mean(accuracies)),
        "measured",
        low,
        high,
        seeds=len(results),
        split=split,
        selected=selected or None,
    )


def latency_metrics(
    measured: MeasuredArchitecture, shares: Sequence[float], costs: ArchitectureCosts
) -> dict[str, Metric]:
    """Return expected, worst-case and P99 latency from the stages' measurements.

    Expected latency is ``sum_k p_k sum_{j<=k} t_j`` over exits k with share p_k and
    median stage times t_j; its interval joins the stages' 95 % intervals. P99 is
    that of one inference, see `path_p99_s`; that of the path through every exit has an
    upper bound where enough inferences were timed.
    """
    provenance: Provenance = measured.measurements[0].provenance
    medians = [m.latency_median_s for m in measured.measurements]
    intervals = [m.latency_interval_s() for m in measured.measurements]
    lows, highs = [i[0] for i in intervals], [i[1] for i in intervals]
    predicted = [p.mean for p in costs.stage_latency_s]
    flags = ", ".join(sorted({flag for m in measured.measurements for flag in m.flags})) or None
    expected = Metric(
        expected_cost(shares, medians),
        provenance,
        expected_cost(shares, lows),
        expected_cost(shares, highs),
        predicted=expected_cost(shares, predicted),
        flags=flags,
    )
    worst = Metric(
        sum(medians), provenance, sum(lows), sum(highs), predicted=sum(predicted), flags=flags
    )
    return {
        "latency_s": expected,
        "worst_latency_s": worst,
        "latency_p99_s": Metric(path_p99_s(measured, shares), provenance, flags=flags),
        "worst_latency_p99_s": Metric(
            path_p99_s(measured),
            provenance,
            high=worst_p99_bound_s(measured),
            predicted=costs.latency_p99_s.mean if costs.latency_p99_s else None,
            flags=flags,
        ),
    }


def size_metrics(measured: MeasuredArchitecture, costs: ArchitectureCosts) -> dict[str, Metric]:
    """Return flash (all stages) and peak RAM (the largest stage) of the compiled stages."""
    provenance: Provenance = measured.measurements[0].provenance
    return {
        "flash_bytes": Metric(
            float(sum(m.flash_bytes for m in measured.measurements)),
            provenance,
            predicted=costs.flash_bytes.mean,
        ),
        "peak_ram_bytes": Metric(
            float(max(m.peak_ram_bytes for m in measured.measurements)),
            provenance,
            predicted=costs.peak_ram_bytes.mean,
        ),
    }


def count_metrics(stages: Sequence[Stage], shares: Sequence[float]) -> dict[str, Metric]:
    """Return multiply-accumulates and parameters, counted from the architecture."""
    stage_macs = [float(total_macs(stage.workloads)) for stage in stages]
    params = sum(total_params(stage.workloads) for stage in stages)
    return {
        "macs": Metric(expected_cost(shares, stage_macs)),
        "worst_macs": Metric(sum(stage_macs)),
        "parameters": Metric(float(params)),
    }
