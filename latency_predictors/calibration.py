"""Calibrate predictors with a given number of architectures: choose, measure, fit, judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from latency_predictors.campaign import Campaign
from latency_predictors.coverage import covering_architectures, distinct_architectures
from latency_predictors.energy_fit import fit_energy_model
from latency_predictors.fitting import fit_predictors, require_measured
from latency_predictors.judging import judge
from latency_predictors.measured_architecture import MeasuredArchitecture
from latency_predictors.noise import choose_anchors, noise_floor
from latency_predictors.target_predictors import TargetPredictors


def calibrate(
    campaign: Campaign,
    *,
    samples: int,
    held_out: int,
    sources: Sequence[TargetPredictors] = (),
) -> TargetPredictors:
    """Measure architectures of a space on a target and learn its costs.

    ``samples`` architectures are chosen to cover the space; ``held_out`` more
    are drawn at random, as a search would meet them, and serve only to judge
    the predictors fitted to the former. The predictors returned are fitted to
    all of them. At last a few are measured again, which tells the noise floor.
    What the campaign knows is not measured again, so an interrupted calibration
    continues where it stopped. What was throttled or drifting, repetitions
    notwithstanding, is left out and counted in the report.

    Args:
        campaign: Measures; its seed chooses the architectures and their order.
        samples: Architectures to fit to.
        held_out: Architectures to judge on; 0 reports none.
        sources: Of other targets on the same space, to start from.

    Raises:
        CalibrationError: If fewer than 8 architectures could be measured.
        NotMeasuredError: If the target's timings are emulated.
    """
    target, space = campaign.target, campaign.space
    require_measured(target.name, target.spec.provenance)
    rng = np.random.default_rng(campaign.seed)
    fitting = covering_architectures(space, samples, rng)
    chosen = {arch.arch_id for arch in fitting}
    pool = distinct_architectures(space, samples + held_out + len(chosen), rng)
    judging = [arch for arch in pool if arch.arch_id not in chosen][:held_out]
    everything = [*fitting, *judging]
    # random order, so that a drift of the device does not look like an effect of size
    order = rng.permutation(len(everything))
    measured = {
        item.architecture.arch_id: item
        for item in campaign.measure([everything[i] for i in order], f"Calibrating {target.name}")
    }
    fit_on = [measured[a.arch_id] for a in fitting if a.arch_id in measured]
    judge_on = [measured[a.arch_id] for a in judging if a.arch_id in measured]
    campaign.require_enough(len(fit_on))
    return finish(campaign, fit_on, judge_on, choose_anchors(fit_on), sources=sources)


def finish(
    campaign: Campaign,
    fit_on: Sequence[MeasuredArchitecture],
    judge_on: Sequence[MeasuredArchitecture],
    anchors: Sequence[MeasuredArchitecture],
    repeats: int = 1,
    sources: Sequence[TargetPredictors] = (),
) -> TargetPredictors:
    """Judge predictors fitted to ``fit_on``, repeat anchors, and fit to all there is.

    The report of the predictors returned holds what every calibration tells.

    Args:
        campaign: That measured all.
        fit_on: What the predictors judged are fitted to.
        judge_on: Random architectures, neither chosen nor fitted to.
        anchors: What is measured again.
        repeats: How often they are measured again.
        sources: Of other targets, to start from.
    """
    spec = campaign.target.spec
    report: dict[str, Any] = {
        **campaign.counts(),
        "n_fitted": len(fit_on),
        "n_held_out": len(judge_on),
    }
    if len(judge_on) > 1:
        partial = fit_predictors(spec, fit_on, sources=sources)
        report["held_out"] = judge(partial, fit_on, judge_on, spec.energy_model)
    everything = [*fit_on, *judge_on]
    repeated = campaign.repeat(anchors, repeats)
    noise = noise_floor(repeated)
    report["anchors"] = [anchor.to_dict() for anchor in repeated]
    report["noise"] = None if noise is None else noise.to_dict()
    predictors = fit_predictors(spec, everything, sources=sources)
    if sources:
        report["started_from"] = [source.target for source in sources]
    report["energies"] = predictors.energy_provenance
    if predictors.energy_provenance == "measured":
        report["energy_model"] = fit_energy_model(everything).model_dump()
    predictors.report = report
    return predictors
