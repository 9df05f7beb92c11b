"""Options: where they come from, what they may be, and that secrets stay out of sight."""

import traceback
from typing import Any

import pytest

from conserver_supabase_storage import ConfigurationError, Options, SupabaseStorage

URL = "https://example.supabase.co"
KEY = "sb_secret_0123456789"
NEEDED = {"url": URL, "key": KEY}


def refusal(options: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        Options.parse(options)
    return str(refused.value)


def key_of(options: Any) -> str:
    return Options.parse(options).key.get_secret_value()


def redis_of(options: Any) -> str | None:
    found = Options.parse(options).redis_url
    return found.get_secret_value() if found else None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tabel": "x"}, "tabel: is no option of this storage; known are: cache_compress_bytes, "),
        ({"schema_": "x"}, "schema_: is no option"),
        ({1: 2}, "1"),
        ({"url": 5}, "url: must be a valid string"),
        ({"url": ["x"]}, "url: must be a valid string"),
        ({"url": "example.supabase.co"}, "url: must be an http:// or https:// URL with a host"),
        ({"url": "https://"}, "url: must be an http"),
        ({"url": "ftp://example.com"}, "url: must be an http"),
        ({"url": "https://example.com:port"}, "url: must"),
        ({"url": "https://example.com:99999"}, "url: must"),
        ({"url": "https://exam ple.com"}, "url: must"),
        ({"url": "https://[::1"}, "url: "),
        ({"url": f"{URL}/rest/v1"}, "url: must be the project's URL without /rest/v1"),
        ({"url": "https://user:pass@example.com"}, "url: must not hold a user or password"),
        ({"rest_url": "postgres://x"}, "rest_url: must be an http"),
        ({"key": 5}, "key: must be a valid string"),
        ({"key": "two words"}, "key: must be one line of ASCII"),
        ({"key": "two\nlines"}, "key: must be one line of ASCII"),
        ({"key": "schlüssel"}, "key: must be one line of ASCII"),
        ({"schema": ""}, "schema: must be the plain name"),
        ({"schema": "a b"}, "schema: must be the plain name"),
        ({"schema": "public\n"}, "schema: must be the plain name"),
        ({"schema": 5}, "schema: must be a valid string"),
        ({"redis_url": "http://localhost"}, "redis_url: must begin with redis://"),
        ({"redis_url": 5}, "redis_url: must be a valid string"),
        ({"cache_ttl": 0}, "cache_ttl: must be greater than or equal to 1"),
        ({"cache_ttl": -1}, "cache_ttl: must be greater"),
        ({"cache_ttl": 10**9}, "cache_ttl: must be less"),
        ({"cache_ttl": 1.5}, "cache_ttl: must be a valid integer"),
        ({"cache_ttl": "soon"}, "cache_ttl: must be a valid integer"),
        ({"cache_ttl": True}, "cache_ttl: must be a number, not true or false"),
        ({"cache_ttl": False}, "cache_ttl: must be a number, not true or false"),
        ({"cache_prefix": ""}, "cache_prefix: "),
        ({"cache_prefix": "vcon:mine:"}, "cache_prefix: must not begin with 'vcon:'"),
        *(
            ({name: value}, f"{name}: must be")
            for name in ("connect_timeout", "read_timeout", "total_timeout", "redis_timeout")
            for value in (0, -1, True, False, "soon", None, 601, float("nan"), float("inf"))
        ),
    ],
)
def test_what_can_not_be_is_refused_by_name(wrong: dict[Any, Any], says: str) -> None:
    Options.parse(NEEDED)
    assert says in refusal(NEEDED | wrong)


@pytest.mark.parametrize("wrong", [5, "url", ["url"], [("url", URL)], True])
def test_options_that_are_no_mapping(wrong: object) -> None:
    assert refusal(wrong).startswith("options: must be a mapping of names to values")


def test_what_is_missing_is_named_with_where_it_may_come_from() -> None:
    nothing: list[dict[str, Any] | None] = [None, {}]
    for given in nothing:
        said = refusal(given)
        assert "url: is missing" in said
        assert "SUPABASE_URL" in said
        assert "key: is missing" in said
        assert "SUPABASE_SERVICE_ROLE_KEY" in said


def test_all_that_is_wrong_is_named_at_once() -> None:
    said = refusal({"tabel": 1, "cache_ttl": -1, "read_timeout": True, "schema": "a b"})
    for name in ("tabel:", "cache_ttl:", "read_timeout:", "schema:", "url:", "key:"):
        assert name in said, name


def test_all_variables_that_are_not_set_are_named_at_once() -> None:
    said = refusal({"url": "${NO_SUCH_URL}", "key": "${NO_SUCH_KEY}", "tabel": 1})
    for name in ("url:", "NO_SUCH_URL", "key:", "NO_SUCH_KEY", "tabel:"):
        assert name in said, name


def test_variables_are_put_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROJECT", "example")
    monkeypatch.setenv("EMPTY", "")
    options = Options.parse(
        {
            "url": "https://${PROJECT}.supabase.${TLD:-co}",
            "key": "${EMPTY:-a}${PROJECT:-b}$PROJECT${",
            "cache_ttl": "${TTL:-60}",
            "redis_timeout": "${WAIT:-0.5}",
            "cache_prefix": "${EMPTY:-p}:",
            "redis_url": "${CACHE:-}",
        }
    )
    assert options.url == "https://example.supabase.co"
    assert options.key.get_secret_value() == "aexample$PROJECT${"
    assert (options.cache_ttl, options.redis_timeout, options.cache_prefix) == (60, 0.5, "p:")
    assert options.redis_url is None


@pytest.mark.parametrize("value", ["${NO_SUCH}", "a${NO_SUCH}b", "${EMPTY}"])
def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("EMPTY", "")
    said = refusal(NEEDED | {"redis_url": value})
    assert said.startswith("redis_url: the environment variable ")
    assert ":-...}" in said


def test_values_of_variables_are_not_substituted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", "${TWO}")
    assert key_of({"url": URL, "key": "${ONE}"}) == "${TWO}"


def test_what_is_missing_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", URL)
    monkeypatch.setenv("SUPABASE_ANON_KEY", "weaker")
    assert key_of(None) == "weaker"
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "stronger")
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    monkeypatch.setenv("VCON_REDIS_EXPIRY", "77")
    empty: list[dict[str, Any] | None] = [
        None,
        {},
        {"key": "", "url": "", "cache_ttl": ""},
        {"key": None, "url": None, "cache_ttl": None},
    ]
    for given in empty:
        options = Options.parse(given)
        assert (options.url, options.cache_ttl) == (URL, 77)
        assert options.key.get_secret_value() == "stronger"
        assert redis_of(given) == "redis://localhost"
    assert Options.parse({"cache_ttl": 5}).cache_ttl == 5


def test_a_wrong_value_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCON_REDIS_EXPIRY", "an hour")
    assert "cache_ttl: must be a valid integer" in refusal(NEEDED)


def test_a_given_url_is_not_mixed_with_one_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SUPABASE_REST_URL", "http://localhost:3000")
    assert Options.parse({"key": KEY}).target == ("http://localhost:3000", "public", "")
    assert Options.parse({"url": URL, "key": KEY}).target == (URL, "public", "")
    monkeypatch.setenv("SUPABASE_URL", "https://other.supabase.co")
    assert Options.parse({"url": URL, "key": KEY}).target == (URL, "public", "")
    given = Options.parse({"rest_url": "http://localhost:4000/", "key": KEY})
    assert given.target == ("http://localhost:4000", "public", "")
    assert given.url is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"key": "a", "service_role_key": "b", "anon_key": "c"}, "a"),
        ({"service_role_key": "b", "anon_key": "c"}, "b"),
        ({"anon_key": "c"}, "c"),
        ({"key": "", "anon_key": "c"}, "c"),
        ({"key": None, "service_role_key": "${NO_KEY:-}", "anon_key": "c"}, "c"),
        ({"key": "  a\n"}, "a"),
    ],
)
def test_the_strongest_key_that_is_given_is_used(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], expected: str
) -> None:
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "of the environment")
    assert key_of({"url": URL, **given}) == expected


@pytest.mark.parametrize("off", [None, ""])
def test_no_redis_is_no_cache_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, off: str | None
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    assert redis_of(NEEDED) == "redis://localhost"
    assert redis_of(NEEDED | {"redis_url": off}) is None


@pytest.mark.parametrize(
    "url", ["redis://h", "rediss://h:1/2", "unix:///run/redis.sock", "redis://:p@h:6379/0"]
)
def test_redis_urls_are_taken_as_they_are(url: str) -> None:
    assert redis_of(NEEDED | {"redis_url": url}) == url


def test_equal_options_are_equal_and_can_be_looked_up() -> None:
    one = Options.parse(NEEDED)
    other = Options.parse({"url": URL + "/", "service_role_key": KEY, "cache_ttl": "3600"})
    assert one == other
    assert hash(one) == hash(other)
    assert Options.parse(one) is one
    assert one != Options.parse(NEEDED | {"key": "another"})


# Part of every secret below.
SECRET = "hidden"

SECRETS = {
    "url": URL,
    "key": "hidden-key",
    "redis_url": "redis://user:hidden-password@localhost:6379/0?password=hidden-too&db=1",
}


def test_secrets_are_masked_in_every_text() -> None:
    options = Options.parse(SECRETS)
    storage = SupabaseStorage(options)
    for text in (repr(options), str(options), f"{options}", repr(storage), f"{storage}"):
        assert SECRET not in text
        assert "redis://user:***@localhost:6379/0?password=***&db=1" in text
        assert URL in text


@pytest.mark.parametrize(
    "redis_url",
    [
        "redis://:hidden/word@localhost:6379/0",
        "redis://:hidden#word@localhost:6379/0",
        "redis://:hidden?word@localhost:6379/0",
        "redis://:hidden@word@localhost:6379/0",
        "redis://:hidden@localhost:port/0",
        "redis://:hidden@localhost:6379/0?socket_timeout=soon",
        "redis://:hidden@[::1",
        "unix://user:hidden@/run/redis.sock",
        "unix:///run/redis.sock?Password=hidden",
    ],
)
def test_a_password_is_masked_also_where_the_url_is_odd(redis_url: str) -> None:
    def shown() -> str:
        """All that anybody gets to see: of the options and the storage, or of the refusal."""
        try:
            options = Options.parse(NEEDED | {"redis_url": redis_url})
            return f"{options!r} {SupabaseStorage(options)!r}"
        except ConfigurationError as refused:
            return "".join(traceback.format_exception(refused))

    assert "redis_url" in shown()
    assert SECRET not in shown()


@pytest.mark.parametrize(
    "wrong",
    [
        {"cache_ttl": 0.5},
        {"tabel": "hidden-value"},
        {"key": "hidden key"},
        {"key": ["hidden-key"]},
        {"redis_url": "http://:hidden-password@localhost"},
        {"redis_url": ["redis://:hidden-password@localhost"]},
        {"url": "https://user:hidden-password@example.com"},
        {"url": "hidden-url"},
        {"schema": "hidden schema"},
        {"read_timeout": "hidden"},
        {"cache_prefix": "vcon:hidden"},
        {"url": "${NO_SUCH}"},
    ],
)
def test_no_error_shows_a_value(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        SupabaseStorage(SECRETS | wrong)
    assert SECRET not in "".join(traceback.format_exception(refused.value))
    assert SECRET not in f"{refused.value!r}"
