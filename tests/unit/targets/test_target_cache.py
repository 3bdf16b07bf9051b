import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

import targets
from targets import Artifact, Failure, MeasureConfig, Measurement, write_atomically
from targets.cache import Cache, default_cache_dir, open_measurement_log

SPEC = targets.load_spec("host")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(SPEC, "v1", ".so", tmp_path / "cache")


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    (tmp_path / "model.so").write_bytes(b"code")
    sha256 = "5694d08a2e53ffcae0c3103e5ad6f6076abd960eb1f8a56577040bc1028f702b"  # sha256sum
    return Artifact(
        "host", tmp_path / "model.so", sha256, "model", 4, 8, 1.5, float("nan"), ((1, 2),)
    )


def measurement(artifact: Artifact, latency_s: float = 1e-3) -> Measurement:
    config = MeasureConfig()
    return Measurement(
        "host", "model", artifact.sha256, (latency_s,), 4, 8, config, "measured", {}, "now"
    )


def test_a_stored_artifact_comes_back_with_no_compile_time(
    cache: Cache, artifact: Artifact
) -> None:
    assert cache.artifact("model") is None
    stored = cache.store_artifact(artifact, parity_max_abs_error=1e-7)
    assert stored.path.read_bytes() == b"code"
    assert stored.path.suffix == ".so"
    assert cache.artifact("model") == replace(stored, compile_s=0.0)
    assert cache.artifact("another model") is None


def test_another_description_toolchain_or_code_version_does_not_find_it(
    cache: Cache, artifact: Artifact, tmp_path: Path
) -> None:
    cache.store_artifact(artifact, 0.0)
    folder = tmp_path / "cache"
    assert Cache(SPEC, "v1", ".so", folder).artifact("model")
    assert Cache(SPEC, "v2", ".so", folder).artifact("model") is None
    other = SPEC.model_copy(update={"threads": 2})
    assert Cache(other, "v1", ".so", folder).artifact("model") is None


@pytest.mark.parametrize("suffix", [".so", ".json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff garbage"])
def test_a_damaged_artifact_counts_as_missing(
    suffix: str, content: bytes, cache: Cache, artifact: Artifact
) -> None:
    stored = cache.store_artifact(artifact, 0.0)
    stored.path.with_suffix(suffix).write_bytes(content)
    assert cache.artifact("model") is None


def test_a_measurement_is_found_by_artifact_and_settings(cache: Cache, artifact: Artifact) -> None:
    cache.store_measurement(artifact, measurement(artifact))
    assert cache.measurement(artifact, MeasureConfig()) == measurement(artifact)
    assert cache.measurement(artifact, MeasureConfig(min_samples=5)) is None
    assert cache.measurement(replace(artifact, sha256="other"), MeasureConfig()) is None


def test_another_target_does_not_find_a_measurement(
    cache: Cache, artifact: Artifact, tmp_path: Path
) -> None:
    cache.store_measurement(artifact, measurement(artifact))
    other = Cache(SPEC.model_copy(update={"threads": 2}), "v1", ".so", tmp_path / "cache")
    assert other.measurement(artifact, MeasureConfig()) is None


def test_the_newest_measurement_counts_and_earlier_ones_are_kept(
    cache: Cache, artifact: Artifact, tmp_path: Path
) -> None:
    for latency_s in (1e-3, 2e-3):
        cache.store_measurement(artifact, measurement(artifact, latency_s))
    found = cache.measurement(artifact, MeasureConfig())
    assert found == measurement(artifact, 2e-3)
    assert len(list(open_measurement_log(tmp_path / "cache").heads())) == 2


def test_a_disturbed_measurement_is_kept_but_not_found(cache: Cache, artifact: Artifact) -> None:
    clean = measurement(artifact)
    cache.store_measurement(artifact, replace(clean, flags=("drifting",)))
    assert cache.measurement(artifact, MeasureConfig()) is None
    cache.store_measurement(artifact, clean)
    cache.store_measurement(artifact, replace(clean, flags=("throttled",)))
    assert cache.measurement(artifact, MeasureConfig()) == clean


def test_a_failure_is_recorded_but_never_found(
    cache: Cache, artifact: Artifact, tmp_path: Path
) -> None:
    cache.store_failure(Failure("host", "run", "it fell over", artifact.model_sha256))
    assert cache.measurement(artifact, MeasureConfig()) is None
    (head,) = open_measurement_log(tmp_path / "cache").heads()
    assert head.fields["message"] == "it fell over"


def test_a_full_disk_says_which_file_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        write_atomically(tmp_path / "file", b"content")
    assert raised.value.errno == errno.ENOSPC
    assert str(tmp_path / "file") in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "file", b"long content")
    write_atomically(tmp_path / "new" / "file", b"short")
    assert (tmp_path / "new" / "file").read_bytes() == b"short"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HWNAS_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, "/c"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/hwnas"),
        ({"HOME": "/home/me"}, "/home/me/.cache/hwnas"),
    ],
)
def test_the_cache_lies_where_the_environment_says(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HWNAS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_cache_dir() == Path(expected)
