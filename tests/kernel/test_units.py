"""Durations and money."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyloom.kernel.errors import DeclarationError
from skyloom.kernel.money import Money
from skyloom.kernel.units import DAY, HOUR, LONGEST, MINUTE, SECOND, format_duration, parse_duration


@given(st.integers(1, LONGEST))
def test_what_is_written_is_read_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("5ms", 5),
        ("5m", 5 * MINUTE),
        ("36h", 36 * HOUR),
        ("2w", 14 * DAY),
        ("1d2h3m4s5ms", DAY + 2 * HOUR + 3 * MINUTE + 4 * SECOND + 5),
    ],
)
def test_durations_as_people_write_them(text: str, length: int) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize(
    "text", ["", "h", "1", "1.5h", "-1h", "1 h", "1H", "1h ", " 1h", "1hour", "1h\n", "1e3s", "0s", "0d0h"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(DeclarationError):
        parse_duration(text)


@given(st.lists(st.integers(-(10**12), 10**12), max_size=20))
def test_money_adds_exactly(cents: list[int]) -> None:
    total = Money(0)
    for amount in cents:
        total += Money.of(amount / 100)
    assert total == Money(sum(cents) * 10_000)


def test_currencies_do_not_mix() -> None:
    with pytest.raises(ValueError, match="cannot add EUR to USD"):
        Money.of(1) + Money.of(1, "EUR")
