"""Deltas: what the base has is left out, and the original comes back byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from safetensors.numpy import load_file, save_file

from tlhub.errors import ArtifactError
from tlhub_registry.delta import DELTA, WHOLE, assemble, shrink

KINDS = ("float32", "float16", "int64", "uint8", "bool")


def write(path: Path, tensors: dict[str, np.ndarray], **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata or None)
    return path


def random(seed: int, shape: tuple[int, ...], kind: str = "float32") -> np.ndarray:
    return np.asarray(100 * np.random.default_rng(seed).normal(size=shape)).astype(kind)


def test_frozen_tensors_under_other_names_are_left_out(tmp_path: Path) -> None:
    frozen, head = random(0, (100, 100)), random(1, (3, 100))
    base = write(tmp_path / "base.safetensors", {"encoder.weight": frozen, "pooler": random(2, (9,))})
    whole = write(tmp_path / WHOLE, {"bert.encoder.weight": frozen, "head": head}, format="pt")

    (tmp_path / "out").mkdir()
    saved = shrink(whole, base, tmp_path / "out" / DELTA)

    assert saved == frozen.nbytes
    assert load_file(tmp_path / "out" / DELTA).keys() == {"head"}
    assert (tmp_path / "out" / DELTA).stat().st_size < head.nbytes + 1000
    assert assemble(tmp_path / "out", base).read_bytes() == whole.read_bytes()


tensors = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda name: name[:2] != "__"),
    st.tuples(st.integers(0, 5), st.sampled_from([(), (0,), (3,), (2, 3)]), st.sampled_from(KINDS)),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(mine=tensors, theirs=tensors)
def test_whatever_two_models_share_the_original_comes_back(
    tmp_path_factory: pytest.TempPathFactory, mine: dict[str, tuple], theirs: dict[str, tuple]
) -> None:
    folder = tmp_path_factory.mktemp("delta")
    base = write(folder / "base.safetensors", {name: random(*how) for name, how in theirs.items()})
    whole = write(folder / "whole.safetensors", {name: random(*how) for name, how in mine.items()})

    shrink(whole, base, folder / DELTA)

    assert assemble(folder, base).read_bytes() == whole.read_bytes()


def test_equal_bytes_of_another_type_or_shape_are_not_equal(tmp_path: Path) -> None:
    zeros = np.zeros((2, 8), "float32")
    base = write(tmp_path / "base.safetensors", {"a": zeros.reshape(16), "b": zeros.view("int32")})
    assert shrink(write(tmp_path / WHOLE, {"a": zeros}), base, tmp_path / DELTA) == 0


@pytest.mark.parametrize("harm", ["shorter", "renamed", "no base", "garbage", "bomb", "hole"])
def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path: Path, harm: str) -> None:
    """`bomb` is a header that names a base's tensor a thousand times; `hole` one whose tensors leave bytes out."""
    base = write(tmp_path / "base.safetensors", {"a": random(0, (100, 10)), "b": random(1, (5,))})
    names = [f"x{number}" for number in range(1000)]
    copies = {name: random(0, (100, 10)) for name in names} if harm == "bomb" else {"a": random(0, (100, 10))}
    whole = write(tmp_path / "whole.safetensors", {**copies, "head": random(3, (2, 2))})
    if harm == "hole":
        text = json.dumps({"a": {"dtype": "F32", "shape": [100, 10], "data_offsets": [8, 4008]}}).encode()
        whole.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8) + whole.read_bytes()[-4024:-16])
    shrink(whole, base, tmp_path / DELTA)
    if harm == "shorter":
        base.write_bytes(base.read_bytes()[:-2000])
    if harm == "renamed":
        write(base, {"c": random(0, (100, 10))})
    if harm == "no base":
        write(base, {"a": random(0, (3,))})
    if harm == "garbage":
        (tmp_path / DELTA).write_bytes(b"not safetensors at all")

    with pytest.raises(ArtifactError, match="do not fit together"):
        assemble(tmp_path, base)
    assert not (tmp_path / WHOLE).exists()
