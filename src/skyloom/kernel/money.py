"""Amounts of money: whole micro-units of a currency, so that adding is exact."""

from decimal import Decimal

import msgspec


class Money(msgspec.Struct, frozen=True):
    """``micros`` millionths of a unit of ``currency``.

    >>> str(Money.of(20) + Money.of(0.25))
    '20.25 USD'
    """

    micros: int
    currency: str = "USD"

    @classmethod
    def of(cls, amount: float, currency: str = "USD") -> "Money":
        """``amount`` units as they are written in decimals, rounded to the nearest millionth."""
        return cls(round(Decimal(repr(amount)) * 1_000_000), currency)

    def __add__(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise ValueError(f"cannot add {other.currency} to {self.currency}")
        return Money(self.micros + other.micros, self.currency)

    def __str__(self) -> str:
        return f"{self.micros / 1_000_000:,.2f} {self.currency}"
