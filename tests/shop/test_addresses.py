"""The addresses among the settings: normalised, checked, and never repeated with a password."""

from urllib.parse import urlsplit, urlunsplit

import pytest
from checkout.config import ConfigError, Env
from kit.databases import Servers
from shop.settings import load

from shop import database

GOOD = {"SHOP_SECRET_KEY": "k" * 32}


def public_url(text: str, sandbox: str = "") -> str:
    env = Env(GOOD | {"SHOP_PUBLIC_URL": text, "SHOP_SANDBOX_URL": sandbox})
    settings = load(env)
    env.check()
    return settings.public_url


@pytest.mark.parametrize(
    "text",
    ["https://Shop.Example.com/", "https://shop.example.com:443", "HTTPS://SHOP.EXAMPLE.COM"],
)
def test_the_public_url_is_written_as_browsers_write_an_origin(text: str) -> None:
    assert public_url(text) == "https://shop.example.com"


def test_another_port_stays_in_the_public_url() -> None:
    assert public_url("https://shop.example.com:8443") == "https://shop.example.com:8443"
    sandbox = "http://127.0.0.1:9000"
    assert public_url("http://127.0.0.1:80", sandbox) == "http://127.0.0.1"
    assert public_url("http://[::1]:8000", sandbox) == "http://[::1]:8000"


@pytest.mark.parametrize(
    "text",
    ["https://user:password@shop.example.com", "https://a:99999", "https://[x", "https://"],
)
def test_an_address_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^SHOP_PUBLIC_URL: .*for example"):
        public_url(text)


def test_an_http_address_of_this_machine_is_for_the_sandbox_only() -> None:
    with pytest.raises(ConfigError, match="must be https"):
        public_url("http://127.0.0.1:8000")
    with pytest.raises(ConfigError, match="must be https"):
        public_url("http://shop.example.com", "http://127.0.0.1:9000")


@pytest.mark.parametrize(
    "text",
    [
        "oracle://root:pass@h/shop",
        "shop.db",
        "sqlite://",
        "mysql://root:pass@h:port/shop",
        "postgresql://root:pass@h:port/shop",
    ],
)
def test_a_database_address_that_cannot_be_is_refused_without_repeating_it(text: str) -> None:
    env = Env(GOOD | {"SHOP_DATABASE_URL": text, "SHOP_SANDBOX_URL": "http://127.0.0.1:1"})
    load(env)
    with pytest.raises(ConfigError, match=r"^SHOP_DATABASE_URL: .*for example") as refused:
        env.check()
    assert "pass@" not in str(refused.value)


async def test_postgresql_is_another_name_of_postgres(servers: Servers) -> None:
    address = urlsplit((await servers.get("postgres")).database_url)
    for scheme in ("postgres", "postgresql"):
        url = urlunsplit(address._replace(scheme=scheme))
        env = Env(GOOD | {"SHOP_DATABASE_URL": url})
        assert load(env).database_url == url
        assert [problem for problem in env.problems if "SHOP_DATABASE_URL" in problem] == []
        await database.connect(url)
        try:
            assert await database.unapplied() == []
        finally:
            await database.close()


def test_the_example_of_a_bad_value_can_be_used_as_it_is() -> None:
    env = Env({"SHOP_ADMIN_TOKEN": "short", "SHOP_PUBLIC_URL": "https://shop.example.com"})
    load(env)
    for problem in env.problems:
        name, _, example = problem.rpartition(", for example ")[2].partition("=")
        assert name in ("SHOP_ADMIN_TOKEN", "SHOP_SECRET_KEY")
        assert len(example) >= 32
