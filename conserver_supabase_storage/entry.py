"""An entry of the cache, and how it stands in Redis. Pure."""

import re
import zlib
from typing import NamedTuple

# What every entry begins with (compressed or not); another beginning is another release's, and a
# miss.
_PLAIN, _COMPRESSED = b"css1", b"css1z"

# As `Entry.header` makes it.
_HEADER = re.compile(rb"(%b|%b) (\d{1,19}) (\d{1,19}) ([0-9a-f]{8})\n" % (_PLAIN, _COMPRESSED))

# The bits of an episode from here on name the database that it is of.
_HOME = 32


class Entry(NamedTuple):
    """A cached vCon: its rows as JSON text, their revision, and the episode it was cached in."""

    revision: int
    episode: int
    rows: bytes
    compressed: bool = False

    @property
    def header(self) -> bytes:
        """How it begins in Redis: format, revision, episode, and a checksum of the rows."""
        form = _COMPRESSED if self.compressed else _PLAIN
        return b"%b %d %d %08x\n" % (form, self.revision, self.episode, zlib.crc32(self.rows))

    def pack(self, compress_bytes: int) -> bytes:
        """Return it as it is to stand in Redis, compressed if it has more bytes than that."""
        if 0 < compress_bytes < len(self.rows):
            # Level 1: JSON shrinks to a fifth, more effort gains little.
            return self._replace(compressed=True).header + zlib.compress(self.rows, 1)
        return self.header + self.rows

    def is_of(self, episode: int) -> bool:
        """Whether it was cached in the database that an episode is of.

        If not, its revision says nothing: a database that was restored from a backup hands out the
        same one again, for other content.
        """
        return self.episode >> _HOME == episode >> _HOME

    @classmethod
    def unpack(cls, value: object) -> "Entry | None":
        """Read what stands in Redis; None for whatever is no entry of this format."""
        if not isinstance(value, bytes) or (header := _HEADER.match(value)) is None:
            return None
        form, revision, episode, checksum = header.groups()
        rows = value[header.end() :]
        compressed = form == _COMPRESSED
        try:
            rows = zlib.decompress(rows) if compressed else rows
        except zlib.error:
            return None
        if zlib.crc32(rows) != int(checksum, 16):
            return None
        return cls(int(revision), int(episode), rows, compressed)


# No header is longer: two 64-bit numbers and the form.
HEADER_BYTES = 64
