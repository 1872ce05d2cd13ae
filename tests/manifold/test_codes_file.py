"""Arrays from a user's own files; nothing that such a file may hold is run."""

import contextlib
import io
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.images import storage
from jaxsurf.manifold.codes_file import SUFFIXES, TABLES, read, split

CODES = np.arange(21, dtype=np.float32).reshape(7, 3) / 8 - 1
ARRAYS = {
    "float32": CODES,
    "int64": np.arange(11),
    "big-endian": np.arange(6, dtype=">f8").reshape(2, 3),
    "columns first": np.asfortranarray(np.arange(12.0).reshape(4, 3)),
    "every second row": np.arange(20.0).reshape(10, 2)[::2],
    "truth values": np.array([True, False, True]),
}
PROTOCOLS = pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))


class Reduced:
    """An object that is pickled as a call."""

    def __init__(self, call, *arguments):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


def archive(content, name="z.npy", flags=0):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as made:
            made.writestr(name, content)
        data = bytearray(file.getvalue())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= flags
    return bytes(data)


def npy(shape, kind="<f8"):
    """Return the content of a .npy whose header gives any shape."""
    header = f"{{'descr':'{kind}','fortran_order':False,'shape':{shape}".encode().ljust(117)
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header + b"\n" + bytes(64)


@pytest.mark.core
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_file_gives_the_same_array(tmp_path, suffix):
    path = tmp_path / f"z{suffix}"
    if suffix == ".npy":
        np.save(path, CODES)
    elif suffix == ".npz":
        np.savez(path, z=CODES)
    elif suffix in TABLES:
        np.savetxt(path, CODES, delimiter="," if suffix == ".csv" else " ")
    else:
        path.write_bytes(pickle.dumps(CODES))
    found = read(str(path))
    np.testing.assert_array_equal(found, CODES)
    assert isinstance(found, np.memmap) == (suffix == ".npy")


@PROTOCOLS
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_pickle_protocol_come_back(tmp_path, name, protocol):
    data = pickle.dumps(ARRAYS[name], protocol)
    # As NumPy 1 called it; later protocols count the bytes of names.
    for each in (data, data.replace(b"._core.", b".core.") if protocol < 4 else data):
        (tmp_path / "z.pkl").write_bytes(each)
        found = read(str(tmp_path / "z.pkl"))
        np.testing.assert_array_equal(found, ARRAYS[name])
        assert found.dtype.newbyteorder("=") == ARRAYS[name].dtype.newbyteorder("=")


def test_neither_a_type_made_of_pointers_nor_a_change_of_an_array_is_taken(tmp_path):
    data = pickle.dumps(CODES, 2)
    for each in (data.replace(b"K\x00tq", b"K?tq"), data[:-1] + b"(K\x01tb."):
        (tmp_path / "z.pkl").write_bytes(each)
        np.testing.assert_array_equal(read(str(tmp_path / "z.pkl")), CODES)


def test_of_a_type_the_order_of_bytes_alone_is_taken(tmp_path):
    kind = Reduced(np.dtype, "i4,i4", False, True)
    version, order, base, names, _, *sizes = np.dtype("i4,i4").__reduce__()[2]
    fields = {"f0": ("i4", 0), "f1": ("i4", 1 << 40)}  # texts where types belong, and far away
    kind.reduced += ((version, order, base, names, fields, *sizes),)
    values = Reduced(np.zeros(0).__reduce__()[0], np.ndarray, (0,), b"b")
    values.reduced += ((1, (2,), kind, False, bytes(16)),)
    (tmp_path / "z.pkl").write_bytes(pickle.dumps({"z": CODES, "both": [values, values]}, 2))
    np.testing.assert_array_equal(read(str(tmp_path / "z.pkl")), CODES)


def test_one_of_several_arrays_is_named_behind_a_colon(tmp_path):
    np.savez(tmp_path / "z.npz", z=CODES, other=CODES[:2])
    (tmp_path / "z.pkl").write_bytes(pickle.dumps(CODES) + pickle.dumps(CODES[:2]))
    for name in ("z.npz:other", "z.pkl:1"):
        np.testing.assert_array_equal(read(str(tmp_path / name)), CODES[:2])


def test_the_only_array_of_numbers_is_read_whatever_lies_beside_it(tmp_path):
    beside = {"title": np.array({"by": "hand"}, dtype=object), "names": ["x", "y"], "epoch": 3}
    np.savez(tmp_path / "z.npz", z=CODES, **beside)
    np.savez(tmp_path / "two.npz", z=CODES, mu=CODES, **beside)
    for name in ("z.npz", "z.npz:z", "two.npz:z"):
        np.testing.assert_array_equal(read(str(tmp_path / name)), CODES)
    with pytest.raises(UserError, match=r"two.npz holds 2 arrays; name one behind a colon: z, mu$"):
        read(str(tmp_path / "two.npz"))
    with pytest.raises(UserError, match=r"z.npz is refused \(it holds Python objects\)"):
        read(str(tmp_path / "z.npz:title"))


# What is pickled, what the name says behind a colon, and the array.
PLAIN = [
    ([1, 5, 7], "", [1, 5, 7]),
    ((2.5, -1), "", [2.5, -1]),
    ([True, False], "", [True, False]),
    ({3, 1, 2**40}, "", [1, 3, 2**40]),
    (frozenset(np.arange(3)), "", [0, 1, 2]),
    (range(7, 1, -2), "", [7, 5, 3]),
    (list(np.arange(5)), "", np.arange(5)),
    ([np.float32(0.5), 2], "", [0.5, 2]),
    (np.int64(4), "", [4]),
    (4, "", [4]),
    ([[1, 2], (3, 4)], "", [[1, 2], [3, 4]]),
    (list(CODES), "", CODES),
    ((CODES,), "", CODES),
    ((CODES, CODES[:2]), "1", CODES[:2]),
    ({"z": CODES, "title": "by hand", "epoch": 3, "nothing": None}, "", CODES),
    ({"zs": {2: CODES}, "contrasts": {2: CODES[:, 0]}}, "zs/2", CODES),
    ({"zs": {np.int64(2): CODES}, "words": np.array(["a"]), "rows": {4, 3}}, "rows", [3, 4]),
    # An array of these words would take 400 GB.
    ({"z": CODES, "words": ["a" * 10**6, *range(10**5)]}, "", CODES),
    ({"z": CODES, "when": np.array(["2020"], "M8[D]"), "both": np.zeros(2, "i4,f4")}, "", CODES),
]


@PROTOCOLS
@pytest.mark.parametrize(("value", "part", "array"), PLAIN)
def test_plain_containers_of_numbers_are_arrays(tmp_path, value, part, array, protocol):
    (tmp_path / "z.pkl").write_bytes(pickle.dumps(value, protocol))
    found = read(f"{tmp_path / 'z.pkl'}{f':{part}' * bool(part)}")
    np.testing.assert_array_equal(found, array, strict=isinstance(array, np.ndarray))
    assert found.dtype.kind == np.asarray(array).dtype.kind


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/z.pkl:zs/2", ("a/z.pkl", "zs/2")),
        ("run.pkl:2/z.npy", ("run.pkl:2/z.npy", "")),
        ("C:/z.npz:z", ("C:/z.npz", "z")),
        ("z.csv:1", ("z.csv:1", "")),
    ],
)
def test_a_name_is_split_at_the_colon_behind_a_file(name, parts):
    assert split(name) == (Path(parts[0]), parts[1])


def test_an_array_larger_than_memory_is_refused_unread(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "z.npz", z=np.zeros((999, 9)))
    monkeypatch.setattr(storage, "total_bytes", lambda: 50_000)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    with pytest.raises(UserError, match=r"z in .*z\.npz takes 0\.0 GiB unpacked.*with np\.save"):
        read(str(tmp_path / "z.npz"))


def test_of_very_many_members_none_is_looked_at(tmp_path, monkeypatch):
    np.savez(tmp_path / "z.npz", **{f"z{number}": np.zeros(2) for number in range(101)})
    with monkeypatch.context() as patch:
        patch.setattr(storage.Member, "inspect", None)
        with pytest.raises(UserError, match="holds 101 arrays; name one behind a colon: z0, z1, "):
            read(str(tmp_path / "z.npz"))
    assert len(read(f"{tmp_path}/z.npz:z100")) == 2


def test_an_archive_that_claims_what_no_codes_are_compressed_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_BOMB", 1 << 22)
    np.savez_compressed(path := tmp_path / "z.npz", z=np.zeros((300_000, 2)))
    with pytest.raises(UserError, match=r"claims 5 MB in [0-9]+ bytes; remove it"):
        read(str(path))


HUGE = npy("(1" + 30 * "0" + ",),}")
CALLED = np.zeros(1).__reduce_ex__(5)[0]
# The name that is read, the content of the file, words of the line.
LAUGHS = "f8"
for _ in range(12):
    LAUGHS = [LAUGHS] * 10
HOSTILE = [
    *((f"z{suffix}", b"\xff\xfe\x00 nothing", "is refused") for suffix in SUFFIXES),
    *((f"z{suffix}", None, "cannot read") for suffix in SUFFIXES),
    ("z.pkl", b"", "is refused"),
    ("z.npy", b"\x93NUMPY", "is refused"),
    ("z.npy", npy("(9,),}"), "mmap length is greater than file size"),
    ("z.npy", HUGE, "is refused"),
    ("z.npy", npy("(True,2),}"), "is refused"),
    ("z.npy", npy("(1,),}", "|O"), "Python objects"),
    ("z.npy:x", npy("(8,),}"), "it holds one array, but 'x' is asked for"),
    ("z.npz", archive(npy("(9,),}")), "bytes, but 192 are there"),
    ("z.npz", archive(HUGE), "bytes, but 192 are there"),
    ("z.npz", archive(npy("(8,),}") + bytes(99)), "its array takes 192 bytes, but 291 are there"),
    ("z.npz", archive(npy("(1,),}", "|O")), "it holds Python objects"),
    ("z.npz", archive("hello", "z.txt"), "no item named 'z.txt.npy'"),
    ("z.npz", archive(npy("(8,),}"), flags=1), "encrypted"),
    ("z.npz:x", archive(npy("(8,),}")), "has no array 'x'; name one behind"),
    ("z.txt", b"1 2\n3 x\n", "z.txt: line 2, column 2 is 'x', which is no number; mend it, or"),
    ("z.h5", b"", "of no known kind; give a file that ends in .npy, .npz"),
    ("z.pkl:1", pickle.dumps(CODES), "it holds 1 arrays, but number 1 is asked for"),
    *(("z.pkl", pickle.dumps(it), "an object of type") for it in ({"z": 1}, ["a"], "a", {}, None)),
    ("z.pkl:x", pickle.dumps(CODES), "it holds no containers, but 'x' is asked for"),
    ("z.pkl:b", pickle.dumps({"a": CODES}), "z.pkl has no array 'b'; name one behind a colon: a"),
    ("z.pkl", pickle.dumps({"a": {1: CODES}, 2: CODES[0]}), "2 arrays; name one behind a colon"),
    ("z.pkl", pickle.dumps([2**70]), "an object of type list"),
    # Few bytes that stand for many numbers.
    ("z.pkl", pickle.dumps(range(10**12)), "stand for very many"),
    ("z.pkl", pickle.dumps([range(10**8)] * 99), "stand for very many"),
    ("z.pkl", pickle.dumps([[[0] * 999] * 999] * 999), "stand for very many"),
    ("z.pkl", pickle.dumps(Reduced(set, range(10**12))), "doesn't apply to a 'range' object"),
    ("z.pkl", pickle.dumps(Reduced(np.dtype, LAUGHS)), "doesn't apply to a 'list' object"),
    ("z.pkl", b"\x80\x05\x96" + (1 << 39).to_bytes(8, "little"), "is refused"),
    ("z.pkl", pickle.dumps(np.array(["a"])), "an object of type ndarray"),
    # An array that has a number where its bytes should be, and one of objects at an address.
    ("z.pkl", pickle.dumps(Reduced(CALLED, 80, np.dtype("f8"), (10,), "C"), 4), "bytes-like"),
    ("z.pkl", pickle.dumps(Reduced(np.ndarray, (1,), np.dtype("O"), b"12345678")), "is refused"),
    # A shape of two numbers below 256, and one that its bytes don't fill.
    ("z.pkl", pickle.dumps(CODES, 2).replace(b"K\x07K\x03", b"K\x7fK\x7f"), "does not match"),
    ("z.pkl", pickle.dumps({1}, 4)[:-1] + b"K\x01b.", "it would change an object of type set"),
    # Places that are far away take memory up to there, in the interpreter's own reader.
    ("z.pkl", b"\x80\x04Nr\xff\xff\xff\x7f.", "an object of type NoneType"),
    ("z.pkl", b"c_codecs\nencode\n(Vx\nVrot13\ntR.", "not a text encoding"),
    ("z.pkl", b"cbuiltins\neval\n(V__import__('os').mkdir('ran')\ntR.", "would run builtins.eval"),
    ("z.pkl", b"cnumpy.f2py\nrun_main\n(tR.", "would run numpy.f2py.run_main"),
    ("z.pkl", b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", "run numpy.ndarray.tofile"),
]


@pytest.mark.parametrize(("name", "content", "word"), HOSTILE)
def test_a_file_that_holds_no_plain_numbers_is_refused_in_one_line(
    tmp_path, monkeypatch, name, content, word
):
    monkeypatch.chdir(tmp_path)
    path = split(name)[0]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read(name)
    assert word in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "ran").exists()


@PROTOCOLS
@pytest.mark.parametrize(
    "hide", [lambda it: it, lambda it: [1, it], lambda it: {"z": it}, lambda it: np.array([it])]
)
def test_planted_code_does_not_run(tmp_path, monkeypatch, hide, protocol):
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(hide(Reduced(os.mkdir, "ran")), protocol)
    (tmp_path / "z.pkl").write_bytes(pickle.dumps(CODES) + data)
    with pytest.raises(UserError, match=r"it would run .*mkdir"):
        read("z.pkl:1")
    assert not (tmp_path / "ran").exists()
    pickle.loads(data)  # the same bytes are dangerous in other hands
    assert (tmp_path / "ran").exists()


def spoiled(data, number):
    """Yield shortened copies of a file's content in which one byte is another."""
    random = np.random.default_rng(0)
    for _ in range(number):
        wrong = bytearray(data[: random.integers(1, len(data) + 1)])
        wrong[random.integers(len(wrong))] = random.integers(256)
        yield bytes(wrong)
        whole = bytearray(data)
        whole[random.integers(len(whole))] ^= 1 << random.integers(8)
        yield bytes(whole)


ZIPPED = io.BytesIO()
np.savez_compressed(ZIPPED, z=CODES, title=np.array({"a": 1}, dtype=object))
ROWS = "".join(f"{i},{a:.3f},{b:.3f}\n" for i, (a, b, _) in enumerate(CODES))
CONTENTS = [
    *(("z.pkl", pickle.dumps(CODES, protocol)) for protocol in (0, 2, 4, 5)),
    *(("z.pkl", pickle.dumps([{"z": CODES, 2: {1, 2}}, range(9)], each)) for each in (0, 2, 4, 5)),
    *(("z.pkl", pickle.dumps(list(np.arange(9)), protocol)) for protocol in (0, 2, 4)),
    ("z.npy", npy("(8,),}")),
    ("z.npz", ZIPPED.getvalue()),
    ("z.csv", f'"a""b",x,y\n{ROWS}'.replace(",", ";").replace(".", ",").encode()),
]


@pytest.mark.parametrize(("name", "content"), CONTENTS)
def test_a_damaged_file_is_an_array_or_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for wrong in [content, *spoiled(content, 20)]:
        (tmp_path / name).write_bytes(wrong)
        tracemalloc.start()
        with contextlib.suppress(UserError):
            assert read(str(tmp_path / name)).dtype.kind in "biufcmMSUV"
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 24
