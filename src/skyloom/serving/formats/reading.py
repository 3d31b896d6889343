"""A body, whatever its format, as rows."""

from skyloom.ingest.rows import RowType
from skyloom.kernel.records.definitions import SourceDef
from skyloom.serving.formats import media as formats
from skyloom.serving.formats.asked import Asked
from skyloom.serving.formats.lines import read_lines
from skyloom.serving.formats.media import Media
from skyloom.serving.formats.objects import read_document


def read(kind: str, media: Media, rows: RowType, source: SourceDef, body: bytes) -> Asked:
    """The rows of a body of a format (of `media.KINDS`). Raises `Problem` that names what is wrong.

    Who never takes a table does not pay for Arrow.
    """
    if kind == formats.JSON:
        return read_document(rows, body)
    if kind == formats.LINES:
        return read_lines(rows, body)
    if kind == formats.CSV:
        from skyloom.serving.formats.texts import read_csv

        return read_csv(source, body, media.parameters.get("header", ""))
    if kind == formats.PARQUET:
        from skyloom.serving.formats.parquet import read_parquet

        return read_parquet(source, body)
    from skyloom.serving.formats.arrow import read_arrow

    return read_arrow(source, body)
