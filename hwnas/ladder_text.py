"""What speaks for a ladder of scores, as lines of text."""

from __future__ import annotations

import math

from hwnas.ranking_quality import Estimate, resolvable_difference, resolvable_share
from hwnas.scoring_ladder import SURE, LadderChoice


def ladder_lines(choice: LadderChoice) -> list[str]:
    """Return the choice as a short table with its reasons."""
    sample = choice.sample
    n, seeds = sample.accuracy.shape
    lines = [
        f"How well scores rank {n} architectures, judged by accuracies of another seed "
        f"({seeds} seeds each):",
        f"{'':<27} {'CPU s each':>10} {'Spearman (95 %)':>22} {'Kendall (95 %)':>22}",
    ]
    *_, ceiling = choice.scores
    for score in choice.scores:
        name = f"{score.name} (the ceiling)" if score is ceiling else score.name
        correlations = f"{_shown(score.spearman):>22} {_shown(score.kendall):>22}"
        lines.append(f"{name:<27} {score.cpu_s:>10.3g} {correlations}")
    if not choice.has_order:
        lines.append(
            "One training may rank no better than chance: no order of accuracies is claimed."
        )
    least = resolvable_difference(sample.accuracy, sample.n_judged, 1)
    lines += [
        f"One training each tells accuracies apart that differ by {least:.1%} or more; the "
        f"{seeds} seeds tell {resolvable_share(sample):.0%} of these pairs apart.",
        f"{'':<27} {'CPU s each':>10} {'candidates':>10} {'gain in sd (95 %)':>22} "
        f"{'beats full':>10}",
    ]
    for quality in choice.considered:
        chance = "" if quality is choice.considered[0] else f"{quality.chance:.0%}"
        lines.append(
            f"{quality.ladder.name:<27} {quality.ladder.cpu_s:>10.3g} {quality.candidates:>10} "
            f"{_shown(quality.gain):>22} {chance:>10}"
        )
    if choice.chosen is not choice.considered[0].ladder:
        reason = "it gains most of those that surely gain more for the same processor time"
    elif not choice.has_order:
        reason = "accuracies that order nothing cannot judge what is cheaper"
    else:
        reason = f"nothing else is {SURE:.0%} sure to gain more for the same processor time"
        if any(quality.ladder.filtered for quality in choice.considered):
            reason += ", without a filter, too"
    lines.append(f"Chosen: {choice.chosen.name}; {reason}.")
    return lines


def _shown(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return "-"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
