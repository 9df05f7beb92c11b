"""Where the conserver's live vCon is found: the conserver passes its storages only the uuid."""

import importlib
import json
import os
from types import ModuleType
from typing import Any

from .errors import StorageError, UnavailableError, VconNotFoundError
from .options import CONSERVER_PREFIX, Options
from .redis_client import connect, text_of
from .urls import mask_url


def live_vcon(uuid: str, options: Options) -> dict[str, Any]:
    """Return the vCon that the conserver is working on.

    Inside the conserver it is asked itself (``lib.vcon_redis``), and its deployment-wide
    EGRESS_FORMAT_VERSION is applied as its own storages do. Elsewhere the vCon is read from
    the conserver's Redis (REDIS_URL, else the option ``redis_url``), where it is RedisJSON, or a
    string of JSON.

    Raises:
        VconNotFoundError: there is no such vCon.
        UnavailableError: Redis does not answer.
        StorageError: the key holds something else.
    """
    if (conserver := _module("lib.vcon_redis")) is not None:
        found = _from_conserver(conserver, uuid)
    else:
        found = _from_redis(uuid, options)
    if not found:
        raise VconNotFoundError(
            f"vCon {uuid} is not in the conserver's Redis (key {CONSERVER_PREFIX}{uuid}): "
            "it may have expired (VCON_REDIS_EXPIRY) or been deleted before it was saved"
        )
    return found


def _from_conserver(module: ModuleType, uuid: str) -> dict[str, Any] | None:
    access = module.VconRedis()
    found: dict[str, Any] | None
    if hasattr(access, "get_vcon_dict"):
        found = access.get_vcon_dict(uuid)
    else:
        vcon = access.get_vcon(uuid)
        found = vcon.to_dict() if vcon is not None else None
    if found and (compat := _module("lib.vcon_egress_compat")) is not None:
        found = compat.to_configured_legacy(found)
    return found


def _from_redis(uuid: str, options: Options) -> dict[str, Any] | None:
    from redis import RedisError  # noqa: PLC0415

    configured = options.redis_url.get_secret_value() if options.redis_url else ""
    urls = [url for url in dict.fromkeys([os.environ.get("REDIS_URL"), configured]) if url]
    if not urls:
        raise VconNotFoundError(
            f"vCon {uuid} can't be looked up: this is not the conserver's process and no Redis is "
            "known (set REDIS_URL to the conserver's Redis)"
        )
    failure: UnavailableError | None = None
    for url in urls:
        try:
            if (found := _read(url, uuid, options.redis_timeout)) is not None:
                return found
        except RedisError as error:
            failure = UnavailableError(
                f"the conserver's Redis at {mask_url(url)} does not answer "
                f"({type(error).__name__}), so vCon {uuid} could not be read"
            )
            failure.__cause__ = error
    if failure:
        raise failure
    return None


def _read(url: str, uuid: str, timeout: float) -> dict[str, Any] | None:
    key = f"{CONSERVER_PREFIX}{uuid}"
    # Reading the vCon is the save's own work, not a short cut: it may take longer than the cache.
    with connect(url, max(timeout, 2.0)) as redis:
        # Asked first: JSON.GET on a string key, and GET on a JSON key, fail in ways that differ
        # between servers.
        kind = text_of(redis.type(key))
        if kind == "none":
            return None
        if kind == "string":
            text = redis.get(key)
        elif kind == "ReJSON-RL":
            text = redis.execute_command("JSON.GET", key)
        else:
            raise StorageError(f"the key {key} holds a {kind}, not a vCon")
    if text is None:  # it expired just now
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StorageError(f"the key {key} holds no JSON object")
    return found


def _module(name: str) -> ModuleType | None:
    """Import one of the conserver's modules; None where this is not the conserver."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # `lib` of somebody else, or none at all. A module missing *inside* the conserver's own
        # module is another matter, and is raised.
        if error.name in {"lib", name}:
            return None
        raise
