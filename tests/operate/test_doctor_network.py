"""Misconfigurations of the way to Supabase, and what `doctor` says of each."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from ..conftest import options_without_cache
from ..home import Supabase
from ..integration.servers import Script, ScriptedServer, answer, closed_port, hang_up
from ..vcons import Json
from .diagnosis import diagnose
from .fronts import with_tls


@pytest.fixture
def options(stack: Supabase) -> Json:
    return options_without_cache(stack) | {"redis_url": stack.redis_url, "redis_timeout": 2.0}


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that this process trusts."""
    authority = trustme.CA()
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return authority


def test_a_wrong_port(tmp_path: Path, options: Json) -> None:
    with closed_port() as url:
        report = diagnose(tmp_path, options | {"rest_url": url})
    report.assert_only("connection", "broken", "Connection refused", "port in the option rest_url")
    assert report.checks("skipped") == ["database"]


def test_a_host_that_does_not_resolve(tmp_path: Path, options: Json) -> None:
    away = options | {"rest_url": None, "url": "https://abcdefghijkl.supabase.invalid"}
    report = diagnose(tmp_path, away)
    report.assert_only("dns", "broken", "abcdefghijkl.supabase.invalid does not resolve", "url")
    assert report.checks("skipped") == ["connection", "database"]


def test_https_to_a_port_without_tls(tmp_path: Path, options: Json) -> None:
    wrong = str(options["rest_url"]).replace("http://", "https://")
    report = diagnose(tmp_path, options | {"rest_url": wrong})
    report.assert_only("tls", "broken", "write http:// where that is meant")


def test_http_to_a_port_with_tls(tmp_path: Path, options: Json, authority: trustme.CA) -> None:
    with with_tls(options["rest_url"], authority.issue_cert("127.0.0.1")) as port:
        report = diagnose(tmp_path, options | {"rest_url": f"http://127.0.0.1:{port}"})
    report.assert_only("postgrest", "broken", "speaks TLS", "Write https://")


def test_a_good_certificate(tmp_path: Path, options: Json, authority: trustme.CA) -> None:
    with with_tls(options["rest_url"], authority.issue_cert("127.0.0.1")) as port:
        report = diagnose(tmp_path, options | {"rest_url": f"https://127.0.0.1:{port}"})
    assert (report.state("tls"), report.state("postgrest"), report.exit_code) == ("ok", "ok", 0)


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path, options: Json) -> None:
    with with_tls(options["rest_url"], trustme.CA().issue_cert("127.0.0.1")) as port:
        report = diagnose(tmp_path, options | {"rest_url": f"https://127.0.0.1:{port}"})
    report.assert_only("tls", "broken", "unable to get local issuer certificate", "SSL_CERT_FILE")


@pytest.mark.parametrize(
    ("name", "days", "state", "words"),
    [
        ("elsewhere.example", 90, "broken", "not valid for '127.0.0.1'"),
        ("127.0.0.1", -1, "broken", "certificate has expired"),
        ("127.0.0.1", 3, "warning", "ends in 3 days"),
    ],
)
def test_a_certificate_that_does_not_fit(
    tmp_path: Path,
    options: Json,
    authority: trustme.CA,
    name: str,
    days: int,
    state: str,
    words: str,
) -> None:
    ends = datetime.now(UTC) + timedelta(days=days, minutes=1)
    certificate = authority.issue_cert(name, not_after=ends)
    with with_tls(options["rest_url"], certificate) as port:
        report = diagnose(tmp_path, options | {"rest_url": f"https://127.0.0.1:{port}"})
    report.assert_only("tls", state, words)


PAGE = "<html>A project's dashboard</html>"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (answer(200, PAGE, content_type="text/html"), "not as PostgREST does (HTTP 200)"),
        (answer(404, PAGE, content_type="text/html"), "not as PostgREST does (HTTP 404)"),
        (answer(301, Location="https://example.com/"), "redirects to https://example.com/"),
        (answer(503, '{"code": "PGRST002"}'), "HTTP 503, PGRST002"),
        (hang_up, "can't be reached"),
    ],
    ids=["a page", "another API", "a redirect", "without its database", "a broken connection"],
)
def test_what_is_no_working_postgrest(
    tmp_path: Path, options: Json, script: Script, words: str
) -> None:
    with ScriptedServer(script) as server:
        report = diagnose(tmp_path, options | {"rest_url": server.url})
    report.assert_only("postgrest", "broken", words)
    assert report.checks("skipped") == ["schema"]


def test_the_gateway_given_as_postgrest(tmp_path: Path, stack: Supabase, options: Json) -> None:
    report = diagnose(tmp_path, options | {"rest_url": stack.url})
    report.assert_only("postgrest", "broken", "Give the Supabase project's URL as url")


def test_postgrest_away(tmp_path: Path, stack: Supabase, options: Json) -> None:
    """Behind its gateway, which answers for it."""
    stack.stop_service("postgrest")
    try:
        report = diagnose(tmp_path, options | {"rest_url": None, "url": stack.url})
    finally:
        stack.start_service("postgrest")
    report.assert_only("postgrest", "broken", "HTTP 502", "paused")


def test_a_key_without_encryption(tmp_path: Path, options: Json) -> None:
    """To an address of a test network (RFC 5737), which leads nowhere."""
    report = diagnose(tmp_path, options | {"rest_url": "http://192.0.2.1.nip.invalid"})
    assert report["encryption"]["state"] == "warning"
    assert report["encryption"]["fix"].startswith("Write https://")


@pytest.mark.parametrize(("hours", "words"), [(1, "3,600 s behind"), (-1, "3,600 s ahead of")])
def test_this_machines_clock_is_wrong(
    tmp_path: Path, options: Json, monkeypatch: pytest.MonkeyPatch, hours: int, words: str
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + hours * 3600)
    diagnose(tmp_path, options).assert_only("clock", "warning", words, "(NTP)")
