"""Which variant an SLA chooses, by the validation split, and what the test split says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.front import Metric
from hwnas.sla import TIERS, Clause, Sla, Tier
from hwnas.sla_choice import choose_by_sla
from hwnas.variants import NetworkForm, Variant, Variants


def sla(critical: str = "", high: str = "", medium: str = "") -> Sla:
    texts: dict[Tier, str] = {"critical": critical, "high": high, "medium": medium}
    return Sla(
        "sla.yaml",
        {t: tuple(Clause.parse(c) for c in texts[t].split(",") if c) for t in TIERS},
    )


def variant(
    name: str, energy_mj: float, recall: float, latency_ms: float = 1.0, on_test: float = 0.99
) -> Variant:
    metrics = {
        "recall": Metric(on_test, "measured", on_test, on_test, split="test"),
        "validation_recall": Metric(recall, "measured", recall, recall, split="validation"),
        "energy_j": Metric(energy_mj / 1e3, "measured", energy_mj / 1e3, energy_mj / 1e3),
        "latency_s": Metric(latency_ms / 1e3, "measured", latency_ms / 1e3, latency_ms / 1e3),
        "flash_bytes": Metric(1e4, "measured"),
    }
    form = NetworkForm(name, "plain", "float32", f"{name}.safetensors", (f"{name}.onnx",))
    return Variant(form, ExitPolicy(()), (1.0,), "host", metrics)


def picked(limits: Sla, *variants: Variant) -> tuple[str, bool]:
    found = choose_by_sla(Variants(variants, variants[0].variant_id), limits)
    return found.variant.form.arch_id, found.chosen_by.is_met


BIG, MIDDLE, SMALL = variant("big", 9, 0.97), variant("middle", 5, 0.95), variant("small", 1, 0.9)


def test_the_variant_of_least_energy_that_meets_the_sla_is_picked() -> None:
    assert picked(sla(critical="recall >= 0.93"), BIG, MIDDLE, SMALL) == ("middle", True)
    assert picked(sla(critical="recall >= 0.5"), BIG, MIDDLE, SMALL) == ("small", True)
    slow = variant("slow", 5, 0.95, latency_ms=2)
    assert picked(sla(critical="recall >= 0.93"), slow, MIDDLE) == ("middle", True)


def test_what_is_wanted_decides_among_those_that_meet_the_rest() -> None:
    limits = sla(critical="recall >= 0.93", medium="recall >= 0.96")
    assert picked(limits, BIG, MIDDLE, SMALL) == ("big", True)
    assert picked(limits, MIDDLE, SMALL) == ("middle", True)


def test_where_none_meets_the_sla_the_one_that_misses_least_is_shown() -> None:
    limits = sla(critical="recall >= 0.99", high="energy < 6 mJ")
    assert picked(limits, BIG, MIDDLE, SMALL) == ("small", False)
    # a critical clause outweighs high ones
    limits = sla(critical="recall >= 0.96", high="energy < 6 mJ,latency < 0.5 ms")
    assert picked(limits, MIDDLE, BIG) == ("big", False)


def test_the_test_split_judges_the_one_that_was_chosen_and_chooses_none() -> None:
    """The cheap one does well enough on validation, and not on test; the dear one on both."""
    cheap, dear = variant("cheap", 1, 0.95, on_test=0.92), variant("dear", 2, 0.95, on_test=0.95)
    limits = sla(critical="recall >= 0.93")
    found = choose_by_sla(Variants((dear, cheap), dear.variant_id), limits)
    assert found.variant == cheap
    assert found.chosen_by.is_met
    assert found.judged is not None
    assert not found.judged.is_met


def test_a_variant_that_the_test_split_alone_favours_is_not_chosen() -> None:
    lucky, sound = variant("lucky", 1, 0.9, on_test=0.99), variant("sound", 2, 0.95)
    limits = sla(critical="recall >= 0.93")
    assert choose_by_sla(Variants((lucky, sound), sound.variant_id), limits).variant == sound
    alone = choose_by_sla(Variants((lucky,), lucky.variant_id), limits)
    assert not alone.chosen_by.is_met
    # nothing was chosen that it could judge
    assert alone.judged is None


def test_no_variants_are_refused() -> None:
    with pytest.raises(UserError, match="holds no variant"):
        choose_by_sla(Variants((), ""), sla(high="recall >= 0.5"))


def test_a_modelled_energy_is_no_reason_to_prefer_a_variant_to_a_metered_one() -> None:
    cheap = variant("modelled", 1, 0.95)
    modelled = replace(cheap.metrics["energy_j"], provenance="modelled")
    cheap = replace(cheap, metrics={**cheap.metrics, "energy_j": modelled})
    limits = sla(critical="recall >= 0.93")
    assert picked(limits, cheap, MIDDLE) == ("middle", True)
    # among its own kind it is chosen
    assert picked(limits, cheap) == ("modelled", True)
