"""A search space as Optuna's samplers see it: one fixed parameter per dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from search_spaces import Architecture, Choice, SearchSpace


class ParameterSpace:
    """Parameters of all dimensions of a space, whatever is active.

    Samplers treat a parameter that some trial lacks as unknown for ever; inactive choices
    are collapsed when an architecture is made of them. A dimension of numbers is a
    parameter of positions, since their order tells a sampler which are neighbours.

    Args:
        space: Search space.

    Attributes:
        distributions: By dimension, in the space's order.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self.distributions: dict[str, BaseDistribution] = {
            name: _distribution(choices) for name, choices in space.dimensions.items()
        }

    def positions(self, parameters: Mapping[str, Any]) -> list[int]:
        """Return the position of each dimension's parameter among its choices."""
        return [
            parameters[name] if self._is_ordered(name) else choices.index(parameters[name])
            for name, choices in self._space.dimensions.items()
        ]

    def positions_of(self, architecture: Architecture) -> list[int]:
        """Return the position of each dimension's choice."""
        choices = dict(architecture.choices)
        return [values.index(choices[n]) for n, values in self._space.dimensions.items()]

    def parameters(self, positions: Sequence[int]) -> dict[str, Any]:
        """Return the parameters at positions."""
        return {
            name: position if self._is_ordered(name) else choices[position]
            for (name, choices), position in zip(
                self._space.dimensions.items(), positions, strict=True
            )
        }

    def architecture(self, positions: Sequence[int]) -> Architecture:
        """Return the architecture at positions, inactive choices collapsed."""
        choices: dict[str, Choice] = {
            name: values[position]
            for (name, values), position in zip(
                self._space.dimensions.items(), positions, strict=True
            )
        }
        return self._space.canonicalize(choices)

    def _is_ordered(self, name: str) -> bool:
        return isinstance(self.distributions[name], IntDistribution)


def _distribution(choices: Sequence[Choice]) -> BaseDistribution:
    if all(isinstance(choice, int | float) for choice in choices):
        return IntDistribution(0, len(choices) - 1)
    return CategoricalDistribution(list(choices))
