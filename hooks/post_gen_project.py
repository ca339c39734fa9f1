"""Remove what nobody chose and the template's caches, then print the next steps.

Cookiecutter runs this inside the new project. Only literal paths and caches are ever removed, and
the bake itself brought them: pre_gen_project.py refuses a folder that has anything in it.
"""

import json
import os
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ANSWERS: dict[str, Any] = json.loads(
    r"""
{{ cookiecutter | tojson }}
"""
)
UNCHOSEN: dict[str, dict[str, list[str]]] = {
    "frontends": {
        "both": [],
        "miniprogram": ["pages/h5"],
        "h5": ["pages/miniprogram", "docs/miniprogram.md", "docs/miniprogram.zh-CN.md"],
        "none": ["pages", "docs/miniprogram.md", "docs/miniprogram.zh-CN.md"],
    },
    "channels": {
        "wechat": [
            "wechat/v2.py",
            "wechat/v2_refunds.py",
            "wechat/v2_sign.py",
            "wechat/v2_xml.py",
            "checkout/channels/wechat_v2.py",
            "sandbox/protocols/v2.md",
            "sandbox/protocols/v2.py",
            "sandbox/protocols/_v2_notify.py",
            "sandbox/protocols/_v2_wire.py",
            "sandbox/protocols/_v2_xml.py",
            "tests/wechat/test_v2.py",
            "tests/wechat/v2_vectors.json",
            "tests/wechat/captured/v2",
            "tests/kit/channels/wechat_v2.py",
            "docs/wechat_v2.md",
            "huifu",
            "checkout/channels/huifu.py",
            "sandbox/protocols/huifu.md",
            "sandbox/protocols/huifu.py",
            "sandbox/protocols/_huifu_keys.py",
            "sandbox/protocols/_huifu_notify.py",
            "sandbox/protocols/_huifu_statements.py",
            "sandbox/protocols/_huifu_wire.py",
            "tests/huifu",
            "tests/kit/channels/huifu.py",
            "docs/huifu.md",
        ],
        "all": [],
    },
}
CACHES = ("__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
THEIRS = (".git", ".venv", "venv", "var", "node_modules")


def remove(path: Path) -> None:
    """Remove a file or a folder that exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def name_the_shop(name: str) -> None:
    """Write what buyers read as the shop's name."""
    Path("shop/name.txt").write_text(f"{name}\n", encoding="utf-8")


def remove_caches(folder: Path) -> None:
    """Remove caches that an in-place run left in the template, not those of the owner's .venv."""
    for here, folders, _ in os.walk(folder):
        for name in folders:
            if any(fnmatch(name, pattern) for pattern in CACHES):
                shutil.rmtree(Path(here, name))
        folders[:] = [name for name in folders if name not in THEIRS and Path(here, name).exists()]


def next_steps(name: str, folder: Path) -> str:
    """Tell what to type now, on this system."""
    python, venv = "python3", ".venv/bin/python"
    if os.name == "nt":
        python, venv = "py", r".venv\Scripts\python"
    return f"""
已生成 · Created: {name}

  cd "{folder}"
  {python} -m venv .venv
  {venv} -m pip install -e ".[dev]"
  {venv} -m shop demo

商品在 shop/catalogue.py，付款之后做什么在 shop/on_paid.py，其余见 README.zh-CN.md
What you sell: shop/catalogue.py. What happens then: shop/on_paid.py. The rest: README.md
"""


def main() -> None:
    """Leave what was chosen."""
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    for question, choices in UNCHOSEN.items():
        for name in choices[ANSWERS[question]]:
            remove(Path(name))
    name_the_shop(ANSWERS["project_name"])
    remove_caches(Path())
    sys.stdout.write(next_steps(ANSWERS["project_name"], Path.cwd()))


if __name__ == "__main__":
    main()
