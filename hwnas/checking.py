"""Judge a finished run or an exported bundle by an SLA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.bundle import open_bundle
from hwnas.bundle_manifest import MANIFEST
from hwnas.errors import UserError
from hwnas.front import Metric
from hwnas.run_folder import RunFolder
from hwnas.sla import Sla, load_sla
from hwnas.sla_check import SlaReport, check_sla
from hwnas.sla_choice import SlaChoice, choose_by_sla
from hwnas.variants import Variants


@dataclass(frozen=True)
class SlaCheck:
    """What became of an SLA.

    Args:
        sla: The limits.
        reports: On the test split. Of a run, that of the variant to export, by its name, none
            where nothing meets the SLA on the validation split; of a bundle, those of all
            operating points by name.
        choice: Of a run, how that variant was chosen.
    """

    sla: Sla
    reports: Mapping[str, SlaReport]
    choice: SlaChoice | None = None

    @property
    def is_met(self) -> bool:
        """Whether something was judged, and all that was meets the SLA."""
        return bool(self.reports) and all(report.is_met for report in self.reports.values())

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "is_met": self.is_met,
            "sla": self.sla.to_dict(),
            "choice": self.choice and self.choice.to_dict(),
            "reports": {name: report.to_dict() for name, report in self.reports.items()},
        }


def check(path: Path, sla: Path) -> SlaCheck:
    """Judge a run or a bundle by an SLA; nothing is measured.

    Args:
        path: Folder of a finished run, of which the variant is judged that `choose_by_sla`
            returns, or of a bundle, whose operating points are all judged, since a device may
            be in any of them.
        sla: The SLA's file.

    Raises:
        UserError: If the SLA or the folder is wrong, or a file of the bundle has changed.
    """
    limits = load_sla(sla)
    variants = RunFolder(path).variants_json
    if variants.exists():
        choice = choose_by_sla(Variants.load(variants), limits)
        reports = {choice.variant.variant_id: choice.judged} if choice.judged else {}
        return SlaCheck(limits, reports, choice)
    if RunFolder(path).checkpoints.is_dir():
        raise UserError(f"{path}: its search has not finished; continue it with --resume")
    return SlaCheck(
        limits,
        {
            name: check_sla(limits, _metrics(path, point.metrics))
            for name, point in open_bundle(path).operating_points.items()
        },
    )


def _metrics(bundle: Path, metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Metric]:
    found = {name: Metric(**metric) for name, metric in metrics.items()}
    for name in ("energy_j", "latency_s"):
        if name not in found:
            raise UserError(f"{bundle / MANIFEST}: damaged (without {name}). Export it again.")
    return found
