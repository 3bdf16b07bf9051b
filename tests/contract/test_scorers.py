from pathlib import Path
from typing import Any

import pytest

import hwnas.scorers
from hwnas.scorers import AccuracyScorer, ScoringContext
from hwnas.scorers.reseeded import ReseededTraining
from hwnas.scorers.testing import AccuracyScorerTestCase, small_context


class TestFull(AccuracyScorerTestCase):
    @classmethod
    def make_scorer(cls, context: ScoringContext) -> AccuracyScorer:
        return hwnas.scorers.create("full", context)


class TestHalving(AccuracyScorerTestCase):
    @classmethod
    def make_scorer(cls, context: ScoringContext) -> AccuracyScorer:
        return hwnas.scorers.create("halving", context)


class TestSupernet(AccuracyScorerTestCase):
    @pytest.fixture
    def context(self, tmp_path: Path) -> ScoringContext:
        """Few choices and more epochs: in the usual ones its networks learn too little."""
        few: dict[str, list[Any]] = {
            "depth": [1],
            "width": [8, 16],
            "kernel": [3],
            "expansion": [1, 2],
            "se": [0],
        }
        few |= {"stride_plan": ["1-2-2"], "activation": ["relu6"], "width_multiplier": [1.0]}
        return small_context(
            tmp_path,
            space={"n_stages": 2, "choices": few},
            training={"epochs": 6, "batch_size": 32},
        )

    @classmethod
    def make_scorer(cls, context: ScoringContext) -> AccuracyScorer:
        return hwnas.scorers.create("supernet", context)


class TestReseeded(AccuracyScorerTestCase):
    @classmethod
    def make_scorer(cls, context: ScoringContext) -> AccuracyScorer:
        return ReseededTraining(context)
