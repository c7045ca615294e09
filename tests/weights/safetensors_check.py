"""Weights files and other software: the safetensors package and h5py read what mara exports, mara imports what the
package writes, and a Hyena and an attention model written here in NumPy, from the published description, compute the
logits that `mara logits` gives, from weights under their published names."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import h5py
    import numpy as np
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file
except ImportError as error:
    print(error)
    sys.exit(77)

mara, source = sys.argv[1:]


def run(*arguments):
    result = subprocess.run([mara, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def layer_norm(x, w, prefix):
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred / scale * w[prefix + "weight"] + w[prefix + "bias"]


def linear(x, w, prefix):
    return x @ w[prefix + "weight"].T + w.get(prefix + "bias", 0)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def hyena(x, w, prefix, order):
    """Every convolution is a plain sum over lags."""
    length, width = x.shape
    u = linear(x, w, prefix + "in_proj.")
    taps = w[prefix + "short_filter.weight"][:, 0]
    padded = np.concatenate([np.zeros((2, u.shape[1])), u])
    u = sum(padded[k : k + length] * taps[:, k] for k in range(3)) + w[prefix + "short_filter.bias"]
    *gates, v = np.split(u, order + 1, axis=1)

    f = prefix + "filter_fn."
    h = w[f + "pos_emb.z"][0]
    for i in (0, 2, 4):
        h = np.sin(w[f + "implicit_filter.1.freq"] * linear(h, w, f"{f}implicit_filter.{i}."))
    h = linear(h, w, f + "implicit_filter.6.") * np.exp(-w[f + "pos_emb.t"][0] * np.abs(w[f + "modulation.deltas"][0]))
    filters = h.reshape(len(h), width, order - 1)
    skips = w[f + "bias"].reshape(width, order - 1)
    for o, gate in enumerate(reversed(gates[1:])):
        v = v * gate
        v = np.stack([sum(v[t - s] * filters[s, :, o] for s in range(t + 1)) for t in range(length)]) + v * skips[:, o]
    return linear(v * gates[0], w, prefix + "out_proj.")


def attention(x, w, prefix, heads):
    length, width = x.shape
    q, k, v = (part.reshape(length, heads, -1).transpose(1, 0, 2) for part in np.split(linear(x, w, prefix + "Wqkv."), 3, 1))
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(width / heads)
    scores = np.where(np.tril(np.ones((length, length), bool)), scores, -np.inf)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    y = p / p.sum(-1, keepdims=True) @ v
    return linear(y.transpose(1, 0, 2).reshape(length, width), w, prefix + "out_proj.")


def forward(w, ids, mixer):
    x = w["backbone.embeddings.word_embeddings.weight"][ids]
    if "backbone.embeddings.position_embeddings.weight" in w:
        x = x + w["backbone.embeddings.position_embeddings.weight"][: len(ids)]
    layer = 0
    while f"backbone.layers.{layer}.norm1.weight" in w:
        p = f"backbone.layers.{layer}."
        x = x + mixer(layer_norm(x, w, p + "norm1."), w, p + "mixer.")
        x = x + linear(gelu(linear(layer_norm(x, w, p + "norm2."), w, p + "mlp.fc1.")), w, p + "mlp.fc2.")
        layer += 1
    head = w.get("lm_head.weight", w["backbone.embeddings.word_embeddings.weight"])
    return layer_norm(x, w, "backbone.ln_f.") @ head.T


def distance(a, b):
    return np.abs(a - b).max() / np.sqrt((b**2).mean())


def check_semantics(folder, recipe, mixer, spoil, *overrides):
    """Weights far from their initial values go in, logits come out; the control changes one thing in the forward."""
    sets = [part for o in overrides for part in ("--set", o)]
    run("train", recipe, "--out", folder / "run", "--set", "train.steps=1", *sets)
    run("export", folder / "run", "--to", folder / "names.safetensors", "--names", "safari")
    random = np.random.default_rng(1)
    weights = load_file(folder / "names.safetensors")
    for name, value in weights.items():
        if ".pos_emb." in name or ".deltas" in name or ".freq" in name:
            continue
        centre = 1 if "norm" in name and name.endswith("weight") or "ln_f.weight" in name else 0
        filter_network = ".implicit_filter." in name  # whose sines enlarge what f32 rounds
        scale = (0.3 if value.ndim < 2 else 1 / np.sqrt(value.shape[-1])) * (0.3 if filter_network else 1)
        weights[name] = (centre + scale * random.standard_normal(value.shape)).astype("f4")
    with safe_open(folder / "names.safetensors", "np") as file:
        for alias, name in json.loads(file.metadata()["tied"]):
            weights[alias] = weights[name]
    save_file(weights, folder / "weights.safetensors", {"format": "np"})
    run("import", folder / "weights.safetensors", "--recipe", folder / "run/recipe.yaml", "--names", "safari", "--to",
        folder / "imported.h5")
    sequences = {1: [3, 1, 4, 1, 5, 9, 2, 6, 5, 3], 3: [7], 4: [0, 9]}
    lines = [" ".join(map(str, sequences.get(i, []))) for i in range(1, 5)]
    (folder / "tokens.txt").write_text("\n".join(lines))
    run("logits", folder / "imported.h5", "--tokens", folder / "tokens.txt", "--to", folder / "logits.safetensors")
    logits = load_file(folder / "logits.safetensors")
    assert sorted(logits) == sorted(f"{what}.{line}" for what in ("ids", "logits") for line in sequences)
    exact = {name: value.astype("f8") for name, value in weights.items()}
    for line, ids in sequences.items():
        ours = logits[f"logits.{line}"]
        assert ours.dtype == "f4" and list(logits[f"ids.{line}"]) == ids
        error = distance(ours, forward(exact, ids, mixer))
        print(f"{Path(recipe).stem} {overrides}: logits differ by {error:.1e} of their rms")
        assert error < 1e-4, error
    assert distance(logits["logits.1"], forward(spoil(exact), sequences[1], mixer)) > 1e-2


def check_published_names(folder, recipe):
    """Every key that the published code's strict loading wants, and no other; shared tensors are there several times."""
    run("train", recipe, "--out", folder / "run", "--set", "train.steps=1")
    run("export", folder / "run", "--to", folder / "w.safetensors", "--names", "safari")
    pairs = lambda *names: [f"{name}.{part}" for name in names for part in ("weight", "bias")]
    network = "mixer.filter_fn.implicit_filter."
    layer = pairs("norm1", "norm2", "mlp.fc1", "mlp.fc2", "mixer.in_proj", "mixer.out_proj", "mixer.short_filter")
    layer += pairs(network + "0", network + "2", network + "4") + [network + "6.weight"]
    layer += [f"{network}{i}.freq" for i in (1, 3, 5)]
    layer += ["mixer.filter_fn." + name for name in ("bias", "pos_emb.z", "pos_emb.t", "modulation.deltas")]
    expected = ["lm_head.weight", "backbone.embeddings.word_embeddings.weight", *pairs("backbone.ln_f")]
    expected += [f"backbone.layers.{i}.{name}" for i in range(2) for name in layer]
    weights = load_file(folder / "w.safetensors")
    assert sorted(weights) == sorted(expected), set(weights) ^ set(expected)
    assert np.array_equal(weights["lm_head.weight"], weights["backbone.embeddings.word_embeddings.weight"])
    frequencies = [weights[f"backbone.layers.1.{network}{i}.freq"] for i in (1, 3, 5)]
    assert all(np.array_equal(f, frequencies[0]) and f.shape[0] == 1 for f in frequencies)
    assert not np.array_equal(frequencies[0], 0 * frequencies[0])


def check_containers(folder, recipe):
    run("train", recipe, "--out", folder / "run", "--set", "train.steps=2")
    for dtype in ("f32", "bf16"):
        run("export", folder / "run", "--to", folder / f"{dtype}.safetensors", "--dtype", dtype)
        run("export", folder / "run", "--to", folder / f"{dtype}.h5", "--dtype", dtype)
        with safe_open(folder / f"{dtype}.safetensors", "np") as f, h5py.File(folder / f"{dtype}.h5") as h:
            assert f.metadata()["format"] == "pt" and f.metadata()["step"] == "2"
            text = lambda name: h.attrs[name].decode() if isinstance(h.attrs[name], bytes) else str(h.attrs[name])
            assert json.loads(f.metadata()["tied"]) == json.loads(text("tied")) == [["head", "embedding.table"]]
            assert "test_hyena" in f.metadata()["recipe"] and f.metadata()["recipe"] == text("recipe")
            assert sorted(f.keys()) == sorted(h) and len(h) == 55
            for name in f.keys():
                part = f.get_slice(name)
                assert tuple(part.get_shape()) == h[name].shape, name
                if part.get_dtype() == "BF16":
                    assert h[name].dtype == "<u2" and h[name].attrs["dtype"] in ("bfloat16", b"bfloat16"), name
                else:
                    assert np.array_equal(f.get_tensor(name), h[name][()]) and h[name].dtype == "<f4", name
            rounded = [name for name in f.keys() if f.get_slice(name).get_dtype() == "BF16"]
            assert (len(rounded) > 8) == (dtype == "bf16"), rounded
    wide = load_file(folder / "f32.safetensors")["embedding.table"]
    with h5py.File(folder / "bf16.h5") as h:
        bits = wide.view("u4")
        assert np.array_equal(h["embedding.table"][()], ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("u2"))
    data = (folder / "f32.safetensors").read_bytes()
    assert (8 + int.from_bytes(data[:8], "little")) % 64 == 0


def without_skip(w):
    return {name: value * (0 if name.endswith("filter_fn.bias") else 1) for name, value in w.items()}


def swapped_queries(w):
    return {name: np.concatenate(np.split(value, 3)[::-1]) if "Wqkv.weight" in name else value for name, value in w.items()}


recipes = Path(source, "recipes/tests")
checks = [
    lambda f: check_published_names(f, recipes / "hyena.yaml"),
    lambda f: check_containers(f, recipes / "hyena.yaml"),
    lambda f: check_semantics(f, recipes / "hyena.yaml", lambda *a: hyena(*a, order=2), without_skip),
    lambda f: check_semantics(f, recipes / "hyena.yaml", lambda *a: hyena(*a, order=4), without_skip,
                              "model.mixer.order=4", "model.tie_head=false"),
    lambda f: check_semantics(f, recipes / "induction.yaml", lambda *a: attention(*a, heads=4), swapped_queries,
                              "model.mixer.bias=true"),
]
for check in checks:
    with tempfile.TemporaryDirectory() as name:
        check(Path(name))
