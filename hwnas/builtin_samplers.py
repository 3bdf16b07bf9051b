"""Optuna's own samplers, seeded so that an interrupted study goes on as if it had not been."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)

from hwnas.sampler_mirror import SamplerFactory

BuiltinSamplerName: TypeAlias = Literal["tpe", "nsga2", "nsga3", "gp", "random"]

_POPULATION = 20

_MAKERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True),
    "nsga2": lambda seed: NSGAIISampler(population_size=_POPULATION, seed=seed),
    "nsga3": lambda seed: NSGAIIISampler(population_size=_POPULATION, seed=seed),
    "gp": lambda seed: GPSampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
}


def builtin_sampler(name: BuiltinSamplerName, seed: int) -> SamplerFactory:
    """Return what makes one of Optuna's samplers for each trial number.

    Args:
        name: Which one.
        seed: Of the study; that of a trial derives from it and the trial's number.
    """
    make = _MAKERS[name]

    def sampler(number: int) -> BaseSampler:
        derived = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        with warnings.catch_warnings():
            # some may change their interface, says Optuna; its major version is pinned here
            warnings.simplefilter("ignore", ExperimentalWarning)
            return make(derived)

    return sampler
