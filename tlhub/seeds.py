"""One manifest under several seeds: what one run says may be chance of its seed."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlhub import artifact, manifest as manifests
from tlhub.adaptation import Result, adapt
from tlhub.catalog import Catalog
from tlhub.errors import UserError
from tlhub.manifest import Manifest
from tlhub.measure import Comparison, over_seeds
from tlhub.watch import Watch


@dataclass(frozen=True)
class Mean:
    """A model's score on one domain over the seeds: mean and standard deviation, None of one seed."""

    model: str
    domain: str
    value: float
    deviation: float | None


@dataclass(frozen=True)
class Seeds:
    """What a manifest came to under several seeds.

    Attributes:
        results: those of the seeds, in their order.
        comparison: adapted against baseline over all of them, where there is a baseline.
    """

    folder: Path
    seeds: Sequence[int]
    results: Sequence[Result]
    comparison: Comparison | None
    sentence: str

    @property
    def means(self) -> list[Mean]:
        """The rows of the results, averaged."""
        found = []
        for rows in zip(*(result.rows for result in self.results), strict=True):
            values = [row.score.value for row in rows]
            deviation = statistics.stdev(values) if len(values) > 1 else None
            found.append(Mean(rows[0].model, rows[0].domain, statistics.mean(values), deviation))
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "folder": str(self.folder),
            "seeds": list(self.seeds),
            "means": [vars(mean) for mean in self.means],
            "comparison": None if self.comparison is None else self.comparison.as_dict(),
            "sentence": self.sentence,
            "results": [{"folder": str(result.folder), **result.as_dict()} for result in self.results],
        }


def adapt_seeds(
    manifest: str | os.PathLike[str] | Mapping[str, Any] | Manifest,
    count: int,
    *,
    overrides: Sequence[str] = (),
    out: str | os.PathLike[str] | None = None,
    device: str | None = None,
    watch: Watch | None = None,
    catalog: Catalog | None = None,
) -> Seeds:
    """Adapt under the manifest's seed and those that follow it, and say whether adaptation helped over all of them.

    Each run lies in `seed-N` below the folder. Finished ones are not repeated, and unfinished ones continue.

    Args:
        out: the folder; by default `runs/` and the manifest's name with `-seeds`.

    Raises UserError as `adapt` does, and where there is nothing to score on, or the folder holds other runs.
    """
    catalog = catalog or Catalog.installed()
    watch = watch or Watch()
    loaded = manifests.of(manifest, overrides, catalog)
    if not loaded.evaluate:
        raise UserError("seeds are compared by their scores", "add an `evaluate:` part with labelled target examples")
    folder = Path(out) if out is not None else Path("runs") / f"{loaded.title}-seeds"
    seeds = [loaded.train.seed + number for number in range(count)]
    results = []
    for seed in seeds:
        seeded = manifests.from_dict(
            {**loaded.as_dict(), "name": loaded.title, "train": {**loaded.as_dict()["train"], "seed": seed}}
        )
        place = folder / f"seed-{seed}"
        artifact.check_made_by(place, seeded)
        watch.note(f"seed {seed}")
        results.append(adapt(seeded, out=place, resume=place.exists(), device=device, watch=watch, catalog=catalog))
    comparisons = [result.comparison for result in results if result.comparison is not None]
    if len(comparisons) < count:
        return Seeds(folder, seeds, results, None, results[0].sentence)
    comparison = over_seeds(comparisons)
    return Seeds(folder, seeds, results, comparison, comparison.sentence(results[0].metric, len(seeds)))
