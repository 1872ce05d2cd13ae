"""Tables as other programs write them: each gives the numbers that it was written from."""

import re

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.images import tables
from jaxsurf.images.tables import read_table

CODES = np.random.default_rng(0).normal(size=(211, 3)).round(6)
CODES[5:8] = [[-0.05, 1.5, 0], [0.03, -0.25, 2], [1e-05, 3, -4e20]]
NUMBERED = np.arange(211)
LABELS = [f"sample {at // 9}#ACGT{at}-1" for at in NUMBERED]
COUNTED, QUOTED = [f'"{at + 1}"' for at in NUMBERED], [f'"{label}"' for label in LABELS]


def lines(sign, values=CODES, first=None, form="{!r}", last=""):
    """Return a table's rows: what `first` holds, then numbers, with a sign between."""
    rows = [[form.format(number) for number in row] for row in values.tolist()]
    rows = rows if first is None else [[f"{a}", *b] for a, b in zip(first, rows, strict=True)]
    return "".join(sign.join(row) + last + "\n" for row in rows)


def german(sign, first=None):
    return lines(sign, first=first).replace(".", ",")


WHOLE = np.arange(422).reshape(211, 2) * 7 % 100
# What a file holds, the codes that it stands for, the names of columns, the labels of rows.
WRITTEN = {
    "numpy": (lines(" "), CODES, "", None),
    "numpy, with a header": (f"# x y z\n{lines(' ', form='{:.18e}')}", CODES, "", None),
    "numpy, with commas": (lines(","), CODES, "", None),
    "pandas": (",x,y,z\n" + lines(",", first=NUMBERED), CODES, "xyz", NUMBERED),
    "pandas, without names": (",0,1,2\n" + lines(",", first=NUMBERED), CODES, "012", NUMBERED),
    "pandas, without index": ("x,y,z\n" + lines(","), CODES, "xyz", None),
    "pandas, without both": ("0,1,2\n" + lines(","), CODES, "012", None),
    "pandas, filtered": (",x,y,z\n" + lines(",", first=NUMBERED[::-1] * 3), CODES, "xyz", ...),
    "pandas, twice": ("Unnamed: 0,x,y,z\n" + lines(",", first=LABELS), CODES, "xyz", ...),
    "pandas, with a named index": ("id,x,y,z\n" + lines(",", first=NUMBERED), CODES, "xyz", ...),
    "pandas, labels beside 0,1,2": ("id,0,1,2\n" + lines(",", first=LABELS), CODES, "012", LABELS),
    "pandas, whole numbers": (",0,1\n" + lines(",", WHOLE, NUMBERED), WHOLE, "01", NUMBERED),
    "pandas, a series": (",0\n" + lines(",", WHOLE[:, :1], NUMBERED), WHOLE[:, :1], "0", NUMBERED),
    "whole numbers in one column": (lines(",", WHOLE[:, :1]), WHOLE[:, :1], "", None),
    "whole numbers in two columns": (lines(",", WHOLE), WHOLE, "", None),
    "barcodes": (",x,y,z\n" + lines(",", first=LABELS), CODES, "xyz", LABELS),
    "barcodes alone": (lines("\t", first=LABELS), CODES, "", LABELS),
    "tabs": ("UMAP 1\tUMAP 2\tUMAP 3\n" + lines("\t"), CODES, ("UMAP 1", "UMAP 2", "UMAP 3"), None),
    "R, csv": ('"","x","y","z"\n' + lines(",", first=COUNTED), CODES, "xyz", NUMBERED + 1),
    "R, table": ('"x" "y" "z"\n' + lines(" ", first=QUOTED), CODES, "xyz", LABELS),
    "R, without quotes": ("x\ty\tz\n" + lines("\t", first=NUMBERED + 1), CODES, "xyz", ...),
    "quoted numbers": ('"x","y","z"\n' + lines(",", form='"{!r}"'), CODES, "xyz", None),
    "commas at the ends": (lines(",", last=","), CODES, "", None),
    "commas at most ends": ("x,y,z\n" + lines(",", last=",,"), CODES, "xyz", None),
    "spreadsheet": ("\ufeffx;y;z\r\n" + german(";").replace("\n", "\r\n"), CODES, "xyz", None),
    "decimal commas, spaces": (german(" "), CODES, "", None),
    "decimal commas, tabs": ("x\ty\tz\n" + german("\t"), CODES, "xyz", None),
    "decimal commas, quoted": (lines(",", form='"{!r}"').replace(".", ","), CODES, "", None),
    "decimal commas, one column": (german(";").replace(";", "\n"), CODES.reshape(-1, 1), "", None),
    "decimal commas, labels": ("id;x;y;z\n" + german(";", LABELS), CODES, "xyz", LABELS),
    "umlauts": ("Ä;Ö;ß\n" + german(";"), CODES, "ÄÖß", None),
    "aligned": (lines("   ").replace("\n", "  \n  \n"), CODES, "", None),
    "old Macintosh": (lines(",").replace("\n", "\r"), CODES, "", None),
    "commas and spaces": (lines(" , "), CODES, "", None),
    "tabs and spaces": (re.sub(r"(?m)^(\S+)\t", r"\1 ", lines("\t")), CODES, "", None),
    "a long preamble": ("# note\n" * 200 + "x,y,z\n" + lines(","), CODES, "xyz", None),
    "comments": (lines(",").replace("\n", " # note\n# note, 1\n", 150), CODES, "", None),
}


@pytest.mark.parametrize(
    ("name", "encoding"),
    [*((name, "utf-8") for name in WRITTEN), ("pandas", "utf-16"), ("umlauts", "cp1252")],
)
def test_a_table_gives_what_it_was_written_from(tmp_path, name, encoding):
    text, codes, names, labels = WRITTEN[name]
    (tmp_path / "z.csv").write_text(text, encoding=encoding, newline="")
    table = read_table(tmp_path / "z.csv")
    np.testing.assert_array_equal(np.stack(table.columns, axis=1), codes)
    assert table.names == tuple(names)
    assert (table.index is None) == (labels is None)
    if labels is not None and labels is not ...:
        assert table.index == [str(label) for label in labels]
    assert table.first_word == ""


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (",x\n0,2\n1,4\n", "2 rows x 1 column, header taken: x; first column is an index"),
        ("0\n3\n17\n50\n", "4 rows x 1 column, no header"),
        ("0,5\n-0,05\n", "2 rows x 1 column, no header; decimal commas"),
        ("a b c d e f g\n1 2 3 4 5 6 7", "1 row x 7 columns, header taken: a, b, c, d, e, f, ..."),
    ],
)
def test_a_note_says_how_a_table_was_read(tmp_path, text, note):
    (tmp_path / "z.csv").write_text(text)
    assert read_table(tmp_path / "z.csv").note == f"z.csv: {note}"


@pytest.mark.parametrize(
    ("text", "header", "rows"),
    [
        ("0\n3\n17\n", "auto", [0, 3, 17]),
        ("0\n3\n17\n", "yes", [3, 17]),
        ("0\n0.5\n1.5\n", "auto", [0.5, 1.5]),
        ("0\n0.5\n1.5\n", "no", [0, 0.5, 1.5]),
        # As %g writes numbers, some without decimals.
        ("0\n0.5\n1\n", "auto", [0, 0.5, 1]),
        ("nan\n0.5\n", "auto", [np.nan, 0.5]),
    ],
)
def test_a_header_of_numbers_is_taken_by_rule_or_as_told(tmp_path, text, header, rows):
    (tmp_path / "z.csv").write_text(text)
    np.testing.assert_array_equal(read_table(tmp_path / "z.csv", header).columns, [rows])


def test_columns_of_words_stay_words_and_missing_numbers_are_nan(tmp_path):
    text = "name,size,note\n" + "a,1,\nb,,x\nb,NA,y\nc,2,#ff0000\n" * 2000 + "d,5,last\n"
    (tmp_path / "z.csv").write_text(text)
    table = read_table(tmp_path / "z.csv", named_index=False)
    assert (table.names, table.index) == (("name", "size", "note"), None)
    name, size, note = table.columns
    assert name[-3:] == ["b", "c", "d"]
    assert note[-5:] == ["", "x", "y", "#ff0000", "last"]
    np.testing.assert_array_equal(size, [1, np.nan, np.nan, 2] * 2000 + [5])
    assert table.first_word == "line 2, column 1 is 'a'"
    assert read_table(tmp_path / "z.csv").index == name


def test_words_in_quotes_keep_their_blanks(tmp_path):
    (tmp_path / "z.txt").write_text('n   m\n"two  words"   1\n"a ""b  c"""  2\n')
    table = read_table(tmp_path / "z.txt", named_index=False)
    assert table.columns[0] == ["two  words", 'a "b  c"']
    np.testing.assert_array_equal(table.columns[1], [1, 2])


@pytest.mark.parametrize("at", [3, 9000])
def test_a_word_far_down_is_named_and_makes_a_column_of_words(tmp_path, at):
    rows = ["x,y", *["1.5,2"] * at, "1.5,oops", *["1.5,2"] * 9]
    (tmp_path / "z.csv").write_text("\n".join(rows))
    table = read_table(tmp_path / "z.csv")
    assert table.first_word == f"line {at + 2}, column 2 is 'oops'"
    np.testing.assert_array_equal(table.columns[0], np.full(at + 10, 1.5))
    assert table.columns[1] == ["2"] * at + ["oops"] + ["2"] * 9


@pytest.mark.parametrize(
    ("text", "header", "word"),
    [
        ("1,2\n3,4\n5\n6,7\n", "auto", "line 3 has 1 cell, where others have 2"),
        ("1,2\n3,4,5\n6,7\n", "auto", "line 2 has 3 cells, where others have 2"),
        ("x,y,z\n3,4\n", "yes", "its header has 3 names above 2 columns"),
        ("x,y\n", "yes", "its header has 2 names above no rows"),
        ("# nothing\n\n", "auto", "it holds no numbers"),
        ('1,"2\n3,4\n', "auto", "unexpected end of data"),
        ("\0\0\0", "auto", "it is no text in UTF-8"),
    ],
)
def test_a_table_without_structure_is_refused(tmp_path, text, header, word):
    (tmp_path / "z.csv").write_text(text)
    with pytest.raises(UserError) as caught:
        read_table(tmp_path / "z.csv", header)
    assert word in str(caught.value)


def test_plain_numbers_are_left_to_numpy(tmp_path, monkeypatch):
    monkeypatch.delattr(tables._Reader, "_read_cells")  # which is ten times as slow
    (tmp_path / "z.csv").write_text(lines(",", first=CODES[:, 0]) * 300)
    expected = np.loadtxt(tmp_path / "z.csv", delimiter=",", ndmin=2)
    found = read_table(tmp_path / "z.csv")
    assert np.array_equal(np.stack(found.columns, axis=1), expected)


def test_a_line_without_end_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "z.csv"
    monkeypatch.setattr(tables, "_BLOCK", 1 << 20)
    path.write_bytes(b"1,2\n" * 100 + b"7" * 2_500_000)
    with monkeypatch.context() as patched:
        patched.delattr(tables, "_Reader")
        with pytest.raises(UserError, match="a line is longer than 1 MiB"):
            read_table(path)
    path.write_bytes(b"1.5,2.5\n" * 200_000)  # 1.6 MB of short lines
    assert len(read_table(path).columns[0]) == 200_000
