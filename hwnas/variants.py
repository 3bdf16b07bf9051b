"""Variants of front members: what can be deployed, each with its metrics, and what was tried."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.front import Metric
from hwnas.stored_metrics import checked_metrics
from targets import write_atomically

SCHEMA_VERSION = 1

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. -]*")

Precision: TypeAlias = Literal["float32", "int8", "mixed"]
Training: TypeAlias = Literal["plain", "distilled", "pruned", "quantization_aware"]


@dataclass(frozen=True)
class NetworkForm:
    """The weights and the arithmetic of a variant: what is compiled.

    Args:
        arch_id: Architecture it comes from.
        training: How its weights came about.
        precision: Of its arithmetic.
        checkpoint: File name in the run's ``checkpoints`` folder: float32 weights.
        models: Names of its ONNX files in the run's ``variants`` folder, one per stage.
        float_operators: Of a ``mixed`` one: names of ONNX nodes that stay in float32.
        has_exits: Whether the architecture's early exits are part of it.
    """

    arch_id: str
    training: Training
    precision: Precision
    checkpoint: str
    models: tuple[str, ...]
    float_operators: tuple[str, ...] = ()
    has_exits: bool = True

    @property
    def network_id(self) -> str:
        """What names it among the forms of one run, such as ``6f704dd08453ebef-int8``."""
        parts = [self.arch_id, self.precision]
        if self.training != "plain":
            parts.append(self.training)
        return "-".join(parts if self.has_exits else [*parts, "static"])

    @property
    def attempted(self) -> str | None:
        """What was tried that it came of, as in `Attempt`; ``None`` as it was searched."""
        if self.training in ("distilled", "pruned"):
            return self.training
        if self.precision == "float32":
            return None
        return "int8" if self.has_exits else "int8 without exits"


@dataclass(frozen=True)
class Variant:
    """A form of a network with an exit policy, at an operating point of a device.

    Args:
        form: Weights and arithmetic.
        policy: When it answers early.
        exit_shares: Share of validation samples that leaves at each exit.
        target: Name of the target that measured it, such as ``host-onnxruntime`` for int8.
        device_point: Name of the operating point of the device; ``None`` for the usual one.
        metrics: By name, as a `Candidate` has them.
        feasible: Whether the pessimistic ends of its metrics meet every limit.
        on_front: Whether no other feasible variant dominates it.
    """

    form: NetworkForm
    policy: ExitPolicy
    exit_shares: tuple[float, ...]
    target: str
    metrics: Mapping[str, Metric]
    device_point: str | None = None
    feasible: bool = True
    on_front: bool = False
    policy_index: int = 0

    @property
    def variant_id(self) -> str:
        """What names it in its run, such as ``6f704dd08453ebef-int8-host-onnxruntime-t1``."""
        parts = [self.form.network_id, self.target, f"t{self.policy_index}"]
        return "-".join(parts if self.device_point is None else [*parts, self.device_point])

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "variant_id": self.variant_id,
            "arch_id": self.form.arch_id,
            "training": self.form.training,
            "precision": self.form.precision,
            "checkpoint": self.form.checkpoint,
            "models": list(self.form.models),
            "float_operators": list(self.form.float_operators),
            "has_exits": self.form.has_exits,
            "policy_index": self.policy_index,
            "exit_policy": self.policy.to_dict(),
            "exit_shares": list(self.exit_shares),
            "target": self.target,
            "device_point": self.device_point,
            "feasible": self.feasible,
            "on_front": self.on_front,
            "metrics": {name: metric.to_dict() for name, metric in self.metrics.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Variant:
        """Rebuild a variant from `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: If it is damaged.
        """
        form = NetworkForm(
            _name(data["arch_id"]),
            _one_of(data["training"], get_args(Training)),
            _one_of(data["precision"], get_args(Precision)),
            str(data["checkpoint"]),
            tuple(str(name) for name in data["models"]),
            tuple(str(name) for name in data["float_operators"]),
            bool(data["has_exits"]),
        )
        return cls(
            form,
            ExitPolicy.from_dict(data["exit_policy"]),
            tuple(float(s) for s in data["exit_shares"]),
            _name(data["target"]),
            _metrics(data["metrics"]),
            None if data["device_point"] is None else _name(data["device_point"]),
            bool(data["feasible"]),
            bool(data["on_front"]),
            int(data["policy_index"]),
        )


def _metrics(data: Mapping[str, Any]) -> dict[str, Metric]:
    """Return metrics; what all variants are compared by is among them."""
    metrics = {name: Metric(**metric) for name, metric in checked_metrics(data).items()}
    for name in ("energy_j", "latency_s"):
        if metrics[name].provenance is None:
            raise ValueError(f"{name}: without a provenance")
    return metrics


def _name(text: str) -> str:
    """Return what becomes a part of a file's name: none from elsewhere may leave the folder."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"not a name: {text!r}")
    return text


def _one_of(text: str, known: tuple[str, ...]) -> Any:
    if text not in known:
        raise ValueError(f"wanted one of {', '.join(known)}. Got {text!r}")
    return text


@dataclass(frozen=True)
class Attempt:
    """Something tried to make a front member cheaper or better, and what came of it.

    Args:
        arch_id: Of the member.
        what: What was tried, such as ``int8`` or ``distillation``.
        kept: Whether a variant that came of it is on the front.
        outcome: In one line: what was gained, or why it was not kept.
        figures: Numbers behind it, by name with unit.
    """

    arch_id: str
    what: str
    kept: bool
    outcome: str
    figures: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "arch_id": self.arch_id,
            "what": self.what,
            "kept": self.kept,
            "outcome": self.outcome,
            "figures": dict(self.figures),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Attempt:
        """Rebuild an attempt from `to_dict`."""
        return cls(
            str(data["arch_id"]),
            str(data["what"]),
            bool(data["kept"]),
            str(data["outcome"]),
            {name: float(value) for name, value in data["figures"].items()},
        )


@dataclass(frozen=True)
class Variants:
    """All variants of a run, those on the front first, and what was tried.

    Args:
        variants: Each measured on its target.
        baseline: ``variant_id`` of what others are compared with: the most accurate
            member as it was searched, in float32 and without early exits' savings.
        attempts: What was tried.
    """

    variants: tuple[Variant, ...]
    baseline: str
    attempts: tuple[Attempt, ...] = ()

    @property
    def front(self) -> tuple[Variant, ...]:
        """Those that no other feasible one dominates."""
        return tuple(v for v in self.variants if v.on_front)

    @property
    def shown(self) -> tuple[Variant, ...]:
        """The baseline, then the others on the front: what tables show."""
        return (self.named(self.baseline), *(v for v in self.front if not self._is_baseline(v)))

    @property
    def baseline_text(self) -> str:
        """What the baseline is, also where none of the kind wanted could be measured."""
        wanted, baseline = "float32 network without early exits", self.named(self.baseline)
        if baseline.form.precision == "float32" and len(baseline.exit_shares) == 1:
            return f"the most accurate {wanted}"
        return f"{baseline.form.network_id}, as no {wanted} could be measured"

    def _is_baseline(self, variant: Variant) -> bool:
        return variant.variant_id == self.baseline

    def named(self, variant_id: str) -> Variant:
        """Return a variant by its name.

        Raises:
            KeyError: If there is none.
        """
        return {v.variant_id: v for v in self.variants}[variant_id]

    def save(self, path: Path) -> None:
        """Write ``variants.json``."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "baseline": self.baseline,
            "variants": [v.to_dict() for v in self.variants],
            "attempts": [a.to_dict() for a in self.attempts],
        }
        write_atomically(path, json.dumps(content, indent=1).encode())

    @classmethod
    def load(cls, path: Path) -> Variants:
        """Read ``variants.json``.

        Raises:
            UserError: If it is missing or damaged.
        """
        try:
            data = json.loads(path.read_bytes())
            if data["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema_version {data['schema_version']}")
            loaded = cls(
                tuple(Variant.from_dict(v) for v in data["variants"]),
                str(data["baseline"]),
                tuple(Attempt.from_dict(a) for a in data["attempts"]),
            )
            loaded.named(loaded.baseline)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}). Search again with --resume."
            ) from None
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f"{path}: damaged ({type(error).__name__}: {error}).") from None
        except RecursionError:
            raise UserError(f"{path}: damaged (nested too deeply).") from None
        return loaded
