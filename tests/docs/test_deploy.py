"""The deployment files hold: a real nginx, two instances, one PostgreSQL; one instance dies.

No container runs here: the instances run from the files that the image would hold, with the
commands that Dockerfile and compose.yaml name.
"""

import asyncio
import json
import os
import re
import secrets
import shutil
import socket
import socketserver
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest
import yaml
from kit.databases import absent
from sanic.compat import Header
from sanic.headers import parse_xforwarded

from bakes import PROJECT, Bake
from running import JSON, SECONDS, Buyer, Demo, Notified, answers, free_port, until

POSTGRES = os.environ.get("SHOP_TEST_POSTGRES_URL") or "asyncpg://postgres@127.0.0.1:5432/postgres"
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
AROUND = """daemon off; master_process off; pid nginx.pid; error_log error.log;
events {}
http {
    log_format upstream '$upstream_addr'; access_log access.log upstream;
    client_body_temp_path t1; proxy_temp_path t2;
    fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
    include shop.conf;
}
"""
SIGNED = {f"Wechatpay-{part}": f"{part}/+= 1" for part in ("Timestamp", "Nonce", "Signature")}
PATH = "/notify/wechat/payment"


def exec_form(word: str) -> list[str]:
    """Return the command of the Dockerfile's line that begins with `word`."""
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    line = re.search(rf"^{word} [^\[\n]*(\[.*\])$", dockerfile, re.M)
    assert line, word
    command: list[str] = json.loads(line[1])
    return command


def with_port(command: list[str], port: int) -> list[str]:
    """Return a command of the image for this interpreter and another port."""
    assert command[0] == "python"
    return [sys.executable, *(word.replace("8000", str(port)) for word in command[1:])]


def listens(port: int) -> bool:
    """Tell whether somebody listens there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def sql(statement: str) -> None:
    """Give one statement to the test's PostgreSQL."""

    async def run() -> None:
        url = urlunsplit(urlsplit(POSTGRES)._replace(scheme="postgres"))
        connection = await asyncpg.connect(url, timeout=2)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


@contextmanager
def database(scheme: str) -> Iterator[str]:
    """Make an empty database; yield its URL."""
    name = f"shop_test_{secrets.token_hex(4)}"
    try:
        sql(f"CREATE DATABASE {name}")
    except OSError as error:
        absent(f"no PostgreSQL: {error}")
    try:
        yield urlunsplit(urlsplit(POSTGRES)._replace(scheme=scheme, path=f"/{name}"))
    finally:
        sql(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def process(
    command: list[str], folder: Path, env: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program in a folder; it has to end well on SIGTERM, unless a test killed it."""
    with (folder / "output.log").open("ab") as output:
        started = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output)
    try:
        yield started
    finally:
        killed = started.poll() is not None
        started.terminate()
        assert started.wait(SECONDS) == 0 or killed


@contextmanager
def proxy(folder: Path, *instances: int, https: bool = False) -> Iterator[tuple[str, str]]:
    """Run nginx with our nginx.conf on free ports; `https` uncomments the lines for that."""
    nginx = NGINX or absent("nginx is not installed (Debian: nginx-light)")
    plain, tls = free_port(), free_port()
    servers = " ".join(f"server 127.0.0.1:{port};" for port in instances)
    text = (PROJECT / "nginx.conf").read_text(encoding="utf-8")
    if https:
        text = re.sub(r"^    # (?=listen|ssl|if)", "    ", text, flags=re.M)
    for ours, here in (
        ("server shop:8000;", servers),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443", f"listen 127.0.0.1:{tls}"),
        ("/etc/nginx/", ""),
    ):
        assert ours in text
        text = text.replace(ours, here)
    (folder / "shop.conf").write_text(text, encoding="utf-8")
    (folder / "nginx.conf").write_text(AROUND)
    with process([nginx, "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"], folder):
        until(lambda: listens(plain), "nginx")
        yield f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}"


def port_of(notified: Notified) -> int:
    """Return the port of the place for notifications."""
    return urlsplit(notified.url).port or 0


@dataclass
class Deployment:
    """Everything that compose.yaml starts, and a sandbox; the instances by their ports."""

    demo: Demo
    instances: "dict[int, subprocess.Popen[bytes]]"

    def pay(self, buyer: Buyer) -> None:
        """Take an order from the first call to PAID, each call through the proxy."""
        number = buyer.order()
        self.demo.control("pay", **buyer.start(number, "miniprogram")["invoke"])
        until(lambda: buyer.state(number) == "PAID", "the payment")


def healthy(port: int) -> bool:
    """Run the image's health check."""
    command = with_port(exec_form("HEALTHCHECK"), port)
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def environment(folder: Path, *addresses: str, **more: str) -> dict[str, str]:
    """Return what a filled-in .env and compose.yaml give to an instance."""
    code = "import json, sys; from shop.demo import environment as e; print(json.dumps(e(*sys.argv[1:])))"
    command = [sys.executable, "-c", code, *addresses]
    printed = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE).stdout
    return {**json.loads(printed), **more}


@pytest.fixture(scope="module")
def compose(bake: Bake) -> JSON:
    """The services of a baked compose.yaml that start without a profile."""
    return {
        name: service for name, service in services(bake()).items() if "profiles" not in service
    }


def services(shop: Path) -> JSON:
    """Return everything that compose.yaml names."""
    loaded = yaml.safe_load((shop / "compose.yaml").read_text(encoding="utf-8"))
    named: JSON = loaded["services"]
    return named


@pytest.fixture(scope="module")
def image(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that `COPY . .` finds: those that .dockerignore lets through."""
    shop = bake()
    folder = tmp_path_factory.mktemp("image")
    lines = (shop / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    for name in (line[1:] for line in lines if line.startswith("!")):
        copy = shutil.copytree if (shop / name).is_dir() else shutil.copy
        copy(shop / name, folder / name)
    return folder


@pytest.fixture
def deployment(bake: Bake, image: Path, compose: JSON, tmp_path: Path) -> Iterator[Deployment]:
    """A sandbox, a migrated PostgreSQL, two instances and the proxy."""
    port = free_port()
    ports = free_port(), free_port()
    sandbox = f"http://127.0.0.1:{port}"
    folder = bake()
    scheme = compose["shop"]["environment"]["SHOP_DATABASE_URL"].split(":")[0]
    with ExitStack() as stack:
        http = stack.enter_context(httpx.Client(trust_env=False, timeout=SECONDS))
        url = stack.enter_context(database(scheme))
        shop, _ = stack.enter_context(proxy(tmp_path, *ports))
        command = [sys.executable, "-m", "sandbox", "--port", str(port)]
        stack.enter_context(process(command, folder))
        until(lambda: answers(http, f"{sandbox}/healthz"), "the sandbox")
        env = environment(folder, shop, sandbox, SHOP_DATABASE_URL=url, SHOP_PROXIES_COUNT="1")
        subprocess.run(with_port(compose["migrate"]["command"], 0), cwd=image, env=env, check=True)
        instances = {
            port: stack.enter_context(process(with_port(exec_form("CMD"), port), image, env))
            for port in ports
        }
        until(lambda: all(map(healthy, ports)), "a healthy instance")
        yield Deployment(Demo(folder, shop, sandbox, http), instances)


def test_two_instances_behind_the_proxy_take_payments_and_one_may_die(
    deployment: Deployment, tmp_path: Path
) -> None:
    buyer = Buyer.of_miniprogram(deployment.demo)
    for _ in range(3):
        deployment.pay(buyer)
    notifications = deployment.demo.wire("notification", deployment.demo.shop)
    assert {notification["status"] for notification in notifications} == {204}
    served = set((tmp_path / "access.log").read_text().split())
    assert served == {f"127.0.0.1:{port}" for port in deployment.instances}
    victim, killed = next(iter(deployment.instances.items()))
    killed.kill()
    killed.wait(SECONDS)
    for _ in range(3):
        deployment.pay(buyer)
    assert not healthy(victim)


def test_the_proxy_changes_neither_body_nor_signature_and_tells_the_buyers_address(
    notified: Notified, tmp_path: Path
) -> None:
    body = b'{ "id":\r\n"\xe4\xb8\xad" }' + b" " * (2 * 1024 * 1024 - 16)
    with proxy(tmp_path, port_of(notified)) as (url, _):
        forged = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "gopher"}
        httpx.post(url + PATH, content=body, headers=SIGNED | forged, trust_env=False)
        headers, arrived = notified.next()
    assert arrived == body
    assert SIGNED.items() <= headers.items()
    config = SimpleNamespace(
        REAL_IP_HEADER=None, PROXIES_COUNT=1, FORWARDED_FOR_HEADER="X-Forwarded-For"
    )
    seen = parse_xforwarded(Header(headers), config) or {}
    assert (seen["for"], seen["proto"]) == ("127.0.0.1", "http")


def test_a_post_that_has_left_is_never_sent_to_the_other_instance(tmp_path: Path) -> None:
    heard = []

    class Dying(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            heard.append(self.request.recv(4))

    with ExitStack() as stack:
        ports = []
        for _ in range(2):
            server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dying)
            stack.enter_context(server)
            Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
            stack.callback(server.shutdown)
            ports.append(server.server_address[1])
        url, _ = stack.enter_context(proxy(tmp_path, *ports))
        assert httpx.post(url + PATH, content=b"{}", trust_env=False).status_code == 502
    assert heard == [b"POST"]


def test_the_lines_for_https_work_when_they_are_uncommented(
    demo: Demo, notified: Notified, tmp_path: Path
) -> None:
    (tmp_path / "tls").mkdir()
    for name, key in (
        ("fullchain", "merchant_certificate_pem"),
        ("privkey", "merchant_private_key_pem"),
    ):
        (tmp_path / "tls" / f"{name}.pem").write_text(demo.credentials[key])
    with (
        proxy(tmp_path, port_of(notified), https=True) as (plain, tls),
        httpx.Client(trust_env=False, verify=False) as http,
    ):
        assert http.post(tls + PATH, content=b"{}").status_code == 204
        assert http.get(plain + "/?a=b").headers["location"] == "https://127.0.0.1/?a=b"
    headers, _ = notified.next()
    assert headers["X-Forwarded-Proto"] == "https"


def limits_of_the_shop() -> dict[str, tuple[int, int]]:
    """Return burst and rate by path, as shop/web/limits.py has them."""
    text = (PROJECT / "shop/web/limits.py").read_text(encoding="utf-8")
    rows = re.findall(r'"(/[^"]+)"\): Limit\(burst=(\d+), per_minute=(\d+)\)', text)
    return {path: (int(burst), int(rate)) for path, burst, rate in rows}


def test_the_proxy_has_the_same_limits_as_the_shop() -> None:
    text = (PROJECT / "nginx.conf").read_text(encoding="utf-8")
    rates = dict(re.findall(r"zone=(\w+):10m rate=(\d+)r/m;", text))
    rows = re.findall(r"location = (\S+) {\s+limit_req zone=(\w+) burst=(\d+) nodelay;", text)
    limits = {path: (int(burst), int(rates[zone])) for path, zone, burst in rows}
    assert limits == limits_of_the_shop()
    assert len(limits) == 4


def test_the_proxy_refuses_an_address_that_asks_too_often_in_the_shops_words(
    notified: Notified, tmp_path: Path
) -> None:
    burst, _ = limits_of_the_shop()["/qr.svg"]
    with (
        proxy(tmp_path, port_of(notified)) as (url, _),
        httpx.Client(base_url=url, trust_env=False) as http,
    ):
        answers = [http.get("/qr.svg") for _ in range(burst + 100)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 0 < len(refused) < 100
        assert refused[-1].json()["code"] == "TOO_MANY_REQUESTS"
        assert int(refused[-1].headers["Retry-After"]) > 0
        assert http.get("/").status_code != 429
        assert http.post("/notify/wechat/payment", content=b"{}").status_code == 204


def test_what_compose_names_is_there_and_in_order(compose: JSON, image: Path) -> None:
    waits = {
        name: {other: wait["condition"] for other, wait in service.get("depends_on", {}).items()}
        for name, service in compose.items()
    }
    assert waits == {
        "db": {},
        "migrate": {"db": "service_healthy"},
        "shop": {"migrate": "service_completed_successfully"},
        "nginx": {"shop": "service_healthy"},
    }
    assert compose["shop"]["deploy"]["replicas"] == 2
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    named = set(re.findall(r"\$\{(\w+)", str(compose))) | set(compose["shop"]["environment"])
    assert named <= set(re.findall(r"^# (\w+)=", example, re.M))


def test_the_image_has_what_the_page_docs_is_made_of(image: Path) -> None:
    code = (
        "from shop.web.docs import page, examples, failures;"
        "print({one.code for one in failures.remedies()} == set(failures.STATUSES),"
        "len(examples.examples()) > 25,"
        "all((page.HERE / f'page.{kind}').is_file() for kind in ('css', 'js')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=image, capture_output=True, text=True)
    assert done.stdout == "True True True\n", done.stderr


def test_secrets_are_mounted_read_only_and_never_copied_or_committed(
    compose: JSON, image: Path
) -> None:
    mounts = [mount for service in compose.values() for mount in service.get("volumes", [])]
    bound = [mount.split(":") for mount in mounts if mount.startswith("./")]
    assert {mode for *_, mode in bound} == {"ro"}
    ignored = (PROJECT / ".gitignore").read_text(encoding="utf-8").splitlines()
    folders = {source.removeprefix("./") for source, *_ in bound} - {"nginx.conf"}
    assert folders == {"certs", "tls"}
    assert {f"{name}/" for name in folders} <= set(ignored)
    assert not {".env", *folders} & {path.name for path in image.iterdir()}


def mounted(bake: Bake, image: Path, folder: Path, service: JSON) -> Path:
    """Return the image with what a service of compose.yaml mounts from the project."""
    inside = Path(shutil.copytree(image, folder / "srv"))
    for source, target, *_ in (mount.split(":") for mount in service["volumes"]):
        if source.startswith("./"):
            shutil.copytree(bake() / source, inside / Path(target).name)
    return inside


@pytest.mark.parametrize("name", ["demo", "sandbox"])
def test_a_profile_starts_without_env_file_and_is_reached_from_outside(
    name: str, bake: Bake, image: Path, tmp_path: Path
) -> None:
    """127.0.0.2 stands for outside: who listens on 127.0.0.1 alone is not reached there."""
    service = services(bake())[name]
    assert service["profiles"] == [name]
    assert not {"env_file", "environment", "depends_on"} & service.keys()
    ports = (
        {"9000": free_port()} if name == "sandbox" else {"8000": free_port(), "9000": free_port()}
    )
    assert sorted(service["ports"]) == sorted(f"127.0.0.1:{port}:{port}" for port in ports)
    command = [sys.executable, *service["command"][1:]]
    command += ["--port", str(ports["9000" if name == "sandbox" else "8000"])]
    command += ["--sandbox-port", str(ports["9000"])] if name == "demo" else []
    inside = mounted(bake, image, tmp_path, service)
    with httpx.Client(trust_env=False) as http, process(command, inside):
        urls = [f"http://127.0.0.2:{port}/healthz" for port in ports.values()]
        for _ in range(3):  # Sanic answers a moment before it listens to signals
            until(lambda: all(answers(http, url) for url in urls), "health seen from outside")
    assert "healthcheck" in service or name == "demo"
