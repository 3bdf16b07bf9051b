"""What is tried with one front member: float32, without exits, int8, distilled, pruned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from hwnas.compressing import CompressedMember, distil_member, prune_member
from hwnas.compression_verdict import SeedResult, cost_errors, judge_compression
from hwnas.errors import LatencyUnreachableError
from hwnas.form_judging import MeasuredForm, SeedLogits
from hwnas.form_measuring import FormMeasuring
from hwnas.front import Candidate
from hwnas.int8_forms import quantized_networks
from hwnas.retraining import finalist_outcomes
from hwnas.search_context import SearchContext
from hwnas.step_key import step_key
from hwnas.trained_forms import (
    Models,
    TrainedNetworks,
    load_networks,
    searched_networks,
    stage_graphs,
    torch_answers,
)
from hwnas.training_pool import TrainingPool
from hwnas.variants import Attempt, NetworkForm, Precision, Training
from targets import Failure, Target, write_atomically


@dataclass(frozen=True)
class Found:
    """What a step brought.

    Args:
        forms: That were measured.
        attempts: What to tell of what was tried.
        failed: Whether a measurement failed, which may succeed another time.
    """

    forms: tuple[MeasuredForm, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    failed: bool = False


@dataclass(frozen=True)
class Step:
    """One thing to try with a member.

    Args:
        name: Such as ``int8``; names a file.
        key: Of what it depends on, see `step_key`.
        take: Does it.
    """

    name: str
    key: str
    take: Callable[[], Found]


class MemberSteps:
    """What is tried with one front member.

    Args:
        context: The search.
        member: Trained, with several seeds where it is a finalist.
        teacher: Front member that it may learn from; ``None`` if it is the best itself.
        measuring: Measures forms on the device.
        trainers: Train what is distilled or pruned.
    """

    def __init__(
        self,
        context: SearchContext,
        member: Candidate,
        teacher: Candidate | None,
        measuring: FormMeasuring,
        trainers: TrainingPool,
    ) -> None:
        self._context = context
        self._member = member
        self._teacher = teacher
        self._measuring = measuring
        self._trainers = trainers

    def __iter__(self) -> Iterator[Step]:
        context, member = self._context, self._member
        key = step_key(context, member)
        has_exits = len(member.deployment.exit_shares) > 1
        yield Step("float32", key, lambda: self._float32(self._searched))
        if has_exits:
            yield Step("float32-static", key, lambda: self._float32(self._searched.static()))
        if context.config.deployment.int8:
            yield Step("int8", key, lambda: self._int8(self._searched))
            if has_exits:
                yield Step("int8-static", key, lambda: self._int8(self._searched.static()))
        if context.config.deployment.distillation and self._teacher:
            yield Step("distilled", step_key(context, member, self._teacher), self._distilled)
        if context.config.deployment.pruning:
            yield Step("pruned", key, self._pruned)

    @cached_property
    def _searched(self) -> TrainedNetworks:
        return searched_networks(self._context, self._member)

    def _float32(self, trained: TrainedNetworks) -> Found:
        return self._at_every_clock(self._float32_at_usual_clock(trained))

    def _float32_at_usual_clock(self, trained: TrainedNetworks) -> Found:
        models = stage_graphs(self._context, trained.networks[0])
        form = trained.form("float32", len(models))
        answers = torch_answers(self._context, trained)
        return self._measured(form, models, models, answers, self._context.target)

    def _int8(self, trained: TrainedNetworks) -> Found:
        what = "int8" if trained.has_exits else "int8 without exits"
        target = self._measuring.quantized_target()
        if target is None:
            name = self._context.target.name
            reason = f"target {name!r} names no quantized_target that runs int8 on its device"
            return Found(attempts=(Attempt(trained.arch_id, what, False, reason),))
        networks, lines = quantized_networks(self._context, trained)
        found: list[MeasuredForm] = []
        attempts: list[Attempt] = []
        failed = False
        for quantized in networks:
            precision: Precision = "mixed" if quantized.float_operators else "int8"
            form = quantized.trained.form(
                precision, len(quantized.models), quantized.float_operators
            )
            measured = self._measured(
                form, quantized.models, quantized.float_models, quantized.answers, target
            )
            result = self._at_every_clock(measured)
            found += result.forms
            attempts += result.attempts
            failed |= result.failed
        figures = {"accuracy_drop": min(q.accuracy_drop for q in networks)}
        tried = Attempt(trained.arch_id, what, False, "; ".join(lines), figures)
        return Found(tuple(found), (tried, *attempts), failed)

    def _distilled(self) -> Found:
        settings = self._context.config.deployment.distillation
        if settings is None or self._teacher is None:
            return Found()
        compressed = distil_member(
            self._context, self._trainers, self._member, self._teacher, settings
        )
        return self._compressed("distilled", compressed)

    def _pruned(self) -> Found:
        settings = self._context.config.deployment.pruning
        if settings is None:
            return Found()
        try:
            compressed = prune_member(self._context, self._trainers, self._member, settings)
        except LatencyUnreachableError as error:
            return Found(attempts=(self._not_kept("pruned", str(error)),))
        return self._compressed("pruned", compressed)

    def _compressed(self, training: Training, compressed: CompressedMember) -> Found:
        """Keep networks that are shown to be better in something, and no worse in anything."""
        before = finalist_outcomes(self._context, self._searched.arch_id)
        if not compressed.checkpoints or not before:
            return Found(attempts=(self._not_kept(training, "no trainings to compare"),))
        trained = load_networks(self._context, self._member, training, compressed.checkpoints)
        found = base = self._float32_at_usual_clock(trained)
        if training != "distilled":  # the same operators: two timings would differ by noise
            base = self._float32_at_usual_clock(self._searched)
        if failed := next((f for f in (found, base) if f.failed), None):
            return failed
        after, whole = found.forms[0].measured, base.forms[0].measured
        energy_model = self._context.target.spec.energy_model
        verdict = judge_compression(
            trained.arch_id,
            training,
            {seed: SeedResult.of(o, whole, energy_model) for seed, o in before.items()},
            {s: SeedResult.of(o, after, energy_model) for s, o in compressed.outcomes.items()},
            self._context.config.deployment.margins,
            cost_errors(whole, after),
        )
        told = replace(verdict, figures={**compressed.figures, **verdict.figures})
        kept = self._at_every_clock(found) if verdict.kept else Found()
        return Found(kept.forms, (told, *kept.attempts))

    def _not_kept(self, what: str, reason: str) -> Attempt:
        return Attempt(self._searched.arch_id, what, False, f"not kept: {reason}")

    def _measured(
        self,
        form: NetworkForm,
        models: Models,
        float_models: Models,
        answers: tuple[SeedLogits, ...],
        target: Target,
    ) -> Found:
        """Measure a form and keep its ONNX files; a failure is told of, and no more."""
        measured = self._measuring.measure(
            form, self._member.architecture, models, float_models, target
        )
        if isinstance(measured, Failure):
            reason = f"{measured.stage} failed on {target.name!r}: {measured.message}"
            told = Attempt(form.arch_id, form.network_id, False, reason)
            return Found(attempts=(told,), failed=True)
        for name, model in zip(form.models, models, strict=True):
            write_atomically(
                self._context.run.variants / name, model.SerializeToString(deterministic=True)
            )
        selected = self._searched.selected
        return Found(
            (MeasuredForm(form, models, answers, measured, target.spec, selected=selected),)
        )

    def _at_every_clock(self, found: Found) -> Found:
        """Add forms at the operating points of their device, where that is asked for.

        Only of what may be deployed: a sweep takes as long as all else.
        """
        forms, attempts = list(found.forms), list(found.attempts)
        for usual in found.forms:
            for at in self._measuring.measure_at_points(usual.measured, usual.models, usual.spec):
                name = at.point.name
                if at.refused is None:
                    there = replace(usual.measured, measurements=at.measurements)
                    at_point = replace(usual, measured=there, spec=at.spec, device_point=name)
                    forms.append(at_point)
                else:
                    what = f"{usual.form.network_id} at {name}"
                    reason = f"not measured: {at.refused}"
                    attempts.append(Attempt(usual.form.arch_id, what, False, reason))
        return replace(found, forms=tuple(forms), attempts=tuple(attempts))
