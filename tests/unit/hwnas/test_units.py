import pytest

from hwnas.units import engineering, kibibytes, percent


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (1.234e-6, "s", "1.23 µs"),
        (0.0123, "s", "12.3 ms"),
        (123.4e-9, "s", "123 ns"),
        (0.9999, "J", "1.00 J"),
        (999.9e-6, "s", "1.00 ms"),
        (4200.0, "W", "4.20 kW"),
        (-2e-3, "J", "-2.00 mJ"),
        (0, "s", "0 s"),
        (float("inf"), "s", "inf s"),
    ],
)
def test_values_get_the_prefix_that_leaves_one_to_three_digits(
    value: float, unit: str, shown: str
) -> None:
    assert engineering(value, unit) == shown


def test_bytes_become_whole_kibibytes() -> None:
    assert kibibytes(10 * 1024 + 600) == "11 KiB"


def test_fractions_become_percent_with_their_interval() -> None:
    assert percent(0.975) == "97.5 %"
    assert percent(0.975, 0.951, 0.99) == "97.5 % (95.1-99.0)"
