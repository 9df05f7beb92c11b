"""What stands in deploy/ and in images.toml; needs no engine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml
from dotenv import dotenv_values

from . import images
from .compose import DEPLOY

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = ("postgres", "postgrest", "gateway", "redis")
SECRET = re.compile("PASSWORD|SECRET|_KEY|_URI|_URL|AUTH")


@pytest.mark.parametrize("server", SERVERS)
def test_compose_pins_what_the_tests_run_on(server: str) -> None:
    variable = f"{server.upper()}_IMAGE"
    pinned = images.pins()["images"][server]
    assert SERVICES[server]["image"] == f"${{{variable}:-{pinned}}}"


@pytest.mark.parametrize("name", SERVICES)
def test_every_published_port_is_bound_to_this_machine(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    assert all(re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port) for port in ports)
    assert "network_mode" not in SERVICES[name]


def test_what_people_need_is_published_and_nothing_else() -> None:
    published = {name for name, service in SERVICES.items() if service.get("ports")}
    assert published == {"postgres", "gateway", "redis", "exporter"}


def test_the_exporter_is_left_out_unless_it_is_asked_for() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["exporter"]
    assert SERVICES["exporter"]["profiles"] == ["monitoring"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_has_a_default(name: str) -> None:
    service = SERVICES[name]
    secrets = [
        value for key, value in service.get("environment", {}).items() if SECRET.search(key)
    ] + [part for part in service.get("command", []) if "PASSWORD" in part]
    for secret in secrets:
        assert re.search(r"\$\{[A-Z_]+:\?[^}]+\}", secret)


@pytest.mark.parametrize(
    "name", [name for name in SERVICES if name not in ("migrate", "postgrest")]
)
def test_every_server_with_a_shell_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries"} <= check.keys()


def test_the_gateways_health_is_that_of_postgrest_too() -> None:
    assert "http://127.0.0.1:8000/health" in SERVICES["gateway"]["healthcheck"]["test"]
    template = (DEPLOY / "gateway" / "default.conf.template").read_text("utf-8")
    admin = SERVICES["postgrest"]["environment"]["PGRST_ADMIN_SERVER_PORT"]
    assert f"proxy_pass http://$postgrest:{admin}/ready;" in template


def test_nothing_is_served_before_the_migrations_are_applied() -> None:
    migrate = SERVICES["migrate"]
    assert migrate["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "restart" not in migrate
    waits = SERVICES["postgrest"]["depends_on"]
    assert waits == {"migrate": {"condition": "service_completed_successfully"}}


def test_every_file_that_is_mounted_is_there() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith(".")]
    assert files
    assert all((DEPLOY / file).exists() for file in files)


def test_make_env_writes_every_variable_that_is_required(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    subprocess.run([sys.executable, DEPLOY / "make-env", file], check=True, capture_output=True)
    values = dotenv_values(file)
    required = set(re.findall(r"\$\{([A-Z_]+):\?", (DEPLOY / "compose.yml").read_text("utf-8")))
    assert required < values.keys()
    assert all(values.values())
    assert file.stat().st_mode & 0o777 == 0o600
    secret = values["JWT_SECRET"] or ""
    for role in ("anon", "service_role"):
        key = values[f"SUPABASE_{role.upper()}_KEY"] or ""
        assert jwt.decode(key, secret, algorithms=["HS256"])["role"] == role


def test_make_env_leaves_a_file_that_is_there(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("JWT_SECRET=kept\n")
    done = subprocess.run(
        [sys.executable, DEPLOY / "make-env", file], check=False, capture_output=True
    )
    assert done.returncode == 1
    assert file.read_text() == "JWT_SECRET=kept\n"


def test_every_image_has_a_version() -> None:
    pins = images.pins()
    named = [*pins["images"].values(), *images.promised()]
    named += [image for server in pins["matrix"].values() for image in server.values()]
    assert all(re.fullmatch(r"[\w./-]+:\D*\d[\w.-]*", image) for image in named)
    assert not [image for image in named if image.endswith("latest")]


def test_the_matrix_is_complete() -> None:
    assert {"15", "16", "17", "18", "supabase"} <= images.matrix("postgres").keys()
    assert {"12", "13", "14"} <= images.matrix("postgrest").keys()
    assert {"7", "8", "valkey8"} <= images.matrix("redis").keys()


def test_what_runs_by_default_is_promised() -> None:
    pinned = images.pins()["images"]
    assert {pinned[server] for server in SERVERS} <= set(images.promised())


def test_the_environment_and_then_the_command_line_choose_an_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONSERVER_TEST_REDIS", "valkey8")
    monkeypatch.setenv("CONSERVER_TEST_POSTGRES", "17")
    chosen = images.load(postgres="example.com/postgres:17.1")
    assert chosen.redis == images.matrix("redis")["valkey8"]
    assert chosen.postgres == "example.com/postgres:17.1"


def test_every_promised_image_is_built() -> None:
    script = (Path(__file__).with_name("build")).read_text("utf-8")
    assert [image for image in images.promised() if image not in script] == []
