"""The report's main figure as a PNG: features of the domains before and after."""

from __future__ import annotations

import io

from tlhub.errors import UserError
from tlhub_report.findings import Findings

COLOURS = {"source": "#0072b2", "target": "#d55e00", "evaluate": "#d55e00"}
"""Of domains by role, told apart by people who see few colours too; their marks differ besides."""


def picture(found: Findings) -> bytes:
    """A PNG with a panel for each model. Raises UserError where there is no example to draw."""
    from matplotlib.figure import Figure

    if not found.planes:
        raise UserError("there is no figure to draw: " + ("\n".join(found.notes) or "the model has no data"))
    figure = Figure((5 * len(found.planes), 5.3), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(found.planes), squeeze=False)[0]
    for axes, plane in zip(panels, found.planes, strict=True):
        start = 0
        for sample in found.samples:
            own = plane.points[start : start + len(sample.names)]
            start += len(sample.names)
            mark = "o" if sample.role == "source" else "s"
            axes.scatter(*own.T, s=14, c=COLOURS[sample.role], marker=mark, alpha=0.5, lw=0, label=sample.key)
        axes.set_title(f"{plane.model}: {100 * plane.explained:.0f} % of the variance", parse_math=False)
        axes.set_aspect("equal", "datalim")
        axes.set_xticks([])
        axes.set_yticks([])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
