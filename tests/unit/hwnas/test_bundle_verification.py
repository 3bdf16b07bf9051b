"""A bundle is verified by what its files compute."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.bundle_verification import verify, verify_in_fresh_process
from hwnas.errors import UserError
from tests.unit.hwnas.tiny_bundle import INPUT_SHAPE, TinyBundle


@pytest.fixture
def bundle(tmp_path: Path) -> TinyBundle:
    return TinyBundle(tmp_path / "bundle")


def test_a_sound_bundle_passes_every_check_in_a_fresh_process(bundle: TinyBundle) -> None:
    checks = verify_in_fresh_process(bundle.path, [])
    found = {(check.what, check.subject): check for check in checks}
    assert found.keys() == {
        ("preprocessing", ""),
        ("ONNX Runtime", "net"),
        *(("exits and answers", name) for name in ("high", "low")),
        *(("run_example.py", name) for name in ("high", "low")),
    }
    assert found["preprocessing", ""].samples == 4
    assert found["exits and answers", "low"].samples == 20
    # float32 sums of a few terms: NumPy stored them, ONNX Runtime computed them
    assert found["ONNX Runtime", "net"].error < 1e-6


def test_the_tiny_bundle_leaves_early_and_late_so_that_exits_are_tried(bundle: TinyBundle) -> None:
    with np.load(bundle.path / "samples.npz") as samples:
        assert set(samples["exits/low"]) == {0, 1}
        assert (samples["exits/low"] != samples["exits/high"]).any()


def test_the_example_alone_prints_exit_and_class_of_each_sample(bundle: TinyBundle) -> None:
    command = [sys.executable, "-I", str(bundle.path / "run_example.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    with np.load(bundle.path / "samples.npz") as samples:
        pairs = zip(samples["exits/high"], samples["classes/high"], strict=True)
        assert done.stdout == "".join(f"{exit_} {'abc'[class_]}\n" for exit_, class_ in pairs)


def change_samples(bundle: TinyBundle, change: Callable[[dict[str, Any]], None]) -> None:
    path = bundle.path / "samples.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    with path.open("wb") as file:
        np.savez(file, **arrays)
    bundle.seal()


def other_logits(bundle: TinyBundle) -> None:
    # 1.01 times as large: 1 % where 0.01 % is allowed
    change_samples(bundle, lambda a: a.update({"logits/net/1": 1.01 * a["logits/net/1"]}))


def another_exit(bundle: TinyBundle) -> None:
    change_samples(bundle, lambda a: a["exits/low"].__setitem__(3, 1 - a["exits/low"][3]))


def another_class(bundle: TinyBundle) -> None:
    change_samples(bundle, lambda a: a["classes/low"].__setitem__(3, (a["classes/low"][3] + 1) % 3))


def raw_sample_off_by_one_bit(bundle: TinyBundle) -> None:
    change_samples(bundle, lambda a: a["raw/2"].view(np.int32).__ixor__(1))


def without_logits(bundle: TinyBundle) -> None:
    change_samples(bundle, lambda a: a.pop("logits/net/1"))


def unknown_preprocessing(bundle: TinyBundle) -> None:
    bundle.manifest["preprocessing"] = {"whitening": {}}
    bundle.seal()


def threshold_moved(bundle: TinyBundle) -> None:
    bundle.manifest["operating_points"]["low"]["exit_policy"]["thresholds"] = [0.95]
    bundle.seal()


def broken_example(bundle: TinyBundle) -> None:
    (bundle.path / "run_example.py").write_text("import torch_of_another_planet\n")
    bundle.seal()


def silent_example(bundle: TinyBundle) -> None:
    (bundle.path / "run_example.py").write_text("")
    bundle.seal()


DAMAGES: dict[Callable[[TinyBundle], None], str] = {
    other_logits: r"net: outputs on ONNX Runtime differ from those stored .* by 9\.9e-03 of",
    another_exit: r"operating_points\.low: sample 3 leaves at exit",
    another_class: r"operating_points\.low: sample 3 leaves at exit",
    raw_sample_off_by_one_bit: r"preprocessing: sample 2 becomes another input",
    without_logits: r"samples\.npz: damaged",
    unknown_preprocessing: r"preprocessing: sample 0: unknown preprocessing 'whitening'",
    threshold_moved: r"operating_points\.low: sample \d+ leaves at exit 1",
    broken_example: r"run_example\.py high: ModuleNotFoundError",
    silent_example: r"run_example\.py high: prints other answers",
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.items(), ids=[d.__name__ for d in DAMAGES])
def test_what_computes_something_else_is_found(
    bundle: TinyBundle, damage: Callable[[TinyBundle], None], message: str
) -> None:
    damage(bundle)
    with pytest.raises(UserError, match=message):
        verify(bundle.path)


def test_a_failure_in_the_fresh_process_comes_back_in_one_line(bundle: TinyBundle) -> None:
    other_logits(bundle)
    with pytest.raises(UserError, match=r"^net: outputs on ONNX Runtime differ"):
        verify_in_fresh_process(bundle.path, [])


def test_logits_of_a_quantized_network_may_differ_by_a_step_of_eight_bits(
    bundle: TinyBundle,
) -> None:
    other_logits(bundle)
    with pytest.raises(UserError):
        verify(bundle.path)
    bundle.manifest["networks"]["net"]["precision"] = "int8"
    # one hundredth is more than 1/127, so a two-hundredth
    change_samples(bundle, lambda a: a.update({"logits/net/1": a["logits/net/1"] / 1.005}))
    assert json.dumps([check.to_dict() for check in verify(bundle.path)])


def test_the_samples_are_of_the_networks_shape(bundle: TinyBundle) -> None:
    assert bundle.x.shape[1:] == INPUT_SHAPE[1:]
