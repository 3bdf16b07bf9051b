"""A bundle's networks in other formats are run again where that is possible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from hwnas.bundle import open_bundle
from hwnas.bundle_manifest import BundleManifest
from hwnas.bundle_samples import BundleSamples
from hwnas.datasets import Dataset, Split
from hwnas.errors import UserError
from hwnas.export_formats import FORMATS, FormatRequest
from hwnas.format_checks import check_formats, stored_answers
from hwnas.format_writing import FormatWriter
from tests.unit.hwnas.quantized_networks import exported, samples, two_stages
from tests.unit.hwnas.tiny_bundle import TinyBundle

X = samples(6, seed=1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BundleManifest, BundleSamples]:
    """Return a folder with a network in LiteRT, and a manifest and samples that tell of it."""
    network, folder = two_stages(), tmp_path_factory.mktemp("bundle")
    models = [tmp_path_factory.mktemp("onnx") / f"{k}.onnx" for k in range(2)]
    for path, model in zip(models, exported(network), strict=True):
        onnx.save(model, path)
    split = Split(samples(32, seed=2), np.zeros(32, np.int64))
    dataset = Dataset("random", tuple("abcdefghij"), split, split, split, {})
    formats = FormatWriter(folder, FormatRequest(("litert",)), dataset, 16, X)
    formats.add("net", network, "float32", models, {})
    with torch.no_grad():
        logits = tuple(exit_.numpy() for exit_ in network(torch.from_numpy(X)))
    tiny = TinyBundle(tmp_path_factory.mktemp("tiny") / "bundle")
    manifest = open_bundle(tiny.path).model_copy(update={"formats": tuple(formats.converted)})
    kept = BundleSamples(X, np.zeros(6, np.int64), (), {"net": logits, **formats.logits}, {})
    return folder, manifest, kept


def test_float32_answers_as_the_network_and_int8_as_it_did(
    bundle: tuple[Path, BundleManifest, BundleSamples],
) -> None:
    float32, int8 = check_formats(*bundle)
    assert (float32.what, float32.subject, float32.samples) == ("LiteRT float32", "net", 6)
    assert 0 < float32.error < 1e-5
    # the same file on the same processor
    assert (int8.what, int8.error) == ("LiteRT int8", 0.0)
    assert stored_answers(bundle[1]) == {"litert-int8/net": 2}


@pytest.mark.parametrize("name", ["net", "litert-int8/net"])
def test_other_answers_are_a_defect(
    bundle: tuple[Path, BundleManifest, BundleSamples], name: str
) -> None:
    path, manifest, kept = bundle
    wrong = {**kept.logits, name: tuple(-logits for logits in kept.logits[name])}
    with pytest.raises(UserError, match=r"net: outputs on LiteRT .* differ"):
        check_formats(path, manifest, replace(kept, logits=wrong))


def test_without_its_tools_a_format_is_not_run(
    bundle: tuple[Path, BundleManifest, BundleSamples], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = replace(FORMATS["litert"], tools={"no_such_module": "a-tool"})
    monkeypatch.setitem(FORMATS, "litert", bare)  # type: ignore[arg-type]
    assert check_formats(*bundle) == []


def test_what_could_not_be_converted_is_not_run(
    bundle: tuple[Path, BundleManifest, BundleSamples],
) -> None:
    path, manifest, kept = bundle
    update = {"stages": (), "precision": None, "failure": "unknown operator"}
    failed = tuple(c.model_copy(update=update) for c in manifest.formats)
    assert check_formats(path, manifest.model_copy(update={"formats": failed}), kept) == []
