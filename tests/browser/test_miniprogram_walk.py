"""The mini program as docs/miniprogram.md shows it: played by the sandbox, and never in a release."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from kit.databases import absent

from bakes import PROJECT
from running import JSON, SECONDS, Demo

SCRIPT = Path(__file__).parent / "miniprogram.cjs"
PAGES = PROJECT / "pages" / "miniprogram"


def walk(demo: Demo, outcome: str, version: str = "develop") -> "subprocess.CompletedProcess[str]":
    """Log in, order, and do at the cashier what `outcome` says."""
    node = shutil.which("node") or absent("Node is not installed: nobody walks the mini program")
    command = [node, str(SCRIPT), str(PAGES), demo.shop, demo.sandbox, outcome, version]
    return subprocess.run(command, capture_output=True, text=True, timeout=3 * SECONDS, check=False)


def seen(demo: Demo, outcome: str) -> JSON:
    """Return what the order page shows in the end."""
    done = walk(demo, outcome)
    assert done.returncode == 0, done.stderr
    page: JSON = json.loads(done.stdout)
    return page


@pytest.mark.parametrize(
    ("outcome", "face", "step"),
    [
        ("pay", "PAID", "confirming"),
        ("cancel", "OPEN", "cancelled"),
        ("away", "OPEN", "cancelled"),
        ("fail", "OPEN", "failed"),
    ],
)
def test_the_sandbox_plays_login_and_cashier(
    demo: Demo, outcome: str, face: str, step: str
) -> None:
    page = seen(demo, outcome)
    assert (page["face"], page["step"], page["name"]) == (face, step, "My Shop")


def test_with_a_coupon_the_buyer_reads_what_was_paid(demo: Demo) -> None:
    page = seen(demo, "coupon")
    assert (page["face"], page["coupon"]) == ("PAID", "¥0.01")
    assert page["paid"]


@pytest.mark.parametrize("version", ["trial", "release"])
def test_a_version_that_buyers_get_refuses_the_sandbox(demo: Demo, version: str) -> None:
    done = walk(demo, "pay", version)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "config.js: SANDBOX must be '' in a release"


def test_without_a_sandbox_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    node = shutil.which("node") or absent("Node is not installed")
    config = tmp_path / "config.js"
    config.write_text("module.exports = { API: 'https://shop.example.com', SANDBOX: '' };\n")
    (tmp_path / "app.js").write_text((PAGES / "app.js").read_text("utf-8"))
    code = "globalThis.App = () => console.log('opened'); require('./app.js')"
    done = subprocess.run(
        [node, "-e", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert done.stdout == "opened\n"
