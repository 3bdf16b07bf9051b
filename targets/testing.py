"""What every target must do, as a test class for pytest, and small models to test with.

Subclass it, give it a target, and run pytest::

    class TestMyTarget(TargetTestCase):
        @classmethod
        def make_target(cls, cache_dir: Path) -> Target:
            return MyTarget(load_spec("my.yaml"), cache_dir=cache_dir)

Call ``pytest.register_assert_rewrite`` with this module's name in a ``conftest.py``
to see the values of a failed assertion.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from targets._types import Artifact, Failure, MeasureConfig, Measurement, Target
from targets.device_files import LocalFiles
from targets.parity import TOLERANCE, random_inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.float32], ...]

QUICK = MeasureConfig(warmup_s=0.0, min_samples=20, max_samples=50, min_time_s=0.0)


class GraphBuilder:
    """Builds an ONNX graph node by node, with live random weights.

    Args:
        input_shape: Of the only input, batch axis included.
        seed: Of the weights.
    """

    def __init__(self, input_shape: Sequence[int], seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self.input_shape = tuple(input_shape)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return its name."""
        output = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any) -> str:
        """Add a constant and return its name."""
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, *shape: int) -> str:
        """Add a random weight that keeps the scale of what it multiplies."""
        scale = np.float32(1 / math.sqrt(math.prod(shape[1:])))
        return self.constant(scale * self._rng.standard_normal(shape, np.float32))

    def conv(
        self,
        x: str,
        channels: tuple[int, int],
        kernel: tuple[int, int] = (1, 1),
        stride: tuple[int, int] = (1, 1),
        groups: int = 1,
        pads: tuple[int, int, int, int] | None = None,
    ) -> str:
        """Add a convolution with bias, padded by half its kernel unless told otherwise."""
        n_in, n_out = channels
        half = (kernel[0] // 2, kernel[1] // 2)
        return self.node(
            "Conv",
            x,
            self.weight(n_out, n_in // groups, *kernel),
            self.weight(n_out),
            kernel_shape=kernel,
            strides=stride,
            group=groups,
            pads=pads or (*half, *half),
        )

    def clip(self, x: str, low: float, high: float) -> str:
        """Add a clip; 0 to 6 is ReLU6."""
        bounds = (self.constant(np.float32(bound)) for bound in (low, high))
        return self.node("Clip", x, *bounds)

    def classifier(self, x: str, channels: int, n_classes: int) -> str:
        """Add global average pooling and a linear layer."""
        pooled = self.node("Flatten", self.node("GlobalAveragePool", x), axis=1)
        weight, bias = self.weight(n_classes, channels), self.weight(n_classes)
        return self.node("Gemm", pooled, weight, bias, transB=1)

    def build(self, *outputs: str) -> onnx.ModelProto:
        """Return the model with these outputs; it reads ``x``.

        Raises:
            onnx.checker.ValidationError: If the graph is not valid.
        """
        graph = helper.make_graph(
            self._nodes,
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.input_shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self._constants,
        )
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        model = onnx.shape_inference.infer_shapes(model)
        onnx.checker.check_model(model)
        return model


def small_model(seed: int = 0) -> onnx.ModelProto:
    """Return a network of every kind of layer searched: 8x8 gray to 10 logits and features."""
    graph = GraphBuilder((1, 1, 8, 8), seed)
    x = graph.clip(graph.conv("x", (1, 8), (3, 3)), 0, 6)
    hidden = graph.node("HardSwish", graph.conv(x, (8, 24)))
    deep = graph.node("HardSwish", graph.conv(hidden, (24, 24), (3, 3), groups=24))
    squeezed = graph.node("Relu", graph.conv(graph.node("GlobalAveragePool", deep), (24, 8)))
    gates = graph.node("HardSigmoid", graph.conv(squeezed, (8, 24)), alpha=1 / 6, beta=0.5)
    projected = graph.conv(graph.node("Mul", deep, gates), (24, 8))
    features = graph.node("Add", x, projected)
    return graph.build(graph.classifier(features, 8, 10), features)


def unknown_operator_model() -> onnx.ModelProto:
    """Return a valid ONNX model with an operator that no toolchain has."""
    node = helper.make_node("NoSuchOperator", ["x"], ["y"], domain="org.example")
    shape = (1, 1, 8, 8)
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("org.example", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def dead_model() -> onnx.ModelProto:
    """Return a network whose output hardly depends on its input: its weights are tiny."""
    graph = GraphBuilder((1, 1, 8, 8))
    faded = graph.node("Mul", graph.conv("x", (1, 8), (3, 3)), graph.constant(np.float32(1e-9)))
    return graph.build(graph.classifier(faded, 8, 10))


def run_onnxruntime(model: onnx.ModelProto, inputs: Sequence[NDArray[np.float32]]) -> Arrays:
    """Return what ONNX Runtime computes, the oracle of these tests."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [node.name for node in session.get_inputs()]
    return tuple(session.run(None, dict(zip(names, inputs, strict=True))))


class TargetTestCase:
    """The contract of `Target`; a subclass provides `make_target`."""

    @classmethod
    def make_target(cls, cache_dir: Path) -> Target:
        """Return the target under test, with an empty cache in this folder."""
        raise NotImplementedError("override make_target")

    @pytest.fixture(scope="class")
    @classmethod
    def cache_dir(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Folder of artifacts and measurements."""
        return tmp_path_factory.mktemp("cache")

    @pytest.fixture(scope="class")
    @classmethod
    def target(cls, cache_dir: Path) -> Iterator[Target]:
        """Return the target under test, shared by all tests of the class."""
        with cls.make_target(cache_dir) as target:
            yield target

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> onnx.ModelProto:
        """Return a small live model with two outputs."""
        return small_model()

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, target: Target, model: onnx.ModelProto) -> Artifact:
        """Return that model, compiled."""
        artifact = target.compile(model)
        assert isinstance(artifact, Artifact), artifact
        return artifact

    def test_it_has_all_members_of_a_target(self, target: Target) -> None:
        """The protocol is met."""
        assert isinstance(target, Target)
        assert target.name == target.spec.name

    def test_an_artifact_states_its_size(self, target: Target, artifact: Artifact) -> None:
        """Flash holds the weights, RAM holds inputs and outputs; the file exists."""
        n_weights = sum(np.prod(c.dims, dtype=int) for c in small_model().graph.initializer)
        assert artifact.target == target.name
        assert artifact.path.stat().st_size > 0
        assert artifact.flash_bytes >= 4 * n_weights
        assert artifact.peak_ram_bytes >= 4 * (8 * 8 + 10 + 8 * 8 * 8)
        assert artifact.input_shapes == ((1, 1, 8, 8),)

    def test_outputs_equal_those_of_onnxruntime(
        self, target: Target, artifact: Artifact, model: onnx.ModelProto
    ) -> None:
        """On inputs the compile-time check has not seen, within its tolerance."""
        for seed in (101, 102):
            inputs = random_inputs(model, seed)
            outputs = target.run(artifact, inputs)
            assert not isinstance(outputs, Failure), outputs
            expected = run_onnxruntime(model, inputs)
            assert len(outputs) == len(expected) == 2
            for got, wanted in zip(outputs, expected, strict=True):
                np.testing.assert_allclose(
                    got, wanted, rtol=0, atol=TOLERANCE * np.abs(wanted).max()
                )

    def test_compiling_again_gives_the_same_artifact_at_no_cost(
        self, target: Target, artifact: Artifact, model: onnx.ModelProto
    ) -> None:
        """The cache is keyed by content: an equal model, not the same object."""
        again = target.compile(onnx.load_from_string(model.SerializeToString()))
        assert again == replace(artifact, compile_s=0.0)

    def test_a_damaged_cache_entry_is_made_again(self, target: Target, artifact: Artifact) -> None:
        """Corrupt content never reaches the device."""
        other = small_model(seed=1)
        first = target.compile(other)
        assert isinstance(first, Artifact), first
        first.path.write_bytes(b"damaged")
        again = target.compile(other)
        assert isinstance(again, Artifact), again
        assert again.compile_s > 0
        assert again.path.read_bytes() != b"damaged"

    def test_a_measurement_keeps_every_sample(self, target: Target, artifact: Artifact) -> None:
        """Within the counts asked for, positive, with consistent summaries."""
        measurement = target.measure(artifact, QUICK)
        assert isinstance(measurement, Measurement), measurement
        samples = np.array(measurement.latency_s)
        assert QUICK.min_samples <= len(samples) <= QUICK.max_samples
        assert (samples > 0).all()
        low, high = measurement.latency_interval_s()
        assert low <= measurement.latency_median_s <= high
        assert samples.min() <= measurement.latency_median_s <= measurement.latency_p99_s
        assert measurement.latency_p99_s <= samples.max()

    def test_a_measurement_says_what_was_measured_and_how(
        self, target: Target, artifact: Artifact
    ) -> None:
        """Hashes, provenance, settings, device state and time are filled in."""
        measurement = target.measure(artifact, QUICK)
        assert isinstance(measurement, Measurement), measurement
        assert measurement.artifact_sha256 == artifact.sha256
        assert measurement.model_sha256 == artifact.model_sha256
        assert measurement.flash_bytes == artifact.flash_bytes
        assert measurement.peak_ram_bytes == artifact.peak_ram_bytes
        assert measurement.provenance == target.spec.provenance
        assert measurement.config == QUICK
        assert measurement.device_state["threads"] == target.spec.threads
        assert measurement.measured_at.endswith("+00:00")

    def test_measuring_again_reads_the_cache_unless_told_otherwise(
        self, target: Target, artifact: Artifact
    ) -> None:
        """A fresh measurement has samples of its own, and replaces the cached one."""
        first = target.measure(artifact, QUICK)
        assert target.measure(artifact, QUICK) == first
        fresh = target.measure(artifact, QUICK, fresh=True)
        assert isinstance(first, Measurement)
        assert isinstance(fresh, Measurement)
        assert fresh.latency_s != first.latency_s
        assert target.measure(artifact, QUICK) == fresh

    def test_an_unknown_operator_is_a_failure(self, target: Target) -> None:
        """A value, not an exception; it names the operator."""
        failure = target.compile(unknown_operator_model())
        assert isinstance(failure, Failure)
        assert failure.stage == "compile"
        assert "NoSuchOperator" in failure.message
        assert "\n" not in failure.message

    def test_a_dynamic_shape_is_a_failure(self, target: Target, model: onnx.ModelProto) -> None:
        """It names the input."""
        dynamic = onnx.load_from_string(model.SerializeToString())
        dynamic.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
        failure = target.compile(dynamic)
        assert isinstance(failure, Failure)
        assert failure.stage == "compile"
        assert "'x'" in failure.message

    def test_a_dead_network_is_refused(self, target: Target) -> None:
        """Parity on constant outputs would prove nothing."""
        failure = target.compile(dead_model())
        assert isinstance(failure, Failure)
        assert failure.stage == "parity"
        assert "hardly depends on the input" in failure.message

    def test_an_input_of_the_wrong_shape_is_a_failure_and_the_target_lives_on(
        self, target: Target, artifact: Artifact, model: onnx.ModelProto
    ) -> None:
        """The next run is right again."""
        failure = target.run(artifact, [np.zeros((1, 1, 9, 9), np.float32)])
        assert isinstance(failure, Failure)
        assert failure.stage == "run"
        inputs = random_inputs(model, seed=5)
        outputs = target.run(artifact, inputs)
        assert not isinstance(outputs, Failure), outputs
        np.testing.assert_allclose(outputs[0], run_onnxruntime(model, inputs)[0], atol=1e-4)

    def test_it_works_again_after_close(self, target: Target, artifact: Artifact) -> None:
        """Closing stops processes; the next use starts new ones."""
        target.close()
        measurement = target.measure(artifact, QUICK, fresh=True)
        assert isinstance(measurement, Measurement), measurement


class FakeSystem:
    """A folder that looks like a device's ``/proc`` and ``/sys``.

    Args:
        root: The folder.
        n_cpus: Processors it has.
    """

    def __init__(self, root: Path, n_cpus: int) -> None:
        self.root = root
        self.files = LocalFiles(root)
        for name in ("present", "online"):
            self.write(f"sys/devices/system/cpu/{name}", f"0-{n_cpus - 1}\n")

    def write(self, path: str, text: str) -> None:
        """Write a file, relative to the root."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def add_policy(
        self, cpu: int, clock_khz: int, lowest_khz: int = 600_000, highest_khz: int = 1_800_000
    ) -> dict[str, str]:
        """Add a clock policy with governor ``ondemand``; return its settings by path."""
        folder = f"sys/devices/system/cpu/cpufreq/policy{cpu}"
        settings = {
            "scaling_governor": "ondemand",
            "scaling_min_freq": str(lowest_khz),
            "scaling_max_freq": str(highest_khz),
        }
        fixed = {
            "cpuinfo_min_freq": str(lowest_khz),
            "cpuinfo_max_freq": str(highest_khz),
            "scaling_cur_freq": str(clock_khz),
        }
        for name, text in (settings | fixed).items():
            self.write(f"{folder}/{name}", f"{text}\n")
        return {f"/{folder}/{name}": text for name, text in settings.items()}
