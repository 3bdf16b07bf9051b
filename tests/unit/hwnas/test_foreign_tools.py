"""Tools of others: their noise is kept out, their errors are one line."""

from __future__ import annotations

import logging
import sys
import warnings

import pytest

from hwnas.errors import UserError
from hwnas.foreign_tools import quiet_tool


def test_an_error_of_a_tool_is_one_line_that_names_it() -> None:
    with pytest.raises(UserError) as caught, quiet_tool("compiler"):
        raise NotImplementedError("no such operator: erf\nat line 3\nat line 4")
    assert str(caught.value) == "compiler: NotImplementedError: no such operator: erf"


def test_an_error_without_a_text_is_told_all_the_same() -> None:
    with pytest.raises(UserError, match=r"^compiler: KeyError: failed$"), quiet_tool("compiler"):
        raise KeyError


def test_what_is_a_users_mistake_already_stays_as_it_is() -> None:
    with pytest.raises(UserError, match=r"^wanted 3$"), quiet_tool("compiler"):
        raise UserError("wanted 3")


def test_a_tool_neither_warns_nor_prints_nor_logs(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with quiet_tool("compiler"):
        warnings.warn("old", stacklevel=1)
        sys.stderr.write("10 %")
        sys.stdout.write("converting")
        logging.getLogger("compiler").error("no Mac")
    assert tuple(capsys.readouterr()) == ("", "")
    assert caplog.records == []
    logging.getLogger("hwnas").error("heard again")
    assert [record.message for record in caplog.records] == ["heard again"]
