"""What comes out of a bake, whatever the answers are."""

import json
import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException

from bakes import COMBINATIONS, FRONTENDS, PROJECT, ROOT, Bake, Run, files

RENDERED = (".dockerignore", "README.md", "README.zh-CN.md", ".env.example", "compose.yaml")
COPIED = json.loads((ROOT / "cookiecutter.json").read_text())["_copy_without_render"]
TRACES = r"wechat_v2|SHOP_APIV2|unified_?order|huifu|汇付|斗拱"
CACHES = ("*__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
HOSTILE = [
    "小店 Shop",
    'Joe\'s "Best" Shop',
    "Triple \"\"\" and ''' quotes",
    "'''; import os; os.system('touch pwned'); '''",
    '"""; raise SystemExit(3) #',
    "back\\slash \\N{DASH} \\",
    "🍵",
    "👨‍👩‍👧 家庭店 ☕",
    "<b>&amp;</b> | `tea` $HOME $(id) %s",
    "24小时",
    "x" * 80,
    "茶" * 80,
]


@pytest.fixture(scope="module")
def originals(source: Path) -> dict[str, bytes]:
    """The files of the template's project folder."""
    return files(source / PROJECT.name)


def test_both_frontends_and_all_channels_bring_every_file_of_the_template(
    shops: dict[str, Path], originals: dict[str, bytes]
) -> None:
    assert list(files(shops["both all"])) == list(originals)


@pytest.mark.parametrize("frontends", FRONTENDS)
def test_a_channel_that_nobody_chose_leaves_no_trace(
    shops: dict[str, Path], frontends: str
) -> None:
    for name, content in files(shops[frontends]).items():
        text = name + (content.decode() if not name.endswith((".png", ".ico")) else "")
        assert not re.search(TRACES, text, re.I), (name, re.search(TRACES, text, re.I))


@pytest.mark.parametrize("frontends", COMBINATIONS)
def test_nothing_is_left_unrendered(shops: dict[str, Path], frontends: str) -> None:
    for name, content in files(shops[frontends]).items():
        if name in RENDERED:
            text = content.decode()
            assert not re.search(r"\{\{|\}\}|\{%|%\}|cookiecutter\.", text), name


@pytest.mark.parametrize("frontends", COMBINATIONS)
def test_copied_files_are_the_template_s_byte_for_byte(
    shops: dict[str, Path], originals: dict[str, bytes], frontends: str
) -> None:
    baked = files(shops[frontends])
    own = {*RENDERED, "shop/name.txt"}
    assert [name for name in baked if name not in own and baked[name] != originals[name]] == []


def test_every_file_is_either_copied_or_one_of_the_few_rendered(
    originals: dict[str, bytes],
) -> None:
    rendered = [name for name in originals if not any(fnmatch(name, glob) for glob in COPIED)]
    assert set(rendered) <= set(RENDERED)
    assert [name for name in RENDERED if any(fnmatch(name, glob) for glob in COPIED)] == []


def test_no_pattern_copies_a_whole_folder(originals: dict[str, bytes]) -> None:
    """Cookiecutter empties such a folder in the target first: the owner's files would go."""
    folders = {parent.as_posix() for name in originals for parent in Path(name).parents}
    patterns = [glob for glob in COPIED if glob not in CACHES]
    assert [folder for folder in folders for glob in patterns if fnmatch(folder, glob)] == []


def test_two_bakes_of_the_same_answers_are_identical(shops: dict[str, Path], bake: Bake) -> None:
    assert files(bake(frontends="both")) == files(shops["both"])


@pytest.mark.parametrize("frontends", FRONTENDS)
def test_unchosen_pages_leave_no_file_behind(shops: dict[str, Path], frontends: str) -> None:
    unchosen = {"miniprogram", "h5"} - (
        {"miniprogram", "h5"} if frontends == "both" else {frontends}
    )
    traces = [
        name
        for name in files(shops[frontends])
        if name.startswith(("pages/", "tests/pages/")) and any(word in name for word in unchosen)
    ]
    assert traces == []
    assert (shops[frontends] / "pages").exists() == (frontends != "none")


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:24])
def test_a_hostile_name_stays_data(bake: Bake, name: str) -> None:
    shop = bake(project_name=name)
    tomllib.loads((shop / "pyproject.toml").read_text(encoding="utf-8"))
    assert name in (shop / ".env.example").read_text(encoding="utf-8")
    assert name in (shop / "README.md").read_text(encoding="utf-8")
    assert (shop / "shop" / "name.txt").read_text(encoding="utf-8") == f"{name}\n"
    assert re.fullmatch(r"[a-z0-9-]{1,40}", shop.name)
    assert not (shop / "pwned").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("project_name", " "),
        ("project_name", "two\nlines"),
        ("project_name", "bell\x07"),
        ("project_name", "half a pair \ud83d"),
        ("project_name", "x" * 81),
        ("project_slug", "My Shop"),
        ("project_slug", "my--shop"),
        ("project_slug", "-shop"),
        ("project_slug", "shop_1"),
        ("project_slug", "../shop"),
        ("project_slug", "小店"),
        ("project_slug", "s" * 61),
    ],
)
def test_a_bad_answer_is_refused_in_three_lines_that_name_the_field(
    bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str], field: str, value: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(FailedHookException):
        bake(out=out, **{"project_slug": "shop", field: value})
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith(f"{field}: ")
    assert all(line.startswith("  ") for line in lines[1:3])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("question", "answer"), [("frontends", "vue"), ("channels", "paypal")])
def test_an_unknown_choice_in_a_replay_file_is_refused_by_name(
    bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str], question: str, answer: str
) -> None:
    answers = {"project_name": "Shop", "project_slug": "shop", "frontends": "both"}
    answers |= {"channels": "all", question: answer}
    replay = tmp_path / "answers.json"
    replay.write_text(json.dumps({"cookiecutter": answers}))
    with pytest.raises(FailedHookException):
        bake(replay=replay, out=tmp_path)
    assert capfd.readouterr().err.startswith(f"{question}: '{answer}'")


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "gbk"}]
)
def test_the_hooks_survive_a_console_that_cannot_show_chinese(
    source: Path, cli: Run, tmp_path: Path, environment: dict[str, str]
) -> None:
    """The refusal as well as the next steps; only cookiecutter's own words may differ."""
    words = (str(source), "--no-input", "-o", ".")
    done = cli(*words, "project_name=茶 🍵", cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert "Created: " in done.stdout
    refused = cli(*words, "project_slug=小店", cwd=tmp_path, **environment)
    assert refused.returncode == 1
    assert "The folder name has lower-case letters" in refused.stderr


def test_every_path_that_nobody_chose_is_there_to_be_removed() -> None:
    hook = (ROOT / "hooks" / "post_gen_project.py").read_text(encoding="utf-8")
    table = re.search(r"^UNCHOSEN: .*?^\}", hook, re.M | re.S)
    assert table
    folders = "pages|tests|wechat|checkout|sandbox|docs|huifu"
    paths = re.findall(rf'"((?:{folders})/[^"]*|pages|huifu)"', table.group())
    assert len(paths) > 25
    assert [path for path in paths if not (PROJECT / path).exists()] == []


def test_the_next_steps_name_the_folder_and_a_command_that_exists(
    source: Path, cli: Run, tmp_path: Path
) -> None:
    done = cli(str(source), "--no-input", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f'cd "{tmp_path / "my-shop"}"' in done.stdout
    assert "-m shop demo" in done.stdout
    helped = [sys.executable, "-m", "shop", "demo", "--help"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    assert subprocess.run(helped, cwd=tmp_path / "my-shop", env=environment).returncode == 0
