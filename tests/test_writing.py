"""Files and folders that are written whole or not at all."""

from pathlib import Path

import numpy as np
import pytest

from jaxsurf import writing
from jaxsurf.errors import UserError


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_an_error_inside_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    writing.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), writing.replacing(path) as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert path.read_text() == "old"
    assert contents(tmp_path) == ["file.txt"]


def test_two_may_write_the_same_file_at_once(tmp_path):
    path = tmp_path / "same.txt"
    with writing.replacing(path) as slow:
        slow.write_text("slow")
        writing.write_text(path, "quick")
    assert path.read_text() == "slow"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_the_users_error(tmp_path):
    with (
        pytest.raises(UserError, match=r"cannot write .*file\.txt: No space left; free some"),
        writing.replacing(tmp_path / "file.txt"),
    ):
        raise OSError(28, "No space left")
    assert contents(tmp_path) == []


def test_nan_is_not_written_as_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        writing.write_json(tmp_path / "file.json", {"value": float("nan")})
    assert contents(tmp_path) == []


def test_json_comes_back(tmp_path):
    value = {"text": "ä", "list": [1, 2.5, None]}
    writing.write_json(tmp_path / "new" / "file.json", value)
    assert writing.read_json(tmp_path / "new" / "file.json") == value


@pytest.mark.parametrize(
    ("text", "complaint"), [("{", "is not valid JSON"), ("3", "no JSON object")]
)
def test_damaged_json_is_refused(tmp_path, text, complaint):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(UserError, match=complaint):
        writing.read_json(tmp_path / "file.json")


def test_arrays_come_back_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "file.npz"
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    writing.write_arrays(path, array=array, text="stamp", number=3)
    read = writing.read_arrays(path)
    np.testing.assert_array_equal(read["array"], array)
    assert (str(read["text"]), int(read["number"])) == ("stamp", 3)
    data = path.read_bytes()
    for damaged in (b"", b"hello", data[:-30], data[:100] + b"x" * 9 + data[109:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"file\.npz is damaged .*remove it"):
            writing.read_arrays(path)


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "pair"
    for names in (("a", "b"), ("b", "c")):
        with writing.replacing_folder(folder) as fresh:
            for name in names:
                (fresh / name).write_text(names[0])
        assert contents(folder) == list(names)
        assert {path.read_text() for path in folder.iterdir()} == {names[0]}
    assert contents(tmp_path) == ["pair", "pair/b", "pair/c"]


def test_where_a_link_leads_to_is_replaced(tmp_path):
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "old").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "large")
    with writing.replacing_folder(tmp_path / "link") as fresh:
        (fresh / "a").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "large") == ["a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large", "link"]


def test_a_folder_is_as_it_was_after_an_error(tmp_path):
    folder = tmp_path / "pair"
    with writing.replacing_folder(folder) as fresh:
        (fresh / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), writing.replacing_folder(folder) as fresh:
        (fresh / "b").write_text(f"half {1 / (fresh / 'b').write_text('')}")
    assert contents(tmp_path) == ["pair", "pair/a"]


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path):
    (tmp_path / "surf").write_text("a file where the folder should be")
    with (
        pytest.raises(UserError, match=r"cannot write .*pair: Not a directory"),
        writing.replacing_folder(tmp_path / "surf" / "pair"),
    ):
        pass


def test_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    folder = tmp_path / "pair"
    folder.mkdir()
    (folder / "path.json").write_text("old")
    rename = Path.rename

    def full(self, target):
        if target == folder and not self.name.endswith(".old"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(UserError, match="No space left"), writing.replacing_folder(folder) as fresh:
        (fresh / "path.json").write_text("new")
    assert (folder / "path.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["pair"]
