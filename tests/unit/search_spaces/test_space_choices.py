from collections.abc import Mapping, Sequence
from typing import Any

import pytest

import search_spaces
from search_spaces import Choice, SearchSpace


def create(name: str = "early_exit", **settings: Any) -> SearchSpace:
    return search_spaces.create(name, input_shape=(1, 8, 8), n_classes=4, **settings)


def test_a_group_replaces_the_choices_of_every_stage_and_a_dimension_wins_over_it() -> None:
    for choices in (
        {"kernel": [3, 5], "s1_kernel": [7]},
        {"s1_kernel": [7], "kernel": [3, 5]},
    ):
        dimensions = create(choices=choices).dimensions
        assert [dimensions[f"s{i}_kernel"] for i in range(3)] == [(3, 5), (7,), (3, 5)]


@pytest.mark.parametrize(
    ("key", "meant"),
    [("kernl", "kernel"), ("s1_widht", "s1_width"), ("exit_afer", "exit_after")],
)
def test_a_misspelt_choice_gets_a_suggestion(key: str, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"choices\.{key}: .*Did you mean '{meant}'\?"):
        create(choices={key: [1]})


def test_a_choice_like_no_other_gets_the_list_of_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"choices\.zzz: .*Allowed: stem_width, .*stride_plan"):
        create(choices={"zzz": [1]})


def test_exits_of_a_network_with_one_stage_are_no_choice() -> None:
    with pytest.raises(ValueError, match=r"choices\.exit_after: unknown choice. Allowed: none\."):
        create(choices={"exit_after": [1]}, n_stages=1)


IMPOSSIBLE: list[tuple[str, Any]] = [
    ("kernel", [4]),
    ("kernel", [-1]),
    ("kernel", ["3"]),
    ("kernel", [[3]]),
    ("depth", [1.5]),
    ("depth", [-1]),
    ("width", [0]),
    ("expansion", [0]),
    ("expansion", [True]),
    ("se", [2]),
    ("activation", ["gelu"]),
    ("width_multiplier", [0]),
    ("width_multiplier", [float("nan")]),
    ("width_multiplier", [float("inf")]),
    ("stride_plan", ["1-2-3-1"]),
    ("stride_plan", ["1-2"]),
    ("exit_after", [2]),
    ("exit_width", [-1]),
    ("kernel", []),
    ("kernel", [3, 3]),
    ("width_multiplier", [1, 1.0]),
    ("kernel", 3),
    ("activation", "relu6"),
]


@pytest.mark.parametrize(("key", "values"), IMPOSSIBLE, ids=[f"{k}-{v}" for k, v in IMPOSSIBLE])
def test_impossible_values_are_refused_with_what_was_wanted_and_what_came(
    key: str, values: Sequence[Choice]
) -> None:
    with pytest.raises(ValueError, match=rf"^choices\.{key}: wanted .*Got "):
        create(choices={key: values})


def test_the_first_stage_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="s0_depth"):
        create(choices={"depth": [0, 1]})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "early_exits"}, "Did you mean 'early_exit'"),
        ({"name": "zzz"}, "Known: depthwise_separable, early_exit"),
        ({"n_stages": 0}, "n_stages must be at least 1"),
        ({"n_stagse": 2}, "n_stagse"),
        ({"name": "depthwise_separable", "base": "early_exit"}, "base"),
        ({"base": "early_exit"}, "wanted a space with stages"),
    ],
)
def test_wrong_settings_are_value_errors(settings: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create(**settings)


@pytest.mark.parametrize(
    ("input_shape", "n_classes", "message"),
    [((8, 8), 4, "input_shape"), ((1, 0, 8), 4, "input_shape"), ((1, 8, 8), 1, "n_classes")],
)
def test_wrong_shapes_are_value_errors(
    input_shape: tuple[int, ...], n_classes: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        search_spaces.create("early_exit", input_shape=input_shape, n_classes=n_classes)


def test_a_bug_in_a_space_keeps_its_type_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise TypeError("a bug, not a setting")

    monkeypatch.setattr("search_spaces.depthwise_separable.resolve_choices", broken)
    with pytest.raises(TypeError, match="a bug, not a setting"):
        create("depthwise_separable")
