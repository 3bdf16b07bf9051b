"""A plan that cannot be read is refused with what to do about it."""

from __future__ import annotations

import json

import pytest

from hwnas.errors import UserError
from hwnas.run_folder import SCHEMA_VERSION
from hwnas.search_plan import SearchPlan


def test_a_plan_of_another_schema_is_not_called_damaged() -> None:
    text = json.dumps({"schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(UserError) as error:
        SearchPlan.from_json(text, "runs/kws")
    assert str(error.value) == (
        f"runs/kws: schema_version {SCHEMA_VERSION + 1}, this hwnas reads {SCHEMA_VERSION}. "
        "Run the hwnas that began this search."
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"schema_version": SCHEMA_VERSION})])
def test_a_damaged_plan_is_called_so(text: str) -> None:
    with pytest.raises(UserError, match=r"^runs/kws: damaged \(.*\)\. Search again under another"):
        SearchPlan.from_json(text, "runs/kws")
