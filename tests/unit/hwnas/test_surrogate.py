"""The sampler's Gaussian process against linear algebra done by hand, and laws known here."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.samplers.batch_selection import _believing
from hwnas.samplers.candidate_costs import CandidateCosts
from hwnas.samplers.candidates import Candidates
from hwnas.samplers.loss_scale import LossScale
from hwnas.samplers.objective_models import (
    Belief,
    LearnedObjective,
    LinearWarp,
    PredictedObjective,
    TailWarp,
)
from hwnas.samplers.outlook import Evaluations, Outlook
from hwnas.samplers.surrogate import Surrogate

Array = NDArray[np.float64]
SCALE = LossScale(
    logarithmic=np.array([False, True]),
    ideal=np.array([1.0, 1e-3]),
    reference=np.array([0.0, 1e-1]),
    signs=np.array([-1.0, 1.0]),
)


def points(n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n, 3))


def law(x: Array) -> Array:
    return np.asarray(2 + x[:, 0] - 0.5 * x[:, 1] + 0.1 * np.sin(x[:, 2]))


def candidates(x: Array, values: Array, log_stds: Array) -> Candidates:
    rows = np.zeros((len(x), 1), dtype=np.intp)
    known = np.column_stack([np.full(len(x), np.nan), values])
    stds = np.column_stack([np.full(len(x), np.nan), log_stds])
    return Candidates(rows, (x,), CandidateCosts(known, stds, np.zeros(len(x))))


def test_a_law_nearly_linear_is_learned_from_a_few_points() -> None:
    x, asked = points(25), points(200, 1)
    mean, variance = Surrogate((x,), law(x), np.zeros(25)).predict((asked,))
    error = mean - law(asked)
    # the law's own standard deviation is 1.1
    assert np.sqrt(np.mean(error**2)) < 0.1
    # most within three claimed deviations
    assert np.mean(np.abs(error) < 3 * np.sqrt(variance)) > 0.95


def test_leaving_out_in_closed_form_is_conditioning_on_the_others() -> None:
    x = points(12)
    surrogate = Surrogate((x,), law(x), np.zeros(12))
    joint = surrogate._covariance(surrogate._points, surrogate._points)
    joint += np.eye(12) * surrogate._nugget
    expected = []
    for i in range(12):
        others = np.arange(12) != i
        gain = np.linalg.solve(joint[np.ix_(others, others)], joint[others, i])
        mean = gain @ surrogate._targets[others]
        variance = joint[i, i] - gain @ joint[others, i]
        error = surrogate._targets[i] - mean
        density = -0.5 * (np.log(2 * np.pi * variance) + error**2 / variance)
        expected.append(density - np.log(surrogate._scale))
    # the same numbers by another way
    assert surrogate.log_densities_left_out() == pytest.approx(np.array(expected), rel=1e-6)


@pytest.mark.parametrize("noise_variances", [np.zeros(15), np.full(15, 0.01), None])
@pytest.mark.parametrize("copies", [1, 3])
def test_believing_its_own_means_changes_no_mean_and_lessens_variances(
    noise_variances: Array | None, copies: int
) -> None:
    x, pending, asked = points(15), np.repeat(points(4, 1), copies, axis=0), points(50, 2)
    surrogate = Surrogate((x,), law(x), noise_variances)
    believed = surrogate.believing((pending,))
    before, after = surrogate.predict((asked,)), believed.predict((asked,))
    # the inverse of a covariance with a nugget of 0.003 keeps so many digits
    assert after[0] == pytest.approx(before[0], abs=1e-6)
    assert np.all(after[1] <= before[1] + 1e-9)
    at_pending = surrogate.predict((pending,))[1], believed.predict((pending,))[1]
    assert np.all(at_pending[1] < at_pending[0])


def test_joint_covariances_have_the_variances_on_their_diagonal() -> None:
    x, asked = points(15), points(20, 2)
    surrogate = Surrogate((x,), law(x), np.zeros(15))
    joint = surrogate.covariance((asked,))
    assert np.diag(joint) == pytest.approx(surrogate.predict((asked,))[1], abs=1e-9)


def test_known_noise_draws_targets_towards_what_neighbours_tell() -> None:
    x = points(40)
    noise = np.random.default_rng(5).normal(size=40) * 0.5
    surrogate = Surrogate((x,), law(x) + noise, np.full(40, 0.25))
    cleaned = surrogate.denoised() - law(x)
    assert np.sqrt(np.mean(cleaned**2)) < 0.6 * np.sqrt(np.mean(noise**2))


def test_noise_that_is_not_known_is_what_features_do_not_tell() -> None:
    x, asked = points(60), points(50, 1)
    noise = np.random.default_rng(5).normal(size=60) * 0.5
    model = LearnedObjective((x,), law(x) + noise, np.nan)
    cleaned = model.denoised() - law(x)
    assert np.sqrt(np.mean(cleaned**2)) < 0.6 * np.sqrt(np.mean(noise**2))
    # nothing of it comes again with a candidate, as it does where there is no noise
    known = candidates(asked, np.ones(50), np.zeros(50))
    assert np.all(model.belief(known).own == 0)
    assert np.all(LearnedObjective((x,), law(x) + noise, 0.0).belief(known).own > 0)


@pytest.mark.parametrize("noise_std", [np.nan, 0.5])
def test_what_was_not_learned_from_loses_its_luck_as_well(noise_std: float) -> None:
    x, others = points(60), points(200, 1)
    rng = np.random.default_rng(5)
    model = LearnedObjective((x,), law(x) + 0.5 * rng.normal(size=60), noise_std)
    luck = 0.5 * rng.normal(size=200)
    asked = candidates(others, np.ones(200), np.zeros(200))
    cleaned = model.denoised_others(asked, law(others) + luck) - law(others)
    assert np.sqrt(np.mean(cleaned**2)) < 0.6 * np.sqrt(np.mean(luck**2))
    # without noise an evaluation is what it says
    exact = LearnedObjective((x,), law(x), 0.0)
    assert exact.denoised_others(asked, law(others)) == pytest.approx(law(others), abs=1e-9)


def test_a_point_reached_by_luck_hides_no_gain() -> None:
    x = points(40)
    accuracy = 0.5 + 0.1 * law(x) / np.ptp(law(x))
    accuracy += np.random.default_rng(3).normal(size=40) * 0.02
    worst = int(np.argmin(law(x)))
    accuracy[worst] = 0.9
    evaluated = candidates(x, np.full(40, 1e-2), np.zeros(40))
    values = np.column_stack([accuracy, np.full(40, 1e-2)])
    # a lucky training is lucky by whatever policy: the second point is of the same one
    others = np.array([[0.9, 1e-2], [0.88, 0.9e-2]])
    outlooks = [
        Outlook(
            Evaluations(
                evaluated,
                values,
                others,
                np.full(2, worst),
                np.ones(40, dtype=np.bool_),
                evaluated[np.arange(0)],
            ),
            SCALE,
            np.array([noise_std, 0.0]),
        )
        for noise_std in (np.nan, 0.0)
    ]
    best = candidates(x[np.argsort(law(x))[-3:]] + 0.01, np.full(3, 0.95e-2), np.zeros(3))
    hoped, hidden = (outlook.gains(best) for outlook in outlooks)
    assert np.all(hoped > 5 * hidden)
    luck = SCALE.losses(values)[worst, 0] - outlooks[0].denoised[worst, 0]
    # expected within three standard deviations of its noise of what the law says
    said = 1 - (0.5 + 0.1 * law(x)[worst] / np.ptp(law(x)))
    assert outlooks[0].denoised[worst, 0] == pytest.approx(said, abs=0.1)
    assert luck < -0.2


def test_a_tail_warp_is_undone_and_has_the_slope_it_says() -> None:
    warp = TailWarp(best=0.2, knee=0.1)
    losses = np.array([-1.0, 0.1, 0.2, 0.25, 0.7, 3.0])
    back, spread = warp.losses(warp.forward(losses), np.zeros(6))
    assert back == pytest.approx(losses)
    assert spread == pytest.approx(np.zeros(6), abs=1e-12)
    step = 1e-7
    slopes = (warp.forward(losses + step) - warp.forward(losses)) / step
    # the difference quotient is off by half the step times the second derivative, at most 10
    assert warp.slopes(losses) == pytest.approx(slopes, abs=1e-5)


def test_a_tail_warp_gives_the_moments_of_drawn_losses() -> None:
    warp = TailWarp(best=0.0, knee=0.3)
    mean, std = 0.2, 0.1
    drawn = np.random.default_rng(0).normal(mean, std, 200_000)
    beyond = drawn > 0
    losses = np.where(beyond, 0.3 * np.expm1(drawn / 0.3), drawn)
    found = warp.losses(np.array([mean]), np.array([std**2]))
    # 5 standard errors are 0.003; the kink at the best loss costs the quadrature as much
    assert found[0][0] == pytest.approx(losses.mean(), abs=0.006)
    assert found[1][0] == pytest.approx(losses.std(), rel=0.05)


def test_some_very_bad_losses_do_not_hide_how_good_ones_differ() -> None:
    x, asked = points(40), points(100, 1)
    losses = np.exp(2 * law(x)) / 100
    model = LearnedObjective((x,), losses, 0.0)
    known = candidates(asked, np.ones(100), np.zeros(100))
    mean, _ = model.belief(known).losses()
    truth = np.exp(2 * law(asked)) / 100
    good = truth < np.median(truth)
    # spread of 0.1 among good ones beside losses up to 10
    assert np.corrcoef(np.log(truth[good]), mean[good])[0, 1] > 0.8


def test_a_factor_that_predictions_lack_is_learned() -> None:
    x, asked = points(30), points(50, 1)
    predicted = np.full(30, 1e-2)
    # exits: half of the network runs, more or less
    measured = predicted * 0.5 * np.exp(0.1 * x[:, 0])
    evaluated = candidates(x, predicted, np.full(30, 0.05))
    model = PredictedObjective(SCALE, 1, evaluated, measured)
    mean, _ = model.belief(candidates(asked, np.full(50, 1e-2), np.full(50, 0.05))).losses()
    truth = np.log(1e-2 * 0.5 * np.exp(0.1 * asked[:, 0]) / 1e-3) / np.log(100)
    # of a loss: 0.01 is a factor of 1.05
    assert np.abs(mean - truth).max() < 0.02


def test_costs_known_exactly_are_left_as_they_are() -> None:
    evaluated = candidates(points(10), np.full(10, 1e-2), np.zeros(10))
    model = PredictedObjective(SCALE, 1, evaluated, np.full(10, 1e-2))
    mean, std = model.belief(evaluated).losses()
    # the logarithm of 10 of that of 100
    assert mean == pytest.approx(np.full(10, 0.5))
    assert std.tolist() == [0.0] * 10


@pytest.mark.parametrize(
    ("noise_variances", "tolerance"),
    [(np.zeros(15), 1e-6), (np.full(15, 0.01), 1e-4), (None, 1e-4)],
)
def test_awaiting_a_result_in_the_batch_is_believing_it_in_the_model(
    noise_variances: Array | None, tolerance: float
) -> None:
    x, asked = points(15), points(20, 2)
    surrogate = Surrogate((x,), law(x), noise_variances)
    mean, variance = surrogate.predict((asked,))
    own = np.full(20, surrogate.nugget_variance)
    belief = Belief(mean, variance, own, LinearWarp())
    awaited = np.array([3, 7])
    covariance = surrogate.covariance((asked,))
    found = _believing(belief, covariance, awaited, 0.0)
    _, expected = surrogate.believing((asked[awaited],)).predict((asked,))
    # the same conditioning by another way; variances are of the order of 0.01. The noise of 1e-6
    # that believed means have counts where a noise leaves hardly a nugget, or none
    assert found.shared == pytest.approx(expected, abs=tolerance)


def test_awaiting_copies_of_a_candidate_tells_what_awaiting_one_tells() -> None:
    x, asked = points(15), np.repeat(points(20, 2), 3, axis=0)
    surrogate = Surrogate((x,), law(x), np.zeros(15))
    mean, variance = surrogate.predict((asked,))
    belief = Belief(mean, variance, np.zeros(60), LinearWarp())
    covariance = surrogate.covariance((asked,))
    once, copies = covariance.copy(), covariance.copy()
    one = _believing(belief, once, np.array([6]), 1e-9 * variance.max())
    three = _believing(belief, copies, np.array([6, 7, 8]), 1e-9 * variance.max())
    # a direction is left out below 1e-9 of the largest variance, and what it tells with it
    assert three.shared == pytest.approx(one.shared, abs=1e-6 * variance.max())
    again = _believing(three, copies, np.array([6, 7, 8]), 1e-9 * variance.max())
    assert again.shared.tolist() == three.shared.tolist()


def test_what_rounding_leaves_of_a_covariance_tells_nothing() -> None:
    left = 1e-12 * np.random.default_rng(0).normal(size=(20, 20))
    left[:3] = left[:, :3] = 0.0
    belief = Belief(np.zeros(20), np.full(20, 1e-13), np.zeros(20), LinearWarp())
    found = _believing(belief, left, np.arange(10), 1e-9)
    assert found.shared.tolist() == belief.shared.tolist()
