"""What accuracy an architecture gets, and at what cost: scorers behind one interface.

Importing this package loads no torch.
"""

from hwnas.scorers._registry import AUTO, check, create, names
from hwnas.scorers._types import AccuracyScorer, Rungs, ScoringContext

__all__ = ["AUTO", "AccuracyScorer", "Rungs", "ScoringContext", "check", "create", "names"]
