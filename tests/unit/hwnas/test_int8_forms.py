"""What is tried with networks of two seeds in int8, one of which loses nearly everything by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from hwnas.datasets import Dataset, Split
from hwnas.int8_forms import QuantizedNetworks, quantized_networks
from hwnas.quantization import CalibratedStages
from hwnas.search_context import SearchContext
from hwnas.stage_running import run_stage_models
from hwnas.trained_forms import TrainedNetworks
from search_spaces.blocks import StagedNetwork
from targets import Target
from targets.quantized import is_quantized
from tests.unit.hwnas.quantized_networks import exported, samples, separable, with_outliers
from tests.unit.hwnas.untrained_search import random_dataset, untrained_search

N = 100


def sound() -> StagedNetwork:
    """Return an untrained network whose answers are spread over the classes."""
    network = separable().eval()
    (classifier,) = (m for m in network.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        (logits,) = network(torch.from_numpy(samples(500, seed=8)))
        classifier.bias.sub_(logits.mean(dim=0))
    return network


def broken() -> StagedNetwork:
    """Return what computes the same as `sound` in float32, and not in int8."""
    network = sound()
    with_outliers(network, 3000)
    return network


def answers(models: tuple[object, ...], x: NDArray[np.float32]) -> NDArray[np.int64]:
    (logits,) = run_stage_models(models, x)  # type: ignore[arg-type]
    return np.asarray(logits.argmax(axis=1))


def labelled() -> Dataset:
    """Return samples whose classes are what both networks say in float32."""
    data = random_dataset(N)
    models = exported(sound())

    def relabelled(split: Split) -> Split:
        return replace(split, y=answers(models, split.x))

    return replace(data, validation=relabelled(data.validation), test=relabelled(data.test))


def at_the_boundary(dataset: Dataset) -> Dataset:
    """Return validation samples between two classes: any rounding moves some across."""
    x = samples(4000, seed=9)
    models = exported(sound())
    (logits,) = run_stage_models(models, x)
    ordered = np.sort(logits, axis=1)
    nearest = np.argsort(ordered[:, -1] - ordered[:, -2])[:N]
    return replace(dataset, validation=Split(x[nearest], answers(models, x[nearest])))


def search(folder: Path, dataset: Dataset, **settings: float) -> SearchContext:
    # nothing here is measured
    deployment = {"calibration_samples": 64, "fine_tune_epochs": 0, **settings}
    return untrained_search(folder / "run", cast(Target, None), dataset, **deployment)


def trained(*networks: StagedNetwork) -> TrainedNetworks:
    return TrainedNetworks(
        "a1", "plain", "a1.safetensors", networks, has_exits=False, selected=True
    )


def lost(found: QuantizedNetworks, dataset: Dataset) -> list[float]:
    """Return the validation samples that each seed's network gets wrong, as a share."""
    return [
        float(np.mean(a.validation[0].argmax(axis=1) != dataset.validation.y))
        for a in found.answers
    ]


def test_int8_within_its_limit_is_all_that_is_tried(tmp_path: Path) -> None:
    context = search(tmp_path, labelled(), max_int8_drop=0.9)
    (found,), lines = quantized_networks(context, trained(sound(), broken()))
    # the mean of both: the first loses little, the second nearly all
    first, second = lost(found, context.dataset)
    assert first < 0.1 < second
    assert found.accuracy_drop == pytest.approx((first + second) / 2)
    assert lines == [f"int8 loses {100 * found.accuracy_drop:.1f} points"]
    assert found.float_operators == ()


def test_what_is_deployed_is_the_first_seeds_network_in_int8(tmp_path: Path) -> None:
    context = search(tmp_path, labelled(), max_int8_drop=0.9)
    (found,), _ = quantized_networks(context, trained(sound(), broken()))
    rows = np.linspace(0, N - 1, 64).round().astype(int)
    by_hand = CalibratedStages(exported(sound()), context.dataset.train.x[rows])
    (model,), (wanted,) = found.models, by_hand.quantized()
    assert model.SerializeToString() == wanted.SerializeToString()
    assert is_quantized(model)
    assert not any(map(is_quantized, found.float_models))


@pytest.mark.parametrize("first_is_broken", [False, True])
def test_mixed_precision_keeps_the_limit_whichever_seed_needs_it(
    first_is_broken: bool, tmp_path: Path
) -> None:
    networks = [sound(), broken()]
    if first_is_broken:
        networks.reverse()
    limit = 0.05
    context = search(tmp_path, labelled(), max_int8_drop=limit)
    (found,), lines = quantized_networks(context, trained(*networks))
    # int8 alone is not within the limit, and so is not among what is returned
    assert (
        0
        < len(found.float_operators)
        < len(CalibratedStages(exported(networks[0]), samples(16)).stage_operators[0])
    )
    assert found.accuracy_drop == pytest.approx(np.mean(lost(found, context.dataset)))
    assert found.accuracy_drop <= limit
    assert lines[1].startswith(f"with {len(found.float_operators)} operators in float32 ")


def test_where_no_operator_could_be_in_int8_none_is_called_mixed(tmp_path: Path) -> None:
    context = search(tmp_path, at_the_boundary(labelled()), max_int8_drop=0.0)
    (found,), lines = quantized_networks(context, trained(sound(), sound()))
    assert found.float_operators == ()
    assert found.accuracy_drop > 0
    assert lines[1:] == ["mixed precision would leave no operator in int8"]


def test_networks_trained_for_int8_come_from_those_that_were_chosen(tmp_path: Path) -> None:
    data = at_the_boundary(labelled())
    context = search(tmp_path, data, max_int8_drop=0.0, fine_tune_epochs=1)
    network = trained(sound())
    plain, tuned = quantized_networks(context, network)[0]
    assert plain.trained == network
    wanted = replace(network, training="quantization_aware", networks=tuned.trained.networks)
    assert tuned.trained == wanted
    before, after = plain.trained.networks[0], tuned.trained.networks[0]
    weights = after.state_dict()
    assert any(not torch.equal(weights[name], v) for name, v in before.state_dict().items())


def test_a_training_for_int8_that_diverges_is_told(tmp_path: Path) -> None:
    data = at_the_boundary(labelled())
    context = search(tmp_path, data, max_int8_drop=0.0, fine_tune_epochs=1)
    # the first step leads to weights that no float32 holds
    training = context.config.training.model_copy(update={"learning_rate": 1e41})
    context.config = context.config.model_copy(update={"training": training})
    (found,), lines = quantized_networks(context, trained(sound()))
    assert found.trained.training == "plain"
    assert lines[-1] == "training for int8 diverged"
