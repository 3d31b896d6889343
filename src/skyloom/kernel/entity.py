"""The keys of entities and of events, as bytes: one form for stores and for hashes."""

import hashlib

_LONGEST = 500


def entity_key(*values: object) -> bytes:
    """An entity's key in a store: for each value a tag for its type and its text; of several values each with its length
    before it, so that no two entities share a key. Shortened by a digest beyond 500 bytes.

    >>> entity_key("UA"), entity_key(7), entity_key(True)
    (b'sUA', b'i7', b'btrue')
    >>> entity_key("UA", 7), entity_key("a", "bc") == entity_key("ab", "c")
    (b'(3:sUA2:i7', False)
    """
    if len(values) == 1:
        key = _text(values[0])
    else:
        key = b"(" + b"".join([b"%d:%s" % (len(part), part) for part in map(_text, values)])
    return key if len(key) <= _LONGEST else b"#" + hashlib.sha256(key).hexdigest().encode()


def _text(value: object) -> bytes:
    if isinstance(value, str):
        return f"s{value}".encode("utf-8", "surrogatepass")
    if isinstance(value, bool):
        return b"btrue" if value else b"bfalse"
    return f"i{value}".encode() if isinstance(value, int) else f"s{value}".encode("utf-8", "surrogatepass")
