"""Where a template may come from and how its questions may be answered."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from shutil import copytree, make_archive

import pytest

from bakes import Bake, Run, files

GIT = (
    "git",
    "-c",
    "user.name=Test",
    "-c",
    "user.email=test@example.com",
    "-c",
    "core.autocrlf=false",
)


@pytest.fixture(scope="module")
def repository(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the template, and beside it a zip and a git repository."""
    folder = tmp_path_factory.mktemp("repository") / "checkout-template"
    copytree(source, folder)
    make_archive(str(folder), "zip", folder.parent, folder.name)
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "All")):
        subprocess.run([*GIT, *words], cwd=folder, check=True)
    subprocess.run([*GIT, "clone", "-q", "--bare", folder, f"{folder}.git"], check=True)
    return folder


def test_a_git_url_bakes_the_same_shop_as_the_folder(
    repository: Path, bake: Bake, shops: dict[str, Path]
) -> None:
    assert files(bake(f"file://{repository}.git")) == files(shops["both"])


def test_a_zip_bakes_the_same_shop_as_the_folder(
    repository: Path, bake: Bake, shops: dict[str, Path]
) -> None:
    assert files(bake(f"{repository}.zip")) == files(shops["both"])


@pytest.mark.parametrize("template", [".", "../checkout-template", "./../checkout-template/"])
def test_a_relative_folder_bakes_the_same_shop(
    repository: Path, cli: Run, tmp_path: Path, shops: dict[str, Path], template: str
) -> None:
    """PWD still names another folder: a program that starts cookiecutter seldom keeps it true."""
    done = cli(template, "--no-input", "-o", str(tmp_path), cwd=repository)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "my-shop") == files(shops["both"])


def test_replay_gives_the_same_shop_again(source: Path, cli: Run, tmp_path: Path) -> None:
    first = cli(
        str(source), "--no-input", "-o", "a", "project_name=茶 Tea", "frontends=h5", cwd=tmp_path
    )
    assert first.returncode == 0, first.stderr
    again = cli(str(source), "--replay", "-o", "b", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_replay_file_with_the_answers_is_enough(bake: Bake, tmp_path: Path) -> None:
    answers = {
        "project_name": "Tea",
        "project_slug": "tea",
        "frontends": "none",
        "channels": "wechat",
    }
    (tmp_path / "answers.json").write_text(json.dumps({"cookiecutter": answers}))
    shop = bake(replay=tmp_path / "answers.json", out=tmp_path)
    assert shop.name == "tea"
    assert not (shop / "pages").exists()


def test_a_person_is_asked_four_bilingual_questions(
    source: Path, home: Path, tmp_path: Path
) -> None:
    """Through a terminal: the name is typed, the folder name accepted, two choices taken."""
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cookiecutter", str(source), "-o", str(tmp_path)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "COOKIECUTTER_CONFIG": f"{home}/config.yaml", "COLUMNS": "120"},
    )
    os.close(terminal)
    os.write(screen, "小店\n\n1\n3\n".encode())
    shown = read_all(screen)
    assert process.wait(30) == 0, shown
    for words in (
        "[1/4]",
        "Name of the shop",
        "[2/4]",
        "Folder name",
        "[3/4]",
        "只要 H5 · H5 only",
        "[4/4]",
    ):
        assert words in shown
    assert "xiao-dian" in shown
    assert not (tmp_path / "xiao-dian" / "pages" / "miniprogram").exists()
    assert not (tmp_path / "xiao-dian" / "shop" / "channels" / "wechat_v2.py").exists()


def read_all(screen: int) -> str:
    """Read a terminal until the program behind it has gone."""
    shown = b""
    while True:
        try:
            piece = os.read(screen, 4096)
        except OSError:  # Linux says so when the other end is closed
            piece = b""
        if not piece:
            os.close(screen)
            return shown.decode()
        shown += piece
