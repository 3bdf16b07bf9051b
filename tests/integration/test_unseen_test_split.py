"""Nothing that a search chooses depends on the test split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_digits

import hwnas
from targets.spec import BOARDS

if TYPE_CHECKING:
    from conftest import TinySearch

_TRAINED_ON = 1500


def dataset(path: Path, *, scrambled: bool) -> Path:
    """Write handwritten digits; the labels of the test samples are right or scrambled."""
    digits = load_digits()
    x, y = digits.images[:, None].astype(np.float32), digits.target
    x_test, y_test = x[_TRAINED_ON:], y[_TRAINED_ON:]
    if scrambled:
        y_test = np.random.default_rng(0).permutation(y_test)
    arrays = {"x": x[:_TRAINED_ON], "y": y[:_TRAINED_ON], "x_test": x_test, "y_test": y_test}
    np.savez(path, **arrays)
    return path


def chosen(front: Any) -> list[Any]:
    """Return all of the candidates in their order but what the test split says of them."""
    judged_by_test = ("better_than", "ties_with", "metrics")
    return [
        {k: v for k, v in candidate.items() if k not in judged_by_test}
        | {name: m for name, m in candidate["metrics"].items() if m.get("split") != "test"}
        for candidate in front["candidates"]
    ]


@pytest.mark.slow
def test_other_labels_of_the_test_split_change_no_choice(tiny: TinySearch, tmp_path: Path) -> None:
    """On the recording of the first search, so that the second one measures the same."""

    def search(name: str, data: Path, target: str) -> Any:
        keys = {"x_test_key": "x_test", "y_test_key": "y_test"}
        source = yaml.safe_dump(
            {"kind": "npz", "path": str(data), **keys}, default_flow_style=True, width=10**6
        ).strip()
        return hwnas.search(
            tiny.experiment,
            overrides=[f"dataset={source}", f"target={target}", "finalists={count: 2, seeds: 2}"],
            runs=tmp_path / name,
            predictors=tmp_path / name / "predictors",
            workers=1,
        )

    right = search("right", dataset(tmp_path / "right.npz", scrambled=False), "host-onnxruntime")
    recording = tmp_path / "recording.jsonl"
    recording.write_bytes(right.measurements.read_bytes())
    board = yaml.safe_load((BOARDS / "host-onnxruntime.yaml").read_text())
    replay = tmp_path / "replay.yaml"
    replay.write_text(
        yaml.safe_dump(
            board
            | {"name": "replay", "backend": "replay", "recording": str(recording)}
            | {"quantized_target": "replay"}
        )
    )
    wrong = search("wrong", dataset(tmp_path / "wrong.npz", scrambled=True), str(replay))
    assert chosen(wrong.front()) == chosen(right.front())
    finalists = [
        [c for c in run.front()["candidates"] if c["metrics"]["accuracy"]["seeds"] == 2]
        for run in (right, wrong)
    ]
    assert [len(f) for f in finalists] == [2, 2]
    # the test split did say something else: chance is 0.1, and 2 epochs give more
    accuracies = [[c["metrics"]["accuracy"]["value"] for c in found] for found in finalists]
    assert max(accuracies[1]) < 0.2 < min(accuracies[0])
    # and the two finalists were compared on it
    for found in finalists:
        assert all(len(c["better_than"]) + len(c["ties_with"]) in (0, 1) for c in found)
        assert any(c["better_than"] or c["ties_with"] for c in found)
