import hwnas.scorers
from hwnas.scorers import AccuracyScorer, ScoringContext
from hwnas.scorers.testing import AccuracyScorerTestCase


class TestFull(AccuracyScorerTestCase):
    @classmethod
    def make_scorer(cls, context: ScoringContext) -> AccuracyScorer:
        return hwnas.scorers.create("full", context)


class TestHalving(AccuracyScorerTestCase):
    @classmethod
    def make_scorer(cls, context: ScoringContext) -> AccuracyScorer:
        return hwnas.scorers.create("halving", context)
