"""After the front is measured: variants of its members, judged and measured like them.

A member is deployed as it was searched, without its early exits, and in int8, each with several
exit policies. All choices are made on the validation split; the test split judges.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hwnas.accuracy_drop import accuracy_drop
from hwnas.compressing import choose_teacher
from hwnas.errors import UnreachableError, UserError
from hwnas.exit_savings import exit_savings
from hwnas.form_judging import FormJudge, JudgedVariant
from hwnas.form_measuring import FormMeasuring
from hwnas.front import VALIDATION, Candidate, ParetoFront, meets
from hwnas.member_steps import MemberSteps, Step
from hwnas.pareto import is_non_dominated, spread_members
from hwnas.search_context import SearchContext
from hwnas.training_pool import TrainingPool
from hwnas.units import engineering
from hwnas.variants import Attempt, Variant, Variants
from targets import write_atomically

_ACCURACY = "validation_accuracy"


def derive_variants(context: SearchContext, front: ParetoFront, trainers: TrainingPool) -> Variants:
    """Make, judge and measure variants of front members, and write ``variants.json``.

    What was finished before an interruption is not repeated.

    Args:
        context: The search, with its front measured.
        front: What it found.
        trainers: Train what is distilled or pruned.

    Raises:
        UnreachableError: If none could be measured.
    """
    settings = context.config.deployment
    judge = FormJudge(
        context.dataset,
        context.config.early_exit,
        settings.accuracy_drops,
        context.config.product,
    )
    context.run.variants.mkdir(exist_ok=True)
    judged: list[JudgedVariant] = []
    attempts: list[Attempt] = []
    with FormMeasuring(context) as measuring:
        steps = [
            (context.run.variants / f"{member.architecture.arch_id}-{step.name}.json", step)
            for member in chosen_members(front, settings.members)
            for step in MemberSteps(
                context, member, choose_teacher(front, member), measuring, trainers
            )
        ]
        context.progress.phase("Deriving variants", len(steps))
        for path, step in steps:
            found, tried = _once(path, step, judge, context.run.variants_json)
            judged += found
            attempts += tried
            context.progress.advance(path.stem)
    if not judged:
        raise UnreachableError(
            f"no variant could be measured on {context.target.name!r}. "
            f"Check: hwnas targets check {context.target.name}"
        )
    luck = {c.architecture.arch_id: _luck(c) for c in front.candidates}
    judged = [_without_luck(item, luck.get(item.variant.form.arch_id, 0.0)) for item in judged]
    result = _compared(context, judged, attempts)
    result.save(context.run.variants_json)
    return result


def chosen_members(front: ParetoFront, count: int) -> list[Candidate]:
    """Return front members, spread over the front; those confirmed by several seeds if any."""
    members = list(front.members or front.candidates)
    confirmed = [m for m in members if m.is_confirmed(front.objectives)]
    members = confirmed or members
    values = np.array([m.values(front.objectives) for m in members])
    return [members[i] for i in spread_members(front.scale.losses(values), count)]


def _compared(
    context: SearchContext, judged: Sequence[JudgedVariant], attempts: Sequence[Attempt]
) -> Variants:
    """Compare variants with the baseline and with each other: which of them are on the front.

    Values of several kinds do not compare, such as energies that meters measured and modelled
    ones: a variant is beaten by those of its own kind alone.
    """
    baseline = _baseline(judged)
    variants = [_with_drop(item, baseline) for item in judged]
    feasible = np.array([all(meets(v.metrics, c) for c in context.constraints) for v in variants])
    values = np.array(
        [[v.metrics[o.metric].chosen_by for o in context.objectives] for v in variants]
    )
    on_front = np.zeros(len(variants), dtype=np.bool_)
    # what follows from an energy, such as battery days, is modelled even where that was measured
    compared = (*(o.metric for o in context.objectives), "energy_j")
    kinds = [tuple(v.metrics[name].provenance for name in compared) for v in variants]
    for kind in dict.fromkeys(kinds):
        rows = feasible & np.array([other == kind for other in kinds])
        on_front[rows] = is_non_dominated(context.scale.losses(values[rows]))
    marked = [
        replace(v, feasible=bool(f), on_front=bool(o))
        for v, f, o in zip(variants, feasible, on_front, strict=True)
    ]
    marked.sort(key=lambda v: (not v.on_front, -v.metrics[_ACCURACY].chosen_by))
    told = [*exit_savings(marked), *(_with_outcome(attempt, marked) for attempt in attempts)]
    return Variants(tuple(marked), baseline.variant.variant_id, tuple(told))


def _luck(member: Candidate) -> float:
    accuracy = member.metrics[_ACCURACY]
    return accuracy.value - accuracy.chosen_by


def _without_luck(item: JudgedVariant, luck: float) -> JudgedVariant:
    """Put beside the accuracy of a training that was chosen what other seeds may come to.

    A form of a lucky network shares its luck.
    """
    accuracy = item.variant.metrics[_ACCURACY]
    if not accuracy.selected or not luck:
        return item
    expected = replace(accuracy, expected=accuracy.value - luck)
    metrics = {**item.variant.metrics, _ACCURACY: expected}
    return replace(item, variant=replace(item.variant, metrics=metrics))


def _with_outcome(attempt: Attempt, variants: Sequence[Variant]) -> Attempt:
    """Add to what was tried where its variants stand beside those it was made from."""
    own = [v for v in variants if v.form.arch_id == attempt.arch_id]
    made = [v for v in own if v.form.attempted == attempt.what]
    if not made:
        return attempt
    kept = any(v.on_front for v in made)
    # of each the exit policy that costs least accuracy, at the usual clock
    usual = [v for v in own if not v.policy_index and v.device_point is None]
    after = [v for v in usual if v in made]
    before = [
        v for v in usual if v.form.attempted is None and v.form.has_exits == made[0].form.has_exits
    ]
    outcome = f"{attempt.outcome}; {'on the front' if kept else 'not on the front'}"
    if after and before:
        fastest, reference = (
            min(v.metrics["latency_s"].value for v in group) for group in (after, before)
        )
        outcome += f": {engineering(fastest, 's')}, {engineering(reference, 's')} before"
    return replace(attempt, kept=kept, outcome=outcome)


def _baseline(judged: Sequence[JudgedVariant]) -> JudgedVariant:
    """Return the most accurate float32 network without early exits, if there is one."""
    forms = [(item, item.variant.form) for item in judged]
    plain = [i for i, f in forms if f.training == "plain" and f.precision == "float32"]
    static = [item for item in plain if len(item.variant.exit_shares) == 1]
    return max(static or plain or judged, key=lambda i: i.variant.metrics[_ACCURACY].chosen_by)


def _with_drop(item: JudgedVariant, baseline: JudgedVariant) -> Variant:
    """Add how much accuracy a variant loses against the baseline, sample by sample."""
    variant = item.variant
    if len(item.correct) < 2 or len(baseline.correct) < 2:
        return variant  # one seed does not tell of others
    by_seed = variant.form.arch_id == baseline.variant.form.arch_id
    on_validation = item.validation_correct, baseline.validation_correct
    drops = {
        "accuracy_drop": accuracy_drop(item.correct, baseline.correct, by_seed=by_seed),
        f"{VALIDATION}accuracy_drop": accuracy_drop(*on_validation, "validation", by_seed=by_seed),
    }
    return replace(variant, metrics={**variant.metrics, **drops})


def _once(
    path: Path, step: Step, judge: FormJudge, variants_json: Path
) -> tuple[list[JudgedVariant], list[Attempt]]:
    """Take a step, or return what it brought before of the same networks.

    What failed is tried again next time.
    """
    if path.exists() and (kept := _read(path, step.key)) is not None:
        return kept
    # the step writes ONNX files anew that they name
    for stale in (variants_json, path):
        stale.unlink(missing_ok=True)
    found = step.take()
    judged = [variant for form in found.forms for variant in judge.judge(form)]
    data = {
        "key": step.key,
        "variants": [v.to_dict() for v in judged],
        "attempts": [a.to_dict() for a in found.attempts],
    }
    if not found.failed:
        write_atomically(path, json.dumps(data).encode())
    return judged, list(found.attempts)


def _read(path: Path, key: str) -> tuple[list[JudgedVariant], list[Attempt]] | None:
    """Return what a step brought; none where what it depends on has changed since."""
    try:
        data = json.loads(path.read_bytes())
        if data.get("key") != key:  # none in a run of before there were keys
            return None
        return (
            [JudgedVariant.from_dict(v) for v in data["variants"]],
            [Attempt.from_dict(a) for a in data["attempts"]],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: damaged ({type(error).__name__}: {error}). Remove it, and continue with "
            "--resume."
        ) from None
