"""Whether to send data to a server or to infer on the device: radio energy against compute."""

from __future__ import annotations

from hwnas.energy_metrics import Number, not_negative, positive

BYTES_PER_MB = 1e6


def offload_energy_j(payload_bytes: float, energy_per_mb_j: float) -> float:
    """Return what the device spends to send a payload, ``bytes / 1e6 * J_per_MB``, in joules.

    The device's side alone: what the network and the server draw is not in it.

    Args:
        payload_bytes: Sent and received for one inference.
        energy_per_mb_j: Of the device's radio, joules per 10^6 bytes.

    Raises:
        ValueError: If a value is negative.
    """
    payload = not_negative(payload_bytes, "payload", "bytes")
    return payload / BYTES_PER_MB * not_negative(energy_per_mb_j, "radio energy", "J/MB")


def offload_ratio(energy_j: Number, payload_bytes: float, energy_per_mb_j: float) -> Number:
    """Return energy of sending over energy of inferring here; above 1, the device wins.

    Args:
        energy_j: Of one inference on the device, joules.
        payload_bytes: As in `offload_energy_j`.
        energy_per_mb_j: As in `offload_energy_j`.

    Raises:
        ValueError: If a value is out of its range.
    """
    here_j = positive(energy_j, "energy of an inference", "J")
    return offload_energy_j(payload_bytes, energy_per_mb_j) / here_j


def break_even_bytes(energy_j: Number, energy_per_mb_j: float) -> Number:
    """Return the payload whose sending costs as much as inferring here, in bytes.

    ``1e6 * E / J_per_MB``: with more data than that per inference, the device wins,
    whatever the network's latency.

    Args:
        energy_j: Of one inference on the device, joules.
        energy_per_mb_j: As in `offload_energy_j`.

    Raises:
        ValueError: If a value is out of its range.
    """
    here_j = not_negative(energy_j, "energy of an inference", "J")
    return BYTES_PER_MB * here_j / positive(energy_per_mb_j, "radio energy", "J/MB")
