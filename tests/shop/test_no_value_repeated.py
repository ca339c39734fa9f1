"""No setting's value is ever repeated in a message, whatever is wrong with it."""

import asyncio
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from checkout import channels
from checkout.clock import Clock
from checkout.config import ConfigError, Env
from shop.app import build

from shop import doctor, settings

MARK = "TELLTALE"
KEYS = f'"serial":"{MARK}","apiv3_key":"{MARK}","key":"-----BEGIN PRIVATE KEY-----\\n{MARK}"'
#: what people write where something else belongs: each carries the mark
SHAPES = {
    "a word": MARK,
    "a short text": f"{MARK} {MARK}",
    "thirty-two characters": MARK * 4,
    "a very long text": MARK * 1000,
    "a path": f"/nowhere/{MARK}.pem",
    "a folder of the user": f"~{MARK}/key.pem",
    "PEM": f"-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----\n",
    "PEM on one line": f"-----BEGIN CERTIFICATE-----\\n{MARK}\\n-----END CERTIFICATE-----",
    "an address with a password": f"postgres://shop:{MARK}@db:{MARK}/shop",
    "an address with a strange port": f"postgres://shop:{MARK}@db:99999/shop",
    "an address with a bracket": f"mysql://shop:{MARK}@[db/shop",
    "an address with a query": f"https://{MARK}.example.com/?secret={MARK}",
    "an address of nobody": f"{MARK}://{MARK}",
    "SQLite with a query": f"sqlite://{MARK}.db?{MARK}={MARK}",
    "an object without brackets": f'{{"mchid":"9{MARK}",{KEYS}}}',
    "two objects without brackets": f'{{"mchid":"9{MARK}"}},{{{KEYS}}}',
    "the inside of an object": f'"mchid":"9{MARK}",{KEYS}',
    "a list of an object": f'[{{"mchid":"9{MARK}",{KEYS}}}]',
    "a list of a wrong number": f'[{{"mchid":{MARK}}}]',
    "a list of texts": f'["{MARK}", {{"{MARK}": ["{MARK}"]}}]',
    "names": f"{MARK},{MARK.lower()} wechat",
    "a number and more": f"1{MARK}",
    "a key id": f"PUB_KEY_ID_{MARK}",
    "an appid": f"wx9{MARK}",
    "a byte of zero": f"{MARK}\0{MARK}",
    "not ASCII": f"{MARK}店",
}


#: right, as far as no keys are needed
BASE = {"SHOP_SECRET_KEY": "k" * 40, "SHOP_PUBLIC_URL": "https://shop.example.com"}


def problems(env: Env) -> str:
    """Read every setting as the shop does; return what is wrong, or how reading them broke."""
    no_http: Any = None
    try:
        channels.load(env, settings.load(env).checkout, no_http, Clock())
    except Exception as error:
        return "".join(traceback.format_exception(error))
    return "\n".join(env.problems)


def names() -> list[str]:
    """Return every setting that is read, by watching them be read."""
    env = Env({"SHOP_CHANNELS": "wechat,wechat_v2,huifu", "SHOP_SUB_MCHID": "1900000109"})
    problems(env)
    return sorted(name for name in env.read if name.startswith("SHOP_"))


def test_there_are_settings_to_try() -> None:
    assert {"SHOP_MERCHANT_KEY", "SHOP_OTHER_MERCHANTS", "SHOP_DATABASE_URL"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_no_value_of_a_setting_is_repeated(name: str) -> None:
    for shape, value in SHAPES.items():
        sentences = problems(Env(BASE | {name: value}))
        assert MARK.lower() not in sentences.lower(), (shape, sentences)


@pytest.mark.parametrize("shape", SHAPES)
def test_neither_the_start_nor_the_doctor_repeats_a_value(shape: str) -> None:
    env = dict.fromkeys(names(), SHAPES[shape])
    del env["SHOP_CHANNELS"]  # with a channel that is not there none is read
    with pytest.raises(ConfigError) as refused:
        build(Env(env))
    sentences = str(refused.value) + doctor.report(asyncio.run(doctor.findings(Env(env))))
    assert MARK.lower() not in sentences.lower()
    assert "SHOP_MCHID" in sentences


@pytest.mark.parametrize("command", ["serve", "doctor", "sweep"])
@pytest.mark.parametrize("shape", ["an address with a password", "an address with a bracket"])
def test_no_command_repeats_the_databases_address(command: str, shape: str, tmp_path: Path) -> None:
    env = os.environ | BASE | {"SHOP_DATABASE_URL": SHAPES[shape]}
    done = subprocess.run(
        [sys.executable, "-m", "shop", command],
        cwd=settings.ROOT, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert MARK not in done.stdout + done.stderr
    assert "SHOP_DATABASE_URL" in done.stdout + done.stderr
