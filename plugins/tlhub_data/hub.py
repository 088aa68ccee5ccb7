"""Data sets of the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tlhub.errors import DataError
from tlhub_data.files import CONTENT_LIMIT
from tlhub_data.inputs import Origin
from tlhub_data.table import Kinds, Label, Rows, Table, check_columns

if TYPE_CHECKING:
    import datasets

_COMMIT = re.compile(r"[0-9a-f]{40}")
_CONFIG = re.compile(r"Config name is missing|BuilderConfig '.*' not found")


class Hub(Table):
    """A data set of the Hugging Face Hub, downloaded once and kept in the cache of the `datasets` library.

    No code of the data set is ever run. With `labels: none` the label column is dropped from the cached table before
    any of its values is read. The fingerprint holds the commit that was used, where it is known.

    Args:
        repo: its name on the Hub, such as `ylecun/mnist`; a local folder that is laid out like one will do.
        config: its configuration, where it has several.
        revision: a branch, tag or commit; the latest of `main` if left out.
    """

    name = "hub"

    def __init__(
        self,
        repo: str,
        config: str | None = None,
        revision: str | None = None,
        image: str | None = None,
        text: str | None = None,
        text_pair: str | None = None,
        words: str | None = None,
        vector: str | None = None,
        label: Label = "label",
    ) -> None:
        super().__init__(image, text, text_pair, words, vector, label)
        self._repo, self._config, self._revision = repo, config, revision

    def splits(self) -> Sequence[str]:
        found = self._builder.info.splits or self._builder.config.data_files or self._prepared.info.splits
        return [str(name) for name in found or ()]

    def _columns(self) -> Mapping[str, Any]:
        return dict(self._builder.info.features or self._prepared.info.features)

    def _rows(self, split: str | None, columns: Kinds) -> Rows:
        builder = self._prepared
        where = f"{self._what}, split {split}"
        check_columns(where, builder.info.features, columns)
        try:
            table = builder.as_dataset(split=split).select_columns(list(columns))
        except Exception as error:
            raise self._error(error) from error
        commit = builder.hash if builder.hash and _COMMIT.fullmatch(builder.hash) else None
        known_by = commit and f"{self._repo}@{commit} {builder.config.name} {split}"
        if known_by is None and table.data.nbytes > CONTENT_LIMIT:
            known_by = table._fingerprint  # the library's, of where the rows come from
        return Rows(table, Origin((where,), (len(table),)), known_by)

    @cached_property
    def _builder(self) -> datasets.DatasetBuilder:
        import datasets

        try:
            return datasets.load_dataset_builder(self._repo, self._config, revision=self._revision)
        except Exception as error:
            raise self._error(error) from error

    @cached_property
    def _prepared(self) -> datasets.DatasetBuilder:
        """The builder after everything is downloaded."""
        builder = self._builder
        try:
            builder.download_and_prepare()
        except Exception as error:
            raise self._error(error) from error
        return builder

    def _error(self, error: Exception) -> DataError:
        """What went wrong, in the words of the `datasets` library: it lists configurations and says what is gated."""
        lines = str(error.__cause__ or error).strip().splitlines()
        reason = " ".join(line.strip() for line in lines[:2]) or type(error).__name__
        hint = None
        if isinstance(error, ConnectionError):
            hint = "check the connection and HF_HUB_OFFLINE; without a network only what is in the cache can be opened"
        elif type(error).__name__ == "DatasetNotFoundError":
            hint = "check the name and `revision`; log in with `hf auth login` where it is private or gated"
        elif _CONFIG.search(reason):
            hint = "name one of them with `config:`"
        return DataError(f"the data set `{self._repo}` cannot be opened: {reason}", hint)
