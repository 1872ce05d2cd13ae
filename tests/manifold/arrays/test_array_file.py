import pickle
import zipfile

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.manifold.arrays import array_file

CODES = np.arange(21, dtype=np.float32).reshape(7, 3) / 8 - 1


def written(path, array=CODES):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, z=array)
    elif path.suffix in array_file.PICKLES:
        path.write_bytes(pickle.dumps(array))
    else:
        np.savetxt(path, array, delimiter="," if path.suffix == ".csv" else " ")
    return str(path)


@pytest.mark.parametrize("suffix", array_file.SUFFIXES)
def test_every_kind_of_file_gives_the_same_array(tmp_path, suffix):
    np.testing.assert_array_equal(array_file.read(written(tmp_path / f"z{suffix}")), CODES)


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4\n5,6\n",
        "x,y\n1,2\n3,4\n5,6\n",
        "# by hand\n\n1 2\n3\t4  # note\n5 6",
        "z1 z2\n1 2\n3 4\n5 6\n",
        "1;2\n3;4\n5;6\n",
        "1.0e+00 2\n3 4\n5 6\n",
        "\ufeff1,2\n3,4\n5,6\n",  # as spreadsheets save it
        "\ufeffx,y\n1,2\n3,4\n5,6\n",
    ],
)
def test_tables_are_read_as_people_write_them(tmp_path, text):
    (tmp_path / "z.txt").write_text(text, encoding="utf-8")
    np.testing.assert_array_equal(
        array_file.read(str(tmp_path / "z.txt")), [[1, 2], [3, 4], [5, 6]]
    )


def test_a_column_is_codes_of_one_number(tmp_path):
    (tmp_path / "z.txt").write_text("1\n2\n")
    assert array_file.read(str(tmp_path / "z.txt")).shape == (2, 1)


def test_one_of_several_arrays_is_named_behind_a_colon(tmp_path):
    np.savez(tmp_path / "z.npz", z=CODES, other=CODES[:2])
    path = f"{tmp_path / 'z.npz'}"
    np.testing.assert_array_equal(array_file.read(f"{path}:other"), CODES[:2])
    with pytest.raises(UserError, match=r"holds 2 arrays; name one of z, other: .*z\.npz:z"):
        array_file.read(path)
    with pytest.raises(UserError, match="has no array 'x'; name one of z, other"):
        array_file.read(f"{path}:x")
    with (tmp_path / "z.pkl").open("wb") as file:
        pickle.dump(CODES, file)
        pickle.dump(CODES[:2], file)
    np.testing.assert_array_equal(array_file.read(f"{tmp_path / 'z.pkl'}:1"), CODES[:2])
    with pytest.raises(UserError, match="have no names, but 'x' is asked for"):
        array_file.read(f"{tmp_path / 'z.pkl'}:x")
    with pytest.raises(UserError, match="holds one array, but 'x' is asked for"):
        array_file.read(f"{written(tmp_path / 'z.npy')}:x")


def test_a_npy_is_not_read_into_memory(tmp_path):
    assert isinstance(array_file.read(written(tmp_path / "z.npy")), np.memmap)


def test_an_array_larger_than_memory_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "z.npz"
    np.savez_compressed(path, z=np.zeros((999, 9)), other=CODES)
    monkeypatch.setattr(storage, "total_bytes", lambda: 50_000)
    np.testing.assert_array_equal(array_file.read(f"{path}:other"), CODES)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    with pytest.raises(UserError, match=r"z in .*z\.npz takes 0\.0 GiB unpacked.*with np\.save"):
        array_file.read(f"{path}:z")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_of_objects_are_refused(tmp_path, suffix):
    path = written(tmp_path / f"z{suffix}", np.array([[1, None]], dtype=object))
    with pytest.raises(UserError, match="holds Python objects, which may run code when read"):
        array_file.read(path)


@pytest.mark.parametrize("suffix", array_file.SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04", b"\xff\xfe\x00 nothing"])
def test_what_is_damaged_is_refused_in_one_line(tmp_path, suffix, content):
    path = tmp_path / f"z{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        array_file.read(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_file_that_was_cut_is_refused(tmp_path, suffix):
    path = tmp_path / f"z{suffix}"
    written(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="is damaged"):
        array_file.read(str(path))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1 2\n3\n", "the number of columns changed from 2 to 1 at row 2"),
        ("1 2\n3 x\n", "could not convert string 'x' to float64 at row 1, column 2"),
        ("\n# nothing\n", "holds no numbers"),
        ("x y\n", "holds no numbers"),
        # The first row is not taken for a header because of one mistake.
        ("1,,3\n1,2,3\n", "could not convert string '' to float64"),
        ("1.0 2.O\n1 2\n", "could not convert string '2.O' to float64"),
        (",0,1\n0,5,6\n", "could not convert string '' to float64"),
    ],
)
def test_what_is_no_table_is_refused_with_its_row(tmp_path, text, complaint):
    (tmp_path / "z.txt").write_text(text)
    with pytest.raises(UserError, match=complaint):
        array_file.read(str(tmp_path / "z.txt"))


def headed(header):
    """Return the content of a .npy with a header of one's own."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize(
    "header",
    [
        "{'descr':'<f8','fortran_order':False,'shape':(1" + 13 * "0" + ",),}",
        "{'descr':'<f8','fortran_order':False,'shape':(1" + 30 * "0" + ",),}",
        "{'descr':'<f8','fortran_order':False,'shape':(True,2),}",
        "{'descr':'<f8','fortran_order':False,'shape':(3,",
        "{1:2,'a':3}",
    ],
)
def test_a_header_that_means_nothing_is_refused(tmp_path, suffix, header):
    path = tmp_path / f"z{suffix}"
    if suffix == ".npy":
        path.write_bytes(headed(header))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("z.npy", headed(header))
    with pytest.raises(UserError, match=r"is damaged|holds more than memory does"):
        array_file.read(str(path))


def test_an_archive_of_something_else_is_refused(tmp_path):
    path = tmp_path / "z.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("z.txt", "hello")
    with pytest.raises(UserError, match="what it holds is no array"):
        array_file.read(str(path))


def test_an_encrypted_archive_is_refused(tmp_path):
    path = tmp_path / "z.npz"
    written(path)
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="encrypted"):
        array_file.read(str(path))


def test_missing_and_unknown_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        array_file.read(str(tmp_path / "z.npy"))
    with pytest.raises(UserError, match="is a folder"):
        array_file.read(str(tmp_path))
    (tmp_path / "z.h5").write_bytes(b"")
    with pytest.raises(UserError, match=r"of no known kind; give a file that ends in \.npy, \.npz"):
        array_file.read(str(tmp_path / "z.h5"))


@pytest.mark.parametrize(
    "text", ["3\n17\n256\n", "3,17 256", "3.0e+00\n1.7e+01\n256", "3 # a\n17;256"]
)
def test_whole_numbers_may_stand_in_any_lines(tmp_path, text):
    (tmp_path / "rows.txt").write_text(text)
    found = array_file.numbers(str(tmp_path / "rows.txt"), meaning="rows")
    assert found.tolist() == [3, 17, 256]
    assert found.dtype == np.int64


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pkl"])
@pytest.mark.parametrize("kind", [np.int16, np.uint64, np.float64])
def test_whole_numbers_come_from_arrays_too(tmp_path, suffix, kind):
    path = written(tmp_path / f"rows{suffix}", np.array([3, 17, 256], dtype=kind))
    assert array_file.numbers(path, meaning="rows").tolist() == [3, 17, 256]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("3\nx\n", "line 2: 'x' is no number, but rows are"),
        ("3\n2.5\n", "2.5 in .* is no whole number, but rows are"),
        ("3\nnan\n", "nan in .* is no whole number"),
        ("", "is empty; give rows, one a line"),
        (np.ones((2, 2)), r"type float64 and shape \(2, 2\), not rows"),
        (np.array([True, False]), "holds truth values, not rows"),
        (np.array([1.5]), "1.5 in .* is no whole number"),
    ],
)
def test_what_are_no_whole_numbers_is_refused(tmp_path, content, complaint):
    path = tmp_path / ("rows.txt" if isinstance(content, str) else "rows.npy")
    if isinstance(content, str):
        path.write_text(content)
    else:
        np.save(path, content)
    with pytest.raises(UserError, match=complaint):
        array_file.numbers(str(path), meaning="rows")


def test_a_mark_of_spreadsheets_is_no_part_of_the_first_number(tmp_path):
    (tmp_path / "rows.csv").write_text("\ufeff3\n17\n", encoding="utf-8")
    assert array_file.numbers(str(tmp_path / "rows.csv"), meaning="rows").tolist() == [3, 17]
