"""Attachments (draft-ietf-vcon-vcon-core, "Attachment Object") and the table ``attachments``."""

from . import columns as c
from .part import Part

_ATTACHMENTS = Part(
    "attachment_index",
    {
        # Readers find tags by type; the draft now calls it purpose, so either fills it.
        "type": (("type", "purpose"), c.text),
        "purpose": (("purpose",), c.text),
        "start_time": (("start",), c.timestamp),
        "party": (("party",), c.integer),
        "dialog": (("dialog",), c.integer),
        "mimetype": (("mediatype", "mimetype"), c.text),
        "filename": (("filename",), c.text),
        "encoding": (("encoding",), c.encoding),
        "url": (("url",), c.long_text),
        "content_hash": (("content_hash",), c.hash_text),
        "size_bytes": (("size_bytes",), c.big_integer),
        "metadata": (("metadata", "meta"), c.document),
    },
)

COLUMNS = _ATTACHMENTS.columns

to_rows = _ATTACHMENTS.to_rows
from_rows = _ATTACHMENTS.from_rows
