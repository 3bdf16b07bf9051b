"""Variants on disk: what is written is read, and what is damaged is refused in one line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy
from hwnas.front import Metric
from hwnas.variants import Attempt, NetworkForm, Variant, Variants

FORM = NetworkForm("0123456789abcdef", "plain", "float32", "c.safetensors", ("a.onnx", "b.onnx"))
INT8 = NetworkForm("0123456789abcdef", "distilled", "int8", "d.safetensors", ("d.onnx",), ("x",))


def variant(form: NetworkForm, point: str | None = None) -> Variant:
    policy = ExitPolicy((0.5,), (1.0, 2.0), "margin")
    metrics = {
        "energy_j": Metric(1e-3, "modelled", 5e-4, 2e-3, boundary="inference_gross"),
        "latency_s": Metric(1e-3, "measured"),
    }
    return Variant(form, policy, (0.25, 0.75), "host", metrics, point, True, True, 2)


def saved(folder: Path) -> Path:
    path = folder / "variants.json"
    both = (variant(FORM), variant(INT8, "slow"))
    attempts = (Attempt(FORM.arch_id, "int8", False, "slower", {"latency_s": 1e-3}),)
    Variants(both, both[0].variant_id, attempts).save(path)
    return path


def test_variants_survive_the_disk(tmp_path: Path) -> None:
    loaded = Variants.load(saved(tmp_path))
    assert loaded.variants == (variant(FORM), variant(INT8, "slow"))
    assert loaded.named(loaded.baseline) == variant(FORM)
    assert loaded.attempts[0].figures == {"latency_s": 1e-3}


def test_names_tell_forms_targets_policies_and_clocks_apart() -> None:
    assert variant(FORM).variant_id == "0123456789abcdef-float32-host-t2"
    assert variant(INT8, "slow").variant_id == "0123456789abcdef-int8-distilled-host-t2-slow"


def metric(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["variants"][0]["metrics"][name]
    return found


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d.update(baseline="nobody"), id="unknown baseline"),
        pytest.param(lambda d: d.update(schema_version=7), id="another version"),
        pytest.param(lambda d: d["variants"][0].pop("exit_policy"), id="without a policy"),
        pytest.param(lambda d: d["variants"][0].update(metrics=3), id="metrics of another kind"),
        pytest.param(lambda d: d["variants"][0].update(device_point="/../x"), id="a path"),
        pytest.param(lambda d: d["variants"][0].update(target="../host"), id="a path of a target"),
        pytest.param(lambda d: d["variants"][0].update(precision="int4"), id="unknown precision"),
        pytest.param(lambda d: d["variants"][0].update(policy_index=1e999), id="an endless number"),
        pytest.param(lambda d: d["variants"][0]["metrics"].pop("energy_j"), id="without energy"),
        pytest.param(lambda d: metric(d, "energy_j").update(value=-1.0), id="negative energy"),
        pytest.param(lambda d: metric(d, "energy_j").update(value=10**400), id="large integer"),
        pytest.param(lambda d: metric(d, "latency_s").update(value=None), id="null"),
        pytest.param(lambda d: metric(d, "latency_s").pop("provenance"), id="of unknown origin"),
        pytest.param(lambda d: metric(d, "latency_s").update(provenance="me"), id="provenance"),
    ],
)
def test_damaged_variants_are_refused_in_one_line(tmp_path: Path, change: object) -> None:
    path = saved(tmp_path)
    document = json.loads(path.read_text())
    change(document)  # type: ignore[operator]
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"variants\.json: damaged") as raised:
        Variants.load(path)
    assert "\n" not in str(raised.value)


def test_variants_nested_deeply_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "variants.json"
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"variants\.json: damaged \(nested too deeply\)"):
        Variants.load(path)


def test_missing_variants_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--resume"):
        Variants.load(tmp_path / "variants.json")


def test_the_baseline_is_told_as_what_it_is() -> None:
    static = replace(variant(FORM), exit_shares=(1.0,))
    both = (variant(INT8), static)
    best = Variants(both, static.variant_id)
    assert best.baseline_text == "the most accurate float32 network without early exits"
    assert best.shown == (static, variant(INT8))
    # a recording, or a compiler, may know int8 alone
    only = Variants((variant(INT8),), variant(INT8).variant_id)
    assert only.baseline_text.startswith("0123456789abcdef-int8-distilled, as no float32 network")
    assert only.shown == (variant(INT8),)
