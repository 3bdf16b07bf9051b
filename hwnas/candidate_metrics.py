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
    accuracies = accuracy_metrics(searched, retrained, evaluated.luck)
    metrics = deployed_metrics(accuracies, measured, shares, energy_model, product)
    metrics = _with_predictions(metrics, costs, shares)
    metrics |= count_metrics(space.stages(evaluated.architecture), shares)
    return Candidate(evaluated.number, evaluated.architecture, metrics, deployment)


def deployed_metrics(
    accuracies: Mapping[str, Metric],
    measured: MeasuredArchitecture,
    shares: Sequence[float],
    energy_model: EnergyModel,
    product: ProductConfig | None = None,
) -> dict[str, Metric]:
    """Join accuracies with everything that follows from the measurements of a network's stages.

    Args:
        accuracies: By name.
        measured: One measurement per stage.
        shares: Share of samples that leaves at each exit.
        energy_model: Of the target.
        product: What surrounds the network, where the experiment says so.
    """
    metrics = {
        **accuracies,
        **latency_metrics(measured, shares),
        **energy_metrics(measured, shares, energy_model),
        **size_metrics(measured),
    }
    supply_voltage_v = None
    if product is not None:
        metrics |= product_metrics(metrics, measured.measurements, product)
        supply_voltage_v = product.supply_voltage_v
    return metrics | current_metrics(metrics, measured.measurements, supply_voltage_v)


def _with_predictions(
    metrics: Mapping[str, Metric], costs: ArchitectureCosts, shares: Sequence[float]
) -> dict[str, Metric]:
    """Put beside costs what was predicted before they were measured."""
    stages_s = [p.mean for p in costs.stage_latency_s]
    predicted = {
        "latency_s": expected_cost(shares, stages_s),
        "worst_latency_s": sum(stages_s),
        "worst_latency_p99_s": costs.latency_p99_s.mean if costs.latency_p99_s else None,
        "energy_j": costs.expected("energy_j", shares),
        "worst_energy_j": costs.energy_j.energy_j,
        "flash_bytes": costs.flash_bytes.mean,
        "peak_ram_bytes": costs.peak_ram_bytes.mean,
    }
    return {
        name: replace(metric, predicted=predicted.get(name)) for name, metric in metrics.items()
    }


def accuracy_metrics(
    searched: TrainingOutcome, retrained: Sequence[TrainingOutcome], luck: float = 0.0
) -> dict[str, Metric]:
    """Return test accuracy (judged by) and validation accuracy (chosen by), where known.

    The architecture was chosen by the validation accuracy of its training in the search,
    which says so, and which stands beside that of later trainings where there are any.

    Args:
        searched: Outcome of the training in the search.
        retrained: Outcomes of later trainings; empty where there are none.
        luck: How much of the accuracy in the search other seeds are not expected to reach.
    """
    outcomes = retrained or [searched]
    metrics = {}
    if tests := [o.test for o in outcomes if o.test]:
        metrics["accuracy"] = accuracy_metric(tests, "test")
    if validations := [o.validation for o in outcomes if o.validation]:
        judged = accuracy_metric(validations, "validation", not retrained)
        if luck and not retrained:
            judged = replace(judged, expected=judged.value - luck)
        metrics["validation_accuracy"] = judged
    if retrained and searched.validation:
        metrics["search_validation_accuracy"] = accuracy_metric(
            [searched.validation], "validation", True
        )
    return metrics


def accuracy_metric(results: Sequence[SplitResult], split: str, selected: bool = False) -> Metric:
    """Return the mean accuracy of several trainings on one split, with its 95 % interval.

    Args:
        results: One per training.
        split: Which samples they were judged on.
        selected: Whether the network was chosen by this very number.
    """
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


def latency_metrics(measured: MeasuredArchitecture, shares: Sequence[float]) -> dict[str, Metric]:
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
    flags = ", ".join(sorted({flag for m in measured.measurements for flag in m.flags})) or None
    expected = Metric(
        expected_cost(shares, medians),
        provenance,
        expected_cost(shares, lows),
        expected_cost(shares, highs),
        flags=flags,
    )
    worst = Metric(sum(medians), provenance, sum(lows), sum(highs), flags=flags)
    return {
        "latency_s": expected,
        "worst_latency_s": worst,
        "latency_p99_s": Metric(path_p99_s(measured, shares), provenance, flags=flags),
        "worst_latency_p99_s": Metric(
            path_p99_s(measured),
            provenance,
            high=worst_p99_bound_s(measured),
            flags=flags,
        ),
    }


def size_metrics(measured: MeasuredArchitecture) -> dict[str, Metric]:
    """Return flash (all stages) and peak RAM (the largest stage) of the compiled stages."""
    provenance: Provenance = measured.measurements[0].provenance
    flash_bytes = sum(m.flash_bytes for m in measured.measurements)
    peak_ram_bytes = max(m.peak_ram_bytes for m in measured.measurements)
    return {
        "flash_bytes": Metric(float(flash_bytes), provenance),
        "peak_ram_bytes": Metric(float(peak_ram_bytes), provenance),
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
