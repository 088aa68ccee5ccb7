"""Writes docs/pairs.md: which methods make sense together, as the tests find it that train every ordered pair.

    python docs/make_pairs.py

All of it comes from `tests/test_pairs.py`, where every pair either trains, is saved and loads, or is refused in words.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.test_pairs import ADAPTERS, SETTINGS, refusal

FILE = Path(__file__).with_name("pairs.md")
KINDS = ("image", "text")


def text() -> str:
    """The whole page."""
    names = sorted(SETTINGS)
    reasons: dict[str, str] = {}
    rows = []
    for number, first in enumerate(names, 1):
        cells = ["" if first == second else _cell(first, second, reasons) for second in names]
        rows.append(f"| {number} [`{first}`](methods.md#{first}) | " + " | ".join(cells) + " |")
    head = "| | " + " | ".join(map(str, range(1, len(names) + 1))) + " |"
    legend = [f"- **{letter}**: {reason}" for reason, letter in reasons.items()]
    return "\n".join(
        [
            "# Which methods go together",
            "",
            "Written by `docs/make_pairs.py` from `tests/test_pairs.py`, which trains, saves and loads every ordered "
            "pair, on images and on texts; do not edit it by hand. The row comes first in the manifest, the column "
            "second.",
            "",
            "`·`: they go together. `i`: on images alone; `t`: on texts alone; `–`: never, for one is for images and "
            "the other for texts. A letter: the pair is refused before anything is trained, in these words:",
            "",
            *legend,
            "",
            "A letter after `t:` is for texts alone. Methods that boost (`tradaboost` and its kin) stand beside "
            "`partial_freeze` with `stages: all`.",
            "",
            head,
            "|---" * (len(names) + 1) + "|",
            *rows,
            "",
        ]
    )


def _cell(first: str, second: str, reasons: dict[str, str]) -> str:
    """What there is to say of a pair."""
    suited = [kind for kind in KINDS if all(kind in (ADAPTERS[name].modalities or {kind}) for name in (first, second))]
    found = {kind: refusal(first, second, kind) for kind in suited}
    letters = {
        kind: reasons.setdefault(reason, "abcdefghijklmnopqrstuvwxyz"[len(reasons)])
        for kind, reason in found.items()
        if reason is not None
    }
    if not suited:
        return "–"
    if letters:
        return next(iter(letters.values())) if len(letters) == len(suited) else f"t:{letters['text']}"
    return "·" if len(suited) == len(KINDS) else suited[0][0]


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    print(f"wrote {FILE.name}")
