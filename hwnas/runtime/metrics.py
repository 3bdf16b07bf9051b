"""What the runtime did, counted, in the text format that Prometheus reads.

The format is plain text over HTTP: the standard library writes and serves it, so that a device
needs no further package.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hwnas.runtime.answer import Answer
from hwnas.runtime.governor import ModeChange

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Labels = tuple[tuple[str, str], ...]

_METRICS = {
    "hwnas_answers_total": ("counter", "Answers, by where they come from."),
    "hwnas_inference_seconds_total": ("counter", "Time taken by inferences."),
    "hwnas_energy_joules_total": ("counter", "Energy of inferences, estimated by their means."),
    "hwnas_mode_changes_total": ("counter", "Changes of the operating point."),
    "hwnas_operating_point": ("gauge", "1 for the operating point in use, 0 for others."),
    "hwnas_confidence": ("gauge", "Of the last answer of the device."),
}


class RuntimeMetrics:
    """Counts what the runtime does; an `Observer` of it. Its text may be read by any thread.

    Args:
        operating_points: Names of all.
        mode: The one in use.

    References:
        Prometheus, Exposition formats, text-based format 0.0.4.
        https://prometheus.io/docs/instrumenting/exposition_formats/
    """

    def __init__(self, operating_points: Mapping[str, object], mode: str) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, defaultdict[_Labels, float]] = {
            name: defaultdict(float) for name in _METRICS
        }
        for name in operating_points:
            self._values["hwnas_operating_point"][_labels(operating_point=name)] = 0
        self._values["hwnas_operating_point"][_labels(operating_point=mode)] = 1

    def mode_changed(self, change: ModeChange) -> None:
        """Count a change of the operating point."""
        labels = {"before": change.before, "after": change.after, "reason": change.reason}
        with self._lock:
            self._values["hwnas_mode_changes_total"][_labels(**labels)] += 1
            in_use = self._values["hwnas_operating_point"]
            in_use[_labels(operating_point=change.before)] = 0
            in_use[_labels(operating_point=change.after)] = 1

    def answered(self, time_s: float, answer: Answer) -> None:
        """Count an answer."""
        point = answer.operating_point
        origin = _labels(operating_point=point, exit=str(answer.exit_index), source=answer.source)
        energy = _labels(operating_point=point, provenance=answer.energy_provenance)
        values = self._values
        with self._lock:
            values["hwnas_answers_total"][origin] += 1
            values["hwnas_inference_seconds_total"][_labels(operating_point=point)] += (
                answer.latency_s
            )
            values["hwnas_energy_joules_total"][energy] += answer.energy_j
            if answer.source == "device":
                values["hwnas_confidence"][()] = answer.confidence

    def text(self) -> str:
        """Return all metrics as Prometheus reads them."""
        lines = []
        with self._lock:
            for name, (kind, explanation) in _METRICS.items():
                lines += [f"# HELP {name} {explanation}", f"# TYPE {name} {kind}"]
                lines += [
                    f"{name}{_label_text(labels)} {float(value)!r}"
                    for labels, value in self._values[name].items()
                ]
        return "\n".join(lines) + "\n"


def _labels(**values: str) -> _Labels:
    return tuple(values.items())


def _label_text(labels: _Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


@contextmanager
def serve_metrics(
    metrics: RuntimeMetrics, *, host: str = "127.0.0.1", port: int = 9464
) -> Iterator[tuple[str, int]]:
    """Serve metrics at ``/metrics`` in a thread until the context ends.

    Nobody is asked who they are: bind another host than this computer's own only in a
    network that may know.

    Args:
        metrics: To serve.
        host: Address to listen at; this computer alone by default.
        port: To listen at; 0 for any free one.

    Yields:
        The address and port listened at.

    Raises:
        OSError: If the port is in use.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            body = metrics.text().encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Write nothing: a request every few seconds says nothing."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[0], server.server_address[1]  # type: ignore[misc]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
