"""Networks in int8: quantized, where need be in part or after a training for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwnas.form_judging import Logits, SeedLogits
from hwnas.mixed_precision import mean_largest_drop, mixed_precision
from hwnas.quantization import CalibratedStages, calibration_samples
from hwnas.search_context import SearchContext
from hwnas.stage_running import run_stage_models
from hwnas.trained_forms import Models, TrainedNetworks, stage_graphs

# trainings for int8 draw their seeds from a stream that no trial number reaches
_INT8_STREAM = (1 << 30) + 1


@dataclass(frozen=True)
class QuantizedNetworks:
    """Networks of several seeds in int8.

    Args:
        trained: The float32 networks that were quantized.
        models: One per stage, of the first seed.
        float_models: The same before.
        answers: What each seed's quantized network answers.
        float_operators: What stays in float32.
        accuracy_drop: On the validation split, mean over seeds, at the exit that loses most:
            of the float32 networks as they were before any training for int8.
    """

    trained: TrainedNetworks
    models: Models
    float_models: Models
    answers: tuple[SeedLogits, ...]
    float_operators: tuple[str, ...]
    accuracy_drop: float


def quantized_networks(
    context: SearchContext, trained: TrainedNetworks
) -> tuple[list[QuantizedNetworks], list[str]]:
    """Quantize networks; while that costs more accuracy than allowed, try what helps.

    First all of them in int8; if that loses too much, the most sensitive operators stay in
    float32, the same ones of every seed; and the networks are trained on for int8.

    Args:
        context: The search.
        trained: Networks that differ in their seed.

    Returns:
        Those within the limit, the fewest float operators first; all that were tried where none
        is. And a line on each that was tried.
    """
    settings = context.config.deployment
    calibrated = _calibrated(context, trained)
    x = context.dataset.validation.x
    before = [run_stage_models(stages.models, x) for stages in calibrated]
    plain = _quantized(context, trained, calibrated, before)
    tried, lines = [plain], [f"int8 loses {_points(plain)}"]
    if plain.accuracy_drop > settings.max_int8_drop:
        if sensitive := _sensitive(context, calibrated):
            tried.append(_quantized(context, trained, calibrated, before, sensitive))
            lines.append(f"with {len(sensitive)} operators in float32 {_points(tried[-1])}")
        else:
            lines.append("mixed precision would leave no operator in int8")
        if settings.fine_tune_epochs and (tuned := _fine_tuned(context, trained)) is not None:
            tried.append(_quantized(context, tuned, _calibrated(context, tuned), before))
            lines.append(f"after training for int8 {_points(tried[-1])}")
        elif settings.fine_tune_epochs:
            lines.append("training for int8 diverged")
    within = [q for q in tried if q.accuracy_drop <= settings.max_int8_drop]
    return within or tried, lines


def _quantized(
    context: SearchContext,
    trained: TrainedNetworks,
    calibrated: Sequence[CalibratedStages],
    before: Sequence[Logits],
    float_operators: Sequence[str] = (),
) -> QuantizedNetworks:
    dataset = context.dataset
    quantized = [stages.quantized(float_operators) for stages in calibrated]
    answers = tuple(
        SeedLogits(
            run_stage_models(models, dataset.validation.x),
            run_stage_models(models, dataset.test.x),
        )
        for models in quantized
    )
    drop = mean_largest_drop(before, [a.validation for a in answers], dataset.validation.y)
    return QuantizedNetworks(
        trained,
        quantized[0],
        calibrated[0].models,
        answers,
        tuple(float_operators),
        drop,
    )


def _calibrated(context: SearchContext, trained: TrainedNetworks) -> list[CalibratedStages]:
    settings = context.config.deployment
    samples = calibration_samples(context.dataset.train.x, settings.calibration_samples)
    return [
        CalibratedStages(stage_graphs(context, network), samples) for network in trained.networks
    ]


def _sensitive(context: SearchContext, calibrated: Sequence[CalibratedStages]) -> tuple[str, ...]:
    """Return which operators have to stay in float32; none where that is all of them."""
    validation = context.dataset.validation
    found = mixed_precision(
        calibrated,
        validation.x,
        validation.y,
        max_drop=context.config.deployment.max_int8_drop,
    )
    n_operators = sum(map(len, calibrated[0].stage_operators))
    return found.float_operators if len(found.float_operators) < n_operators else ()


def _fine_tuned(context: SearchContext, trained: TrainedNetworks) -> TrainedNetworks | None:
    """Return networks that were trained on for int8; none where one of them diverged."""
    from hwnas.quantization_aware import fine_tune_quantization_aware

    networks = []
    for index, network in enumerate(trained.networks):
        tuned = fine_tune_quantization_aware(
            network,
            context.dataset,
            context.config.training,
            epochs=context.config.deployment.fine_tune_epochs,
            seed=context.training_seed(_INT8_STREAM, index),
        )
        if tuned is None:
            return None
        networks.append(tuned)
    return replace(trained, training="quantization_aware", networks=tuple(networks))


def _points(found: QuantizedNetworks) -> str:
    return f"{100 * found.accuracy_drop:.1f} points"
