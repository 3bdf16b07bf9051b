"""Simulation of a bundle: what is compared, what is read, and the tables."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.front import Metric
from hwnas.product_config import ProductConfig
from hwnas.runtime.simulating import simulate
from hwnas.runtime.simulation_table import simulation_notes, simulation_table
from hwnas.runtime.trace_generator import SensingDay, generate_trace
from hwnas.variants import NetworkForm, Variant, Variants
from targets import Provenance
from tests.unit.hwnas.tiny_bundle import TinyBundle

ACCURACY, ENERGY_J, LATENCY_S = "accuracy", "energy_j", "latency_s"
PRODUCT = ProductConfig.model_validate(
    {
        "interval_s": 10,
        "sleep_power_mw": 0.01,
        "battery": {"capacity_mah": 220, "voltage_v": 3},
    }
)
ACTIVITY = """
default: low
min_dwell_s: 0
quiet_class: a
rules:
- {mode: high, when: {activity_per_min: {above: 3, until: 2}}}
"""


@pytest.fixture
def bundle(tmp_path: Path) -> TinyBundle:
    made = TinyBundle(tmp_path / "bundle")
    # by the fixture: accuracy 0.9 and 0.5, energies 0.9 and 0.5 mJ; rare mistakes wanted here
    points = made.manifest["operating_points"]
    points["high"]["metrics"][ACCURACY]["value"] = 0.98
    points["low"]["metrics"][ACCURACY]["value"] = 0.90
    middle = made.point(0.7)
    middle["metrics"][ACCURACY]["value"] = 0.94
    points["balanced"] = middle
    made.write_manifest()
    return made


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "day.csv"
    day = SensingDay(
        interval_s=10, burst_interval_s=10, bursts_per_day=5, burst_s=600, night_share=1
    )
    path.write_text(generate_trace(day, seed=0).to_csv())
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(ACTIVITY)
    return path


def test_a_policy_that_follows_events_beats_single_models(
    bundle: TinyBundle, trace: Path, policy: Path
) -> None:
    result = simulate(bundle.path, trace, policy=policy, product=PRODUCT)
    assert list(result.fixed) == ["high", "low", "balanced"]
    ours = result.policy
    assert ours.event_accuracy is not None
    # at equal energy: few inferences are events, so that only low takes as little
    assert result.at_equal_energy is not None
    assert result.at_equal_energy.single == "low"
    assert result.at_equal_energy.accuracy_gain == pytest.approx(ours.event_accuracy - 0.90)
    assert result.at_equal_energy.accuracy_gain > 0.06
    # at equal accuracy: balanced is less accurate on events than the policy
    assert result.at_equal_accuracy is not None
    assert result.at_equal_accuracy.single == "high"
    ratio = (ours.average_power_w or 0) / (result.fixed["high"].average_power_w or 1)
    assert result.at_equal_accuracy.energy_saved == pytest.approx(1 - ratio)
    assert ratio < 0.7


def test_a_bundle_without_a_policy_equals_its_first_operating_point(
    bundle: TinyBundle, trace: Path
) -> None:
    result = simulate(bundle.path, trace)
    assert result.policy == result.fixed["high"]
    assert result.at_equal_energy is not None
    assert result.at_equal_energy.accuracy_gain == 0
    assert result.policy.average_power_w is None


def test_no_single_model_is_so_cheap_where_the_policy_uses_the_cheapest(
    bundle: TinyBundle, trace: Path, policy: Path
) -> None:
    policy.write_text("default: low\nrules:\n- {mode: high, when: {charging: true}}\n")
    result = simulate(bundle.path, trace, policy=policy)
    assert result.ignored_signals == ("charging",)
    assert result.policy == result.fixed["low"]


def with_samples(bundle: TinyBundle, y: list[int]) -> None:
    """Write samples as export does; the answers in them are not read."""
    logits = bundle.logits(bundle.x)
    arrays = {"x": bundle.x, "y": np.array(y)}
    arrays |= {f"logits/net/{k}": z for k, z in enumerate(logits)}
    for name in bundle.manifest["operating_points"]:
        arrays |= {f"classes/{name}": arrays["y"], f"exits/{name}": arrays["y"]}
    np.savez(bundle.path / "samples.npz", **arrays)  # type: ignore[arg-type]
    bundle.seal()


def test_networks_that_are_run_answer_as_the_closed_form(bundle: TinyBundle, trace: Path) -> None:
    logits = bundle.logits(bundle.x)
    y = logits[1].argmax(axis=1)
    with_samples(bundle, y.tolist())
    result = simulate(bundle.path, trace, run=True)
    assert len(y) == 20
    n = 8_640  # rows, a multiple of the samples: each is shown equally often
    assert n % len(y) == 0
    for name, threshold in {"high": 0.9, "balanced": 0.7, "low": 0.5}.items():
        classes, _ = ExitPolicy((threshold,)).apply(logits)
        assert result.fixed[name].accuracy == pytest.approx(np.mean(classes == y))
    assert result.ran_samples


def test_background_is_shown_samples_of_the_quiet_class(
    bundle: TinyBundle, trace: Path, policy: Path
) -> None:
    logits = bundle.logits(bundle.x)
    classes, _ = ExitPolicy((0.9,)).apply(logits)
    # what is answered c is background, mistaken; events, of class b, are all found
    y = np.where(classes == 1, 1, 0)
    assert 2 in classes
    with_samples(bundle, y.tolist())
    result = simulate(bundle.path, trace, policy=policy, run=True)
    assert result.fixed["high"].event_accuracy == pytest.approx(1.0)
    assert result.fixed["high"].accuracy < 1


def test_without_a_sample_of_the_quiet_class_nothing_can_be_run(
    bundle: TinyBundle, trace: Path, policy: Path
) -> None:
    with_samples(bundle, [1] * 20)
    with pytest.raises(UserError, match="no sample of class 'a' to run"):
        simulate(bundle.path, trace, policy=policy, run=True)


def test_samples_without_classes_are_refused(bundle: TinyBundle, trace: Path) -> None:
    with pytest.raises(UserError, match=r"samples\.npz: damaged"):
        simulate(bundle.path, trace, run=True)


def test_tables_and_json_say_that_all_is_predicted(
    bundle: TinyBundle, trace: Path, policy: Path
) -> None:
    result = simulate(bundle.path, trace, policy=policy, product=PRODUCT)
    document = json.loads(json.dumps(result.to_dict()))
    assert document["provenance"] == "predicted"
    assert document["from"] == ["measured", "modelled"]
    screen = Console(width=200, file=io.StringIO(), record=True)
    screen.print(simulation_table(result))
    text = screen.export_text()
    assert "Predicted" in text
    assert f"{document['policy']['battery_days']:.1f} days" in text
    notes = simulation_notes(result)
    assert notes[0].startswith("At no more energy than the policy's, the best single model is low")
    assert "accuracy than the policy's, the best single model is high" in notes[1]


def variant(
    index: int,
    accuracy: float,
    energy_j: float,
    *,
    on_front: bool,
    provenance: Provenance = "modelled",
) -> Variant:
    form = NetworkForm("net", "plain", "float32", "net.safetensors", ("net.onnx",))
    metrics = {
        "accuracy": Metric(accuracy, "measured"),
        "energy_j": Metric(energy_j, provenance),
        "latency_s": Metric(1e-3, "measured"),
    }
    return Variant(
        form, ExitPolicy(()), (1.0,), "host", metrics, on_front=on_front, policy_index=index
    )


def test_the_front_of_a_run_joins_the_single_models(
    bundle: TinyBundle, trace: Path, tmp_path: Path
) -> None:
    # cheaper and better than the bundle's first operating point, 0.98 at 0.9 mJ
    better = variant(0, 0.99, 0.8e-3, on_front=True)
    beaten = variant(1, 0.99, 0.7e-3, on_front=False)
    file = tmp_path / "variants.json"
    Variants((better, beaten), better.variant_id).save(file)
    result = simulate(bundle.path, trace, variants=file)
    assert list(result.fixed) == ["high", "low", "balanced", better.variant_id]
    for comparison in (result.at_equal_energy, result.at_equal_accuracy):
        assert comparison is not None
        assert comparison.single == better.variant_id
        assert comparison.accuracy_gain == pytest.approx(-0.01)
        assert comparison.energy_saved == pytest.approx(1 - 0.9 / 0.8)


def test_energies_of_another_kind_are_not_compared(
    bundle: TinyBundle, trace: Path, tmp_path: Path
) -> None:
    # it seems to beat all, but 0.1 mJ by a meter is less than 0.9 mJ by a model in no sense
    other = variant(0, 0.99, 0.1e-3, on_front=True, provenance="measured")
    file = tmp_path / "variants.json"
    Variants((other,), other.variant_id).save(file)
    result = simulate(bundle.path, trace, variants=file)
    assert other.variant_id in result.fixed
    assert result.to_dict()["not_compared"] == [other.variant_id]
    assert result.at_equal_energy is not None
    assert result.at_equal_energy.single == "high"
    told = "Not compared, as their energies are of another kind: 1 of 4 single models"
    assert told in simulation_notes(result)


def test_a_policy_over_energies_of_several_kinds_compares_with_nothing(
    bundle: TinyBundle, trace: Path
) -> None:
    points = bundle.manifest["operating_points"]
    points["high"]["metrics"][ENERGY_J]["provenance"] = "measured"
    bundle.write_manifest()
    result = simulate(bundle.path, trace)
    assert (result.at_equal_energy, result.at_equal_accuracy) == (None, None)
    assert result.not_compared == ("high", "low", "balanced")


def test_variants_cannot_be_run_as_they_are_not_in_the_bundle(
    bundle: TinyBundle, trace: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--run: not with --variants"):
        simulate(bundle.path, trace, variants=tmp_path / "variants.json", run=True)
