"""README says what is so."""

import re
from pathlib import Path

import pytest
from PIL import Image

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.core
def test_the_example_in_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in block.splitlines() if line]) == 5
    exec(compile(block, "README.md", "exec"), {})
    with Image.open(tmp_path / "801-968.gif") as film:
        assert film.n_frames > 1
        assert film.size == (32, 32)


def test_every_command_and_config_named_exists():
    root = Path(__file__).parents[1]
    named = re.findall(r"launch/\w+\.py|configs/\w+\.py", README)
    for name in {*named} - {"launch/NAME.py"}:
        assert (root / name).is_file(), name
    assert {path.stem for path in (root / "launch").glob("*.py")} == set(
        re.findall(r"^\| `launch/(\w+)\.py", README, flags=re.MULTILINE)
    )


def test_every_picture_shown_exists():
    root = Path(__file__).parents[1]
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert pictures
    for name in pictures:
        assert (root / name).is_file(), name
