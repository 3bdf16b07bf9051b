"""The benchmark of rankings judges every score on the same architectures."""

from pathlib import Path

from experiments.benchmarks.ranking import as_json, rank
from hwnas.ladder_text import ladder_lines
from hwnas.scorers.testing import small_context


def test_every_score_is_judged_against_the_ceiling(tmp_path: Path) -> None:
    accuracy = {"ranking": {"architectures": 8, "seeds": 2}, "supernet": {"epochs": 1}}
    choice = rank(small_context(tmp_path, accuracy=accuracy), with_supernet=True)
    names = [score.name for score in choice.scores]
    assert names == [
        *("naswot", "synflow", "zen", "inherited weights"),
        *("1 of 3 epochs", "full training"),
    ]
    assert choice.sample.accuracy.shape == (8, 2)
    assert all(score.cpu_s > 0 for score in choice.scores)
    assert all(-1 <= s.spearman.low <= s.spearman.high <= 1 for s in choice.scores)
    assert as_json(choice)["chosen"] == choice.chosen.name
    assert len(ladder_lines(choice)) > len(names)
