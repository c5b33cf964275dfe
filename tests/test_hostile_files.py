"""Files that claim too much, unpack to too much, or are malformed are read or refused quickly."""

import gzip
import os
import socket
from collections import Counter

import numpy as np
import pytest
from hostile_files import hostile_files, idx
from hostile_zip_files import Entry, zip_archive
from PIL import Image

import benchmarks.fuzz
from benchmarks.reading_process import FAULT, READ, REFUSED, Outcome, read_files
from varied import atomic_io, tensor_io
from varied.cli import main
from varied.data import image_files, read
from varied.data.idx import is_idx_folder
from varied.data.image_files import as_mask
from varied.data.memory import is_bomb, read_array
from varied.data.sound_files import _convert
from varied.data.tables.typed_column import check_width
from varied.errors import VariedError

#: The time in seconds after which a file counts as one without an answer, also on a busy machine,
#: and the peak memory in MiB that reading a file may need.
TIMEOUT, MEGABYTES = 15, 700
FILES = hostile_files()
#: The files of the quick tests.
SOME = FILES[::4]
KINDS = Counter(file.kind for file in SOME)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The outcome of reading some files in a child process, by the kind and name of the file."""
    return read_all(SOME, tmp_path_factory.mktemp("hostile"))


def read_all(files, root):
    """Return the outcome of reading each file in a child process, by its kind and name."""
    folder = root / "a" / "b"
    paths = [folder / file.kind / file.name for file in files]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    for path, file in zip(paths, files, strict=True):
        path.write_bytes(file.contents)
    results = {}
    for path, outcome in zip(paths, read_files(paths, folder, TIMEOUT), strict=True):
        results[path.parent.name, path.name] = outcome
    assert {p for p in root.rglob("*") if p.is_file()} == {*paths}, "a file was written"
    return results


def test_there_are_many_files_with_unique_names():
    assert len(FILES) == len({(file.kind, file.name) for file in FILES}) >= 500
    assert hostile_files() == FILES


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_files_are_read_or_refused(kind, outcomes):
    chosen = {name: outcome for (each, name), outcome in outcomes.items() if each == kind}
    assert len(chosen) == KINDS[kind]
    assert_no_fault(chosen)


def assert_no_fault(chosen):
    assert not {name: o.message for name, o in chosen.items() if o.result == FAULT}
    assert not {name: o.megabytes for name, o in chosen.items() if o.megabytes > MEGABYTES}


@pytest.mark.slow
def test_all_hostile_files_are_read_or_refused(tmp_path):
    results = read_all(FILES, tmp_path)
    assert len(results) == len(FILES)
    assert_no_fault(results)


@pytest.mark.parametrize("words", ["bomb", "claim", "truncated", "corrupted", "the limit is"])
def test_refusals_give_the_reason(words, outcomes):
    assert any(words in outcome.message for outcome in outcomes.values())


# Files that compress well


@pytest.mark.parametrize("name", ["labels.gz", "labels.npz"])
def test_labels_that_are_all_zero_are_read(tmp_path, name):
    n, path = 2 * 10**6, tmp_path / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(idx((n,), bytes(n))))
    else:
        np.savez_compressed(path, x=np.zeros(n, np.uint8))
    assert n > 500 * path.stat().st_size
    assert len(read(path)) == n


def test_bombs_have_a_high_ratio_and_are_large():
    assert is_bomb(10**9, 10**6)
    assert not is_bomb(10**9, 10**7)
    assert not is_bomb(10**6, 10)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_in_blocks(tmp_path, order):
    x = np.arange(10**6, dtype=">i4").reshape(1000, 1000)
    path = tmp_path / "x.bin"
    path.write_bytes(x.tobytes(order))
    with path.open("rb") as file:
        np.testing.assert_array_equal(read_array(file, x.shape, x.dtype, order), x)
        with pytest.raises(ValueError, match="bytes are missing"):
            read_array(file, (1,), x.dtype)


# Pipes, sockets and devices


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.csv"
    os.mkfifo(path)
    return path


READERS = {
    "read": read,
    "read_json": atomic_io.read_json,
    "read_jsonl": atomic_io.read_jsonl,
    "read_text": atomic_io.read_text,
    "read_tensors": tensor_io.read_tensors,
    "as_mask": lambda path: as_mask(path, (8, 8)),
}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", READERS)
def test_pipes_devices_and_sockets_are_refused(name, pipe, tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path in (pipe, tmp_path / "socket", "/dev/zero"):
            with pytest.raises(VariedError):
                READERS[name](type(pipe)(path))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes")
@pytest.mark.timeout(60)
def test_pipes_in_folders_are_skipped(pipe):
    Image.new("L", (8, 8)).save(pipe.parent / "a.png")
    pipe.rename(pipe.with_name("b.png"))
    os.mkfifo(pipe.with_name("train-images"))
    assert not is_idx_folder(pipe.parent)
    data = read(pipe.parent, min_rows=1)
    assert [problem.reason for problem in data.problems] == ["it is not a regular file"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes")
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "command", [["train"], ["train", "mnist", "--spec"], ["train", "/dev/zero"]]
)
def test_commands_refuse_pipes(command, pipe, capsys):
    assert main([*command, str(pipe)] if command[-1] != "/dev/zero" else command) == 2
    error = capsys.readouterr().err
    assert error.startswith("varied: ")
    assert error.count("\n") == 1


def test_a_spec_that_is_not_utf_8_is_refused(tmp_path, capsys):
    (tmp_path / "spec.toml").write_bytes(b'net = "\xff"')
    assert main(["train", "mnist", "--spec", str(tmp_path / "spec.toml")]) == 2
    assert "spec.toml is not valid UTF-8 (first invalid byte: 7)" in capsys.readouterr().err


# Limits


def test_control_characters_in_names_do_not_reach_the_terminal():
    assert str(VariedError("a\x1b[31m\nb")) == "a\ufffd[31m\ufffdb"
    assert str(VariedError("größer\u3000東京.")) == "größer\u3000東京."


def test_long_messages_keep_their_start_and_end():
    message = str(VariedError(f"There is no '{'a' * 10**6}'; choose from b."))
    assert len(message) < 2000
    assert message.startswith("There is no 'aaa")
    assert message.endswith("a'; choose from b.")


def test_the_number_of_columns_is_limited():
    check_width(100_000, "a.csv")
    with pytest.raises(VariedError, match=r"a.csv has 100,001 columns, and the limit is 100,000"):
        check_width(100_001, "a.csv")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "I", "F", "P"])
def test_an_image_is_converted_to_8_bits_in_strips(mode, monkeypatch):
    random = np.random.default_rng(0)
    values = random.integers(0, 256, (37, 23, 4), dtype=np.uint8)
    image = Image.fromarray(values).convert("P" if mode == "P" else "RGBA")
    if mode == "P":
        image.info["transparency"] = 3
    elif mode == "LA":
        image = image.convert("LA")
    elif mode != "RGBA":
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        numbers = values[..., 0] * 300.0 - 99 * (mode != "I;16")
        image = Image.fromarray(numbers.clip(0).astype(dtype))
    expected = np.asarray(image_files._to_8_bit(image))
    monkeypatch.setattr(image_files, "_STRIP", 100)
    np.testing.assert_array_equal(np.asarray(image_files._to_8_bit(image)), expected)


@pytest.mark.parametrize(("rate", "n"), [(44_100, 160), (767_999, 10), (16_000, 441)])
def test_recordings_of_any_rate_are_resampled(rate, n):
    wave = np.sin(np.arange(rate // 2) * 300 / rate)[:, None].astype(np.float32)
    assert len(_convert(wave, rate, 16_000).wave) == pytest.approx(8000, abs=n)


def test_zip_members_have_no_path_outside(tmp_path):
    names = ["../a.png", "/a.png", "b.png"]
    (tmp_path / "x.zip").write_bytes(zip_archive([Entry(name, b"") for name in names]))
    with pytest.raises(VariedError, match=r"None of the 3 images .* outside the zip file"):
        read(tmp_path / "x.zip")


# The benchmark


def test_the_benchmark_counts_results(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks.records, "RESULTS", tmp_path)

    def fake(paths, folder, timeout):
        return (Outcome(path.name, READ, "", 0.1, 2.0) for path in paths if path.exists())

    monkeypatch.setattr(benchmarks.fuzz, "read_files", fake)
    monkeypatch.setattr("sys.argv", ["fuzz", "--runs", "200"])
    benchmarks.fuzz.main()
    total = benchmarks.records.load("fuzz")["total"]
    assert (total[READ], total[REFUSED]) == (200, 0)
    assert "| images.npz |" in (tmp_path / "fuzz.md").read_text()
