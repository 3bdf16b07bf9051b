"""What early exits save, against the same network without them."""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.units import engineering
from hwnas.variants import Attempt, Variant


def exit_savings(variants: Sequence[Variant]) -> list[Attempt]:
    """Tell of each network what its early exits save, as it was searched, in float32.

    A network is compared with itself without its exits, whose heads it then does not compute:
    of its exit policies the first one, which costs least accuracy. Early exits are kept where
    any variant with them is on the front.

    Args:
        variants: Of one run, those on the front marked; networks without both forms are left out.
    """
    plain = [
        v
        for v in variants
        if v.form.training == "plain"
        and v.form.precision == "float32"
        and v.device_point is None
        and not v.policy_index
    ]
    static = {v.form.arch_id: v for v in plain if not v.form.has_exits}
    kept = {v.form.arch_id for v in variants if v.form.has_exits and v.on_front}
    return [
        _compared(v, static[v.form.arch_id], v.form.arch_id in kept)
        for v in plain
        if v.form.has_exits and v.form.arch_id in static
    ]


def _compared(exits: Variant, static: Variant, kept: bool) -> Attempt:
    early = 1 - exits.exit_shares[-1]
    taken, whole = (v.metrics["latency_s"].value for v in (exits, static))
    accuracy = [v.metrics["accuracy"].value for v in (exits, static)]
    saved = 1 - taken / whole
    told = (
        f"{early:.0%} of the samples leave early; on average {engineering(taken, 's')}, "
        f"{engineering(whole, 's')} without exits; test accuracy {accuracy[0]:.1%} and "
        f"{accuracy[1]:.1%}"
    )
    told += f"; {'on the front' if kept else 'not on the front'}"
    verdict = f"saves {saved:.0%} of the latency" if saved > 0 else "saves nothing"
    figures = {"latency_saved": saved, "accuracy_change": accuracy[0] - accuracy[1]}
    return Attempt(exits.form.arch_id, "early exits", kept, f"{verdict}: {told}", figures)
