"""Arrow IPC, as a stream or as a file (Feather V2)."""

from skyloom.ingest.arrow import read_stream
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.definitions import SourceDef
from skyloom.serving.formats.asked import Asked
from skyloom.serving.formats.tables import check_names, rows_of_table
from skyloom.serving.wire import Problem

_MAGIC = b"ARROW1\0\0"


def read_arrow(source: SourceDef, body: bytes) -> Asked:
    """The rows of a stream, or of a file: behind its magic bytes a file is a stream (Arrow's format, IPC file format).

    Raises `Problem` with 400 for what is neither, breaks the schema, or unpacks to too much.
    """
    stream = body[len(_MAGIC) :] if body.startswith(_MAGIC) else body
    try:
        table = read_stream(stream, lambda names: check_names(names, source.schema))
    except DataError as error:
        raise Problem(400, error.what) from error
    return Asked(rows_of_table(table, source), "arrow")
