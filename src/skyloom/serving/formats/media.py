"""Media types: what a body is, and what its sender wants back."""

from collections.abc import Mapping
from typing import NamedTuple

from skyloom.serving.wire import Problem

JSON = "application/json"
LINES = "application/x-ndjson"
CSV = "text/csv"
ARROW_STREAM = "application/vnd.apache.arrow.stream"
ARROW_FILE = "application/vnd.apache.arrow.file"
PARQUET = "application/vnd.apache.parquet"

KINDS: Mapping[str, str] = {
    **dict.fromkeys((JSON, "text/json", "application/x-www-form-urlencoded", "text/plain", ""), JSON),
    **dict.fromkeys(
        (LINES, "application/ndjson", "application/jsonl", "application/jsonlines", "application/x-jsonlines"), LINES
    ),
    **dict.fromkeys((CSV, "application/csv"), CSV),
    ARROW_STREAM: ARROW_STREAM,
    ARROW_FILE: ARROW_FILE,
    **dict.fromkeys((PARQUET, "application/x-parquet", "application/parquet"), PARQUET),
}
"""Media type -> the format that it means. A body of no type, or of curl's, is JSON."""


class Media(NamedTuple):
    """A media type and its parameters, names in small letters."""

    type: str
    parameters: Mapping[str, str] = {}


def media_of(text: str) -> Media:
    """What a header says.

    >>> media_of('Text/CSV; header="absent"')
    Media(type='text/csv', parameters={'header': 'absent'})
    """
    name, *parameters = text.split(";")
    pairs = [each.partition("=") for each in parameters]
    return Media(
        name.strip().lower(), {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs if key.strip()}
    )


def kind_of(media: Media) -> str:
    """The format of a body; raises `Problem` with 415 for a type or a charset that is not read.

    >>> kind_of(media_of("application/jsonlines")) == LINES
    True
    """
    kind = KINDS.get(media.type)
    if kind is None and media.type.endswith("+json"):
        kind = JSON
    if kind is None:
        offered = ", ".join(dict.fromkeys(KINDS.values()))
        raise Problem(415, f"bodies of the type {media.type} are not read; these are: {offered}")
    charset = media.parameters.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise Problem(415, f"texts are read as UTF-8, not as {charset}")
    return kind


def wanted(accept: str, default: Media) -> Media:
    """The format that the caller likes best of those that answers can have, as `KINDS` names it, with its parameters.

    Raises `Problem` with 406 when it accepts none of them.

    >>> wanted("text/html, text/csv;q=0.5;header=present, */*;q=0.1", Media(JSON)).type
    'text/csv'
    """
    if accept in ("", "*/*"):
        return default
    ranges = [media_of(each) for each in accept.split(",") if each.strip()]
    for media in sorted(ranges, key=_quality, reverse=True):
        if _quality(media) == 0:
            continue
        if media.type in ("*/*", "*", "application/*"):
            return default._replace(parameters={**default.parameters, **media.parameters})
        kind = CSV if media.type == "text/*" else KINDS.get(media.type)
        if kind is not None and media.type:
            return Media(kind, media.parameters)
    raise Problem(406, f"answers come as {', '.join(dict.fromkeys(KINDS.values()))}, not as {accept}")


def _quality(media: Media) -> float:
    try:
        return float(media.parameters.get("q", "1"))
    except ValueError:
        return 0.0
