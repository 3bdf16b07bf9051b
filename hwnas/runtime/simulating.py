"""Simulate a bundle on a trace: its policy beside every single operating point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwnas.bundle import open_bundle
from hwnas.errors import UserError
from hwnas.product_config import ProductConfig
from hwnas.runtime.answer_models import AnswerModel, PredictedAnswers, SampledAnswers
from hwnas.runtime.operating_points import OperatingPoint, point_of, points_of, policy_of
from hwnas.runtime.policy import ScalingPolicy
from hwnas.runtime.signals import Signals
from hwnas.runtime.simulation import Outcome, simulate_policy
from hwnas.runtime.trace import Trace, read_trace


@dataclass(frozen=True)
class Comparison:
    """A policy beside the best single model of its kind.

    Args:
        single: Name of the model: an operating point, or a variant of the run.
        accuracy_gain: Of the policy over it, of events where the trace has any.
        energy_saved: Share of its energy that the policy does not take.
    """

    single: str
    accuracy_gain: float
    energy_saved: float


@dataclass(frozen=True)
class Simulation:
    """What a bundle does on a trace; all of it predicted.

    Args:
        policy: Under its scaling policy.
        fixed: At each operating point alone, and with each other variant, by name.
        provenances: Of the operating points' energies and times.
        at_equal_energy: The most accurate single model that takes no more energy than the
            policy; ``None`` where none takes so little.
        at_equal_accuracy: The cheapest single model that is no less accurate than the policy;
            ``None`` where none is so accurate.
        not_compared: Single models whose energies are of another kind than the policy's, such as
            modelled beside measured, and so compare with nothing here.
        ignored_signals: That rules ask for and nothing in the simulation tells.
        ran_samples: Whether networks were run, instead of taking their accuracy.
    """

    policy: Outcome
    fixed: Mapping[str, Outcome]
    provenances: frozenset[str]
    at_equal_energy: Comparison | None
    at_equal_accuracy: Comparison | None
    not_compared: tuple[str, ...]
    ignored_signals: tuple[str, ...]
    ran_samples: bool

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "provenance": "predicted",
            "from": sorted(self.provenances),
            "accuracy_from": "samples" if self.ran_samples else "operating points",
            "policy": asdict(self.policy),
            "fixed": {name: asdict(outcome) for name, outcome in self.fixed.items()},
            "at_equal_energy": self.at_equal_energy and asdict(self.at_equal_energy),
            "at_equal_accuracy": self.at_equal_accuracy and asdict(self.at_equal_accuracy),
            "not_compared": list(self.not_compared),
            "ignored_signals": list(self.ignored_signals),
        }


def simulate(
    bundle: Path,
    trace: Path,
    *,
    policy: Path | None = None,
    product: ProductConfig | None = None,
    variants: Path | None = None,
    run: bool = False,
) -> Simulation:
    """Replay a trace under a bundle's policy, and at each operating point alone.

    Args:
        bundle: Its folder.
        trace: CSV, see `read_trace`.
        policy: Scaling policy to use instead of the bundle's own.
        product: What surrounds the network; without, there is no battery.
        variants: A run's ``variants.json``, whose front joins the single models.
        run: Run the networks on the bundle's samples, whose answers and confidences are
            used then; other variants are not in the bundle and are left out.

    Raises:
        UserError: If a file is wrong; the message names the line of a trace.
    """
    manifest = open_bundle(bundle)
    points = points_of(bundle, manifest)
    rules = policy_of(bundle, manifest, points, policy)
    events = read_trace(trace)
    if run and variants is not None:
        raise UserError("--run: not with --variants, whose networks are not in the bundle")
    models = points | ({} if variants is None else _front(variants))
    answers: AnswerModel
    if run:
        answers = SampledAnswers(bundle, manifest, rules.quiet_class)
    else:
        answers = PredictedAnswers(models, rules.quiet_class)
    ours = simulate_policy(events, rules, points, answers, product)
    fixed = {
        name: simulate_policy(events, ScalingPolicy(default=name), {name: model}, answers, product)
        for name, model in models.items()
    }
    alike = _of_one_kind(points, models)
    compared = {name: outcome for name, outcome in fixed.items() if name in alike}
    provenances = {p.energy_provenance for p in models.values()}
    provenances |= {p.latency_provenance for p in models.values()}
    return Simulation(
        ours,
        fixed,
        frozenset(provenances),
        _at_equal_energy(ours, compared),
        _at_equal_accuracy(ours, compared),
        tuple(name for name in fixed if name not in alike),
        _ignored(rules, events, product, run),
        run,
    )


def _front(path: Path) -> dict[str, OperatingPoint]:
    from hwnas.variants import Variants

    return {
        v.variant_id: point_of(
            {name: metric.to_dict() for name, metric in v.metrics.items()},
            v.device_point,
            f"{path}: {v.variant_id}",
        )
        for v in Variants.load(path).front
    }


def _of_one_kind(
    points: Mapping[str, OperatingPoint], models: Mapping[str, OperatingPoint]
) -> frozenset[str]:
    """Return the models whose energies compare with those of a policy's operating points.

    None where the points themselves are of several kinds, of which the policy's energy is a sum.
    """
    kinds = {point.energy_provenance for point in points.values()}
    if len(kinds) > 1:
        return frozenset()
    return frozenset(name for name, model in models.items() if model.energy_provenance in kinds)


def _at_equal_energy(ours: Outcome, fixed: Mapping[str, Outcome]) -> Comparison | None:
    cheap = [name for name, other in fixed.items() if _energy(other) <= _energy(ours)]
    return _best(ours, fixed, cheap, lambda o: (-_accuracy(o), _energy(o)))


def _at_equal_accuracy(ours: Outcome, fixed: Mapping[str, Outcome]) -> Comparison | None:
    accurate = [name for name, other in fixed.items() if _accuracy(other) >= _accuracy(ours)]
    return _best(ours, fixed, accurate, lambda o: (_energy(o), -_accuracy(o)))


def _best(
    ours: Outcome,
    fixed: Mapping[str, Outcome],
    names: list[str],
    loss: Callable[[Outcome], tuple[float, float]],
) -> Comparison | None:
    if not names:
        return None
    name = min(names, key=lambda n: loss(fixed[n]))
    other = fixed[name]
    return Comparison(name, _accuracy(ours) - _accuracy(other), 1 - _energy(ours) / _energy(other))


def _accuracy(outcome: Outcome) -> float:
    return outcome.accuracy if outcome.event_accuracy is None else outcome.event_accuracy


def _energy(outcome: Outcome) -> float:
    """Return what is compared: of the whole product where it is known, else of the network."""
    if outcome.average_power_w is not None:
        return outcome.average_power_w
    return outcome.inference_j_per_day


def _ignored(
    policy: ScalingPolicy, trace: Trace, product: ProductConfig | None, run: bool
) -> tuple[str, ...]:
    known = {
        "battery_level": product is not None and product.battery is not None,
        "charging": trace.charging is not None,
        "temperature_c": trace.temperature_c is not None,
        "activity_per_min": True,
        "confidence": run,
    }
    asked = {t.signal for rule in policy.rules for t in rule.when.triggers}
    return tuple(n for k, n in enumerate(Signals._fields) if k in asked and not known[n])
