"""What a study proposes next: what was enqueued, then the sampler's, then the reserve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeAlias

from hwnas.costs import ArchitectureCosts
from hwnas.objectives import Constraint
from hwnas.parameter_space import ParameterSpace
from hwnas.sampler_mirror import SamplerMirror, Suggestion
from hwnas.study_view import Evaluation, Status, StudyView
from hwnas.trial_record import TrialContent
from search_spaces import Architecture

Reserve: TypeAlias = Callable[[], Sequence[Architecture]]

# proposals in a row that yield no new feasible architecture before the sampler is overruled
_PATIENCE = 30


class Proposer:
    """Proposes architectures, and judges whether they are feasible and new.

    Args:
        view: What was proposed before.
        mirror: Of the view, for the sampler.
        parameters: Of the search space.
        constraints: Limits on predicted costs.
        costs: Predicts them.
        reserve: Finds feasible architectures to fall back on when the sampler finds none.
    """

    def __init__(
        self,
        view: StudyView,
        mirror: SamplerMirror,
        parameters: ParameterSpace,
        constraints: Sequence[Constraint],
        costs: Callable[[Architecture], ArchitectureCosts],
        reserve: Reserve,
    ) -> None:
        self._view = view
        self._mirror = mirror
        self._parameters = parameters
        self._constraints = tuple(constraints)
        self._costs = costs
        self._reserve = cache(reserve)

    def next(self, queue: Sequence[Architecture], lost: Evaluation | None) -> TrialContent | None:
        """Return the next proposal; ``None`` where nothing new is found.

        Args:
            queue: To be proposed first.
            lost: A claim just given back. Workers that ask at one moment propose the same;
                each loser goes on from its own place among them.
        """
        listed = self._unseen(queue)
        if not listed and self._view.misses >= _PATIENCE:
            listed = self._unseen(self._reserve())
            if not listed:
                return None
        if listed:
            place = 0 if lost is None else self._view.contenders(lost) - 1
            chosen = listed[place % len(listed)]
            return self._judged(Suggestion(self._parameters.positions_of(chosen)))
        return self._judged(self._mirror.suggest(None if lost is None else lost.number))

    def _judged(self, suggestion: Suggestion) -> TrialContent:
        architecture = self._parameters.architecture(suggestion.positions)
        violations = self._costs(architecture).violations(self._constraints)
        owner = None
        if all(violation <= 0 for violation in violations.values()):
            owner = self._view.owner(architecture)
            # those that the exits decide come with the training
            settled = [c.name for c in self._constraints if c.is_known_before_training]
            violations = {name: violations[name] for name in settled}
        return TrialContent(
            architecture,
            suggestion.positions,
            violations,
            suggestion.system,
            suggestion.study,
            duplicate_of=None if owner is None else owner.number,
            is_told=owner is not None and owner.status == Status.COMPLETE,
        )

    def _unseen(self, architectures: Sequence[Architecture]) -> list[Architecture]:
        return [a for a in architectures if self._view.is_new(a)]
