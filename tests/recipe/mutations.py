"""Recipes that went wrong: those of the repository with keys, types, values, structure and bytes changed."""

import copy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

import progcycle
from progcycle.recipe.reading import read_content

RECIPES = sorted((Path(progcycle.__file__).parents[1] / "recipes").glob("*.yaml"))
CONTENTS = [read_content(path) for path in RECIPES]
ALONE = [path for path in RECIPES if "extends:" not in path.read_text(encoding="utf-8")]
RESOLUTIONS = ["default", 4, 8, 12, 64, "64", 2048, -8, True]

numbers = (
    st.sampled_from([0, -1, 1, 2, 3, 7, 16, 1024, 65536, 10**9, 2**40, 2**63, 2**64, 10**30])
    | st.sampled_from([0.0, -0.0, 1e-300, 1e-12, 0.5, 1.5, 1e6, 1e18, 1e308, float("inf"), float("-inf"), float("nan")])
    | st.integers()
    | st.floats()
)
texts = st.sampled_from(
    ["", "none", "nan", "1e9", "pggan", "cyclegan", "resnet", "patchgan", "wgan", "lsgan", "hinge", "folders", "é✈",
     "../..", "/", "a" * 3000, "\x1b[31m", "line\nbreak", "{", "*", "all", "group4", "batch", "unet", "layer", "sum"]
) | st.text(max_size=12)  # fmt: skip
noise = st.sampled_from(
    [b"", b":", b"  ", b"\n", b"-", b"- ", b"0", b"9", b".", b"{", b"]", b"*a", b"&a ", b"!", b"#"]
) | (st.binary(max_size=3))
scalars = st.none() | st.booleans() | numbers | texts
names = st.sampled_from(
    ["path", "root", "name", "extends", "task", "augment", "schedule", "lr", "betas", "pretraining", "warm_start",
     "evaluation", "labels", "validation", "start_resolution", "hold_resolution", "total_kimg", "batch_size",
     "residual_blocks", "minibatch_discrimination", "every", "weight", "policy", "adaptive", "noise", "r1", "<<", "="]
)  # fmt: skip
keys = names | st.sampled_from(RESOLUTIONS) | st.text(max_size=5) | st.integers() | st.none() | st.floats()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=8
)


def _alike(value: Any) -> st.SearchStrategy[Any]:
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int | float):
        return st.sampled_from([1, 2, 4, 8, 64, 1024, 2**20, 2**40, 0.001, 0.5, 0.99, 3.0, 1e6, 1e300, value])
    return texts if isinstance(value, str) else values


@st.composite
def contents(draw: st.DrawFn) -> dict[Any, Any]:
    """A recipe's mapping with up to three changes, at any depth."""
    content = copy.deepcopy(draw(st.sampled_from(CONTENTS)))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        section = content
        while section:
            key = draw(st.sampled_from(sorted(section, key=str)))
            if not isinstance(section[key], dict) or draw(st.integers(0, 3)) == 0:
                break
            section = section[key]
        action = draw(
            st.sampled_from(
                ["value", "kind", "kind", "scale", "scale", "type", "add", "remove", "rename", "wrap", "graft"]
            )
        )
        if action == "add" or not section:
            section[draw(keys)] = draw(values)
        elif action == "value":
            section[key] = draw(scalars)
        elif action == "kind":  # another value of its kind, which is often a valid recipe that means something odd
            section[key] = draw(_alike(section[key]))
        elif action == "scale" and isinstance(section[key], int | float):
            section[key] = section[key] * draw(st.sampled_from([-1, 0, 0.5, 2, 3, 16, 1000, 10**12]))
        elif action == "type":
            section[key] = draw(st.sampled_from([str(section[key]), [section[key]], {"default": section[key]}, None]))
        elif action == "remove":
            del section[key]
        elif action == "rename":
            section[draw(keys)] = section.pop(key)
        elif action == "wrap":
            section[key] = {key: section[key], **draw(st.dictionaries(keys, scalars, max_size=2))}
        else:
            section[draw(names)] = copy.deepcopy(draw(st.sampled_from(CONTENTS)).get(draw(names)))
    return content


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """The bytes of a recipe file: a changed mapping, or the file as it is, and then perhaps changed bytes."""
    if draw(st.integers(0, 5)) < 5:
        text = yaml.safe_dump(draw(contents()), sort_keys=False, allow_unicode=draw(st.booleans()))
    else:
        text = draw(st.sampled_from(ALONE)).read_text(encoding="utf-8")
    kind = draw(st.sampled_from(["as it is"] * 16 + ["bytes", "bytes", "lines", "yaml", "yaml", "encoding"]))
    if kind == "encoding":
        encoding = draw(st.sampled_from(["utf-8-sig", "utf-16", "utf-32", "latin-1", "cp037"]))
        return text.encode(encoding, "replace")
    if kind == "yaml":
        more = ["\n---\n", "\n...\n", "%YAML 9.9\n---\n", "a: &a [*a]\n", "a: &a {<<: *a}\n", "!!python/name:os.system",
                "seed: !!python/object/apply:os.system [ls]\n", "\t", "seed: 2020-01-01\n", "? [1]\n: 2\n",
                "data: !!set {a}\n", "seed: !!binary aGk=\n", "seed: 1:1\n", "seed: 0x" + "f" * 99 + "\n"]  # fmt: skip
        extra = draw(st.sampled_from(more))
        return (extra + text if draw(st.booleans()) else text + "\n" + extra).encode("utf-8", "replace")
    raw = bytearray(text.encode("utf-8", "replace"))
    if kind == "lines":
        lines = raw.split(b"\n")
        i, j = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        lines[i], lines[j] = lines[j], draw(st.sampled_from([lines[i], b"  " + lines[j], lines[j].lstrip(), b""]))
        return b"\n".join(lines)
    if kind == "bytes":
        for _ in range(draw(st.integers(1, 6))):
            place = draw(st.integers(0, len(raw)))
            raw[place : place + draw(st.integers(0, 3))] = draw(noise)
    return bytes(raw)
