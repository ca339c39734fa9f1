"""The sandbox's READMEs are true: every curl line, every fault, the tests in them, the copy."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

import httpx
import pytest

import sandbox
from tests.sandbox.merchant import ORDERS

FOLDER = Path(sandbox.__file__).parent
READMES = ("README.md", "README.zh-CN.md")
PROTOCOLS = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("protocols/*.md"))
#: the address in the READMEs
ADDRESS = "http://127.0.0.1:9000"
CURLRC = 'fail\nsilent\nshow-error\nwrite-out = "\\n"\n'  # a status of 400 or more fails the line


def read(name):
    return (FOLDER / name).read_text(encoding="utf-8")


def blocks(name, language):
    """List the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", read(name), re.DOTALL | re.MULTILINE)


def cells(name):
    """List the curl lines in the first cells of tables."""
    return re.findall(r"^\| `(curl .*?)` \|", read(name), re.MULTILINE)


def menus(name):
    """List what the curl lines send to the fault menu."""
    bodies = [re.fullmatch(r"curl -d '(.*)' \$S/_sandbox/faults", line) for line in cells(name)]
    return [json.loads(match[1]) for match in bodies if match]


async def run(command, cwd, **environment):
    """Run a command that must succeed, and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()[-1000:]
    return output.decode()


@pytest.fixture
async def variables(merchant, shop, until, tmp_path):
    """What a reader has at hand: something to invoke, a code, a link, numbers; and a quiet curl."""
    _, prepay_id = await merchant.prepay()
    paid, paid_prepay_id = await merchant.prepay()
    await merchant.pay(paid_prepay_id)
    refund = {
        "out_trade_no": paid["out_trade_no"],
        "out_refund_no": f"R{paid['out_trade_no']}",
        "notify_url": shop.url,
        "amount": {"refund": 100, "total": 990, "currency": "CNY"},
    }
    await merchant.post("/v3/refund/domestic/refunds", refund)
    await merchant.control("clock", advance_seconds=10)
    await until(lambda: len(shop.received) == 2)
    scene = {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}}
    link = await merchant.post(f"{ORDERS}/h5", merchant.order(payer=None, scene_info=scene))
    code = await merchant.post(f"{ORDERS}/native", merchant.order(payer=None))
    (tmp_path / ".curlrc").write_text(CURLRC)
    return {
        "CURL_HOME": str(tmp_path),
        "INVOKE": json.dumps(merchant.invoke(prepay_id)),
        "CODE_URL": code["code_url"],
        "H5_URL": link["h5_url"],
        "NUMBER": paid["out_trade_no"],
        "REFUND_NUMBER": refund["out_refund_no"],
    }


@pytest.mark.parametrize("name", [*READMES, *PROTOCOLS])
async def test_every_curl_line_works(merchant, variables, tmp_path, name):
    lines = [*blocks("README.md", "bash"), *blocks(name, "bash"), *cells(name)]
    script = "set -e\n" + "\n".join(f"echo '>>>'\n{line}\necho" for line in lines)
    script = script.replace(ADDRESS, str(merchant.http.base_url).rstrip("/"))
    output = await run(["bash", "-c", script], tmp_path, **variables)
    assert output.count(">>>") == len(lines)
    answers = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    failed = [answer for answer in answers if answer.get("errcode") or answer.get("err_desc")]
    assert failed == []


async def test_every_fault_has_a_row_and_every_row_is_a_fault(merchant):
    choices = await merchant.control("choices")
    assert choices.keys() == (await merchant.control("faults")).keys()
    rows = [menu for name in ("README.md", *PROTOCOLS) for menu in menus(name)]
    answers = [menu["answers"] for menu in rows if "answers" in menu]
    calls = {call for answer in answers for call in answer}
    faults = {fault for answer in answers for fault in answer.values()}
    assert calls == choices["answers"].keys()
    assert faults == {fault for offered in choices["answers"].values() for fault in offered}
    for key in choices.keys() - {"answers"}:
        shown = {value(menu[key]) for menu in rows if key in menu}
        assert shown == {value(choice) for choice in choices[key]}, key


def value(choice):
    """Count every number as one, whatever the choices call it."""
    is_number = isinstance(choice, int) and not isinstance(choice, bool)
    return "a number" if is_number or choice in ("seconds", "fen", "number") else choice


async def test_every_control_has_a_row(merchant):
    from sandbox import controls

    text = "\n".join(cells("README.md"))
    missing = [
        name
        for name in {*controls.READS, *controls.ACTS, "pay"}
        if f"$S/_sandbox/{name}" not in text
    ]
    assert missing == []


async def test_every_credential_is_explained(merchant):
    text = "".join(read(name) for name in ("README.md", *PROTOCOLS))
    assert [key for key in merchant.credentials if f"`{key}`" not in text] == []


def test_both_readmes_have_the_same_code():
    for language in ("sh", "bash", "python"):
        assert blocks("README.md", language) == blocks("README.zh-CN.md", language)


def test_every_link_within_the_folder_leads_somewhere():
    for name in READMES:
        for target in re.findall(r"\]\((README[^)]*)\)", read(name)):
            file, _, anchor = target.partition("#")
            headings = re.findall(r"^#+ (.*)$", read(file), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings]
            assert not anchor or anchor in anchors, target


@pytest.fixture
def copied(tmp_path):
    """The folder alone, in an empty folder."""
    copytree(FOLDER, tmp_path / "sandbox", ignore=ignore_patterns("__pycache__"))
    return tmp_path


async def test_the_tests_in_the_readme_run_where_only_the_folder_is(copied):
    asynchronous, synchronous, _ = blocks("README.md", "python")
    (copied / "first.py").write_text(
        f"{asynchronous}\nimport asyncio\n\nasyncio.run(test_my_shop_logs_in())\n"
    )
    (copied / "second.py").write_text(
        f"{synchronous}\nimport urllib.request\n\nwith sandbox_process() as url:\n"
        '    print(urllib.request.urlopen(url + "/healthz").read())\n'
    )
    await run([sys.executable, "-W", "error", "first.py"], copied)
    assert "b'ok'" in await run([sys.executable, "second.py"], copied)
    assert (copied / "var" / "sandbox" / "keys.json").is_file()


async def test_a_renamed_copy_starts(copied):
    (copied / "sandbox").rename(copied / "weixin_somewhere")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "weixin_somewhere", "--port", "0"),
        cwd=copied,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        url = (await process.stdout.readline()).decode().split()[1]
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            assert (await http.get("/healthz")).text == "ok"
            assert (await http.get("/")).status_code == 200
    finally:
        process.terminate()
        await process.wait()
