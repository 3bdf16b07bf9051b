"""Exit shares counted anew from a bundle's graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.exit_shares import check_exit_shares
from hwnas.variants import NetworkForm, Variant
from tests.unit.hwnas.tiny_bundle import TinyBundle

THRESHOLD = 0.6


def variant(early: float, threshold: float = THRESHOLD) -> Variant:
    form = NetworkForm("net", "plain", "float32", "net.safetensors", ("0.onnx", "1.onnx"))
    return Variant(form, ExitPolicy((threshold,)), (early, 1 - early), "host", {})


@pytest.fixture
def bundle(tmp_path: Path) -> TinyBundle:
    return TinyBundle(tmp_path / "bundle")


def models(bundle: TinyBundle) -> list[Path]:
    return [bundle.path / bundle.stage(k) for k in range(2)]


def probabilities(bundle: TinyBundle) -> NDArray[np.float64]:
    powers = np.exp(bundle.logits(bundle.x)[0].astype(np.float64))
    return np.asarray(powers.max(axis=1) / powers.sum(axis=1))


def test_the_share_of_samples_over_the_threshold_passes(bundle: TinyBundle) -> None:
    early = float(np.mean(probabilities(bundle) >= THRESHOLD))
    assert 0 < early < 1
    check_exit_shares("low", variant(early), models(bundle), bundle.x)


def test_one_sample_more_is_found(bundle: TinyBundle) -> None:
    found = probabilities(bundle)
    assert np.abs(found - THRESHOLD).min() > 1e-3  # none is undecided
    early = float(np.mean(found >= THRESHOLD)) + 1 / len(bundle.x)
    with pytest.raises(UserError, match=r"operating_points\.low: of the validation samples"):
        check_exit_shares("low", variant(early), models(bundle), bundle.x)


def test_a_sample_at_the_threshold_may_fall_on_either_side(bundle: TinyBundle) -> None:
    found = np.sort(probabilities(bundle))
    threshold = float(found[10])
    for late in (10, 11):  # without that sample, and with it
        early = 1 - late / len(found)
        check_exit_shares("low", variant(early, threshold), models(bundle), bundle.x)
