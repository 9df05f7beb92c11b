"""Dialogs (draft-ietf-vcon-vcon-core, "Dialog Object") and the table ``dialog``."""

from . import columns as c
from .part import Part

_DIALOG = Part(
    "dialog_index",
    {
        "type": (("type",), c.text),
        "start_time": (("start",), c.timestamp),
        "duration_seconds": (("duration",), c.real),
        "parties": (("parties",), c.integers),
        "originator": (("originator",), c.integer),
        "mediatype": (("mediatype", "mimetype"), c.text),
        "filename": (("filename",), c.text),
        "encoding": (("encoding",), c.encoding),
        "url": (("url",), c.long_text),
        "content_hash": (("content_hash",), c.hash_text),
        "disposition": (("disposition",), c.text),
        "session_id": (("session_id",), c.document),
        "application": (("application",), c.text),
        "message_id": (("message_id",), c.text),
        "transferee": (("transferee",), c.integer),
        "transferor": (("transferor",), c.integer),
        "transfer_target": (("transfer_target", "transfer-target"), c.integers),
        "original": (("original",), c.integers),
        "consultation": (("consultation",), c.integers),
        "target_dialog": (("target_dialog", "target-dialog"), c.integers),
        "size_bytes": (("size_bytes",), c.big_integer),
        "metadata": (("metadata", "meta"), c.document),
    },
)

COLUMNS = _DIALOG.columns

to_rows = _DIALOG.to_rows
from_rows = _DIALOG.from_rows
