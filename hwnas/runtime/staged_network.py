"""A bundled network in ONNX Runtime, run stage by stage until an exit is confident."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwnas.bundle import FEATURES, INPUT, LOGITS
from hwnas.bundle_manifest import BundledNetwork
from hwnas.errors import UserError
from hwnas.exit_policy import ExitPolicy

if TYPE_CHECKING:
    import onnxruntime as ort


class Exit(NamedTuple):
    """Where an inference ended, and with what."""

    exit_index: int
    class_index: int
    confidence: float


class StagedNetwork:
    """One session per stage, on one thread each.

    Args:
        sessions: In execution order.
    """

    def __init__(self, sessions: Sequence[ort.InferenceSession]) -> None:
        last = len(sessions) - 1
        self._stages = [
            (session, [LOGITS] if k == last else [LOGITS, FEATURES])
            for k, session in enumerate(sessions)
        ]

    @classmethod
    def load(cls, bundle: Path, network: BundledNetwork) -> StagedNetwork:
        """Load a network of an opened bundle.

        Raises:
            UserError: As `load_session`.
        """
        return cls([load_session(bundle / stage.onnx) for stage in network.stages])

    def infer(self, x: NDArray[np.float32], policy: ExitPolicy) -> Exit:
        """Run stages until an exit is confident; the last always answers.

        Logits that are not finite numbers are no reason to answer: the next exit is asked,
        and the last then answers with confidence 0.

        Args:
            x: One sample with its batch axis.
            policy: With a threshold for each exit but the last.
        """
        last = len(self._stages) - 1
        index = 0
        while True:
            session, names = self._stages[index]
            logits, *features = session.run(names, {INPUT: x})
            is_finite = np.isfinite(logits).all()
            confidence = float(policy.confidence(index, logits)[0]) if is_finite else 0.0
            if index == last or (is_finite and confidence >= policy.thresholds[index]):
                return Exit(index, int(logits[0].argmax()), confidence)
            x = features[0]
            index += 1


def load_session(path: Path) -> ort.InferenceSession:
    """Load one graph, to run on one thread.

    Raises:
        UserError: If this ONNX Runtime cannot, such as for an operator that it does not have.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(path, options, ["CPUExecutionProvider"])
    except Exception as error:  # its many kinds have no base of their own
        raise UserError(
            f"{path}: ONNX Runtime {ort.__version__} cannot load it ({error}). Install the "
            "version in the bundle's manifest, under environment."
        ) from None
