"""A bundle is verified by what its files compute."""

from __future__ import annotations

import json
import py_compile
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.bundle import open_bundle
from hwnas.bundle_checks import check_example
from hwnas.bundle_samples import BundleSamples
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


def logits_without_a_number(bundle: TinyBundle) -> None:
    # of the last exit: an early one hides it from max()
    change_samples(bundle, lambda a: a["logits/net/1"].__setitem__((3, 1), np.nan))


def graph_without_a_number(bundle: TinyBundle) -> None:
    bundle.write_stage(1, [1, 5], {"logits": np.full_like(bundle.heads[1], np.nan)})
    bundle.choose_again()


def fewer_stored_logits(bundle: TinyBundle) -> None:
    change_samples(bundle, lambda a: a.update({"logits/net/1": a["logits/net/1"][:, :1]}))


def fewer_answers(bundle: TinyBundle) -> None:
    change_samples(bundle, lambda a: a.update({"exits/low": a["exits/low"][:1]}))


def no_samples(bundle: TinyBundle) -> None:
    change_samples(bundle, lambda a: a.update({"x": a["x"][:0]}))


def inputs_of_another_type(bundle: TinyBundle) -> None:
    change_samples(bundle, lambda a: a.update({"x": a["x"].astype(np.float64)}))


def rewrite(name: str, text: str) -> Callable[[TinyBundle], None]:
    def change(bundle: TinyBundle) -> None:
        (bundle.path / name).parent.mkdir(exist_ok=True)
        (bundle.path / name).write_text(text)
        bundle.seal()

    change.__name__ = name
    return change


DAMAGES: dict[Callable[[TinyBundle], None], str] = {
    other_logits: r"net: outputs on ONNX Runtime differ from those stored .* by 9\.9e-03 of",
    another_exit: r"operating_points\.low: sample 3 leaves at exit",
    another_class: r"operating_points\.low: sample 3 leaves at exit",
    raw_sample_off_by_one_bit: r"preprocessing: sample 2 becomes another input",
    without_logits: r"samples\.npz: damaged",
    unknown_preprocessing: r"preprocessing: sample 0: unknown preprocessing 'whitening'",
    threshold_moved: r"operating_points\.low: sample \d+ leaves at exit 1",
    logits_without_a_number: r"net: exit 1: logits stored in the bundle are not finite",
    graph_without_a_number: r"net: exit 1: logits on ONNX Runtime are not finite",
    fewer_stored_logits: r"net: exit 1: wanted logits \(20, 1\), as stored .* Got \(20, 3\)",
    fewer_answers: r"operating_points\.low: wanted a stored answer for each sample",
    no_samples: r"samples\.npz: x: wanted float32 of shape .* Got float32 of \(0, 1, 2, 2\)",
    inputs_of_another_type: r"samples\.npz: x: wanted float32 .* Got float64",
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.items(), ids=[d.__name__ for d in DAMAGES])
def test_what_computes_something_else_is_found(
    bundle: TinyBundle, damage: Callable[[TinyBundle], None], message: str
) -> None:
    damage(bundle)
    with pytest.raises(UserError, match=message):
        verify(bundle.path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("run_example.py", r"run_example\.py: not as this version of hwnas writes it"),
        ("exit_policy.py", r"exit_policy\.py: not as this version of hwnas writes it"),
        ("preprocess.py", r"preprocess\.py: not as this version of hwnas writes it"),
        # NumPy imports it when it opens the samples
        ("zipfile.py", r"zipfile\.py: run_example\.py would import it"),
        ("zipfile/__init__.py", r"zipfile: run_example\.py would import it"),
    ],
)
def test_foreign_code_in_a_bundle_is_not_run(
    bundle: TinyBundle, tmp_path: Path, name: str, message: str
) -> None:
    ran = tmp_path / "ran"
    rewrite(name, f"open({str(ran)!r}, 'w').close()\n")(bundle)
    with pytest.raises(UserError, match=message):
        verify(bundle.path)
    assert not ran.exists()


def test_bytecode_in_a_bundle_is_not_run(bundle: TinyBundle, tmp_path: Path) -> None:
    """Nobody looks whether it is that of the source beside it."""
    ran = tmp_path / "ran"
    source = bundle.path / "exit_policy.py"
    other = tmp_path / "other.py"
    other.write_text(source.read_text() + f"open({str(ran)!r}, 'w').close()\n")
    compiled = source.parent / "__pycache__" / f"exit_policy.{sys.implementation.cache_tag}.pyc"
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(other), str(compiled), doraise=True, invalidation_mode=unchecked)
    verify(bundle.path)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import torch_of_another_planet\n", r"run_example\.py high: ModuleNotFoundError"),
        ("", r"run_example\.py high: prints other answers"),
    ],
)
def test_an_example_that_does_something_else_is_found(
    bundle: TinyBundle, text: str, message: str
) -> None:
    """Such as with another ONNX Runtime than that of this process."""
    rewrite("run_example.py", text)(bundle)
    manifest = open_bundle(bundle.path)
    samples = BundleSamples.load(bundle.path / "samples.npz", {"net": 2}, {"high": 0})
    with pytest.raises(UserError, match=message):
        check_example(bundle.path, "high", manifest, samples)


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
