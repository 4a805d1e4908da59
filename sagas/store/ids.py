"""Identifiers of instances: UUID version 7, so that rows land in the index in the order they were made."""

import os
import time
from uuid import UUID


def uuid7() -> UUID:
    """RFC 9562, section 5.7: 48 bits of Unix milliseconds, then randomness."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)
