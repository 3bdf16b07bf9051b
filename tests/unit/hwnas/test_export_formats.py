"""What a user may ask for: known formats, with their tools installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hwnas.errors import UserError
from hwnas.export_formats import FORMATS, ExportFormat, FormatRequest, format_request


def test_formats_are_converted_once_each_and_in_one_order() -> None:
    request = format_request(["vela", "litert", "vela"], "ethos-u85-256")
    assert request == FormatRequest(("litert", "vela"), "ethos-u85-256")


def test_nothing_asked_for_is_nothing_converted() -> None:
    assert format_request([], None) == FormatRequest(())


@pytest.mark.parametrize(
    ("names", "accelerator", "message"),
    [
        (["litter"], None, "--format litter: wanted litert, .* Did you mean 'litert'?"),
        (["vela"], "ethos-u55-129", "--accelerator ethos-u55-129: .* mean 'ethos-u55-128'?"),
        (["litert"], "ethos-u55-128", "--accelerator: only with --format vela"),
    ],
)
def test_what_does_not_exist_is_refused(
    names: list[str], accelerator: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        format_request(names, accelerator)


def test_a_missing_tool_is_told_with_the_extra_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ExportFormat("LiteRT", "hwnas.litert_export", {"no_such_module": "a-tool"}, runs=True)
    monkeypatch.setitem(FORMATS, "litert", missing)  # type: ignore[arg-type]
    message = r"--format litert: needs a-tool. Install them: pip install 'hwnas\[litert\]'"
    with pytest.raises(UserError, match=message):
        format_request(["litert"], None)
    assert missing.runner() is None


def test_asking_for_a_format_imports_no_tool() -> None:
    program = (
        "import sys; from hwnas.export_formats import format_request; "
        "format_request(['litert', 'vela'], None); "
        "heavy = {'torch', 'onnx', 'ai_edge_litert', 'ai_edge_quantizer', 'ethosu', 'tvm'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
