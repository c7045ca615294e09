"""Token shards and h5py: it reads what mara writes, and mara reads what data/FORMAT.md writes with it."""

import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import h5py
    import numpy
    import xxhash
except ImportError as error:
    print(error)
    sys.exit(77)

mara, source = sys.argv[1:]


def run(*arguments):
    result = subprocess.run([mara, *map(str, arguments)], capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr


def xxh3(data):
    return xxhash.xxh3_64_intdigest(data)


def check_written(folder):
    texts = [bytes(range(256)) * 5000, b"short", b"\0\n"]
    files = [folder / f"text{i}" for i in range(len(texts))]
    for file, text in zip(files, texts):
        file.write_bytes(text)
    code, output = run("data", "tokenize", *files, "--out", folder / "shards")
    assert code == 0, output
    path = folder / "shards/train-00000.h5"
    expected = numpy.concatenate([numpy.append(numpy.frombuffer(t, "u1").astype("u2"), numpy.uint16(256)) for t in texts])
    with h5py.File(path) as f:
        assert sorted(f) == ["checksums", "documents", "tokens"], sorted(f)
        tokens = f["tokens"]
        assert tokens.dtype == "<u2" and tokens.chunks is None
        assert numpy.array_equal(tokens[:], expected)
        assert list(f["documents"]) == [0] + list(numpy.cumsum([len(t) + 1 for t in texts]))
        blocks = [expected[:2**20], expected[2**20:]]
        assert [int(c) for c in f["checksums"]] == [xxh3(b.tobytes()) for b in blocks]
        text = lambda name: f.attrs[name].decode() if isinstance(f.attrs[name], bytes) else str(f.attrs[name])
        assert text("format") == "mara-tokens" and text("tokenizer") == "bytes" and text("separator_position") == "after"
        assert text("tokenizer_xxh3") == f"{xxh3(b'bytes'):016x}" and text("source") == "text0, text1, text2"
        numbers = [f.attrs[n] for n in ("format_version", "vocab_size", "separator_id", "num_tokens")]
        assert numbers == [1, 257, 256, len(expected)], numbers
        begin = tokens.id.get_offset()
        end = begin + 2 * len(expected)
    data = path.read_bytes()
    assert data[begin:end] == expected.tobytes()
    mark, version, kind, length, guarded, ranges, first, last = struct.unpack("<8sIIQQQQQ", data[:56])
    assert (mark, version, kind, length) == (b"\x89MARA\r\n\x1a", 1, 2, len(data))
    assert (ranges, first, last) == (1, begin, end) and guarded == xxh3(data[512:begin] + data[end:])
    assert struct.unpack("<Q", data[504:512])[0] == xxh3(data[:504])


def check_read(folder):
    scope = {}
    exec(re.search(r"```python\n(.*?)```", Path(source, "data/FORMAT.md").read_text(), re.S)[1], scope)
    path = folder / "foreign.h5"
    scope["write_shard"](path, [b"To be", b"or not" * 300000])
    code, output = run("data", "verify", path)
    assert code == 0 and "1,800,007 tokens, all intact" in output, output
    code, output = run("data", "inspect", path)
    assert code == 0, output
    for part in ("documents   2\n", "bytes, 257 ids", "begins with 84 111 32 98 101 256 111 114"):
        assert part in output, output
    data = bytearray(path.read_bytes())
    data[data.index("or not".encode("utf-16-le"))] ^= 1
    path.write_bytes(data)
    code, output = run("data", "verify", path)
    assert code == 2 and "checksum" in output, output


with tempfile.TemporaryDirectory() as name:
    check_written(Path(name))
    check_read(Path(name))
