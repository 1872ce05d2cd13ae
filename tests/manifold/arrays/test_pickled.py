import os
import pickle
import pickletools

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.manifold.arrays import pickled

ARRAYS = {
    "float32": np.arange(21, dtype=np.float32).reshape(7, 3) / 8,
    "float64": np.linspace(-1, 1, 10).reshape(5, 2),
    "float16": np.ones((3, 2), np.float16),
    "int64": np.arange(11),
    "big-endian": np.arange(6, dtype=">f8").reshape(2, 3),
    "columns first": np.asfortranarray(np.arange(12.0).reshape(4, 3)),
    "every second row": np.arange(20.0).reshape(10, 2)[::2],
    "truth values": np.array([True, False, True]),
}


def saved(path, *contents, protocol=pickle.DEFAULT_PROTOCOL):
    with path.open("wb") as file:
        for content in contents:
            pickle.dump(content, file, protocol=protocol)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_protocol_come_back(tmp_path, name, protocol):
    path = saved(tmp_path / "z.pkl", ARRAYS[name], protocol=protocol)
    found = pickled.read(path)
    np.testing.assert_array_equal(found, ARRAYS[name])
    assert found.dtype == ARRAYS[name].dtype


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_names_of_both_generations_of_numpy_are_known(tmp_path, protocol):
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    data = pickle.dumps(array, protocol=protocol)
    new, old = b"numpy._core.", b"numpy.core."
    assert new in data
    if protocol >= 4:  # the length of a name stands before it, and that of a frame before all
        at = data.index(new)
        data = data[: at - 1] + bytes([data[at - 1] - 1]) + data[at:]
        data = (
            data[:3] + (int.from_bytes(data[3:11], "little") - 1).to_bytes(8, "little") + data[11:]
        )
    data = data.replace(new, old)
    assert any(old[:-1].decode() in str(word) for _, word, _ in pickletools.genops(data))
    (tmp_path / "z.pkl").write_bytes(data)
    np.testing.assert_array_equal(pickled.read(tmp_path / "z.pkl"), array)


def test_arrays_one_after_another_are_read_by_number(tmp_path):
    path = saved(tmp_path / "z.pkl", ARRAYS["float32"], ARRAYS["int64"])
    np.testing.assert_array_equal(pickled.read(path), ARRAYS["float32"])
    np.testing.assert_array_equal(pickled.read(path, place=1), ARRAYS["int64"])
    with pytest.raises(UserError, match="it holds 2, counted from 0 this is number 2"):
        pickled.read(path, place=2)


class Planted:
    """An object whose unpickling makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["alone", "in a list", "in an array", "behind an array"])
def test_planted_code_does_not_run(tmp_path, kind, protocol):
    bomb = Planted(tmp_path / "ran")
    content = {
        "alone": [bomb],
        "in a list": [[1, bomb]],
        "in an array": [np.array([bomb], dtype=object)],
        "behind an array": [ARRAYS["int64"], bomb],
    }[kind]
    path = saved(tmp_path / "z.pkl", *content, protocol=protocol)
    with pytest.raises(
        UserError, match=r"would run code when read \(.*mkdir\)|numbers are of type"
    ):
        pickled.read(path, place=len(content) - 1)
    assert not (tmp_path / "ran").exists()
    # The same file is dangerous in other hands: that is what makes this a test.
    if kind == "alone":
        with path.open("rb") as file:
            pickle.load(file)
        assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "code",
    [
        b"cbuiltins\neval\n(V__import__('os').mkdir('ran')\ntR.",
        b"cnumpy.f2py\nrun_main\n(tR.",
        b"cnumpy\nload\n(Vother.npy\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n(tR.",
        b"c_codecs\nencode\n(Vx\nVrot13\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
    ],
)
def test_names_beside_the_list_are_refused(tmp_path, monkeypatch, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "z.pkl").write_bytes(code)
    with pytest.raises(UserError, match="would run code when read"):
        pickled.read(tmp_path / "z.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["z.pkl"]


@pytest.mark.parametrize("content", [{"z": 1}, [1.0, 2.0], "text", 3, None, (ARRAYS["int64"],)])
def test_what_is_no_array_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="it holds an object of type"):
        pickled.read(saved(tmp_path / "z.pkl", content))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_damaged_file_is_one_clear_line(tmp_path, protocol):
    data = pickle.dumps(ARRAYS["float32"], protocol=protocol)
    random = np.random.default_rng(0)
    path = tmp_path / "z.pkl"
    for _ in range(300):
        wrong = bytearray(data[: random.integers(1, len(data) + 1)])
        wrong[random.integers(len(wrong))] = random.integers(256)
        path.write_bytes(wrong)
        said = ""
        try:
            assert isinstance(pickled.read(path), np.ndarray)
        except UserError as error:
            said = str(error)
        assert "\n" not in said


def test_an_array_larger_than_its_bytes_is_refused(tmp_path):
    data = pickle.dumps(np.zeros((2, 3)), protocol=2)
    assert data.count(b"K\x02K\x03") == 1  # the shape, two numbers below 256
    (tmp_path / "z.pkl").write_bytes(data.replace(b"K\x02K\x03", b"K\x7fK\x7f"))
    with pytest.raises(UserError, match="48 bytes do not make an array of shape"):
        pickled.read(tmp_path / "z.pkl")


def test_a_number_is_not_taken_for_so_many_zeros(tmp_path):
    class Zeros:
        def __reduce__(self):
            return np.zeros(1).__reduce_ex__(5)[0], (80, np.dtype("f8"), (10,), "C")

    path = saved(tmp_path / "z.pkl", Zeros(), protocol=4)
    with pytest.raises(UserError, match="its content is none of bytes"):
        pickled.read(path)


@pytest.mark.parametrize("code", [b"\x80\x04K\x01r\xff\xff\xff\x7f.", b"I1\np2147483647\n."])
def test_far_places_take_no_memory(tmp_path, code):
    (tmp_path / "z.pkl").write_bytes(code)
    with pytest.raises(UserError, match="but one in place 2147483647"):
        pickled.read(tmp_path / "z.pkl")
