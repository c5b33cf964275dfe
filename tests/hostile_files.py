"""Files that claim too much, unpack to too much, or are malformed, in every format."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from hostile_image_files import image_files, zlib_zeros
from hostile_sound_files import sound_files, wav
from hostile_zip_files import Entry, Files, deflate_zeros, zip_archive

from benchmarks.mutations import mutate, seeds, zip_files

#: The number of random changes of each valid file.
MUTATIONS = 12
MIB = 2**20
#: A function call that would leave a file if the header of a NumPy file were evaluated.
CODE = "__import__('pathlib').Path('evaluated').touch()"


class HostileFile(NamedTuple):
    """A file: its name, the family of formats that it belongs to, and its contents."""

    name: str
    kind: str
    contents: bytes


def hostile_files() -> list[HostileFile]:
    """Return the files; the names are unique."""
    families = {
        "numpy": numpy_files,
        "idx": idx_files,
        "csv": csv_files,
        "image": image_files,
        "sound": sound_files,
        "zip": zip_members,
        "molecules": molecule_files,
        "text": text_files,
        "mutation": mutations,
    }
    return [
        HostileFile(f"{i:03d}-{name}", kind, contents)
        for kind, family in families.items()
        for i, (name, contents) in enumerate(family())
    ]


def mutations() -> Files:
    """Yield valid files with random changes; molecules are omitted, since reading them is slow."""
    contents = list(seeds().values())
    for name, seed in seeds().items():
        random = np.random.default_rng(zlib.crc32(name.encode()))
        for _ in range(MUTATIONS if not name.endswith(".smi") else 1):
            yield name, mutate(seed, random, contents[random.integers(len(contents))])


# NumPy


def npy(header: str, body: bytes = bytes(96), version: tuple[int, int] = (1, 0)) -> bytes:
    """Return an ``.npy`` file with any header."""
    text = header.encode("utf-8", "surrogateescape") + b"\n"
    return npy_start(version, len(text)) + text + body


def npy_start(version: tuple[int, int], length: int) -> bytes:
    """Return the bytes before the header, which may have another length."""
    size = struct.pack("<H" if version == (1, 0) else "<I", length)
    return b"\x93NUMPY" + bytes(version) + size


def describe(descr: str = "'<f4'", order: str = "False", shape: str = "(12, 2)") -> str:
    """Return the header of an ``.npy`` file."""
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"


SHAPES = (
    *("(-1,)", "(-1, -12)", "(12, -2)", "(0,)", "()", "(12, 0)", "(0, 2**70)", f"({2**63},)"),
    *(f"({'1, ' * 70})", f"({'1, ' * 33})", f"({2**31}, {2**31})", f"({10**30}, 0)", "(True, 24)"),
    *("('3',)", "(1.5,)", "(3, [])", "24", "None", "[12, 2]", f"({'9' * 5000},)", "(12, 2, 0, -1)"),
    f"({2**62}, 0)",
)
TYPES = (
    *("'|V0'", "'|S0'", "'<U0'", "'|S2147483647'", "'|S2147483648'", "'<U536870911'", "'<f16'"),
    *("'|O'", "'<M8[ns]'", "'<m8'", "'<c8'", "'|b1'", "'>i8'", "'<f4,<f4'", "[('a', '<f4')]"),
    *("[('a', '|O')]", "[('a', [('b', '|O')])]", "['<f4']", "{}", "'nonsense'", "''", "None"),
    *("'<f99'", "'|V8'", "'(2,3)<f4'", "'(2147483647,)<f4'", "[('a', '|V0')]", "[]", "'<U4'"),
    *("[('\\ud800', '<f4')]", "('<f4', (0,))", "('<f4', (-1,))", "'|S8'", "'U'", "'S'"),
)
HEADERS = (
    *(
        "",
        "{}",
        "None",
        "1",
        "[]",
        "'descr'",
        "{'descr': '<f4'}",
        f"{{{CODE}: 1}}",
        CODE,
        "\0" * 40,
    ),
    *(describe()[:-1], describe() + "}", describe(order="'yes'"), describe(order="2"), "{1: 2}"),
    *("(" * 5000, "[" * 5000, "{" * 5000, "-" * 9000 + "1", "~" * 9000 + "1", "not " * 2000 + "1"),
    *(describe() + " " * 9800, describe() + " " * 20_000, describe(order=CODE), "\udcff\udcfe"),
    *("1+" * 4900 + "1", "lambda: 0", "[0 for x in []]", "{**{}}", "b''", "f'{1}'", "''" * 4000),
)


def numpy_files() -> Files:
    """Yield malformed ``.npy`` files and, with the same arrays, ``.npz`` files."""
    headers = [*HEADERS, *(describe(shape=s) for s in SHAPES), *(describe(t) for t in TYPES)]
    arrays = [npy(header) for header in headers]
    arrays += [npy(describe("'<U4'", shape="(6,)"), b"\xff" * 96)]
    arrays += [npy(describe("'<U4'", shape="(6,)"), b"\0\xd8\0\0" * 24)]
    arrays += [npy(describe(), bytes(96), version) for version in ((2, 0), (3, 0), (4, 0), (0, 0))]
    for version, length in (((1, 0), 65535), ((2, 0), 2**31 - 1), ((2, 0), 2**32 - 1)):
        arrays.append(npy_start(version, length) + describe().encode())
        arrays.append(npy_start(version, length) + describe().encode() + b" " * 70_000)
    valid = seeds()["numbers.npy"]
    arrays += [valid[:n] for n in (0, 5, 6, 7, 8, 9, 10, 64, len(valid) - 1)] + [valid + bytes(9)]
    for array in arrays:
        yield "x.npy", array
        yield "x.npz", zip_archive([Entry("x.npy", array, is_deflated=True)])
    yield from npz_members(valid)
    yield from npz_bombs()


def npz_members(valid: bytes) -> Files:
    """Yield ``.npz`` files with unexpected or contradictory arrays."""
    text = npy(describe("'<U4'", shape="(6,)"), b"\xff" * 96)
    names = [["y"], ["x", "x"], ["x", "y"], ["x_train", "x_test"], ["../x"], ["/x"], [""], ["\0"]]
    names += [["format", "shape", "data"], ["x"] * 50, [f"a{i}" for i in range(3000)], []]
    for each in names:
        yield "names.npz", zip_archive([Entry(f"{name}.npy", valid) for name in each])
    for name in ("y", "classes", "varied_kind", "x_test"):
        for array in (text, npy(describe("'<f4'", shape="()")), npy(describe(shape="(0,)"))):
            yield "other.npz", zip_archive([Entry("x.npy", valid), Entry(f"{name}.npy", array)])
    for kind in ("image", "array", "sound", "table", "molecules", "", "x", "\x1b[31m"):
        for shape in ((12,), (12, 2), (12, 8, 8), (12, 8, 8, 2), (12, 1, 1, 1, 1)):
            yield "kind.npz", _npz(x=np.zeros(shape, "f4"), varied_kind=np.array(kind))
    sparse = {"format": np.array(b"csr"), "shape": np.array([3, 3]), "data": np.ones(3, "f4")}
    sparse |= {"indices": np.arange(3), "indptr": np.arange(4)}
    changes = (
        *({"format": np.array(b"zip")}, {"format": np.array("csr")}, {"format": np.arange(3.0)}),
        *({"format": np.array(b"\xff")}, {"shape": np.array([2**40, 2**40])}),
        *({"shape": np.array([-3, 3])}, {"shape": np.array([1.5, np.nan])}, {"shape": np.ones(3)}),
        *({"indices": np.array([0, 1, 2**40])}, {"indices": np.array([-1, -9, 5])}),
        *({"indices": np.ones(3)}, {"indptr": np.array([0, 9, 1, 3])}, {"indptr": np.arange(2)}),
        *({"data": np.array("text")}, {"data": np.ones(2)}, {"data": np.ones((3, 3))}),
        *({"format": np.array(b"coo")}, {"format": np.array(b"dia")}, {"format": np.array(b"bsr")}),
        *({"format": np.array(b"bsr"), "data": np.ones((3, 0, 0))}, {"shape": np.array([0, 0])}),
        *({"format": np.array(b"dia"), "offsets": np.array([2**40])}, {"shape": np.array(3)}),
        {"format": np.array(b"coo"), "row": np.array([0, 1, -5]), "col": np.array([0, 9, 2])},
        {"shape": np.array([2**31, 3]), "indptr": np.zeros(4, int)},
    )
    for change in changes:
        yield "sparse.npz", _npz(**(sparse | change))


def npz_bombs() -> Files:
    """Yield ``.npz`` files that unpack to gigabytes, or claim to."""
    for name, shape, dtype in (("x", (3 * 2**18, 1000), "<f4"), ("y", (2 * 2**30,), "|u1")):
        header = npy(describe(f"'{dtype}'", shape=str(shape)), b"")
        bomb = Entry.zeros(f"{name}.npy", 3072 if name == "x" else 2048, header)
        yield "bomb.npz", zip_archive([Entry("x.npy", seeds()["numbers.npy"]), bomb])
        yield "bomb.npz", zip_archive([bomb])
    start = npy_start((2, 0), 2**30)
    yield "header.npz", zip_archive([Entry.zeros("x.npy", 1024, start + describe().encode())])
    name = zip_archive([Entry("x.npy", seeds()["numbers.npy"])])
    yield "name.npz", name.replace(b"x.npy", b"\x80.npy", 1)
    valid = seeds()["numbers.npy"]
    for method in (1, 9, 12, 14, 93, 95, 99):
        yield "method.npz", zip_archive([Entry("x.npy", valid, method=method)])
    yield "lzma.npz", zip_archive([Entry("x.npy", b"\x09\x04\x05\x00]" + b"\xff" * 99, method=14)])
    for claim in (0, 1, 2**31, 2**32 - 2):
        yield "claim.npz", zip_archive([Entry("x.npy", valid, size=claim)])
        yield "claim.npz", zip_archive([Entry("x.npy", valid, is_deflated=True, size=claim)])


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


# Idx


def idx(shape: tuple[int, ...], body: bytes = bytes(96), dtype: int = 8, zeros: int = 0) -> bytes:
    """Return an idx file with any header."""
    n_axes = min(len(shape), 255)
    return bytes([0, zeros, dtype, n_axes]) + struct.pack(f">{len(shape)}I", *shape) + body


def idx_files() -> Files:
    """Yield malformed idx files, with and without compression."""
    shapes = [(), (0,), (96,), (2**32 - 1,), (2**32 - 1,) * 5, (12, 0), (0, 2**32 - 1), (12, 8)]
    shapes += [(1,) * 255, (2**31, 2), (97,), (95,), (12, 8, 1, 1, 1), (0, 0, 0), (1, 2**31, 0)]
    contents = [idx(shape) for shape in shapes]
    contents += [idx((12, 8), dtype=dtype) for dtype in (0, 7, 9, 11, 12, 13, 14, 255)]
    contents += [idx((3, 8), b"\xff" * 96, 13), idx((12, 8))[:6], b"", b"\0", b"\0\0\x08\x05"]
    for content in contents:
        yield "images-idx", content
        yield "images-idx.gz", gzip.compress(content, mtime=0)
    valid = gzip.compress(idx((12, 8)), mtime=0)
    for damaged in (valid[:-1], valid[:-8], valid[:12], valid[:3], valid + b"x", valid * 2000, b""):
        yield "images-idx.gz", damaged
    yield "images-idx.gz", valid[:3] + b"\x08" + valid[4:10] + b"a" * 200_000
    yield "images-idx.gz", valid[:3] + b"\x1f" + valid[4:]
    for n in (1024, 3072):
        start = idx((n * 1024, 1024), b"")
        yield "images-idx.gz", gzip_zeros(n, start)
        yield "images-idx.gz", gzip_zeros(n, idx((12, 8), b""))


def gzip_zeros(megabytes: int, start: bytes = b"", block: bytes = bytes(MIB)) -> bytes:
    """Return a gzip file that unpacks to many copies of a block, one for each MiB."""
    packed = deflate_zeros(megabytes, start, block)
    n = len(start) + megabytes * len(block)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + packed + struct.pack("<II", 0, n % 2**32)


# Tables


def csv_files() -> Files:
    """Yield tables that are very wide, long, ragged, binary or not closed."""
    n = 200_000
    wide = [f"{','.join(['a'] * n)}\n{','.join(['1'] * n)}\n", f"{',' * (5 * n)}\n{',' * 9}\n"]
    wide += [f"{','.join(map(str, range(n)))}\n", ",".join(f"c{i}" for i in range(n)), "a" * 10**6]
    wide += ["a\n" + "1" * 200_000 + "\n", '"' + "a" * 300_000, '"\n' * 50_000, "," * 200_000]
    texts = [*wide, '"' * 200_001, "\n" * 200_000 + "a", "\r" * 100_000 + "a\r1", " " * 200_000]
    texts += ["a,b\n" + "".join(f"{'1,' * (i % 7)}2\n" for i in range(20_000)), "a,b\n1,2\n3", ","]
    texts += ["a,a\n1,2\n", "a\n", "\n", "a\nb\0c\n", "\0" * 1000, 'a,b\n"1,2\n3,4\n', '"a""b,c\n']
    texts += [
        "a\n" + "9" * 30_000,
        "a\n1e999\n",
        "a\ninf\n",
        "a\nnan\n",
        "a\n-\n.\n",
        "a\n1e-400\n",
    ]
    texts += [
        "a\n0000-00-00\n",
        "a\n9999-12-31\n",
        "a\n99999-01-01\n",
        "a\n25:61:61\n",
        "a\n$\n$1\n",
    ]
    texts += [
        "a\n\x1b[31m1\n",
        "\x1b]0;x\x07,b\n1\n",
        "\x1b[2J\n1\n2,3\n",
        "a\u202eb\n1\n1\n",
        "a|b\n1|2",
    ]
    texts += [
        "a\n1\n\n\n2\n",
        "a;b\n1,5;2\n",
        "smiles\nC(\n",
        "smiles\n" + "(" * 4000,
        "=cmd()\n1\n",
    ]
    texts += [
        "a\n1,000\n1,00\n",
        "a\n1_000\n",
        "a\n٣\n",
        "a\n１\n",
        "a\n1\u00a0000\n",
        "a\n0x10\n",
        "a\n+\n",
    ]
    for text in texts:
        yield "table.csv", text.encode()
    for text in ("\ud800", "\0", "a,b\n1,2\n" * 3, "9"):
        for encoding in ("utf-8", "utf-16", "utf-32", "utf-16-be"):
            yield "table.csv", text.encode(encoding, "surrogatepass")
    starts = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"PAR1", b"ARROW1", b"\x1f\x8b", b"%PDF")
    starts += (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xff\xfea", b"\x81\x8d\x8f", b"\x80")
    for start in starts:
        yield "table.csv", start + b"rest of the file"
        yield "table.csv", start
    for name in ("table.csv.gz", "table.tsv.gz", "table.txt.gz"):
        yield name, gzip_zeros(2048 if name == "table.csv.gz" else 64)
        yield name, gzip_zeros(64, b"a,b\n", b"1,2\n" * 2**18)
        yield name, gzip_zeros(100, b"a,b\n", b"," * MIB)
        yield name, gzip.compress(b"a,b\n1,2\n", mtime=0)[:-3]
        yield name, b"a,b\n1,2\n"
    for name in ("table.parquet", "table.feather"):
        valid = seeds()[name]
        for damaged in (b"", valid[:4], valid[:-4], valid[4:], valid[:-8], valid * 2, b"PAR1" * 3):
            yield name, damaged
        for length in (0, 2**31 - 1, 2**32 - 1):
            yield name, valid[:-8] + struct.pack("<I", length) + valid[-4:]
    yield "bomb.parquet", parquet_bomb()
    yield "bomb.feather", feather_bomb()
    yield "wide.parquet", wide_parquet()


def parquet_bomb() -> bytes:
    """Return a Parquet file of a kilobyte with 100 million rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    group = pa.table({"a": pa.array(np.zeros(MIB, np.int8))})
    file = io.BytesIO()
    with pq.ParquetWriter(file, group.schema, compression="zstd") as writer:
        for _ in range(100):
            writer.write_table(group)
    return file.getvalue()


def feather_bomb() -> bytes:
    """Return a Feather file of a few kilobytes that unpacks to 256 MiB."""
    import pyarrow as pa
    from pyarrow import feather

    batch = pa.record_batch({"a": pa.array(np.zeros(2**16, np.int64))})
    file = io.BytesIO()
    feather.write_feather(pa.Table.from_batches([batch] * 512), file, "zstd", chunksize=2**16)
    return file.getvalue()


def wide_parquet() -> bytes:
    """Return a Parquet file with many columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table({f"c{i}": [1] for i in range(300)}), file)
    return file.getvalue()


# Archives


def zip_members() -> Files:
    """Yield zip files with dangerous names, links, copies, and false claims."""
    image = seeds()["image.png"]
    names = ["../evil.png", "/tmp/evil.png", "a/../../evil.png", "C:\\evil.png", "..\\evil.png"]
    names += ["", "a//b.png", "/", "./x.png", "x\0.png", "\x1b[31m.png", "a" * 65_000 + ".png"]
    names += ["a/" * 20_000 + "x.png", "\u202egnp.exe.png", "con.png", "x.png/", "~/x.png", "$HOME"]
    for name in names:
        yield "names.zip", zip_archive([Entry(name, image), Entry("a/good.png", image)])
        yield "only.zip", zip_archive([Entry(name, image)])
    link = 0o120777 << 16
    yield "link.zip", zip_archive([Entry("a.png", b"/etc/passwd", attributes=link)])
    yield "encrypted.zip", zip_archive([Entry("a.png", image, flags=1)])
    yield "copies.zip", zip_archive([Entry("a.png", image)] * 1000)
    yield "nested.zip", zip_archive([Entry("a.zip", zip_files({"a.png": image}))])
    yield "many.zip", zip_archive([Entry(f"{i}.png", b"") for i in range(2000)])
    yield "folders.zip", zip_archive([Entry(f"{i}/", b"") for i in range(2000)])
    for claim in (0, 1, 2**31, 2**32 - 2):
        yield "claim.zip", zip_archive([Entry("a.png", image, size=claim)])
        yield "claim.zip", zip_archive([Entry("a.png", image, is_deflated=True, size=claim)])
    yield "bomb.zip", zip_archive([Entry.zeros(f"{i}.png", 1024) for i in range(3)])
    yield "bomb.zip", zip_archive([Entry.zeros("a.png", 200, size=99)])
    yield "overlap.zip", zip_archive([Entry("a.png", image)] * 500, overlap=True)
    yield (
        "bomb.zip",
        zip_archive([Entry("a.bmp", b"BM", method=12), Entry("b.wav", b"", method=14)]),
    )
    valid = seeds()["images.zip"]
    for field, size in ((8, 2), (10, 2), (12, 4), (16, 4), (20, 2)):
        for value in (0, 1, 2 ** (8 * size) - 1):
            end = len(valid) - 22 + field
            yield "end.zip", valid[:end] + value.to_bytes(size, "little") + valid[end + size :]
    for damaged in (
        b"",
        valid[:-1],
        valid[:-22],
        valid[-22:],
        valid + valid,
        b"PK\5\6" + bytes(18),
    ):
        yield "damaged.zip", damaged
    sound = wav(bytes(8000) + b"\x44\x33" * 4000)
    sounds = [Entry("a.wav", sound), Entry("../b.wav", sound), Entry("c.wav", sound[:50])]
    yield "sounds.zip", zip_archive([*sounds, Entry("d.wav", wav(sound, rate=2**31))])


# Molecules and text


def molecule_files() -> Files:
    """Yield few files, since reading each starts a process."""
    rings = "".join(f"C%{i}" for i in range(10, 100))
    lines = ["C" * 100_000, "C(", "(" * 3000, rings, rings * 2, "C1" * 99, "[" * 999, "%" * 999, ""]
    lines += [
        "[Xx]",
        "[99999999999C]",
        "C=#C",
        "\0",
        "[C+9999999999]",
        "c1" * 500,
        "C\x1b[31m",
        ".",
    ]
    yield "molecules.smi", "\n".join(lines).encode()
    yield "molecules.smi", b"\xff\xfe\0\0" * 999
    yield "molecules.smi.gz", gzip_zeros(200)
    record = "\n\n\n999999  0  0  0  0  0  0  0  0  0999 V2000\n$$$$\n"
    yield "molecules.sdf", (record + record.replace("V2000", "V3000") + "$$$$\n" * 999).encode()


def text_files() -> Files:
    """Yield malformed JSON, TOML and compressed data."""
    deep = [b"[" * 100_000, b'{"a":' * 100_000, b"a = " + b"[" * 100_000, b"{" * 100_000]
    texts = [*deep, b"", b"\xff\xfe", b"\0", b"null", b"[]", b"1", b'"', b"NaN", b"9" * 10_000]
    texts += [b'{"a": ' + b"9" * 10_000 + b"}", b"a = " + b"9" * 10_000, b"a.b.c = 1\na.b = 2"]
    texts += [
        b"[" + b"a." * 5000 + b"b]",
        b"net = 3",
        b'net = "\\ud800"',
        b"plan = 1",
        b"latent = []",
    ]
    texts += [
        b'latent = "x"',
        b"[net]\nname = 1",
        b'[net]\nname = "mlp"\nwidth = -1',
        b"\xef\xbb\xbf",
    ]
    texts += [b'[plan]\nminutes = "soon"', b"context = -1", b'"" = 1', b"latent = 1979-05-27"]
    for name in ("spec.toml", "codec.json", "metrics.jsonl"):
        for text in texts:
            yield name, text
    from varied.compression.container import MAGIC, _digest

    for packed in (b"", b"x", zlib.compress(b"["), zlib.compress(b"[" * 10**5), zlib_zeros(1024)):
        body = struct.pack("<I", len(packed)) + packed + b"abc"
        for version in (0, 1, 2, 3):
            yield "rows.varied", MAGIC + bytes([version]) + _digest(body) + body
