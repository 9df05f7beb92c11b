"""The way to Supabase: name, connection, certificate."""

import socket
import ssl
import time
from collections.abc import Generator

from ..options import Options
from ..urls import split
from .finding import Finding, broken, ok, skipped, warning
from .limits import LIMIT, within

_DAY = 86_400
_SOON = 14 * _DAY


def examine(options: Options) -> Generator[Finding, None, bool]:
    """Go as far as a connection goes; return whether PostgREST can be asked."""
    option = "rest_url" if options.rest_url else "url"
    parts = split(options.rest_url or options.url or "")
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    name = resolve(
        "dns", host, f"Correct the option {option}; a project that was deleted has none."
    )
    yield name
    if name.state == "broken":
        yield skipped("connection", f"{host} has no address")
        return False
    try:
        connection = connect(host, port)
    except TimeoutError:
        yield broken(
            "connection",
            f"{host}:{port} does not answer within {LIMIT:g} s",
            f"Look for a firewall between, and whether {option} has the right host and port; "
            "proxies that the environment names are not used.",
        )
        return False
    except OSError as error:
        yield broken(
            "connection",
            f"{host}:{port} can't be reached: {error.strerror or type(error).__name__}",
            f"Correct host or port in the option {option}, or start what should listen there.",
        )
        return False
    with connection:
        yield ok("connection", f"{host}:{port} takes connections")
        if not secure:
            return True
        certificate = _handshake(connection, host, port, option)
    yield certificate
    return certificate.state != "broken"


def resolve(check: str, host: str, fix: str) -> Finding:
    """Say whether a name has an address."""
    try:
        found = within(LIMIT, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except TimeoutError:
        text = f"{host} is not resolved within {LIMIT:g} s"
        return broken(check, text, "Look at the name servers of this machine (/etc/resolv.conf).")
    except (OSError, UnicodeError):
        return broken(check, f"{host} does not resolve", fix)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    return ok(check, host if addresses == [host] else f"{host} is {', '.join(addresses)}")


def connect(host: str, port: int) -> socket.socket:
    """Open a connection.

    Raises:
        TimeoutError: nobody answers.
        OSError: it can't be opened.
    """
    # Twice: the system's own is for each address, of which there may be many.
    return within(LIMIT, lambda: socket.create_connection((host, port), LIMIT))


def speaks_tls(url: str) -> bool:
    """Whether a port that was spoken to without TLS wants it."""
    parts = split(url)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent
    try:
        with (
            connect(parts.hostname or "", parts.port or 80) as connection,
            context.wrap_socket(connection, server_hostname=parts.hostname),
        ):
            return True
    except OSError:
        return False


def _handshake(connection: socket.socket, host: str, port: int, option: str) -> Finding:
    import httpx  # noqa: PLC0415

    # The certificates that the storage itself trusts.
    context = httpx.create_ssl_context()
    try:
        with context.wrap_socket(connection, server_hostname=host) as secured:
            ends = ssl.cert_time_to_seconds(str((secured.getpeercert() or {})["notAfter"]))
    except ssl.SSLCertVerificationError as error:
        text = f"the certificate of {host}:{port} is not accepted: {error.verify_message}"
        return broken(
            "tls",
            text,
            f"Give {option} the name that the certificate is for, or have it renewed; a "
            "certificate authority of your own is named by SSL_CERT_FILE.",
        )
    except OSError as error:
        silent = isinstance(error, TimeoutError)
        what = f"answers no TLS handshake within {LIMIT:g} s" if silent else "does not speak TLS"
        fix = f"Correct the port in the option {option}, or write http:// where that is meant."
        return broken("tls", f"{host}:{port} {what}", fix)
    days = (ends - time.time()) / _DAY
    if days * _DAY < _SOON:
        text = f"the certificate of {host} ends in {days:.0f} days"
        return warning("tls", text, "See to it that it is renewed in time.")
    return ok("tls", f"the certificate of {host} is accepted, for {days:.0f} more days")
