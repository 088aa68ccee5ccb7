"""Tables in Parquet files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhub.errors import DataError
from tlhub_data.files import digests
from tlhub_data.table import FileTable, Kinds

if TYPE_CHECKING:
    import datasets


class Parquet(FileTable):
    """Rows of Parquet files, with Hugging Face's feature types (images, class names) where a file declares them.

    A file is read through the cache of the `datasets` library, from which rows are fetched as they are asked for, so
    that it may be larger than memory. With `labels: none` the label column is neither read nor cached.
    """

    name = "parquet"
    suffixes = (".parquet",)

    def _header(self, file: Path) -> Mapping[str, Any]:
        import datasets
        import pyarrow as pa
        import pyarrow.parquet

        try:
            return dict(datasets.Features.from_arrow_schema(pa.parquet.read_schema(file)))
        except Exception as error:  # of Arrow for a broken file, of `datasets` for odd metadata
            raise DataError(f"{file} cannot be read as Parquet: {str(error).splitlines()[0]}") from error

    def _read(self, file: Path, columns: Kinds) -> datasets.Dataset:
        import datasets

        _check_rows(file)
        content = hashlib.sha256(digests([file])[0].encode())  # the cache alone goes by path and time of change
        try:
            with _quiet():
                return datasets.load_dataset(
                    "parquet",
                    name=content.hexdigest(),
                    data_files=[str(file)],
                    columns=list(columns),
                    split="train",
                )
        except OSError as error:
            raise DataError(
                f"{file} cannot be read through the cache {datasets.config.HF_DATASETS_CACHE}: {error}",
                "the environment variable HF_DATASETS_CACHE moves the cache to another disk",
            ) from error
        except Exception as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise DataError(f"{file} cannot be read as Parquet: {reason}") from error


def _check_rows(file: Path) -> None:
    import pyarrow.parquet as pq

    if not pq.read_metadata(file).num_rows:  # which the library cannot read
        raise DataError(f"{file} has no rows")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the `datasets` library from drawing bars and from logging errors that are told anyway."""
    import datasets

    drawn, level = not datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if drawn:
            datasets.enable_progress_bars()
