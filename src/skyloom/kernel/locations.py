"""Addresses of what lies outside: a table of a database, a topic of a broker. Secrets are named in them, never held."""

import os
import re
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from skyloom.kernel.errors import DeclarationError, UsageError

_REFERENCE = re.compile(r"\$\{(\w+)\}")
_SECRET = re.compile(r"passw|pwd|secret|token|credential|api_?key|key\.pem|jaas", re.IGNORECASE)
_WITHIN = re.compile(r"(passw\w*|pwd|secret|token)\s*=\s*(?!\$\{\w+\})\S", re.IGNORECASE)


class SqlTable(NamedTuple):
    """A table, or a query, of a database. ``url`` is the driver's, with its references ``${NAME}`` as they were written;
    ``cursor`` are the columns that new rows are known by, in order."""

    url: str
    table: str | None
    query: str | None
    cursor: tuple[str, ...]

    @property
    def name(self) -> str:
        """Where it is, without who asks: ``postgresql://host/shop: payments``."""
        parts = urlsplit(self.url)
        place = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{place}{parts.path}: {self.table or self.query}"


class KafkaTopic(NamedTuple):
    """A topic of somebody else's. ``settings`` are librdkafka's, with references ``${NAME}`` as they were written."""

    servers: str
    topic: str
    group: str | None
    settings: dict[str, str]


def sql_location(url: str, *, table: str | None = None, query: str | None = None, cursor: str | tuple[str, ...]) -> str:
    """The address of a table or query as one text.

    >>> sql_location("postgresql://app:${PGPASSWORD}@db/shop", table="payments", cursor=("updated_at", "id"))
    'postgresql://app:${PGPASSWORD}@db/shop?table=payments&cursor=updated_at%2Cid'
    """
    columns = cursor if isinstance(cursor, str) else ",".join(cursor)
    ours = {"table": table, "query": query, "cursor": columns}
    told = urlencode({name: value for name, value in ours.items() if value})
    return f"{url}{'&' if '?' in url else '?'}{told}"


def sql_table(location: str) -> SqlTable | None:
    """What an address names, or ``None`` for a path of files. Raises `DeclarationError`.

    >>> sql_table("sqlite:///shop.db?table=payments&cursor=id")
    SqlTable(url='sqlite:///shop.db', table='payments', query=None, cursor=('id',))
    >>> sql_table("data/payments.parquet") is None
    True
    """
    place = _sql(location)
    if place is not None and not place.cursor:
        raise DeclarationError(
            f"{_shown(location)} names no cursor, so what is new in it cannot be told",
            fix="add &cursor=COLUMN, one that grows with each row (a serial number, a time of change), or several",
        )
    return place


def sql_target(location: str) -> SqlTable | None:
    """The table that an address names to be written, or ``None`` for a path of files. Raises `DeclarationError`.

    >>> sql_target("sqlite:///shop.db?table=predictions")
    SqlTable(url='sqlite:///shop.db', table='predictions', query=None, cursor=())
    """
    place = _sql(location)
    if place is not None and (place.query or place.cursor):
        raise DeclarationError(
            f"{_shown(location)} is to be written, so that it takes no {'query' if place.query else 'cursor'}",
            fix="name a table alone: ?table=NAME",
        )
    return place


def _sql(location: str) -> SqlTable | None:
    if "://" not in location:
        return None
    parts = _split(location)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    table, query, cursor = (options.pop(name, None) for name in ("table", "query", "cursor"))
    _no_secret(parts, options)
    if bool(table) == bool(query):
        raise DeclarationError(
            f"{_shown(location)} names no table", fix="add one of ?table=NAME and ?query=SELECT... (see sky.sql)"
        )
    columns = tuple(name.strip() for name in (cursor or "").split(",") if name.strip())
    left = urlencode(options, safe="${}/:")
    return SqlTable(location.partition("?")[0] + (f"?{left}" if left else ""), table, query, columns)


def _shown(location: str) -> str:
    parts = _split(location)
    return f"{parts.scheme}://...{parts.path}"


def kafka_topic(stream: str) -> KafkaTopic | None:
    """What an address names, or ``None`` for the name of a stream of our own. Raises `DeclarationError`.

    >>> kafka_topic("kafka://one:9092,two:9092/payments?group=shop&security.protocol=SSL")
    KafkaTopic(servers='one:9092,two:9092', topic='payments', group='shop', settings={'security.protocol': 'SSL'})
    """
    if "://" not in stream:
        return None
    parts = _split(stream)
    settings = dict(parse_qsl(parts.query, keep_blank_values=True))
    topic = parts.path.strip("/")
    if parts.scheme != "kafka" or not parts.netloc or not topic or "@" in parts.netloc:
        raise DeclarationError(
            f"a stream cannot come from {parts.scheme}://...{parts.path}", fix="write kafka://HOST:PORT/TOPIC?group=NAME"
        )
    _no_secret(parts, settings)
    return KafkaTopic(parts.netloc, topic, settings.pop("group", None), settings)


def resolved(text: str) -> str:
    """A text with its references ``${NAME}`` replaced by what the environment holds. Raises `UsageError`."""
    return _REFERENCE.sub(lambda found: _variable(found[1]), text)


def resolved_url(url: str) -> str:
    """A URL with its references replaced, encoded where a URL needs it. Raises `UsageError` for a variable not set."""
    scheme, _, rest = url.partition("://")
    path, mark, query = rest.partition("?")
    host, slash, path = path.partition("/")
    encode = _REFERENCE.sub(lambda found: quote(_variable(found[1]), safe=""), host)
    options = _REFERENCE.sub(lambda found: quote(_variable(found[1]), safe=""), query)
    return f"{scheme}://{encode}{slash}{resolved(path)}{mark}{options}"


def references(url: str) -> list[str]:
    """The variables that a URL names.

    >>> references("postgresql://${PGUSER}:${PGPASSWORD}@db/shop")
    ['PGUSER', 'PGPASSWORD']
    """
    return _REFERENCE.findall(url)


def masked(text: str, url: str) -> str:
    """What somebody said who was given a URL with its references replaced, with the references in it again."""
    for name in references(url):
        for shown in (os.environ.get(name, ""), quote(os.environ.get(name, ""), safe="")):
            text = text.replace(shown, f"${{{name}}}") if shown else text
    return text


def _variable(name: str) -> str:
    if name not in os.environ:
        raise UsageError(f"the variable {name} is not set", tried=f"${{{name}}} of an address", fix=f"export {name}=...")
    return os.environ[name]


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError as error:
        raise DeclarationError(f"{address.partition(':')[0]}://... is no address: {error}", fix="mend its host") from error


def _no_secret(parts: SplitResult, options: dict[str, str]) -> None:
    """A declaration is recorded, shown and released: a secret in it would be everywhere."""
    held = [
        name
        for name, value in options.items()
        if (_SECRET.search(name) and not _REFERENCE.fullmatch(value)) or _WITHIN.search(value)
    ]
    if parts.password and not _REFERENCE.fullmatch(parts.password):
        held.append("the password")
    if "@" in parts.path and ":" in parts.netloc:  # a password with a slash in it
        raise DeclarationError(
            f"the address {parts.scheme}://... has an @ behind its host", fix="write ${NAME}:${NAME}@HOST"
        )
    if held:
        raise DeclarationError(
            f"the address {parts.scheme}://...{parts.path} holds a secret: {held[0]}",
            fix="name a variable of the environment instead: ${NAME}",
        )
