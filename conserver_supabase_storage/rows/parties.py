"""Parties (draft-ietf-vcon-vcon-core, "Party Object") and the table ``parties``."""

from . import columns as c
from .part import Part

_PARTIES = Part(
    "party_index",
    {
        "tel": (("tel",), c.text),
        "sip": (("sip",), c.text),
        "stir": (("stir",), c.long_text),
        "mailto": (("mailto",), c.text),
        "name": (("name",), c.text),
        "did": (("did",), c.text),
        "validation": (("validation",), c.text),
        "gmlpos": (("gmlpos",), c.text),
        "timezone": (("timezone",), c.text),
        "uuid": (("uuid",), c.text),
        "jcard": (("jcard",), c.document),
        "civicaddress": (("civicaddress",), c.document),
        "data_subject_id": (("data_subject_id",), c.text),
        "metadata": (("metadata", "meta"), c.document),
    },
    has_body=False,
    careful={"uuid": c.uuid},
)

COLUMNS = _PARTIES.columns

to_rows = _PARTIES.to_rows
from_rows = _PARTIES.from_rows
