"""The language of stated rules (method.md section 13.1): what a rule says, its text, and how text is read.

One grammar is printed and parsed here, and nothing here knows a warehouse:

    rule     = atom {"and" atom} ["->" feature]                 at most three atoms
    atom     = ["no" | "at least" N "of"] set place | "position" range
    set      = "[" member {"," member} "]"
    member   = 'text of a token' | t123 | L2.i17 | L2.i17 ">" activation | same
    place    = "at" offset | "at" offset ".." offset | "at" ".." offset | "before" | "anywhere"
             | "at copy" | "after copy"
    offset   = 0 | -1 | -2 ...                                   tokens back from the position judged
    range    = first ".." last | first ".."                      BOS is position 0
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NoReturn

from attnrules.errors import UsageError

MOST_ATOMS = 3
# Offsets, counts and positions end here: no sequence is longer.
_MOST = 1_000_000
_ESCAPES = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\\": r"\\", "'": r"\'"}
_TOKEN = r"'(?:[^'\\]|\\.)*'"
_PLACES = "at 0, at -1, at -4..-3, at ..-9, before, anywhere, at copy, after copy"
_SCANNER = re.compile(
    rf"\s*(?:(?P<quoted>{_TOKEN})|(?P<feature>L[0-9]+\.i[0-9]+)|(?P<token>t[0-9]+)"
    r"|(?P<target>L[0-9]+(?:H[0-9]+)?\.[0-9]+)|(?P<arrow>->|→)|(?P<dots>\.\.)"
    r"|(?P<number>-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)|(?P<word>[A-Za-z]+)|(?P<sign>[\[\],>]))"
)


@dataclass(frozen=True)
class Token:
    """A token by its text, as the vocabulary has it."""

    text: str

    def __str__(self) -> str:
        escaped = "".join(
            _ESCAPES.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in self.text
        )
        return f"'{escaped}'"


@dataclass(frozen=True)
class TokenId:
    """A token by its number, for texts that several tokens share."""

    token_id: int

    def __str__(self) -> str:
        return f"t{self.token_id}"


@dataclass(frozen=True)
class InputFeature:
    """A feature of the input SAE of a layer, where its activation exceeds `above`."""

    layer: int
    feature: int
    above: float = 0.0

    def __str__(self) -> str:
        return f"L{self.layer}.i{self.feature}" + (f" > {self.above!r}" if self.above else "")


@dataclass(frozen=True)
class Same:
    """The token of the position judged, at an earlier position."""

    def __str__(self) -> str:
        return "same"


Member = Token | TokenId | InputFeature | Same


@dataclass(frozen=True)
class Place:
    """Where a set is looked for, seen from the position judged.

    Arguments:
        kind: `offset`, tokens back from it; `copy`, where its token stood before; `after copy`, the token
            after such a one, up to the position itself.
        nearest, farthest: of an offset, the least and the largest number of tokens back, None for any.
    """

    kind: Literal["offset", "copy", "after copy"] = "offset"
    nearest: int = 0
    farthest: int | None = 0

    def __str__(self) -> str:
        if self.kind != "offset":
            return {"copy": "at copy", "after copy": "after copy"}[self.kind]
        if self.farthest is None:
            named = {0: "anywhere", 1: "before"}
            return named.get(self.nearest, f"at ..{-self.nearest}")
        if self.farthest == self.nearest:
            return f"at {-self.nearest}"
        return f"at {-self.farthest}..{-self.nearest}"


@dataclass(frozen=True)
class Atom:
    """A set of members at a place: true where at least `at_least` positions there hold one of them.

    Arguments:
        absent: whether the atom says "no": true where no position holds one.
    """

    members: tuple[Member, ...]
    place: Place
    at_least: int = 1
    absent: bool = False

    def __str__(self) -> str:
        return condition(map(str, self.members), self.place, self.at_least, absent=self.absent)


def condition(members: Iterable[str], place: Place, at_least: int, *, absent: bool) -> str:
    """Return the text of an atom whose members are texts already."""
    counted = "no " if absent else f"at least {at_least} of " if at_least > 1 else ""
    return f"{counted}[{', '.join(members)}] {place}"


@dataclass(frozen=True)
class Position:
    """The position judged lies from `first` to `last`, None for any after it; BOS is position 0."""

    first: int
    last: int | None = None

    def __str__(self) -> str:
        return f"position {self.first}..{'' if self.last is None else self.last}"


@dataclass(frozen=True)
class Statement:
    """A rule: atoms that must all be true."""

    atoms: tuple[Atom | Position, ...]

    def __str__(self) -> str:
        return " and ".join(map(str, self.atoms))


def parse(text: str) -> tuple[Statement, str | None]:
    """Read a rule; return what it says and the name of its feature, None where it names none.

    Raises `UsageError` that shows where the text stops being a rule.
    """
    return _Reader(text).rule()


class _Reader:
    """Reads one text from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def rule(self) -> tuple[Statement, str | None]:
        atoms = [self._atom()]
        while self._word("and"):
            if len(atoms) == MOST_ATOMS:
                self._fail(f"a rule has at most {MOST_ATOMS} atoms")
            atoms.append(self._atom())
        target = None
        if self._take("arrow"):
            target = self._take("target") or self._fail("expected a feature, such as L0H3.17")
        if self._text[self._at :].strip():
            self._fail("expected 'and', '->' or the end")
        return Statement(tuple(atoms)), target

    def _atom(self) -> Atom | Position:
        if self._word("position"):
            return self._position()
        absent, at_least = self._word("no"), 1
        if not absent and self._word("at"):
            self._expect("least")
            at_least = self._number("a count, such as 2", 1)
            self._expect("of")
        members = self._set()
        place = self._place()
        if Same() in members and (place.kind != "offset" or place.nearest < 1):
            self._fail("[same] is looked for before: write it before, or at -1 and the like")
        return Atom(members, place, at_least, absent)

    def _set(self) -> tuple[Member, ...]:
        if not self._sign("["):
            self._fail("expected a set such as [' a', L2.i17], 'no', 'at least' or 'position'")
        members = [self._member()]
        while self._sign(","):
            members.append(self._member())
        if not self._sign("]"):
            self._fail("expected ',' or ']'")
        if len({*members}) < len(members):
            self._fail("a member stands twice in this set")
        if Same() in members and len(members) > 1:
            self._fail("[same] stands alone in its set")
        return tuple(members)

    def _member(self) -> Member:
        if quoted := self._take("quoted"):
            return Token(self._unescaped(quoted[1:-1]))
        if token := self._take("token"):
            return TokenId(self._bounded(int(token[1:])))
        if feature := self._take("feature"):
            layer, number = feature[1:].split(".i")
            above = self._strength() if self._sign(">") else 0.0
            return InputFeature(self._bounded(int(layer)), self._bounded(int(number)), above)
        if not self._word("same"):
            self._fail("expected a token in single quotes, t123, L2.i17 or same")
        return Same()

    def _unescaped(self, text: str) -> str:
        signs = {written[1]: sign for sign, written in _ESCAPES.items()}

        def sign(found: re.Match[str]) -> str:
            if found[1]:
                code = int(found[1], 16)
                if code > 0x10FFFF:
                    self._fail(f"there is no character {found[0]}")
                return chr(code)
            return signs.get(found[2]) or self._fail(f"unknown escape {found[0]}")

        return re.sub(r"\\(?:u\{([0-9a-fA-F]{1,8})\}|(.))", sign, text, flags=re.DOTALL)

    def _strength(self) -> float:
        number = self._take("number")
        if number is None or float(number) <= 0 or float(number) > 3e38:
            self._fail("expected an activation above 0")
        return float(number)

    def _place(self) -> Place:
        for word, nearest in (("before", 1), ("anywhere", 0)):
            if self._word(word):
                return Place("offset", nearest, None)
        if self._word("after"):
            self._expect("copy")
            return Place("after copy")
        if not self._word("at"):
            self._fail(
                "expected a place: at 0, at -1, at -4..-3, at ..-9, before, anywhere, at copy, after copy"
            )
        if self._word("copy"):
            return Place("copy")
        if self._take("dots"):
            return Place("offset", self._offset(), None)
        farthest = self._offset()
        nearest = self._offset() if self._take("dots") else farthest
        if nearest > farthest:
            self._fail("a range of offsets begins farther back than it ends, as in -4..-3")
        return Place("offset", nearest, farthest)

    def _offset(self) -> int:
        number = self._take("number")
        if number is None or not re.fullmatch("0|-[0-9]+", number):
            self._fail("expected an offset: 0 for this token, -1 for the one before, ...")
        return self._bounded(-int(number))

    def _position(self) -> Position:
        first = self._number("a position, such as 1", 1)
        if not self._take("dots"):
            self._fail("expected '..'")
        last = self._number("a position", first) if re.match(r"\s*[0-9]", self._text[self._at :]) else None
        return Position(first, last)

    def _number(self, what: str, least: int) -> int:
        number = self._take("number")
        if number is None or not number.isdigit() or int(number) < least:
            self._fail(f"expected {what}, from {least} on")
        return self._bounded(int(number))

    def _bounded(self, number: int) -> int:
        if number > _MOST:
            self._fail(f"{number} is larger than {_MOST:,}")
        return number

    def _take(self, kind: str) -> str | None:
        found = _SCANNER.match(self._text, self._at)
        if found is None or found.lastgroup != kind:
            return None
        self._at = found.end()
        return found[kind]

    def _word(self, word: str) -> bool:
        return self._exactly("word", word)

    def _sign(self, sign: str) -> bool:
        return self._exactly("sign", sign)

    def _exactly(self, kind: str, text: str) -> bool:
        before = self._at
        if self._take(kind) == text:
            return True
        self._at = before
        return False

    def _expect(self, word: str) -> None:
        if not self._word(word):
            self._fail(f"expected {word!r}")

    def _fail(self, reason: str) -> NoReturn:
        read, rest = self._text[: self._at].strip(), self._text[self._at :].strip()
        raise UsageError(f"{read} <<here>> {rest[:80]}: {reason}")
