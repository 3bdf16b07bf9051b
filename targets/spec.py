"""A target described by a YAML file: ``targets/boards/<name>.yaml`` or the user's own."""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from targets.meters import MeterError
from targets.meters.registry import check_options
from targets.operating_points import OperatingPoint

BOARDS = Path(__file__).parent / "boards"

ACCEPTED_RISK = "whoever reaches this tracker can run code on its boards"
"""What ``rpc.accept_risk`` has to say before a tracker that is not on loopback is used."""

_ON_THIS_COMPUTER = ("onnxruntime", "replay")
"""Backends that reach no board."""

_LAST_PORT = 65535

_Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Text: TypeAlias = Annotated[str, Field(min_length=1)]
_MeterOption: TypeAlias = str | int | float | bool | None
_TvmOption: TypeAlias = str | int | list[str]


class EnergyModel(BaseModel):
    """Parameters of the modelled gross energy of one inference.

    ``E = static_power_w * latency + MACs * energy_per_mac_j + bytes * energy_per_byte_j``

    Operators in int8 move a quarter of the bytes, and have an energy per multiply-accumulate of
    their own where it is given.

    Args:
        static_power_w: Power drawn by the used cores whatever they do, watts.
        energy_per_mac_j: Of one multiply-accumulate in float32, instruction overhead included,
            joules.
        energy_per_int8_mac_j: Likewise, of 8-bit integers and a 32-bit sum; counted as in
            float32, which is too much, where it is not given.
        energy_per_byte_j: Of one byte moved between memory and core, joules.
        relative_uncertainty: Half-width of the plausible range, relative to ``E``.
        source: Where the parameters come from.

    References:
        Horowitz (2014), Computing's energy problem, ISSCC, Fig. 1.1.9.
        doi:10.1109/ISSCC.2014.6757323
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    static_power_w: _NotNegative
    energy_per_mac_j: _NotNegative
    energy_per_int8_mac_j: _NotNegative | None = None
    energy_per_byte_j: _NotNegative
    relative_uncertainty: Annotated[float, Field(ge=0, lt=1)]
    source: _Text


class Rpc(BaseModel):
    """How to reach a board: it registers at a TVM RPC tracker under a key.

    Several boards of one kind register under one key and measure in parallel.

    Args:
        tracker: ``host:port`` of the tracker.
        key: Under which boards of this kind register.
        device: Of the board: ``cpu``, ``cuda`` or ``opencl``.
        wait_s: How long to wait for a free board.
        accept_risk: TVM's RPC has no authentication and runs whatever it is sent. A tracker
            that is not on loopback must be allowed by repeating `ACCEPTED_RISK` here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tracker: Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):[0-9]{1,5}$")]
    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    device: Literal["cpu", "cuda", "opencl"] = "cpu"
    wait_s: _Positive = 10.0
    accept_risk: str | None = None

    @model_validator(mode="after")
    def _port_exists(self) -> Rpc:
        if not 0 < int(self.tracker.rpartition(":")[2]) <= _LAST_PORT:
            raise ValueError(f"tracker {self.tracker}: ports end at {_LAST_PORT}")
        return self

    @model_validator(mode="after")
    def _accept_risk(self) -> Rpc:
        host = self.tracker.rpartition(":")[0].strip("[]")
        if not _is_loopback(host) and self.accept_risk != ACCEPTED_RISK:
            raise ValueError(
                f"tracker {self.tracker} is not on loopback, and TVM's RPC has no authentication. "
                "Reach it through an SSH tunnel, such as ssh -L 9190:127.0.0.1:9190, "
                f"or, in a network you trust, add accept_risk: {ACCEPTED_RISK}"
            )
        return self


class MeterSpec(BaseModel):
    """A power meter of a target.

    Args:
        kind: Registered meter, such as ``rapl`` or ``ppk2``; all other keys are its options.
        at: Where it is attached: ``host``, this computer; ``board``, read there over the same
            RPC session; ``ssh://user@host``, another computer.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: _Text
    at: Annotated[str, Field(pattern=r"^(host|board|ssh://[A-Za-z0-9_.@:-]+)$")] = "host"

    @property
    def options(self) -> dict[str, _MeterOption]:
        """What its driver is told."""
        return dict(self.__pydantic_extra__ or {})

    @property
    def ssh(self) -> str | None:
        """``user@host`` of the computer it is attached to, where that is another one."""
        return self.at.removeprefix("ssh://") if self.at.startswith("ssh://") else None

    @model_validator(mode="after")
    def _options_fit(self) -> MeterSpec:
        try:
            check_options(self.kind, self.options)
        except MeterError as error:
            raise ValueError(str(error)) from None
        if self.ssh is not None and self.ssh.startswith("-"):
            raise ValueError(f"at: wanted ssh://user@host, got {self.at!r}")
        return self


class TargetSpec(BaseModel):
    """Description of a target.

    Args:
        name: Of the target; what measurements and predictors are filed under.
        description: One line for people.
        backend: Registered target backend: ``tvm``, ``onnxruntime``, ``replay`` or a plug-in's.
        threads: Threads an inference may use.
        tvm_target: Options of the TVM target, such as ``mcpu``; ``mcpu: native`` is this CPU.
            Code for a GPU needs a ``host``, the options of the CPU beside it.
        linker: C++ compiler that links for the board, such as ``aarch64-linux-gnu-g++``;
            this computer's own by default.
        rpc: Where boards register; without it the target is this computer.
        clock_khz: CPU clock to pin while measuring: a frequency, or ``max``. Without it the
            clock is left alone, and measurements are flagged where it may wander.
        power_mode: Number of the nvpmodel mode that the device has to be in.
        operating_points: What a sweep measures at; without them the clocks of its cpufreq.
        provenance: What its latencies are: ``measured``, or ``emulated``.
        energy_model: Used while no power meter is attached.
        meters: Power meters; where there are several, their powers add up.
        marker_file: Of the device: ``1`` is written to it before a loop of inferences and ``0``
            after it, such as ``/sys/class/gpio/gpio17/value``, wired to a meter's marker input.
        recording: What ``replay`` answers from: an exported measurement log, or a run's
            ``measurements.jsonl``. In a file, relative to it.
        quantized_target: Name of the target that runs quantized (QDQ) models on the same
            device, or path of its YAML file, in a file relative to it; the target itself may
            do so. Without it they are not measured: code made by TVM computes them in float32.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    description: _Text
    backend: _Text
    threads: Annotated[int, Field(ge=1)] = 1
    tvm_target: dict[str, _TvmOption | dict[str, _TvmOption]] = {}
    linker: _Text | None = None
    rpc: Rpc | None = None
    clock_khz: Annotated[int, Field(ge=1)] | Literal["max"] | None = None
    power_mode: Annotated[int, Field(ge=0)] | None = None
    operating_points: tuple[OperatingPoint, ...] = ()
    provenance: Literal["measured", "emulated"] = "measured"
    energy_model: EnergyModel
    meters: tuple[MeterSpec, ...] = ()
    marker_file: Annotated[str, Field(pattern=r"^/sys/")] | None = None
    recording: Path | None = None
    quantized_target: _Text | None = None

    @model_validator(mode="after")
    def _boards_need_code(self) -> TargetSpec:
        if self.backend in _ON_THIS_COMPUTER and (self.rpc or self.linker):
            key = "rpc" if self.rpc else "linker"
            raise ValueError(
                f"{key} is for boards, and backend {self.backend!r} stays on this computer. "
                f"Remove {key}, or use backend: tvm"
            )
        return self

    @model_validator(mode="after")
    def _points_differ(self) -> TargetSpec:
        names = [point.name for point in self.operating_points]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"operating_points: {twice!r} is there twice; names must differ")
        return self

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything in it that can change a measurement, no matter where it lies."""
        return self._digest("description", "energy_model", "recording")

    @property
    def device_fingerprint(self) -> str:
        """SHA-256 over everything in it that can change a latency."""
        return self._digest("description", "energy_model", "recording", "meters", "marker_file")

    def _digest(self, *excluded: str) -> str:
        names = {"operating_points", "quantized_target", *excluded}
        if self.power_mode is None:  # as it was before there was such a key
            names.add("power_mode")
        content = self.model_dump_json(exclude=names)
        return hashlib.sha256(content.encode()).hexdigest()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def names() -> tuple[str, ...]:
    """Return the names of the packaged targets."""
    return tuple(sorted(path.stem for path in BOARDS.glob("*.yaml")))


def load_spec(name_or_path: str | Path) -> TargetSpec:
    """Read a target's description.

    Args:
        name_or_path: A packaged target, or the path of a YAML file.

    Raises:
        ValueError: If there is no such target, or the file is not a description;
            one line says which file and key, what was wanted and what came.
    """
    text = str(name_or_path)
    if text in names():
        return _read(BOARDS / f"{text}.yaml")
    path = Path(text)
    if path.suffix in (".yaml", ".yml"):
        return _read(path)
    raise ValueError(
        f"target: unknown name {text!r}.{_did_you_mean(text, names())} "
        f"Known: {', '.join(names())}, or the path of a YAML file."
    )


def _read(path: Path) -> TargetSpec:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path}: wanted a mapping of keys, got {type(document).__name__}")
    try:
        spec = TargetSpec.model_validate(document)
    except ValidationError as error:
        raise ValueError(f"{path}: {_one_line(error)}") from None
    return spec.model_copy(update=_relative_to(path.parent, spec))


def _relative_to(folder: Path, spec: TargetSpec) -> dict[str, Path | str]:
    """Return the paths in a description as seen from where it is read, not where it lies."""
    paths: dict[str, Path | str] = {}
    if spec.recording is not None:
        paths["recording"] = folder / spec.recording
    if (other := spec.quantized_target) is not None and other.endswith((".yaml", ".yml")):
        paths["quantized_target"] = str(folder / other)
    return paths


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key.{_did_you_mean(str(first['loc'][-1]), _known(first['loc']))}"
    if first["type"] == "missing":
        return f"{key}: missing"
    if first["type"] == "value_error":
        return f"{key}: {first['ctx']['error']}".removeprefix(": ")
    return f"{key}: {first['msg']}, got {first['input']!r}"


def _known(location: tuple[int | str, ...]) -> tuple[str, ...]:
    sections: dict[int | str, type[BaseModel]] = {
        "energy_model": EnergyModel,
        "meters": MeterSpec,
        "operating_points": OperatingPoint,
        "rpc": Rpc,
    }
    return tuple(sections.get(location[0], TargetSpec).model_fields)


def _did_you_mean(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
