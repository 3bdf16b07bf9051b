"""What recording a trial costs beside its evaluation: propose, claim and tell, per trial.

    python experiments/benchmarks/study_overhead.py [--trials 100,1000,10000]
        [--storage journal,sqlite,grpc,URL] [--sampler random,pareto_guided] [--json OUT]

One worker asks for architectures of a space of 24 dimensions with 6 choices each and tells three
values, 8 points of exit policies and a result of 3 kB at once, as if evaluating took no time; costs
are a table look-up here, so that they are not counted. Shown are the wall and processor time of the
last tenth of the trials, since it is there that anything quadratic shows, those of all trials, and
the processor time of opening the study again. `grpc` is a proxy in a process of its own in front of
an SQLite file; a postgresql:// URL is used as it is, under a new study name.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.builtin_samplers import builtin_sampler
from hwnas.candidate_training import SplitResult, TrainingOutcome
from hwnas.costs import ArchitectureCosts
from hwnas.exit_policy import ExitPolicy
from hwnas.objectives import OBJECTIVES
from hwnas.parameter_space import ParameterSpace
from hwnas.policy_curve import CurvePoint
from hwnas.sampler_mirror import SamplerFactory
from hwnas.samplers.candidate_costs import CandidateCosts
from hwnas.storages import open_storage, serve_storage
from hwnas.study import SearchStudy
from latency_predictors import EnergyRange, Prediction
from search_spaces import Architecture, Choice

_DIMENSIONS, _CHOICES = 24, 6
_POLICY = ExitPolicy((0.8765432101234567, 0.7654321012345678), (1.1234567890123456,) * 3)
_SHARES = (0.5123456789012345, 0.3123456789012345, 0.1753086421975310)
_RESULT = TrainingOutcome(
    policy=_POLICY,
    curve=(CurvePoint(_POLICY, 0.9, 1.234567890123456e-4, _SHARES),) * 8,
    validation=SplitResult(400, 0.9, (0.8, 0.85, 0.9), _SHARES),
).to_dict()
_OBJECTIVES = tuple(OBJECTIVES[name] for name in ("accuracy", "latency", "energy"))


class _Space:
    """As many dimensions as a large space of this project; every choice is active."""

    name = "overhead"
    dimensions: Mapping[str, tuple[Choice, ...]] = {
        f"dimension{i:02}": tuple(range(_CHOICES)) for i in range(_DIMENSIONS)
    }

    def canonicalize(self, choices: Mapping[str, Choice]) -> Architecture:
        return Architecture(self.name, tuple(sorted(choices.items())))


@dataclass(frozen=True)
class Overhead:
    """Seconds per trial of one storage and sampler: of the last tenth of the trials, and of all.

    Args:
        storage: Its kind.
        sampler: Its name.
        trials: How many.
        wall_s: Of the last tenth.
        cpu_s: Of the last tenth.
        mean_wall_s: Of all.
        mean_cpu_s: Of all.
        open_cpu_s: Of opening the study again.
    """

    storage: str
    sampler: str
    trials: int
    wall_s: float
    cpu_s: float
    mean_wall_s: float
    mean_cpu_s: float
    open_cpu_s: float


def measure(location: str, kind: str, sampler: str, trials: Sequence[int]) -> Iterator[Overhead]:
    """Fill one study, and stop at each number of trials to look at it."""
    name, done = f"overhead-{uuid.uuid4().hex}", 0
    whole_wall, whole_cpu = 0.0, 0.0
    for n in sorted(trials):
        # a cold start would be counted otherwise
        study, _ = _open(location, name, sampler)
        with study:
            counted = n // 10
            before = _evaluate(study, done, n - counted)
            last = _evaluate(study, n - counted, n)
            whole_wall += before[0] + last[0]
            whole_cpu += before[1] + last[1]
            yield Overhead(
                kind,
                sampler,
                n,
                last[0] / counted,
                last[1] / counted,
                whole_wall / n,
                whole_cpu / n,
                _open(location, name, sampler)[1],
            )
        done = n


def _open(location: str, name: str, sampler: str) -> tuple[SearchStudy, float]:
    began = time.process_time()
    study = SearchStudy(
        open_storage(location),
        _Space(),  # type: ignore[arg-type]
        _OBJECTIVES,
        (),
        _predict,
        _sampler(sampler),
        worker="overhead",
        name=name,
    )
    study.counts()
    return study, time.process_time() - began


def _evaluate(study: SearchStudy, first: int, last: int) -> tuple[float, float]:
    """Return the wall and processor seconds that it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    for number in range(first, last):
        proposal = study.claim(wanted=last)
        if proposal is None:
            raise RuntimeError("nothing was proposed")
        values = [0.5 + 0.4 * np.sin(number), 1e-3 * (1 + number % 97), 1e-3 * (1 + number % 89)]
        points = [
            (values[0] * (1 - k / 9), *(v * (1 - k / 10) for v in values[1:])) for k in range(8)
        ]
        study.complete(proposal, values, _RESULT, points=points)
    return time.perf_counter() - wall, time.process_time() - cpu


def _sampler(name: str) -> SamplerFactory:
    if name != "pareto_guided":
        return builtin_sampler(name, seed=0)  # type: ignore[arg-type]
    from hwnas.pareto import ObjectiveScale
    from hwnas.samplers.pareto_guided import ParetoGuidedSampler

    sampler = ParetoGuidedSampler(
        distributions=ParameterSpace(_Space()).distributions,  # type: ignore[arg-type]
        seed=0,
        costs=_costs,
        noise_std=[np.nan, 0.0, 0.0],
        canonicalize=lambda rows: rows,
        scale=ObjectiveScale(_OBJECTIVES, (1.0, 1e-3, 1e-3), (0.0, 0.1, 0.1)),
    )
    return lambda number: sampler


def _costs(rows: NDArray[np.intp]) -> CandidateCosts:
    cost = 1e-3 * (1.0 + rows.sum(axis=1))
    unknown = np.full(len(rows), np.nan)
    return CandidateCosts(
        np.column_stack([unknown, cost, cost]),
        np.column_stack([unknown, np.full(len(rows), 0.05), np.full(len(rows), 0.05)]),
        np.zeros(len(rows)) - 1,
    )


def _predict(architectures: Sequence[Architecture]) -> list[ArchitectureCosts]:
    one = Prediction(1e-3, 0.0, 1e-3, 1e-3, True)
    energy = EnergyRange(1e-3, 1e-3, 1e-3)
    return [ArchitectureCosts((one,), (energy,), one, energy, one, one) for _ in architectures]


@contextmanager
def _location(kind: str, folder: Path) -> Iterator[str]:
    """Give the location of an empty storage of a kind, or a URL as it is."""
    if kind == "journal":
        yield str(folder / f"{uuid.uuid4().hex}.journal")
    elif kind == "sqlite":
        yield f"sqlite:///{folder / uuid.uuid4().hex}.db"
    elif kind == "grpc":
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        url = f"sqlite:///{folder / uuid.uuid4().hex}.db"
        context = multiprocessing.get_context("spawn")
        server = context.Process(target=serve_storage, args=(url, "127.0.0.1", port), daemon=True)
        server.start()
        try:
            _await(port)
            yield f"grpc://127.0.0.1:{port}"
        finally:
            server.terminate()
    else:
        yield kind


def _await(port: int) -> None:
    for _ in range(600):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the proxy does not listen")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", default="100,1000,10000")
    parser.add_argument("--storage", default="journal,sqlite,grpc")
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    trials = [int(n) for n in args.trials.split(",")]
    found = []
    print(
        f"{'storage':<12}{'sampler':<15}{'trials':>8}{'wall ms':>9}{'CPU ms':>8}"
        f"{'of all: wall':>14}{'CPU':>8}{'open CPU s':>12}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.storage.split(","):
            for sampler in args.sampler.split(","):
                with _location(kind, Path(folder)) as location:
                    shown = location.partition("://")[0] if "://" in kind else kind
                    for one in measure(location, shown, sampler, trials):
                        found.append(one)
                        print(_line(one), flush=True)
    if args.json:
        args.json.write_text(json.dumps([asdict(one) for one in found], indent=1))


def _line(one: Overhead) -> str:
    return (
        f"{one.storage:<12}{one.sampler:<15}{one.trials:>8}{1e3 * one.wall_s:>9.1f}"
        f"{1e3 * one.cpu_s:>8.1f}{1e3 * one.mean_wall_s:>14.1f}{1e3 * one.mean_cpu_s:>8.1f}"
        f"{one.open_cpu_s:>12.2f}"
    )


if __name__ == "__main__":
    main()
