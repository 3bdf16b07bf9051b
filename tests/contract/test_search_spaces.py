from typing import cast

import pytest

import search_spaces
from search_spaces import SearchSpace, Shape
from search_spaces.testing import SearchSpaceTestCase


class TestEveryRegisteredSpace(SearchSpaceTestCase):
    @pytest.fixture(params=search_spaces.names())
    def space_name(self, request: pytest.FixtureRequest) -> str:
        return cast(str, request.param)

    @pytest.fixture
    def space(self, input_shape: Shape, space_name: str) -> SearchSpace:
        return search_spaces.create(space_name, input_shape=input_shape, n_classes=10)
