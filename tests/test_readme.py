"""README says what is so."""

import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.core
def test_the_example_in_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in block.splitlines() if line]) == 5
    # With fewer pixels and steps it takes a third of the time.
    for given, quick in (("side=32", "side=16"), ('num_epochs": 2', 'num_epochs": 1')):
        assert given in block
        block = block.replace(given, quick)
    exec(compile(block, "README.md", "exec"), {})
    with Image.open(tmp_path / "801-968.gif") as film:
        assert film.n_frames > 1
        assert film.size == (16, 16)


def test_every_command_config_and_picture_named_exists():
    named = re.findall(r"launch/\w+\.py|configs/\w+\.py", README)
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert pictures
    for name in {*named, *pictures} - {"launch/NAME.py"}:
        assert (ROOT / name).is_file(), name
    assert {path.stem for path in (ROOT / "launch").glob("*.py")} == set(
        re.findall(r"^\| `launch/(\w+)\.py", README, flags=re.MULTILINE)
    )
