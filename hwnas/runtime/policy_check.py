"""Which rules of a policy can ever decide.

The conditions on one signal depend on that signal's history alone, and signals move
independently. So what can hold together is a product over signals of what the conditions on
each can do, which is found by walking through its thresholds. As every condition can begin and
end, an extreme value of a signal puts its conditions into one state from whatever state they
were in: any reachable state leads to any other, and a policy is stuck in a mode only if it
reaches no other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from hwnas.runtime.signals import SIGNAL_RANGES, Signals
from hwnas.runtime.trigger import Trigger

_Held = frozenset[Trigger]
_States = tuple[frozenset[_Held], ...]
"""By signal: which sets of conditions on it can hold together."""


def unreachable_rule(rules: Sequence[Sequence[Trigger]]) -> int | None:
    """Return the first rule that never decides, since earlier ones hold whenever it does.

    Args:
        rules: The conditions of each, by priority.
    """
    states = _reachable_states(rules)
    for index, rule in enumerate(rules):
        if not _can_decide(states, rule, rules[:index]):
            return index
    return None


def reachable_modes(
    rules: Sequence[Sequence[Trigger]], modes: Sequence[str], default: str
) -> frozenset[str]:
    """Return the modes that signals can lead to, all of them known.

    Args:
        rules: The conditions of each, by priority.
        modes: That each rule asks for.
        default: Where none holds.
    """
    states = _reachable_states(rules)
    found = {
        mode for index, mode in enumerate(modes) if _can_decide(states, rules[index], rules[:index])
    }
    if _can_decide(states, (), rules):
        found.add(default)
    return frozenset(found)


def _can_decide(
    states: _States, rule: Sequence[Trigger], earlier: Sequence[Sequence[Trigger]]
) -> bool:
    for trigger in rule:
        states = _narrowed(states, trigger, held=True)
    return all(states) and _all_released(states, earlier, set())


def _all_released(
    states: _States, rules: Sequence[Sequence[Trigger]], failed: set[_States]
) -> bool:
    """Return whether every rule can have a condition that does not hold, all at once.

    Args:
        states: That are left, some of each signal.
        rules: The conditions of each.
        failed: States known to allow it not, which are added to.
    """
    held = [rule for rule in rules if not any(_is_released(states, t) for t in rule)]
    if not held:
        return True
    if states in failed:
        return False
    # the rule of fewest choices first: without it, what cannot be is found last
    choices = min((_choices(states, rule) for rule in held), key=len)
    if any(_all_released(choice, held, failed) for choice in choices):
        return True
    failed.add(states)
    return False


def _choices(states: _States, rule: Sequence[Trigger]) -> list[_States]:
    narrowed = [_narrowed(states, trigger, held=False) for trigger in rule]
    return [choice for choice in narrowed if all(choice)]


def _is_released(states: _States, trigger: Trigger) -> bool:
    return not any(trigger in held for held in states[trigger.signal])


def _narrowed(states: _States, trigger: Trigger, *, held: bool) -> _States:
    kept = frozenset(s for s in states[trigger.signal] if (trigger in s) == held)
    return (*states[: trigger.signal], kept, *states[trigger.signal + 1 :])


def _reachable_states(rules: Sequence[Sequence[Trigger]]) -> _States:
    triggers = {trigger for rule in rules for trigger in rule}
    states = []
    for signal, name in enumerate(Signals._fields):
        mine = [t for t in triggers if t.signal == signal]
        steps = {_step(mine, value) for value in _representatives(mine, SIGNAL_RANGES[name])}
        reached: set[_Held] = set()
        new: set[_Held] = {frozenset()}
        while new:
            new = {held & kept | begun for held in new for kept, begun in steps} - reached
            reached |= new
        states.append(frozenset(reached))
    return tuple(states)


def _step(triggers: Sequence[Trigger], value: float) -> tuple[_Held, _Held]:
    """Return which conditions go on to hold at a value if they did before, and which begin."""
    kept = frozenset(t for t in triggers if t.next(True, value))
    return kept, frozenset(t for t in triggers if t.next(False, value))


def _representatives(triggers: Sequence[Trigger], limits: tuple[float, float]) -> list[float]:
    """Return values of a signal that stand for all: thresholds, and one between each two."""
    thresholds = {t.enter for t in triggers} | {t.leave for t in triggers}
    low, high = limits
    if math.isinf(high):
        high = max(thresholds, default=low) + 1
    marks = sorted({low, high} | {t for t in thresholds if low < t < high})
    between = [(a + b) / 2 for a, b in itertools.pairwise(marks)]
    return sorted([*marks, *between])
