"""What the runtime adds to an inference: deciding and switching the operating point.

    python experiments/benchmarks/runtime_overhead.py BUNDLE [--decisions 100000] [--seed 0]

Prints median, P99 and largest time of a decision (signals, rules, energy budget and, where the
mode changes, the switch) over random signals, once for all decisions and once for those that
change the mode; the time of what else the runtime adds to an inference; and the ratio of a
decision to an inference. The decisions are those of a policy with a rule for every signal.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from hwnas.bundle import open_bundle
from hwnas.runtime import DeviceState, Runtime, ScalingPolicy
from hwnas.runtime.policy import Conditions, Rule, Threshold
from hwnas.runtime.staged_network import StagedNetwork


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--inferences", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy.yaml"
        names = list(open_bundle(args.bundle).operating_points)
        policy.write_text(full_policy(names).to_yaml())
        runtime = Runtime(args.bundle, policy=policy)
    rng = np.random.default_rng(args.seed)
    times_s, changed = decide(runtime, args.decisions, rng)
    show("decision", times_s)
    show(f"decision that switches ({changed.sum()})", times_s[changed])
    alone_s, whole_s = infer(args.bundle, runtime, args.inferences, rng)
    show("network alone", alone_s)
    show("Runtime.infer", whole_s)
    ratio = np.median(times_s) / np.median(alone_s)
    print(f"a decision takes {100 * ratio:.2f} % of an inference (medians)")


def full_policy(names: list[str]) -> ScalingPolicy:
    """Return a policy with a rule for every signal, without dwell time so that it switches."""
    high, low = names[0], names[-1]
    return ScalingPolicy(
        default=names[len(names) // 2],
        min_dwell_s=0,
        energy_budget_j_per_hour=1e6,
        rules=(
            Rule(mode=low, when=Conditions(temperature_c=Threshold(above=70, until=60))),
            Rule(mode=high, when=Conditions(charging=True)),
            Rule(mode=low, when=Conditions(battery_level=Threshold(below=0.2, until=0.25))),
            Rule(mode=high, when=Conditions(confidence=Threshold(below=0.6, until=0.75))),
            Rule(mode=high, when=Conditions(activity_per_min=Threshold(above=6, until=3))),
        ),
    )


def decide(runtime: Runtime, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds of each decision, and which changed the mode."""
    devices = [
        DeviceState(float(level), bool(charging), float(celsius))
        for level, charging, celsius in zip(
            rng.random(count), rng.random(count) < 0.3, rng.uniform(20, 80, count), strict=True
        )
    ]
    for device in devices[:1000]:
        runtime.decide(device)
    times_ns = np.empty(count, dtype=np.int64)
    changed = np.zeros(count, dtype=np.bool_)
    mode = runtime.governor.mode
    for k, device in enumerate(devices):
        started_ns = time.perf_counter_ns()
        after = runtime.decide(device)
        times_ns[k] = time.perf_counter_ns() - started_ns
        changed[k] = after != mode
        mode = after
    return times_ns / 1e9, changed


def infer(
    bundle: Path, runtime: Runtime, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return seconds of the network alone and of the whole, alternated, in the first mode."""
    manifest = open_bundle(bundle)
    point = manifest.operating_points[manifest.default_point]
    network = StagedNetwork.load(bundle, manifest.networks[point.network])
    policy = point.exit_policy.policy
    x = rng.normal(size=manifest.input.shape).astype(np.float32)
    full = DeviceState(battery_level=1.0, charging=True, temperature_c=20.0)
    alone_s, whole_s = np.empty(count), np.empty(count)
    for k in range(-100, count):
        t0 = time.perf_counter()
        network.infer(x, policy)
        t1 = time.perf_counter()
        runtime.infer(x, full)
        t2 = time.perf_counter()
        if k >= 0:
            alone_s[k], whole_s[k] = t1 - t0, t2 - t1
    return alone_s, whole_s


def show(name: str, times_s: np.ndarray) -> None:
    median, p99 = np.quantile(times_s, [0.5, 0.99]) * 1e6
    print(
        f"{name:32} median {median:8.2f} us   P99 {p99:8.2f} us   max {times_s.max() * 1e6:9.1f} us"
    )


if __name__ == "__main__":
    main()
