import pytest

# conformance classes ship in the packages, where pytest does not rewrite assertions by itself
for package in (
    *("search_spaces", "targets", "targets.meters", "latency_predictors"),
    "hwnas.scorers",
):
    pytest.register_assert_rewrite(f"{package}.testing")
