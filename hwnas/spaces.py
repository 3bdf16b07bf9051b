"""Build the search space of an experiment for its data set."""

from __future__ import annotations

import search_spaces
from hwnas.config import SpaceConfig
from hwnas.errors import UserError
from search_spaces import SearchSpace, Shape


def create_space(config: SpaceConfig, input_shape: Shape, n_classes: int) -> SearchSpace:
    """Create a space.

    Args:
        config: Section ``space`` of the experiment.
        input_shape: ``(C, H, W)`` of one sample.
        n_classes: Number of classes.

    Raises:
        UserError: If the space, or one of its choices, is unknown or impossible.
    """
    settings = {
        name: value
        for name, value in (("base", config.base), ("n_stages", config.n_stages))
        if value is not None
    }
    try:
        return search_spaces.create(
            config.name,
            input_shape=input_shape,
            n_classes=n_classes,
            choices=config.choices,
            **settings,
        )
    except ValueError as error:
        raise UserError(f"space: {error}") from None
