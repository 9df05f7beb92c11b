"""What pydantic found wrong, in words for the one who wrote it. Pure."""

from collections.abc import Mapping

from pydantic import ValidationError


def problems(
    error: ValidationError, unknown: str, patterns: Mapping[str, str] | None = None
) -> list[str]:
    """Say what is wrong with which fields, without repeating their values: they may be secrets.

    Args:
        error: what pydantic found.
        unknown: what to say of a field that there is not.
        patterns: what to say of a field whose text must be of some form.
    """
    texts = []
    for detail in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in detail["loc"])
        text = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        text = text.replace("String should have", "must have")
        if detail["type"] == "extra_forbidden":
            text = unknown
        elif detail["type"] == "string_pattern_mismatch":
            text = (patterns or {}).get(name, text)
        texts.append(f"{name}: {text}" if name else text)
    return texts
