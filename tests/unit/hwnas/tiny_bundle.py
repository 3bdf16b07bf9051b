"""A bundle of two stages that are linear maps, so that their logits are known in closed form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from hwnas.bundle import sha256
from hwnas.bundle_code import device_code

CLASSES, FEATURES = 3, 5
INPUT_SHAPE = (1, 1, 2, 2)


class TinyBundle:
    """A valid bundle in a folder, whose manifest tests may damage.

    Stage 0 flattens its input and multiplies it with ``heads[0]`` for the logits and with
    ``trunk`` for the features, which stage 1 multiplies with ``heads[1]``.
    """

    def __init__(self, path: Path) -> None:
        rng = np.random.default_rng(7)
        self.path = path
        self.trunk = rng.normal(size=(4, FEATURES)).astype(np.float32)
        self.heads = [rng.normal(size=(rows, CLASSES)).astype(np.float32) for rows in (4, FEATURES)]
        self.x = rng.normal(size=(20, *INPUT_SHAPE[1:])).astype(np.float32)
        (path / "networks" / "net").mkdir(parents=True)
        outputs = {"logits": self.heads[0], "features": self.trunk}
        self.write_stage(0, list(INPUT_SHAPE), outputs)
        self.write_stage(1, [1, FEATURES], {"logits": self.heads[1]})
        for name, content in device_code().items():
            (path / name).write_bytes(content)
        self.manifest: dict[str, Any] = {
            "schema_version": 2,
            "run": "tiny",
            "target": "host-onnxruntime",
            "class_names": ["a", "b", "c"],
            "input": {"shape": list(INPUT_SHAPE), "dtype": "float32"},
            "preprocessing": {},
            "networks": {
                "net": {
                    "arch_id": "net",
                    "training": "plain",
                    "precision": "float32",
                    "target": "host-onnxruntime",
                    "stages": [{"onnx": self.stage(k), "library": None} for k in range(2)],
                }
            },
            "operating_points": {"high": self.point(0.9), "low": self.point(0.5)},
            "scaling_policy": None,
            "samples": "samples.npz",
            "notes": {},
            "environment": {},
            "files": {},
        }
        self.write_samples({"high": 0.9, "low": 0.5})
        self.seal()

    @staticmethod
    def stage(index: int) -> str:
        return f"networks/net/stage_{index}.onnx"

    def point(self, threshold: float) -> dict[str, Any]:
        """Return an operating point that answers early from a confidence on."""
        policy = {"measure": "max_probability", "temperatures": [], "thresholds": [threshold]}
        return {
            "network": "net",
            "variant_id": f"net-{threshold}",
            "exit_policy": policy | {"chosen_for": self.graphs()},
            "exit_shares": [0.5, 0.5],
            "device_point": None,
            "metrics": {
                "accuracy": {"value": threshold, "provenance": "measured"},
                "energy_j": {"value": 1e-3 * threshold, "provenance": "modelled"},
                "latency_s": {"value": 1e-3 * threshold, "provenance": "measured"},
            },
        }

    def graphs(self) -> list[str]:
        """Return the SHA-256 of the stages' graphs."""
        return [sha256(self.path / self.stage(k)) for k in range(2)]

    def add_format(self) -> dict[str, Any]:
        """Add the network in another format, which nothing here can run; return its entry."""
        files = [f"formats/vela/net/stage_{k}.vela.tflite" for k in range(2)]
        for name in files:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(name)
        latency = {"latency_s": {"value": 2e-5, "provenance": "vendor_estimate"}}
        entry = {
            "format": "vela",
            "network": "net",
            "precision": "int8",
            "stages": [{"file": name, "metrics": latency, "notes": {}} for name in files],
            "tools": {"ethos-u-vela": "5.2.0"},
            "settings": {"accelerator": "ethos-u55-128"},
            "verification": "not run",
        }
        self.manifest["formats"] = [entry]
        self.seal()
        return entry

    def seal(self) -> None:
        """Write the manifest with the checksums of the files as they are now."""
        files = [p for p in self.path.rglob("*") if p.is_file() and p.name != "manifest.json"]
        self.manifest["files"] = {
            p.relative_to(self.path).as_posix(): {
                "sha256": sha256(p),
                "size_bytes": p.stat().st_size,
            }
            for p in sorted(files)
        }
        self.write_manifest()

    def choose_again(self) -> None:
        """Say of every exit policy that it was chosen for the graphs as they are now."""
        for point in self.manifest["operating_points"].values():
            point["exit_policy"]["chosen_for"] = self.graphs()
        self.seal()

    def write_manifest(self) -> None:
        """Write the manifest as it is."""
        (self.path / "manifest.json").write_text(json.dumps(self.manifest))

    def write_samples(self, thresholds: dict[str, float]) -> None:
        """Write samples with the answers at thresholds of the first exit's largest probability."""
        first, last = self.logits(self.x)
        arrays: dict[str, Any] = {"x": self.x, "y": np.zeros(len(self.x), np.int64)}
        # nothing is done to the samples: they are raw
        arrays |= {f"raw/{k}": x for k, x in enumerate(self.x[:4])}
        arrays |= {"logits/net/0": first, "logits/net/1": last}
        probability = np.exp(first).max(axis=1) / np.exp(first).sum(axis=1)
        for name, threshold in thresholds.items():
            early = probability >= threshold
            arrays[f"exits/{name}"] = np.where(early, 0, 1)
            arrays[f"classes/{name}"] = np.where(early, first.argmax(axis=1), last.argmax(axis=1))
        with (self.path / "samples.npz").open("wb") as file:
            np.savez(file, **arrays)

    def logits(self, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the logits of both exits, each ``(n, classes)``."""
        flat = x.reshape(len(x), -1)
        return [flat @ self.heads[0], flat @ self.trunk @ self.heads[1]]

    def write_stage(
        self, index: int, shape: list[int], outputs: dict[str, NDArray[np.float32]]
    ) -> None:
        """Write a stage: its input, flattened, times a matrix for each output."""
        nodes = [helper.make_node("Flatten", ["input"], ["flat"])]
        for name in outputs:
            nodes.append(helper.make_node("MatMul", ["flat", f"{name}_weights"], [name]))
        graph = helper.make_graph(
            nodes,
            f"stage_{index}",
            [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, shape)],
            [
                helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, w.shape[1]])
                for name, w in outputs.items()
            ],
            [numpy_helper.from_array(w, f"{name}_weights") for name, w in outputs.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, self.path / self.stage(index))
