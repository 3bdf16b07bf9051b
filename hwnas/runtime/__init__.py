"""Run a bundle on a device: answer early, change operating points, keep to an energy budget.

Names load on first use: importing this package loads neither pydantic nor ONNX Runtime.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwnas.runtime.answer import Answer, Observer
    from hwnas.runtime.decision_log import DecisionLog
    from hwnas.runtime.fallback import LowConfidenceFallback
    from hwnas.runtime.governor import Governor, ModeChange
    from hwnas.runtime.metrics import RuntimeMetrics, serve_metrics
    from hwnas.runtime.policy import ScalingPolicy, default_policy, load_policy
    from hwnas.runtime.runner import Runtime
    from hwnas.runtime.signals import DeviceState, Signals

_HOME = {
    "Runtime": "runner",
    "Answer": "answer",
    "Observer": "answer",
    "DeviceState": "signals",
    "Signals": "signals",
    "Governor": "governor",
    "ModeChange": "governor",
    "ScalingPolicy": "policy",
    "default_policy": "policy",
    "load_policy": "policy",
    "LowConfidenceFallback": "fallback",
    "DecisionLog": "decision_log",
    "RuntimeMetrics": "metrics",
    "serve_metrics": "metrics",
}

__all__ = [
    "Runtime",
    "Answer",
    "Observer",
    "DeviceState",
    "Signals",
    "Governor",
    "ModeChange",
    "ScalingPolicy",
    "default_policy",
    "load_policy",
    "LowConfidenceFallback",
    "DecisionLog",
    "RuntimeMetrics",
    "serve_metrics",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
