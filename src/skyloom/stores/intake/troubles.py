"""What a database or its driver said, as an error of ours: without secrets, and with what to do next."""

import re

from skyloom.kernel.errors import DataError, SkyloomError, Transient, UsageError
from skyloom.kernel.locations import SqlTable, masked, references

# Of no use to try again. What drivers give for it differs; what the servers say in English hardly does.
_REFUSED = re.compile(
    r"authenticat|password|denied|not permitted|not allowed|login failed|does not exist|unknown database"
    r"|no pg_hba|certificate|connection option|query parameter|invalid \w+ value|invalid port",
    re.IGNORECASE,
)
_PACKAGES = {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


def unreachable(place: SqlTable, error: object) -> SkyloomError:
    """No connection: a `UsageError` where the server or the driver refuses us as we are, or else a `Transient`.

    To be raised ``from None``: a driver may repeat what a variable holds.
    """
    said = _said(place, error)
    named = references(place.url)
    if not _REFUSED.search(said):
        fix = "see that the database runs, and that the address names its host and port; then try again"
        return Transient(f"{place.name} cannot be reached: {said}", fix=fix)
    fix = "see the address: its user, its database, its options"
    if named:
        fix += f", and what its variables hold: export {' '.join(f'{name}=...' for name in named)}"
    elif re.search(r"authenticat|password|login", said, re.IGNORECASE):
        fix = "write //USER:${NAME}@HOST/ in the address, and export NAME=..."
    return UsageError(f"{place.name} refuses the connection: {said}", fix=fix)


def unreadable(place: SqlTable, error: object, tried: str = "") -> DataError:
    """A statement that the database refuses, or values that are none of Python's."""
    if place.table is not None:
        fix = "see the name of the table (SCHEMA.NAME where it is in a schema), and that this user may SELECT from it"
    else:
        fix = "mend the query; it has to run as SELECT * FROM (QUERY) rows_of_it"
    return DataError(f"{place.name} cannot be read: {_said(place, error)}", tried=tried, fix=fix)


def unheld(place: SqlTable, error: object) -> DataError:
    """A row that the database or the driver cannot give: a computation that fails, a time that is infinite."""
    fix = "leave such rows out, or mend the value, in a query: sky.sql(..., query='SELECT ... WHERE ...')"
    return DataError(f"{place.name} holds a row that cannot be read: {_said(place, error)}", fix=fix)


def broken_off(place: SqlTable, error: object) -> Transient:
    """A connection that ended while rows came: those before are in."""
    return Transient(f"{place.name} broke off: {_said(place, error)}", fix="try again: it goes on where it stopped")


def no_driver(place: SqlTable, module: str, package: str | None = None) -> UsageError:
    """A driver to be installed."""
    fix = f"pip install {package or _PACKAGES.get(module, module)}"
    return UsageError(f"{place.name}: its driver {module} is not installed", fix=fix)


def _said(place: SqlTable, error: object) -> str:
    lines = (line.strip() for line in masked(str(error), place.url).splitlines())
    return "; ".join(line for line in lines if line and set(line) != {"^"})
