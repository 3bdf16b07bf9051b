"""How true are measured energies? Bias and coverage per kind of meter, against a naive method.

Devices and meters are simulated, so the truth is known: see targets/energy_scenes.py.
The naive method is what most scripts do: one loop of 10 s, samples between its two ends by the
computer's clock, at a fixed rate, minus an idle power taken before, five times over.

    python experiments/benchmarks/energy_proof.py --settings 300
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from targets.energy_measurement import EnergyConfig
from targets.energy_protocol import Candidate, EnergyProtocol
from targets.energy_scenes import KINDS, MeterKind, random_bench
from targets.energy_simulation import SimulatedBench
from targets.power_trace import Span


def protocol_error(bench: SimulatedBench, seed: int) -> tuple[float, bool] | str:
    """Return the relative error of the net energy and whether its interval held the truth."""
    info = bench.meters[0].info
    candidate = Candidate(bench.open)
    (found,) = EnergyProtocol([info], EnergyConfig(seed=seed)).measure([candidate])
    if found.net_j is None:
        return found.net_refused or ""
    truth = bench.load.net_j
    return found.net_j.value / truth - 1, found.net_j.low <= truth <= found.net_j.high


def naive_error(bench: SimulatedBench) -> tuple[float, bool]:
    """Return the same for the naive method."""
    meter = bench.meters[0]
    if not meter.info.counts:
        meter = replace(meter, info=replace(meter.info, polled=False))
        bench.meters = (meter,)
    load = bench.load
    n = max(1, round(10 / load.latency_s))
    values = []
    for _ in range(5):
        bench.start_meters()
        before = bench.idle(2.0)
        loop = bench.run(n, 1)
        (trace,) = bench.stop_meters()
        active = _mean_w(trace, loop.span)
        idle = _mean_w(trace, before)
        values.append((active - idle) * loop.span.length_s / n)
    mean, scatter = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(student.ppf(0.975, len(values) - 1)) * scatter / np.sqrt(len(values))
    return mean / load.net_j - 1, bool(abs(mean - load.net_j) <= half)


def _mean_w(trace: object, span: Span) -> float:
    part = trace.within(span)  # type: ignore[attr-defined]
    return part.mean_power_w() if len(part.power_w) else float("nan")


def row(kind: MeterKind, settings: int, seed: int) -> dict[str, object]:
    """Return the figures of one kind of meter."""
    found: list[tuple[float, bool]] = []
    naive: list[tuple[float, bool]] = []
    refused: Counter[str] = Counter()
    for number in range(settings):
        result = protocol_error(random_bench(kind, np.random.default_rng([seed, number])), number)
        if isinstance(result, str):
            refused[result.split(":")[0].split(" repeats")[0]] += 1
        else:
            found.append(result)
        naive.append(naive_error(random_bench(kind, np.random.default_rng([seed, number]))))
    return {
        "measured": len(found),
        "refused": dict(refused),
        **_figures(found, ""),
        **_figures(naive, "naive_"),
    }


def _figures(results: Sequence[tuple[float, bool]], prefix: str) -> dict[str, float]:
    errors = np.array([error for error, _ in results])
    return {
        f"{prefix}bias": float(np.nanmean(errors)),
        f"{prefix}rms": float(np.sqrt(np.nanmean(errors**2))),
        f"{prefix}worst": float(np.nanmax(np.abs(errors))),
        f"{prefix}coverage": float(np.mean([held for _, held in results])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=int, default=300, help="random devices per meter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(
        f"{'meter':30} measured refused |  bias   rms  worst  95 % holds "
        "| naive: bias   rms  worst  holds"
    )
    rows = {}
    for name, kind in KINDS.items():
        r = rows[name] = row(kind, arguments.settings, arguments.seed)
        parts = [
            f"{100 * r[f'{p}bias']:+5.1f} {100 * r[f'{p}rms']:5.1f} {100 * r[f'{p}worst']:6.1f} "
            f"{100 * r[f'{p}coverage']:6.1f} %"
            for p in ("", "naive_")
        ]
        print(
            f"{name:30} {r['measured']:8d} {arguments.settings - r['measured']:7d} | "
            f"{parts[0]}    | {parts[1]}"
        )
        for reason, n in r["refused"].items():
            print(f"{'':30} {n} refused: {reason}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
