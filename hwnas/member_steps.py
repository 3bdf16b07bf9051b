"""What is tried with one front member: float32, without exits, int8, distilled, pruned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from hwnas.form_judging import MeasuredForm, SeedLogits
from hwnas.form_measuring import FormMeasuring
from hwnas.front import Candidate
from hwnas.int8_forms import quantized_networks
from hwnas.search_context import SearchContext
from hwnas.trained_forms import (
    Models,
    TrainedNetworks,
    searched_networks,
    stage_graphs,
    torch_answers,
)
from hwnas.variants import Attempt, NetworkForm
from targets import Failure, Target, write_atomically


@dataclass(frozen=True)
class Found:
    """What a step brought: forms that were measured, and what to tell of what was tried."""

    forms: tuple[MeasuredForm, ...] = ()
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True)
class Step:
    """One thing to try with a member.

    Args:
        name: Such as ``int8``; names a file.
        take: Does it.
    """

    name: str
    take: Callable[[], Found]


class MemberSteps:
    """What is tried with one front member.

    Args:
        context: The search.
        member: Trained, with several seeds where it is a finalist.
        measuring: Measures forms on the device.
    """

    def __init__(self, context: SearchContext, member: Candidate, measuring: FormMeasuring) -> None:
        self._context = context
        self._member = member
        self._measuring = measuring

    def __iter__(self) -> Iterator[Step]:
        has_exits = len(self._member.deployment.exit_shares) > 1
        yield Step("float32", lambda: self._float32(self._searched))
        if has_exits:
            yield Step("float32-static", lambda: self._float32(self._searched.static()))
        if self._context.config.deployment.int8:
            yield Step("int8", lambda: self._int8(self._searched))
            if has_exits:
                yield Step("int8-static", lambda: self._int8(self._searched.static()))

    @cached_property
    def _searched(self) -> TrainedNetworks:
        return searched_networks(self._context, self._member)

    def _float32(self, trained: TrainedNetworks) -> Found:
        models = stage_graphs(self._context, trained.networks[0])
        form = trained.form("float32", len(models))
        answers = torch_answers(self._context, trained)
        target = self._measuring.target(quantized=False)
        return self._measured(form, models, models, answers, target)

    def _int8(self, trained: TrainedNetworks) -> Found:
        what = "int8" if trained.has_exits else "int8 without exits"
        target = self._measuring.target(quantized=True)
        if target is None:
            name = self._context.target.name
            reason = f"target {name!r} names no quantized_target that runs int8 on its device"
            return Found(attempts=(Attempt(trained.arch_id, what, False, reason),))
        networks, lines = quantized_networks(self._context, trained)
        found: list[MeasuredForm] = []
        attempts: list[Attempt] = []
        for quantized in networks:
            precision = "mixed" if quantized.float_operators else "int8"
            form = quantized.trained.form(
                precision, len(quantized.models), quantized.float_operators
            )
            result = self._measured(
                form, quantized.models, quantized.float_models, quantized.answers, target
            )
            found += result.forms
            attempts += result.attempts
        figures = {"accuracy_drop": min(q.accuracy_drop for q in networks)}
        tried = Attempt(trained.arch_id, what, bool(found), "; ".join(lines), figures)
        return Found(tuple(found), (tried, *attempts))

    def _measured(
        self,
        form: NetworkForm,
        models: Models,
        float_models: Models,
        answers: tuple[SeedLogits, ...],
        target: Target | None,
    ) -> Found:
        """Measure a form and keep its ONNX files; a failure is told of, and no more."""
        if target is None:
            return Found()
        measured = self._measuring.measure(self._member.architecture, models, float_models, target)
        if isinstance(measured, Failure):
            reason = f"{measured.stage} failed on {target.name!r}: {measured.message}"
            return Found(attempts=(Attempt(form.arch_id, form.network_id, False, reason),))
        for name, model in zip(form.models, models, strict=True):
            write_atomically(
                self._context.run.variants / name, model.SerializeToString(deterministic=True)
            )
        return Found((MeasuredForm(form, answers, measured, target.spec),))
