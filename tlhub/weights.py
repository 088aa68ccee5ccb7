"""Weights from a file that a user names."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from tlhub.errors import SettingError


def read_weights(path: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, which the setting `weights` names. Raises SettingError where it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = Path(path).expanduser()
    if file.is_dir():
        raise SettingError("weights", f"`{path}` is a folder", "name the .safetensors file in it")
    if not file.is_file():
        raise SettingError("weights", f"there is no file `{path}`", f"a relative path starts in {Path.cwd()}")
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        hint = "only safetensors files are read: other formats can run code when they are opened"
        raise SettingError("weights", f"`{path}` cannot be read as safetensors: {error}", hint) from error
