import hwnas.scorers
from hwnas.scorers import AccuracyScorer, ScoringContext
from hwnas.scorers.reseeded import ReseededTraining
from hwnas.scorers.testing import AccuracyScorerTestCase


class TestFull(AccuracyScorerTestCase):
    @classmethod
    def make_scorer(cls, context: ScoringContext) -> AccuracyScorer:
        return hwnas.scorers.create("full", context)


class TestHalving(AccuracyScorerTestCase):
    @classmethod
    def make_scorer(cls, context: ScoringContext) -> AccuracyScorer:
        return hwnas.scorers.create("halving", context)


class TestSupernet(AccuracyScorerTestCase):
    @classmethod
    def make_scorer(cls, context: ScoringContext) -> AccuracyScorer:
        return hwnas.scorers.create("supernet", context)


class TestReseeded(AccuracyScorerTestCase):
    @classmethod
    def make_scorer(cls, context: ScoringContext) -> AccuracyScorer:
        return ReseededTraining(context)
