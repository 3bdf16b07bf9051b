"""Training with several seeds: the first is a full training, the others tell how it scatters."""

from pathlib import Path

from hwnas.scorers.full import FullTraining
from hwnas.scorers.reseeded import ReseededTraining
from hwnas.scorers.testing import RungsInMemory, small_context, small_task
from hwnas.seeds import derived_seed


def test_the_outcome_is_a_full_training_s_with_a_curve_of_every_seed(tmp_path: Path) -> None:
    training = {"epochs": 9, "batch_size": 64}
    context = small_context(tmp_path, training=training, accuracy={"ranking": {"seeds": 3}})
    task = small_task(context)
    full = FullTraining(context).score(task, RungsInMemory())
    rungs = RungsInMemory()
    outcome = ReseededTraining(context).score(task, rungs)
    assert (outcome.validation, outcome.scorer) == (full.validation, "full")
    assert [c.seed for c in outcome.curves] == [
        task.seed,
        *(derived_seed(task.seed, k) for k in range(2)),
    ]
    assert {c.epochs for c in outcome.curves} == {(1, 3, 9)}
    assert outcome.validation is not None
    assert outcome.curves[0].accuracy[-1] == outcome.validation.accuracy
    # told of the first seed, as successive halving does: the end is no rung to be halted at
    early = outcome.curves[0].accuracy[:-1]
    assert rungs.reports == [(rung, (1 - a, 0.5)) for rung, a in enumerate(early)]
    assert len({c.accuracy for c in outcome.curves}) > 1
    # each clock starts with its training
    assert all(0 < c.cpu_s[0] < c.cpu_s[1] < c.cpu_s[2] < outcome.cpu_s for c in outcome.curves)
