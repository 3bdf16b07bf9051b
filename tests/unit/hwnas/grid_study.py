"""A space small enough to know all of it, and studies of it."""

from __future__ import annotations

import math
import multiprocessing
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from optuna.storages import BaseStorage

from hwnas.builtin_samplers import BuiltinSamplerName, builtin_sampler
from hwnas.costs import ArchitectureCosts
from hwnas.objectives import OBJECTIVES, Constraint
from hwnas.storages import open_storage
from hwnas.study import Proposal, SearchStudy, SpaceExhaustedError
from hwnas.worker_process import WorkerProcess
from latency_predictors import EnergyRange, Prediction
from search_spaces import Architecture, Choice, Stage, Workload

MAX_LATENCY = Constraint("max_latency_ms", "worst_latency_s", 8e-3, "ms", 1e3)
MIN_ACCURACY = Constraint("min_accuracy", "validation_accuracy", 0.5, "", 1.0, is_minimum=True)


class GridSpace:
    """Depth, width and activation of one linear layer; without depth no activation counts."""

    name = "grid"
    input_shape = (1, 1, 1)
    n_classes = 2

    def __init__(self) -> None:
        self.dimensions: Mapping[str, tuple[Choice, ...]] = {
            "activation": ("relu6", "hard_swish"),
            "depth": (0, 1, 2, 3),
            "width": (8, 16, 32),
        }

    def canonicalize(self, choices: Mapping[str, Choice]) -> Architecture:
        canonical = {name: choices[name] for name in self.dimensions}
        if canonical["depth"] == 0:
            canonical["activation"] = "relu6"
        return Architecture(self.name, tuple(sorted(canonical.items())))

    def sample(self, rng: np.random.Generator) -> Architecture:
        return self.canonicalize(
            {name: values[rng.integers(len(values))] for name, values in self.dimensions.items()}
        )

    def stages(self, arch: Architecture) -> tuple[Stage, ...]:
        width = int(arch["width"])
        layers = (Workload("linear", (width,), (width,)),) * (1 + int(arch["depth"]))
        return (Stage(self.input_shape, None, layers),)

    def workloads(self, arch: Architecture) -> tuple[Workload, ...]:
        return self.stages(arch)[0].workloads

    def build(self, arch: Architecture) -> Any:
        raise NotImplementedError("a study trains nothing")


SPACE = GridSpace()
EVERYTHING = {
    SPACE.canonicalize(dict(zip(SPACE.dimensions, values, strict=True)))
    for values in product(*SPACE.dimensions.values())
}


def latency_s(arch: Architecture) -> float:
    return 1e-3 * (1 + int(arch["depth"])) * int(arch["width"]) / 8


def accuracy(arch: Architecture) -> float:
    bonus = 0.05 if arch["activation"] == "hard_swish" else 0.0
    return 0.3 + 0.1 * int(arch["depth"]) + 0.05 * math.log2(int(arch["width"])) + bonus


def predict(architectures: Sequence[Architecture]) -> list[ArchitectureCosts]:
    """Exact costs: their intervals have no width."""
    out = []
    for arch in architectures:
        t = latency_s(arch)
        exact, size = Prediction(t, 0.0, t, t, True), Prediction(1e3, 0.0, 1e3, 1e3, True)
        energy = EnergyRange(2 * t, t, 3 * t)
        out.append(ArchitectureCosts((exact,), (energy,), exact, energy, size, size))
    return out


FEASIBLE = {a for a in EVERYTHING if latency_s(a) <= 8e-3}


def in_order(architectures: set[Architecture]) -> list[Architecture]:
    return sorted(architectures, key=lambda a: a.arch_id)


def open_study(
    storage: BaseStorage | Path | str,
    sampler: BuiltinSamplerName = "random",
    *,
    seed: int = 0,
    costs: Callable[[Sequence[Architecture]], list[ArchitectureCosts]] = predict,
    constraints: Sequence[Constraint] = (MAX_LATENCY,),
    reserve: set[Architecture] = FEASIBLE,
    name: str = "search",
    lease_s: float = 60.0,
    patience_s: float = 60.0,
) -> SearchStudy:
    return SearchStudy(
        storage if isinstance(storage, BaseStorage) else open_storage(str(storage)),
        SPACE,
        (OBJECTIVES["accuracy"], OBJECTIVES["latency"]),
        constraints,
        costs,
        builtin_sampler(sampler, seed),
        lambda: in_order(reserve),
        worker="tester",
        name=name,
        lease_s=lease_s,
        patience_s=patience_s,
    )


def evaluate(study: SearchStudy, proposal: Proposal) -> bool:
    arch = proposal.architecture
    result = {"width": arch["width"], "note": "trained"}
    return study.complete(proposal, [accuracy(arch), latency_s(arch)], result)


def search(study: SearchStudy, wanted: int) -> list[Proposal]:
    """Evaluate until so many are complete, or nothing new is found."""
    proposals: list[Proposal] = []
    try:
        while (proposal := study.claim(wanted)) is not None:
            evaluate(study, proposal)
            proposals.append(proposal)
    except SpaceExhaustedError:
        pass
    return proposals


def as_told(proposals: Sequence[Proposal]) -> list[tuple[int, str]]:
    return [(p.number, p.architecture.arch_id) for p in proposals]


def killed_search(
    location: Path | str,
    sampler: BuiltinSamplerName,
    complete: int,
    is_elsewhere: bool = False,
    lease_s: float = 60.0,
) -> list[tuple[int, str]]:
    """Search in another process, which is killed once it has claimed one evaluation more.

    Others do not see that it is dead if it says that it runs on another host.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    arguments = (str(location), sampler, complete, is_elsewhere, lease_s, sender)
    process = context.Process(target=_claim_and_wait, args=arguments)
    process.start()
    claimed: list[tuple[int, str]] = receiver.recv()
    process.kill()
    process.join()
    return claimed


def _claim_and_wait(
    location: str,
    sampler: BuiltinSamplerName,
    complete: int,
    is_elsewhere: bool,
    lease_s: float,
    sender: Connection,
) -> None:
    if is_elsewhere:
        elsewhere = replace(WorkerProcess.current(), kernel="another")
        WorkerProcess.current = classmethod(lambda _: elsewhere)  # type: ignore[assignment]
    study = open_study(location, sampler, lease_s=lease_s)
    claimed = search(study, complete)
    last = study.claim(complete + 1)
    assert last is not None
    sender.send(as_told([*claimed, last]))
    threading.Event().wait()
