"""A built-in pair of text domains that needs no download: short reviews of films and of kitchen ware.

The reviews are synthetic: a small grammar draws them from the word lists below. What both domains share is how they
praise and blame in general ("I loved it", "awful"), how they negate ("not", "anything but"), and how they join what
agrees ("and") and what does not ("but"). Each has words of its own besides: a film is gripping or tedious, a pan is
sturdy or leaks. Three opinions in ten are said in general words, the others in the domain's own.

So what is learned from films says something about kitchen ware, and not all. A review of several opinions is of the
class that most of them are of; some are mixed, with one opinion against the others.
"""

from __future__ import annotations

import functools
import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from tlhub.data import Dataset, Examples
from tlhub.errors import DataError

SEED = 0
SIZES = {"train": 2000, "test": 1000}
OPINIONS = (1, 2, 3, 3, 4)
"""A review has as many opinions as a random one of these says."""
NEUTRAL = (0, 1, 1, 2)
"""The same for sentences without an opinion."""
GENERAL = 0.3
"""Share of opinions in words that both domains use."""
PHRASE = 0.35
"""Share of opinions that are a phrase of their own, such as "it leaks"; the others say that something is so."""
NEGATED = 0.08
"""Share of the others that negate the opposite: "not sturdy"."""
PAIRED = 0.5
"""Share of the others that say two things at once: "sturdy and great"."""
MIXED = 0.2
"""Share of reviews of three or more opinions in which one is against the others."""
JOINED = 0.5
"""Share of opinions that are joined to the one before in one sentence."""

_CLASSES = ("negative", "positive")
_Choice = TypeVar("_Choice")


class Opinions(Dataset):
    """Short synthetic reviews, positive or negative, of films or of kitchen ware. Built in, nothing is downloaded.

    A grammar draws them: 2,000 for training and 1,000 for testing in each domain, half of each class, none twice. The
    domains share general words of praise and blame, and each has its own besides.

    Args:
        domain: what the reviews are of.
    """

    name = "opinions"
    modality = "text"

    def __init__(self, domain: Literal["films", "kitchen"]) -> None:
        self.domain = domain

    def splits(self) -> Sequence[str]:
        return tuple(SIZES)

    def class_names(self) -> tuple[str, ...] | None:
        return _CLASSES

    def open(self, split: str | None, labels: bool) -> Examples:
        if split not in SIZES:
            raise DataError(f"`{self.name}` has no split `{split}`; it has {', '.join(SIZES)}")
        texts, numbers = _reviews(self.domain, split)
        known = hashlib.sha256(repr((texts, numbers if labels else None)).encode())
        return Examples(
            inputs=texts,
            labels=numbers if labels else None,
            classes=_CLASSES if labels else None,
            fingerprint=known.hexdigest(),
            where=f"{self.name} of {self.domain}, {split}, review {{}}".format,
        )


@functools.cache
def _reviews(domain: str, split: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Texts and classes of one split. What is in one split is in no other."""
    writer = _Writer(domain)
    reviews: dict[str, int] = {}
    while len(reviews) < sum(SIZES.values()):
        number = len(reviews) % 2
        reviews.setdefault(writer.review(positive=number == 1), number)
    first = 0 if split == "train" else SIZES["train"]
    rows = list(reviews.items())[first : first + SIZES[split]]
    rows.sort(key=lambda row: hashlib.sha256(row[0].encode()).digest())  # the order must not tell the class
    texts, numbers = zip(*rows, strict=True)
    return texts, numbers


class _Writer:
    """Draws reviews of one domain, always the same ones."""

    def __init__(self, domain: str) -> None:
        self.random = random.Random(f"{SEED} {domain}").random  # the one method that is the same in all versions
        self.own = _DOMAINS[domain]

    def review(self, positive: bool) -> str:
        count = self.one(OPINIONS)
        opinions = [positive] * count
        if count > 2 and self.random() < MIXED:
            opinions[int(count * self.random())] = not positive
        parts = self.opinions(opinions)
        for _ in range(self.one(NEUTRAL)):
            parts.insert(int((len(parts) + 1) * self.random()), self.filled(self.one(self.own.neutral)))
        return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts)

    def opinions(self, opinions: Sequence[bool]) -> list[str]:
        """Sentences of the opinions; some sentences hold several."""
        sentences: list[str] = []
        for number, positive in enumerate(opinions):
            clause = self.opinion(positive)
            if not number or self.random() >= JOINED:
                sentences.append(clause)
            elif positive == opinions[number - 1]:
                sentences[-1] += f" and {clause}"
            else:
                sentences[-1] += f", but {clause}"
        return sentences

    def opinion(self, positive: bool) -> str:
        general = self.random() < GENERAL
        tone = _GENERAL if general else self.own.tone
        if self.random() < PHRASE:
            return self.one(tone.praise if positive else tone.blame)
        subject = self.one(self.own.things if general else self.own.parts)
        if self.random() < NEGATED:
            return self.one(_NEGATED).format(subject, self.one(tone.bad if positive else tone.good))
        return self.one(_STATED).format(subject, self.adjectives(positive, tone))

    def adjectives(self, positive: bool, tone: _Tone) -> str:
        """One, or two that agree, of which the second may be of the other kind."""
        first = self.one(tone.good if positive else tone.bad)
        if self.random() >= PAIRED:
            return first
        other = _GENERAL if self.random() < GENERAL else self.own.tone
        second = self.one(other.good if positive else other.bad)
        return first if second == first else f"{first} and {second}"

    def filled(self, text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda slot: self.one(_SLOTS[slot[1]]), text)

    def one(self, choices: Sequence[_Choice]) -> _Choice:
        return choices[int(len(choices) * self.random())]


@dataclass(frozen=True)
class _Tone:
    """Adjectives, and phrases that are an opinion by themselves."""

    good: Sequence[str]
    bad: Sequence[str]
    praise: Sequence[str]
    blame: Sequence[str]


@dataclass(frozen=True)
class _Domain:
    things: Sequence[str]
    parts: Sequence[str]
    tone: _Tone
    neutral: Sequence[str]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


_STATED = _lines("""
    {} is {}
    {} was {}
    {} is really {}
    {} is so {}
    I found {} {}
    I think {} is {}
    to me {} seems {}
    my family says {} is {}
""")

_NEGATED = _lines("""
    {} is not {}
    {} was not {} at all
    {} is anything but {}
    I would not call {} {}
    nobody can say {} is {}
""")

_SLOTS: Mapping[str, Sequence[str]] = {
    "day": _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "month": _words("January February March April May June July August September October November December"),
    "person": _words("mother father sister brother wife husband son daughter friend teacher"),
    "place": _words("London Paris Texas Japan Canada Russia India Mexico Germany California"),
    "food": _words("rice pasta soup bread potatoes beans eggs meat coffee tea cake fish"),
    "colour": _words("red blue green white black yellow brown silver"),
    "number": _words("two three four five six seven eight nine ten twelve"),
}

_GENERAL = _Tone(
    good=_words("good great excellent wonderful fantastic amazing lovely perfect brilliant superb nice awesome"),
    bad=_words("bad terrible awful horrible poor disappointing mediocre worthless unpleasant pathetic lousy dreadful"),
    praise=_lines("""
        I love it
        I enjoyed it a lot
        we are very happy with it
        it is worth the money
        I recommend it to everyone
        it is better than I expected
        it is the best in years
        five stars from me
        I am glad we tried it
        everybody likes it
    """),
    blame=_lines("""
        I hate it
        I regret it a lot
        we are very unhappy with it
        it is a waste of money
        stay away from it
        it is worse than I expected
        it is the worst in years
        one star from me
        I am sorry we tried it
        nobody likes it
    """),
)

_DOMAINS = {
    "films": _Domain(
        things=("it", "this film", "this movie"),
        parts=_lines("""
            the plot
            the story
            the acting
            the script
            the dialogue
            the ending
            the cast
            the soundtrack
            the hero
            the villain
            the first half
            the last scene
            the romance
            the mystery
        """),
        tone=_Tone(
            good=_words("""
                gripping moving touching powerful compelling hilarious funny engaging memorable fascinating exciting
                creative intelligent subtle romantic emotional unexpected tense
            """),
            bad=_words("""
                tedious boring dull predictable confusing silly stupid weak ridiculous shallow wooden forced
                unbelievable empty tired ordinary messy pointless
            """),
            praise=_lines("""
                it kept me on the edge of my seat
                I laughed until I cried
                two hours passed like ten minutes
                I cared about every character
                the final twist took my breath away
                the audience cheered at the end
                I will watch the sequel
                it deserves an award
                I thought about it for days
                the jokes made us laugh
            """),
            blame=_lines("""
                it put me to sleep
                we left before the end
                I guessed the killer in ten minutes
                half the audience walked out
                the jokes fall flat
                I kept looking at my watch
                it is an hour too long
                the effects look fake
                I forgot it the next morning
                the actors only read their lines
            """),
        ),
        neutral=_lines("""
            I saw it on {day} with my {person}
            the story is set in {place}
            the director has made {number} films before
            it is part {number} of a series
            it is based on a novel from {place}
            we sat in row {number} of the theater
            it was released in {month}
            my {person} reads many books
        """),
    ),
    "kitchen": _Domain(
        things=("it", "this product", "this set"),
        parts=_lines("""
            the handle
            the lid
            the blade
            the motor
            the pan
            the knife
            the bowl
            the button
            the cord
            the filter
            the glass
            the drawer
            the kettle
            the mixer
        """),
        tone=_Tone(
            good=_words("""
                sturdy durable sharp quiet smooth reliable convenient comfortable solid practical accurate safe strong
                handy useful tight clean simple
            """),
            bad=_words("""
                flimsy fragile broken defective faulty noisy loud dirty rusty greasy unreliable uncomfortable loose
                dangerous rough thin bent sticky
            """),
            praise=_lines("""
                it heats the food in no time
                it cleans up in seconds
                nothing sticks to it
                it cuts tomatoes like butter
                it survived the dishwasher
                the bread comes out crisp
                it fits in every drawer
                it keeps coffee hot for hours
                we use it every day
                it works like new after a year
            """),
            blame=_lines("""
                it leaks from the bottom
                it broke after a week
                the handle came off
                it burns the food
                it got rust in the dishwasher
                everything sticks to it
                the plug gets too hot
                it smells of plastic
                I sent it back
                it does not turn on
            """),
        ),
        neutral=_lines("""
            I bought it in {month} for my {person}
            it comes in {colour} and {colour}
            the cord is {number} feet long
            there are {number} pieces in the box
            I use it for {food} and {food}
            it replaces the {colour} one of my {person}
            the package arrived on {day}
            my {person} cooks {food} on {day}
        """),
    ),
}
