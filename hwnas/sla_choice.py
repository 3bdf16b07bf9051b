"""Choose by an SLA what is exported: by the validation split, judged once by the test split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hwnas.errors import UserError
from hwnas.sla import Sla
from hwnas.sla_check import SlaReport, check_sla
from hwnas.variants import Variant, Variants


@dataclass(frozen=True)
class SlaChoice:
    """The variant that an SLA chooses.

    Args:
        variant: The cheapest that meets the SLA on the validation split; where none does, the
            one that misses least.
        chosen_by: Its report on the validation split.
        judged: Its report on the test split; ``None`` where nothing could be chosen, and the
            test split is not looked at.
    """

    variant: Variant
    chosen_by: SlaReport
    judged: SlaReport | None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "variant_id": self.variant.variant_id,
            "chosen_by": self.chosen_by.to_dict(),
            "judged": self.judged and self.judged.to_dict(),
        }


def choose_by_sla(variants: Variants, sla: Sla) -> SlaChoice:
    """Return the variant of least energy, then latency, that meets an SLA, and its reports.

    Energies of several kinds do not compare: measured ones come before modelled ones. Of those
    that meet it the ones come first that miss the fewest ``medium`` clauses. Whether it is met is
    asked of the validation split, as the best of many by the test split would be one that this
    split favours: the test split then says of the chosen one alone whether it holds, and there is
    no second choice. Where none meets it, the one that misses the fewest critical, then high
    clauses is returned.

    Raises:
        UserError: As `check_sla`, or if there are no variants.
    """
    if not variants.variants:
        raise UserError("variants.json: holds no variant. Search again.")
    checked = [(v, check_sla(sla, v.metrics, "validation")) for v in variants.variants]

    def rank(item: tuple[Variant, SlaReport]) -> tuple[float, ...]:
        energy, latency = (item[0].metrics[name] for name in ("energy_j", "latency_s"))
        is_modelled = energy.provenance != "measured"
        return (*item[1].shortfalls, is_modelled, energy.value, latency.value)

    variant, chosen_by = min(checked, key=rank)
    judged = check_sla(sla, variant.metrics) if chosen_by.is_met else None
    return SlaChoice(variant, chosen_by, judged)
