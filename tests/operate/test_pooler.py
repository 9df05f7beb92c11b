"""PostgREST behind pgbouncer in transaction mode. tests/operate/with-pooler brings pgbouncer."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest

from conserver_supabase_storage import SupabaseStorage
from conserver_supabase_storage.local import LocalSupabase
from conserver_supabase_storage.local.ports import free_port

from ..vcons import Json, small_vcon

CONFIG = """\
[databases]
postgres = host={host} port={server_port} dbname=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = users.txt
pool_mode = transaction
default_pool_size = 3
"""


@contextmanager
def pgbouncer(database_url: str) -> Iterator[str]:
    """Run a pooler with three connections to a server; give the database's URL through it."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("there is no pgbouncer on this machine: tests/operate/with-pooler brings it")
    server = urlsplit(database_url)
    port = free_port(set())
    with TemporaryDirectory(prefix="pooler-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        config = CONFIG.format(host=server.hostname, server_port=server.port, port=port)
        (folder / "pgbouncer.ini").write_text(config)
        (folder / "users.txt").write_text(f'"{server.username}" "{server.password}"\n')
        owner = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None  # it refuses root
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [program, "pgbouncer.ini"], cwd=folder, user=owner, stdout=log, stderr=log
            )
        url = f"postgresql://{server.username}:{server.password}@127.0.0.1:{port}/postgres"
        try:
            _wait(process, port, folder / "log")
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def options() -> Iterator[Json]:
    with (
        LocalSupabase() as stack,
        pgbouncer(stack.database_url) as url,
        stack.postgrest(
            PGRST_DB_URI=url,
            PGRST_DB_POOL=20,
            # What its manual asks for behind a pooler of transactions.
            PGRST_DB_PREPARED_STATEMENTS=False,
            PGRST_DB_CHANNEL_ENABLED=False,
        ) as rest_url,
    ):
        yield {
            "rest_url": rest_url,
            "key": stack.service_role_key,
            "redis_url": stack.redis_url,
            "cache_prefix": "pooler:",
        }


def test_every_operation_works_through_a_pooler_of_transactions(options: Json) -> None:
    vcons = [small_vcon() for _ in range(20)]
    with SupabaseStorage(options) as storage:
        assert storage.save_many(vcons) == [None] * 20
        for vcon in vcons:
            storage.save(vcon | {"subject": "through a pooler"})
        storage.clear_cache()
        for vcon in vcons:
            assert storage.get(vcon["uuid"]) == vcon | {"subject": "through a pooler"}
        found = storage.search({"uuid": [vcon["uuid"] for vcon in vcons], "text": "pooler"})
        assert len(found) == 20
        assert all(storage.delete(vcon["uuid"]) for vcon in vcons)
        assert storage.health()["status"] == "ok"


def test_more_threads_than_the_pooler_has_connections(options: Json) -> None:
    """All change the same few vCons; each sees its save, or one that came after it."""
    vcons = [small_vcon() for _ in range(4)]
    with SupabaseStorage(options) as storage:

        def work(thread: int) -> None:
            for n in range(10):
                vcon = vcons[(thread + n) % len(vcons)]
                storage.save(vcon | {"subject": f"{thread} {n}"})
                got = storage.get(vcon["uuid"])
                assert got is not None
                assert got | {"subject": vcon["subject"]} == vcon

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(work, range(16)))
        last = {vcon["uuid"]: storage.get(vcon["uuid"]) for vcon in vcons}
        storage.clear_cache()
        assert {uuid: storage.get(uuid) for uuid in last} == last
