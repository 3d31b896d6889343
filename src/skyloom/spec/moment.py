"""Parts of times: what the clocks of a time zone show at a moment of the request."""

from skyloom.kernel.expr import Term, part


def second(column: str, tz: str = "UTC") -> Term:
    """The second, 0 to 59, of a time column in the time zone ``tz``; its name in X is ``{column}_second``.

    >>> from skyloom.kernel.expr import evaluate_row
    >>> evaluate_row(second("at", tz="America/New_York").expression, {"at": 0})
    0
    """
    return part("second", column, tz)


def minute(column: str, tz: str = "UTC") -> Term:
    """The minute, 0 to 59, of a time column in the time zone ``tz``; its name in X is ``{column}_minute``.

    >>> from skyloom.kernel.expr import evaluate_row
    >>> evaluate_row(minute("at", tz="America/New_York").expression, {"at": 0})
    0
    """
    return part("minute", column, tz)


def hour(column: str, tz: str = "UTC") -> Term:
    """The hour, 0 to 23, of a time column in the time zone ``tz``; its name in X is ``{column}_hour``.

    >>> from skyloom.kernel.expr import evaluate_row
    >>> evaluate_row(hour("at", tz="America/New_York").expression, {"at": 0})
    19
    """
    return part("hour", column, tz)


def weekday(column: str, tz: str = "UTC") -> Term:
    """The weekday, Monday 0 to Sunday 6, of a time column in the time zone ``tz``; its name in X is ``{column}_weekday``.

    >>> from skyloom.kernel.expr import evaluate_row
    >>> evaluate_row(weekday("at", tz="America/New_York").expression, {"at": 0})
    2
    """
    return part("weekday", column, tz)


def day(column: str, tz: str = "UTC") -> Term:
    """The day of the month, 1 to 31, of a time column in the time zone ``tz``; its name in X is ``{column}_day``.

    >>> from skyloom.kernel.expr import evaluate_row
    >>> evaluate_row(day("at", tz="America/New_York").expression, {"at": 0})
    31
    """
    return part("day", column, tz)


def month(column: str, tz: str = "UTC") -> Term:
    """The month, 1 to 12, of a time column in the time zone ``tz``; its name in X is ``{column}_month``.

    >>> from skyloom.kernel.expr import evaluate_row
    >>> evaluate_row(month("at", tz="America/New_York").expression, {"at": 0})
    12
    """
    return part("month", column, tz)


def year(column: str, tz: str = "UTC") -> Term:
    """The year of a time column in the time zone ``tz``; its name in X is ``{column}_year``.

    >>> from skyloom.kernel.expr import evaluate_row
    >>> evaluate_row(year("at", tz="America/New_York").expression, {"at": 0})
    1969
    """
    return part("year", column, tz)
