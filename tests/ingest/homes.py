"""Where an event with a key belongs, worked out bit by bit: what is written is read beside this."""

from typing import Any


def home(key: Any, partitions: int) -> int:
    """The partition of an event: CRC-32 by its polynomial, then the finaliser of MurmurHash3 in 32 bits."""
    if isinstance(key, bool):
        text = b"b" + str(key).lower().encode()
    else:
        text = (("i" if isinstance(key, int) else "s") + str(key)).encode("utf-8", "surrogatepass")
    register = 0xFFFFFFFF
    for byte in text:
        register ^= byte
        for _ in range(8):
            register = register // 2 ^ (0xEDB88320 if register % 2 else 0)
    word = register ^ 0xFFFFFFFF
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        word = (word ^ word >> shift) * factor % 2**32
    return word % partitions
