"""Folders of text files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tlhub.data import Examples
from tlhub_data.folder import Folder
from tlhub_data.inputs import TextFiles
from tlhub_data.texts import check_texts, repeats


class TextFolder(Folder):
    """A folder of text files in UTF-8 with one folder for each class, such as `positive/1.txt` and `negative/7.txt`.

    Where the folders at the top are all named after splits (`train`, `test`, `validation` …), they are the splits, and
    the class folders lie in them. With `labels: none` the files may lie anywhere, a flat folder of them will do, and
    the name of the folder a file lies in is not looked at.

    A file is one text. File names decide the order, shuffled, as those of images do in `imagefolder`. Files that begin
    with a dot or do not end in `.txt` are passed over.
    """

    name = "textfolder"
    modality = "text"
    endings = (".txt",)
    one, several = "a text file", "text files"

    def open(self, split: str | None, labels: bool) -> Examples:
        examples = super().open(split, labels)
        check_texts(examples.inputs, "text", examples.where)
        shown = None if examples.labels is None else list(examples.labels)
        return replace(examples, notes=repeats(examples.inputs, shown, examples.where))

    def _inputs(self, files: Sequence[Path]) -> TextFiles:
        return TextFiles(files)
