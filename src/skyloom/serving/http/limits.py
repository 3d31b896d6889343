"""What a client may leave lying on a connection."""

LONGEST_HEAD = 64 * 1_024
"""In bytes; as much may stand beside the bytes of a body (sizes and extensions of chunks, trailers), or as the body has."""
LONGEST_TARGET = 16 * 1_024
MOST_HEADERS = 128
MOST_WAITING = 128
"""How many requests a client may send ahead of the answers."""
READ_AND_DROP = 16 * 2**20
"""So many bytes that nobody wants are read and dropped, so that the client hears the answer before its connection ends."""
LINGER_S = 2.0
"""So long they are, once the connection is to end."""
PIECES = 1_024
SMALLEST_PIECE = 32
"""A body in chunks of which more than so many wait has so many bytes in each, on average: a chunk costs as much time as a
small body."""
