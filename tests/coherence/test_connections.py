"""Ways to reach a Redis: a Unix socket, a user of its ACL, TLS, and clients that decode."""

import datetime
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.local.redis_server import binary

from ..home import Supabase
from ..vcons import new_uuid
from .parties import eventually


@pytest.fixture
def options(supabase: Supabase) -> dict[str, Any]:
    return {"rest_url": supabase.rest_url, "key": supabase.service_role_key}


def works(options: dict[str, Any]) -> None:
    """Save, get and delete by the cache."""
    document: dict[str, Any] = {"uuid": new_uuid(), "parties": []}
    with SupabaseStorage(options) as storage:
        storage.save(document)
        assert storage.get(document["uuid"]) == document
        assert storage.delete(document["uuid"]) is True
        assert storage.get(document["uuid"]) is None
        assert storage.stats() == {"hit": 1, "miss": 1}
        assert storage.health()["cache"] == "ok"
        assert "secret" not in repr(storage)


@contextmanager
def own_redis(*settings: str) -> Iterator[Path]:
    """Start a Redis on a Unix socket; yields the socket's path."""
    # Not tmp_path: the name of a socket has at most about 100 characters.
    folder = Path(tempfile.mkdtemp())
    path = folder / "redis.sock"
    server = subprocess.Popen(
        [binary(), "--port", "0", "--unixsocket", path, "--dir", folder, "--save", "", *settings],
        stdout=subprocess.DEVNULL,
    )
    try:
        eventually(path.exists, 10)
        yield path
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def socket_path() -> Iterator[Path]:
    """A Redis of its own, whose default user may do nothing."""
    with own_redis() as path:
        with closing(redis.Redis(unix_socket_path=str(path))) as client:
            command: Any = getattr(client, "execute_command")  # noqa: B009  it has no types
            rights = ["~supabase-storage:*", "+@all", "-@admin"]
            command("ACL", "SETUSER", "storage", "on", ">secret", *rights)
            command("ACL", "SETUSER", "default", "off")
        yield path


def test_a_redis_without_scripts_is_no_cache_and_costs_nothing(options: dict[str, Any]) -> None:
    document: dict[str, Any] = {"uuid": new_uuid(), "parties": []}
    off = ["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""]
    with (
        own_redis(*off) as path,
        SupabaseStorage(options | {"redis_url": f"unix://{path}"}) as storage,
    ):
        for _ in range(2):
            storage.save(document)
            assert storage.get(document["uuid"]) == document
        assert storage.stats() == {"error": 1}
        assert storage.health()["cache"] == "off"


def test_a_unix_socket_and_a_user_with_few_rights(
    options: dict[str, Any], socket_path: Path
) -> None:
    works(options | {"redis_url": f"unix://storage:secret@{socket_path}"})


def test_a_user_without_the_rights_is_no_cache_but_no_failure_either(
    options: dict[str, Any], socket_path: Path
) -> None:
    document: dict[str, Any] = {"uuid": new_uuid(), "parties": []}
    where = {
        "redis_url": f"unix://storage:secret@{socket_path}",
        "cache_prefix": "elsewhere:",
    }
    with SupabaseStorage(options | where) as storage:
        storage.save(document)
        assert storage.get(document["uuid"]) == document
        assert storage.health()["status"] == "degraded"


def test_a_client_that_would_decode(options: dict[str, Any], supabase: Supabase) -> None:
    works(options | {"redis_url": f"{supabase.redis_url}?decode_responses=true"})


def test_tls(options: dict[str, Any], supabase: Supabase, tmp_path: Path) -> None:
    login = urlsplit(supabase.redis_url).netloc.rpartition("@")[0]
    with tls_before(supabase.redis_url, tmp_path) as (port, certificate):
        url = f"rediss://{login}@localhost:{port}/0?ssl_ca_certs={certificate}"
        works(options | {"redis_url": url, "redis_timeout": 2})


@contextmanager
def tls_before(redis_url: str, folder: Path) -> Iterator[tuple[int, Path]]:
    """Offer a Redis by TLS: yields the port, and the certificate to trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = self_signed(folder)
    context.load_cert_chain(certificate, folder / "key.pem")
    target = urlsplit(redis_url)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                near = context.wrap_socket(plain, server_side=True)
                far = socket.create_connection((target.hostname, target.port))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1], certificate


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        target.close()


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "certificate.pem"
