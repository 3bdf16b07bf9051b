"""Through the real command: bad input is one line, exit code 2 or 3, and nothing half-written."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hwnas.errors import is_disk_full
from hwnas.local_workers import LocalWorkers
from hwnas.run_folder import RunFolder
from hwnas.variants import Variants

if TYPE_CHECKING:
    from conftest import TinySearch

_TIMEOUT_S = 120
# what a search says of its progress, before the line that says what is wrong
_PROGRESS = (
    r"  \d+/\d+,|Calibrating |Predictors of |About .* % of the space |Training candidates"
    r"|Measuring (?:the front|again)|[0-9a-f]{16}: \w+ failed: "
)


class Shell:
    """The command in a folder of its own, with the tiny search's cache."""

    def __init__(self, folder: Path, tiny: TinySearch) -> None:
        self.folder = folder
        self.tiny = tiny
        self.environment = os.environ | {"HWNAS_CACHE": str(tiny.cache)}
        self.file_size_limit: int | None = None

    def fails(self, *arguments: str | Path, code: int = 2) -> str:
        """Run the command, check how it fails, and return the one line that says why."""

        def limit() -> None:
            if self.file_size_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_size_limit,) * 2)

        result = subprocess.run(
            [sys.executable, "-m", "hwnas", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            timeout=_TIMEOUT_S,
            check=False,
            preexec_fn=limit,
        )
        assert result.returncode == code, result.stderr
        assert result.stdout == ""
        lines = [line for line in result.stderr.splitlines() if not re.match(_PROGRESS, line)]
        assert len(lines) == 1, result.stderr
        return lines[0]

    def search_fails(self, *overrides: str, options: Sequence[str] = (), code: int = 2) -> str:
        """Search with overrides; nothing may be left of the run."""
        settings = [part for override in overrides for part in ("--set", override)]
        message = self.fails(*self.tiny.arguments(self.folder), *settings, *options, code=code)
        assert not (self.folder / "tiny").exists()
        return message


@pytest.fixture
def shell(tmp_path: Path, tiny: TinySearch) -> Shell:
    return Shell(tmp_path, tiny)


@pytest.fixture
def run(tmp_path: Path, finished: RunFolder) -> RunFolder:
    """A copy of a finished run, to be damaged."""
    shutil.copytree(finished.path, tmp_path / "tiny")
    return RunFolder(tmp_path / "tiny")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.evaluatons=3", "search.evaluatons: unknown key. Did you mean 'evaluations'?"),
        ("search.evaluations=many", 'search.evaluations: wanted a valid integer. Got "many".'),
        ("search.evaluations=-1", "search.evaluations: wanted greater than or equal to 1."),
        ("space.name=depthwise_seperable", "Did you mean 'depthwise_separable'?"),
        ("space.choices.kernle=[3]", "kernle"),
        ("space.choices.kernel=[2]", "2"),
        ("space.choices.kernel=[]", "kernel"),
        ("target=hots", "target: unknown name 'hots'. Did you mean 'host'?"),
        ("target=none.yaml", "none.yaml: cannot be read (No such file or directory)"),
        ("dataset={kind: npz, path: none.npz}", "none.npz"),
        ("dataset={kind: image_folder, path: none, size: [8, 8]}", "none"),
    ],
)
def test_a_wrong_entry_is_named(shell: Shell, override: str, message: str) -> None:
    assert message in shell.search_fails(override)


def test_a_missing_experiment_is_named(shell: Shell) -> None:
    assert shell.fails("search", "none.yaml") == (
        "none.yaml: cannot be read (No such file or directory)"
    )


def test_a_corrupt_archive_is_refused(shell: Shell) -> None:
    rng = np.random.default_rng(0)
    path = shell.folder / "data.npz"
    np.savez_compressed(path, x=rng.random((60, 1, 8, 8), np.float32), y=np.arange(60) % 2)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    assert str(path) in shell.search_fails(f"dataset={{kind: npz, path: {path}}}")
    path.write_bytes(content[: len(content) // 2])
    assert str(path) in shell.search_fails(f"dataset={{kind: npz, path: {path}}}")


def test_data_of_one_class_is_refused(shell: Shell) -> None:
    path = shell.folder / "data.npz"
    np.savez(path, x=np.zeros((60, 1, 8, 8), np.float32), y=np.zeros(60, int))
    assert "class" in shell.search_fails(f"dataset={{kind: npz, path: {path}}}")


def test_a_limit_that_no_architecture_meets_is_named_with_what_is_needed(shell: Shell) -> None:
    message = shell.search_fails("constraints.max_flash_kib=1", "constraints.max_peak_ram_kib=999")
    assert message.startswith("constraints.max_flash_kib: 1 KiB is out of reach; the smallest of ")
    assert " over" in message
    assert "max_peak_ram_kib" not in message


def test_without_a_c_compiler_the_search_says_so_at_once(shell: Shell) -> None:
    (shell.folder / "bin").mkdir()
    shell.environment |= {
        "PATH": str(shell.folder / "bin"),
        "HWNAS_CACHE": str(shell.folder / "cache"),
    }
    shell.environment.pop("CXX", None)
    message = shell.search_fails("target=host", code=3)
    assert "no C compiler found" in message
    assert "install gcc or clang" in message


@pytest.mark.parametrize(
    "option", ["--runs", "--predictors"], ids=["folder of runs", "folder of predictors"]
)
def test_a_folder_that_cannot_be_made_is_named(shell: Shell, option: str) -> None:
    (shell.folder / "file").touch()
    message = shell.search_fails(options=(option, "file/below"))
    assert message.startswith("file/below/")
    assert "Not a directory" in message


def test_a_cache_that_cannot_be_made_is_named(shell: Shell) -> None:
    (shell.folder / "file").touch()
    shell.environment["HWNAS_CACHE"] = str(shell.folder / "file" / "below")
    message = shell.search_fails(options=("--predictors", str(shell.folder / "none")))
    assert str(shell.folder / "file" / "below") in message


def test_a_folder_that_holds_something_else_is_left_alone(shell: Shell) -> None:
    (shell.folder / "tiny").mkdir()
    (shell.folder / "tiny" / "thesis.txt").write_text("years of work")
    message = shell.fails(*shell.tiny.arguments(shell.folder))
    assert "holds files that are no run" in message
    assert (shell.folder / "tiny" / "thesis.txt").read_text() == "years of work"


# a limit on the size of every file stands in for a full disk: both make a write fail half-way
@pytest.mark.parametrize("limit", [100, 3000], ids=["manifest", "records"])
def test_a_disk_full_from_the_start_leaves_no_run(shell: Shell, limit: int) -> None:
    shell.file_size_limit = limit
    message = shell.search_fails()
    assert message.startswith(str(shell.folder / "tiny"))
    assert "(File too large)" in message


def test_a_disk_that_fills_up_late_leaves_a_run_that_can_be_resumed(
    shell: Shell, finished: RunFolder
) -> None:
    arguments = shell.tiny.arguments(shell.folder)
    (records,) = shell.folder.glob("predictors/*/*/measurements.jsonl")
    # the run begins with a copy of these; measuring its front adds to them
    shell.file_size_limit = records.stat().st_size + 100
    # the log of a new cache is short enough
    shell.environment["HWNAS_CACHE"] = str(shell.folder / "cache")
    message = shell.fails(*arguments, "--workers", "1")
    run = RunFolder(shell.folder / "tiny")
    assert message.startswith(f"{run.measurements}: no space left (File too large).")
    assert not run.front_json.exists()
    assert run.measurements.read_bytes() == records.read_bytes()
    resumed = shell.tiny.search(shell.folder, resume=True, workers=1)
    assert [e["values"] for e in resumed.front()["evaluations"]] == [
        e["values"] for e in finished.front()["evaluations"]
    ]


def test_a_disk_that_is_full_for_a_worker_is_so_for_the_search(run: RunFolder) -> None:
    """As the command line makes one line of it; only the worker's files are limited here."""
    # as before the first evaluation
    planned, _, _ = run.journal.read_bytes().partition(b'"record"')
    size = planned.rindex(b"\n") + 1
    os.truncate(run.journal, size)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
    try:
        workers = LocalWorkers(f"journal://{run.journal}", "tiny", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with workers:
        assert workers._running[0][1].poll(_TIMEOUT_S)
        with pytest.raises(OSError, match="File too large") as error:
            workers.check(ended=0)
    assert is_disk_full(error.value)


def test_a_run_is_never_overwritten(shell: Shell, run: RunFolder) -> None:
    before = run.front_json.read_bytes()
    message = shell.fails(*shell.tiny.arguments(shell.folder))
    assert "holds a run already. Continue it with --resume" in message
    assert run.front_json.read_bytes() == before


def test_a_run_cannot_be_resumed_with_another_config(shell: Shell, run: RunFolder) -> None:
    arguments = shell.tiny.arguments(shell.folder)
    message = shell.fails(*arguments, "--resume", "--set", "training.epochs=9")
    assert "cannot resume with another training.epochs" in message


def test_what_is_no_run_cannot_be_resumed(shell: Shell) -> None:
    message = shell.fails(*shell.tiny.arguments(shell.folder), "--resume")
    assert "not a run folder (manifest.json is missing)" in message
    assert not (shell.folder / "tiny").exists()


def test_a_run_of_another_schema_version_is_refused(shell: Shell, run: RunFolder) -> None:
    manifest = json.loads(run.manifest_json.read_text()) | {"schema_version": 99}
    run.manifest_json.write_text(json.dumps(manifest))
    for command in (
        [*shell.tiny.arguments(shell.folder), "--resume"],
        ["export", run.path],
        ["report", run.path],
    ):
        assert "schema_version 99" in shell.fails(*command)


@pytest.mark.parametrize("command", ["export", "report"])
@pytest.mark.parametrize(
    "content",
    ["{", '{"schema_version": 1}'],
    ids=["torn", "without keys"],
)
def test_a_damaged_front_is_named(shell: Shell, run: RunFolder, command: str, content: str) -> None:
    run.report_html.unlink(missing_ok=True)
    run.front_json.write_text(content)
    assert str(run.front_json) in shell.fails(command, run.path)
    assert not run.report_html.exists()


def test_a_checkpoint_that_is_missing_or_damaged_is_named(shell: Shell, run: RunFolder) -> None:
    # as it was searched: in float32, which is compared with the trained network
    searched = Variants.load(run.variants_json).variants[0].form.arch_id
    for checkpoint in run.checkpoints.glob("*.safetensors"):
        checkpoint.write_bytes(b"damaged")
    message = shell.fails("export", run.path, "--pick", searched)
    assert ".safetensors: missing or damaged" in message
    shutil.rmtree(run.checkpoints)
    message = shell.fails("export", run.path, "--pick", searched)
    assert ".safetensors: missing or damaged" in message
    assert not (run.path / "export").exists()


def test_variants_or_their_models_that_are_missing_or_damaged_are_named(
    shell: Shell, run: RunFolder
) -> None:
    for model in run.variants.glob("*.onnx"):
        model.write_bytes(b"damaged")
    assert ".onnx: not a valid ONNX model" in shell.fails("export", run.path)
    shutil.rmtree(run.variants)
    assert ".onnx: cannot be read" in shell.fails("export", run.path)
    run.variants_json.unlink()
    assert "variants.json: cannot be read" in shell.fails("export", run.path)
    assert not (run.path / "export").exists()


def test_an_export_to_a_full_folder_or_below_a_file_is_refused(
    shell: Shell, run: RunFolder
) -> None:
    (shell.folder / "full").mkdir()
    (shell.folder / "full" / "file").touch()
    assert "full: is not empty" in shell.fails("export", run.path, "--out", "full")
    assert "cannot write the bundle" in shell.fails("export", run.path, "--out", "full/file/below")
    assert {p.name for p in (shell.folder / "full").iterdir()} == {"file"}


def test_a_candidate_that_is_not_there_cannot_be_exported(shell: Shell, run: RunFolder) -> None:
    message = shell.fails("export", run.path, "--pick", "abc")
    assert message.startswith("--pick abc: wanted knee, best, ")
    assert not (run.path / "export").exists()


@pytest.mark.parametrize("command", ["export", "report"])
def test_an_unfinished_run_is_told_from_no_run(shell: Shell, run: RunFolder, command: str) -> None:
    run.front_json.unlink()
    assert "its search has not finished; continue it" in shell.fails(command, run.path)
    assert "none: not a run folder" in shell.fails(command, "none")


@pytest.mark.parametrize(
    ("name", "content"), [("model.onnx", b""), ("model.onnx", b"\xff" * 9), ("model.json", b"{}")]
)
def test_a_file_that_is_no_onnx_model_is_refused(shell: Shell, name: str, content: bytes) -> None:
    path = shell.folder / name
    path.write_bytes(content)
    message = shell.fails("measure", "host-onnxruntime", path)
    assert message.startswith(f"{path}: not a valid ONNX model")


def test_a_model_that_is_missing_is_named(shell: Shell) -> None:
    message = shell.fails("measure", "host-onnxruntime", "none.onnx")
    assert message == "none.onnx: cannot be read (No such file or directory)"


def write_model(path: Path, operator: str, shape: Sequence[int | str]) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def test_a_model_of_unknown_shape_is_refused(shell: Shell) -> None:
    path = shell.folder / "model.onnx"
    write_model(path, "Relu", [1, "n"])
    assert str(path) in shell.fails("measure", "host-onnxruntime", path)


def test_an_operator_that_no_workload_describes_cannot_be_predicted(shell: Shell) -> None:
    path = shell.folder / "model.onnx"
    write_model(path, "Erf", [1, 4])
    message = shell.fails(
        "predict", "host-onnxruntime", "--onnx", path, "--predictors", shell.tiny.predictors
    )
    assert "Erf" in message
    assert "hwnas measure host-onnxruntime" in message


def test_without_predictors_nothing_is_predicted(shell: Shell) -> None:
    message = shell.fails("predict", "host", "--arch", "{}")
    assert message.startswith("predictors/host: no predictors of 'host'. Run: hwnas calibrate")


@pytest.mark.parametrize(
    "arch", ["{", "none.json", '{"space": "depthwise_separable", "choices": {"depth": 9}}']
)
def test_an_architecture_that_is_none_is_refused(shell: Shell, arch: str) -> None:
    message = shell.fails(
        "predict", "host-onnxruntime", "--arch", arch, "--predictors", shell.tiny.predictors
    )
    assert message.startswith("--arch: ")


def test_damaged_predictors_are_named(shell: Shell) -> None:
    arguments = shell.tiny.arguments(shell.folder)
    (path,) = shell.folder.glob("predictors/*/*/predictor.json")
    path.write_text('{"schema_version": 1}')
    assert str(path) in shell.fails(*arguments)
    assert not (shell.folder / "tiny").exists()
    path.write_text('{"schema_version": 99}')
    assert "schema_version 99" in shell.fails(*arguments)
