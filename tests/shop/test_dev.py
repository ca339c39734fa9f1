"""`python -m shop dev`: a clone, one command, and an edit is seen; nothing is left running."""

import os
import socket
from pathlib import Path

import pytest

from running import free_port
from shell import PATIENCE as SECONDS
from shell import copied, developing, shop


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A shop without a .env."""
    return copied(tmp_path / "shop")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_an_edit_is_seen_and_a_broken_one_is_shown_and_mended(folder: Path) -> None:
    catalogue = folder / "shop" / "catalogue.py"
    good = catalogue.read_text("utf-8")
    new = good + "\nPRODUCTS = (*PRODUCTS, Product('teapot', 'A teapot', 4200))\n"
    with developing(folder) as dev:
        dev.until(lambda: "longjing" in dev.skus())
        catalogue.write_text(new, "utf-8")
        dev.until(lambda: "teapot" in dev.skus())
        assert "shop/catalogue.py changed" in dev.printed
        catalogue.write_text(new + "\nPRODUCTS = (\n", "utf-8")
        dev.until(lambda: "waiting for the next edit" in dev.printed)
        assert "SyntaxError" in dev.printed
        assert "catalogue.py" in dev.printed
        catalogue.write_text(good, "utf-8")
        dev.until(lambda: "teapot" not in dev.skus())
        assert dev.stop() == 0
    assert is_free(dev.ports[0])
    assert is_free(dev.ports[1])
    assert "Traceback" not in dev.printed.rpartition("SyntaxError")[2]


def test_the_env_file_is_ready_and_private_and_the_doctor_finds_nothing_wrong(
    folder: Path,
) -> None:
    with developing(folder) as dev:
        dev.until(lambda: dev.http.get("/readyz").is_success)
        file = folder / ".env"
        assert file.stat().st_mode & 0o777 == 0o600
        token = next(line for line in file.read_text().splitlines() if "ADMIN_TOKEN" in line)
        headers = {"Authorization": f"Bearer {token.partition('=')[2]}"}
        assert dev.http.get("/api/admin/orders", headers=headers).is_success
        done = shop(folder, "doctor", "--prove", seconds=SECONDS)
        assert done.returncode == 0, done.stdout
        before = file.read_bytes()
    with developing(folder, dev.ports) as again:
        again.until(lambda: again.http.get("/readyz").is_success)
    assert file.read_bytes() == before
    assert ".env +" not in again.printed


def test_lines_that_are_there_stay_and_only_what_lacks_is_added(folder: Path) -> None:
    (folder / ".env").write_text("# mine\nSHOP_TRADE_PREFIX=T\nSHOP_ADMIN_TOKEN=" + "t" * 40)
    with developing(folder) as dev:
        dev.until(lambda: dev.http.get("/readyz").is_success)
    text = (folder / ".env").read_text("utf-8")
    assert text.startswith("# mine\nSHOP_TRADE_PREFIX=T\nSHOP_ADMIN_TOKEN=" + "t" * 40 + "\n")
    assert text.count("SHOP_ADMIN_TOKEN=") == 1
    assert "\nSHOP_MCHID=9" in text


def test_an_env_file_of_the_real_wechat_is_left_alone(folder: Path) -> None:
    (folder / ".env").write_text("SHOP_MCHID=1612345678\n")
    with developing(folder) as dev:
        assert dev.process.wait(SECONDS) == 1
    assert "move .env away" in dev.printed
    assert (folder / ".env").read_text() == "SHOP_MCHID=1612345678\n"
    assert is_free(dev.ports[1])


@pytest.mark.parametrize(("taken", "flag"), [(0, "--port"), (1, "--sandbox-port")])
def test_a_port_that_is_taken_is_named(folder: Path, taken: int, flag: str) -> None:
    ports = free_port(), free_port()
    with socket.create_server(("127.0.0.1", ports[taken])), developing(folder, ports) as dev:
        assert dev.process.wait(SECONDS) == 1
    assert dev.printed.startswith(f"port {ports[taken]} is taken: choose another with {flag}")
    assert f"python -m shop dev {flag} {ports[taken] + 1}" in dev.printed


@pytest.mark.skipif(os.name != "posix", reason="signals are those of posix")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_stops_both_and_exits_0(folder: Path, name: str) -> None:
    with developing(folder) as dev:
        dev.until(lambda: dev.http.get("/readyz").is_success)
        assert dev.stop(name) == 0
    assert is_free(dev.ports[0])
    assert is_free(dev.ports[1])
    assert "Traceback" not in dev.printed
