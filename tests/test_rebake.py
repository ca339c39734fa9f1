"""A dirty template folder never reaches a shop, and a bake never destroys one."""

from pathlib import Path

import pytest
from conftest import COMBINATIONS, Bake, Run, files
from cookiecutter.exceptions import FailedHookException

PROJECT_NAME = "{{cookiecutter.project_slug}}"
STRAY = [
    ".env",
    ".env.local",
    "shop/.env",
    ".venv/bin/python",
    "var/shop.db",
    "shop.db",
    "shop.db-wal",
    "shop/web/test.db",
    "shop/apiclient_key.pem",
]


def write(path: Path, text: str) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", STRAY)
def test_a_template_folder_with_private_files_is_refused_by_name(
    template: Path, bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    write(template / PROJECT_NAME / name, "SHOP_APIV3_KEY=secret")
    with pytest.raises(FailedHookException):
        bake(template, out=tmp_path / "out")
    first = capfd.readouterr().err.splitlines()[0]
    named = {parent.as_posix() for parent in [Path(name), *Path(name).parents]}
    assert first.startswith("template: ")
    assert first.removeprefix("template: ") in named
    assert files(tmp_path / "out") == {}


@pytest.mark.parametrize("words", [["."], ["template"], ["./template/"], ["../{}/template"]])
def test_a_dirty_folder_is_found_from_wherever_cookiecutter_is_started(
    source: Path, template: Path, cli: Run, tmp_path: Path, words: list[str]
) -> None:
    write(template / PROJECT_NAME / ".env", "SHOP_APIV3_KEY=secret")
    cwd = template if words == ["."] else tmp_path
    for environment in ({}, {"PWD": str(cwd)}, {"PWD": str(source)}):
        name = words[0].format(tmp_path.name)
        done = cli(name, "--no-input", "-o", str(tmp_path / "o"), cwd=cwd, **environment)
        assert done.returncode == 1
        assert done.stderr.startswith("template: .env\n")


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_a_bake_over_an_untouched_shop_keeps_its_data(
    bake: Bake, tmp_path: Path, combination: str
) -> None:
    frontends, _, channels = combination.partition(" ")
    answers = {"frontends": frontends, "channels": channels or "wechat"}
    shop = bake(out=tmp_path, project_name="茶 🍵 'n' \\", **answers)
    before = files(shop)
    mine = {
        ".env": b"SHOP_APIV3_KEY=mine",
        "var/shop.db": b"money",
        "var/__pycache__/x.pyc": b"1",
        ".venv/lib/__pycache__/y.pyc": b"2",
        "shop/mine.py": b"MINE = 1\n",
    }
    for name, content in mine.items():
        write(shop / name, content.decode())
    (shop / "shop" / "__init__.py").unlink()
    bake(
        out=tmp_path,
        again=True,
        project_name="茶 🍵 'n' \\",
        project_slug=shop.name,
        **answers,
    )
    assert files(shop) == {**before, **mine}


@pytest.mark.parametrize(
    "name",
    [
        "shop/catalogue.py",
        "shop/on_paid.py",
        "pages/h5/app.js",
        "pages/miniprogram/app.json",
        "shop/checkout.py",
        "pyproject.toml",
        ".env.example",
        "README.md",
        "README.zh-CN.md",
    ],
)
def test_a_file_that_its_owner_changed_is_never_overwritten(
    bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    shop = bake(out=tmp_path)
    edited = shop / name
    edited.write_text(edited.read_text(encoding="utf-8") + "\n# mine\n", encoding="utf-8")
    write(shop / ".env", "SHOP_APIV3_KEY=mine")
    before = files(shop)
    with pytest.raises(FailedHookException):
        bake(out=tmp_path, again=True)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == f"-f: {name}"
    assert files(shop) == before


def test_answers_that_would_remove_pages_of_a_shop_are_refused(
    bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shop = bake(out=tmp_path)
    before = files(shop)
    with pytest.raises(FailedHookException):
        bake(out=tmp_path, again=True, frontends="h5")
    assert capfd.readouterr().err.startswith("frontends: pages/miniprogram")
    assert files(shop) == before


def test_an_answer_that_would_remove_a_channel_is_refused(
    bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shop = bake(out=tmp_path, channels="all")
    before = files(shop)
    with pytest.raises(FailedHookException):
        bake(out=tmp_path, again=True)
    assert capfd.readouterr().err.startswith("channels: wechat/v2.py")
    assert files(shop) == before


def test_more_pages_may_be_added_to_a_shop(
    bake: Bake, tmp_path: Path, shops: dict[str, Path]
) -> None:
    shop = bake(out=tmp_path, frontends="h5")
    bake(out=tmp_path, again=True, frontends="both")
    assert files(shop) == files(shops["both"])


def test_caches_of_an_in_place_run_do_not_reach_a_shop(
    template: Path, bake: Bake, shops: dict[str, Path]
) -> None:
    project = template / PROJECT_NAME
    write(project / "shop" / "__pycache__" / "app.cpython-311.pyc", "{{ nothing }}")
    write(project / ".mypy_cache" / "3.11" / "cache.db", "{% broken")
    write(project / ".pytest_cache" / "README.md", "{{ nothing }}")
    write(project / "shop.egg-info" / "PKG-INFO", "{{ nothing }}")
    assert files(bake(template)) == files(shops["both"])
