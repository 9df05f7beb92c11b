"""Analyses (draft-ietf-vcon-vcon-core, "Analysis Object") and the table ``analysis``."""

from . import columns as c
from .part import Part

_ANALYSIS = Part(
    "analysis_index",
    {
        "type": (("type",), c.text),
        "dialog_indices": (("dialog",), c.integers),
        "mediatype": (("mediatype", "mimetype"), c.text),
        "filename": (("filename",), c.text),
        "vendor": (("vendor",), c.text),
        "product": (("product",), c.text),
        "schema": (("schema", "schema_version"), c.text),
        "encoding": (("encoding",), c.encoding),
        "url": (("url",), c.long_text),
        "content_hash": (("content_hash",), c.hash_text),
        "created_at": (("created_at",), c.timestamp),
        "confidence": (("confidence",), c.real),
        "metadata": (("metadata", "meta"), c.document),
    },
)

COLUMNS = _ANALYSIS.columns

to_rows = _ANALYSIS.to_rows
from_rows = _ANALYSIS.from_rows
