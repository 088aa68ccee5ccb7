"""Data sets: folders of images or texts, tables, CoNLL files, the Hub, and built-in domains of digits and reviews."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlhub.hookspecs import hookimpl

if TYPE_CHECKING:
    from tlhub.data import Dataset


@hookimpl
def tlhub_datasets() -> list[type[Dataset]]:
    """Every data set of this plugin."""
    from tlhub_data.conll import Conll
    from tlhub_data.csv import Csv
    from tlhub_data.digits import Digits, DigitsPhoto
    from tlhub_data.hub import Hub
    from tlhub_data.imagefolder import ImageFolder
    from tlhub_data.jsonl import JsonLines
    from tlhub_data.opinions import Opinions
    from tlhub_data.parquet import Parquet
    from tlhub_data.textfolder import TextFolder

    return [ImageFolder, TextFolder, Csv, JsonLines, Parquet, Conll, Hub, Digits, DigitsPhoto, Opinions]
