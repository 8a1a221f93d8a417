"""In which forms a value that identifies may be written: names in any order, dates in any form, numbers in groups.

What is not claimed: a family name alone, initials alone or behind a name without a sign, an age, a date of six digits
or as the number of a day, all of which stand in reports and tables by chance; texts in another alphabet or encoded
(base64, numbers in other bases), pictures of letters.
"""

import html
import re
import unicodedata
import urllib.parse
from collections.abc import Iterable, Mapping
from functools import cache

_COMMON = frozenset(
    {
        "brain", "head", "body", "magnetic", "resonance", "spectroscopy", "imaging", "centre", "center", "hospital",
        "university", "institute", "institution", "clinic", "clinical", "department", "research", "school", "medical",
        "medicine", "radiology", "neurology", "psychiatry", "study", "scan", "scanner", "mri", "mrs", "fmri", "unit",
        "and", "the", "for",
    }
)  # fmt: skip
"""Words of institutions and studies, which are looked for in their order only."""

BETWEEN = 2
"""Words that may stand between those of a name."""
SHORTEST_NUMBER = 7
"""Plain numbers with fewer digits are too common to be looked for."""
SHORTEST_FAMILY, SHORTEST_JOINED = 5, 8
"""Letters of a family name beside an initial, and of a name written as one word."""

_LETTERS = str.maketrans(
    {"ß": "ss", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ø": "o", "æ": "a", "œ": "o", "ı": "i", "ħ": "h"}
    | {"年": "-", "月": "-", "日": " "}
)
_MONTH_NAMES = """
    january januar janvier janv enero ene gennaio gen janeiro januari stycznia styczen sty leden ledna jan
    february februar fevrier fevr febrero febbraio fevereiro fev februari lutego luty unor unora feb
    march marz mrz mars marzo marco maart marca marzec brezna brezen mar
    april avril avr abril abr aprile kwietnia kwiecien kwi duben dubna apr
    mai mayo maggio mag maio mei maja maj kveten kvetna may
    june juni juin junio giugno giu junho czerwca czerwiec cze cerven cervna jun
    july juli juillet juil julio luglio lug julho lipca lipiec lip cervenec cervence jul
    august aout agosto ago augustus augusti sierpnia sierpien sie srpen srpna aug
    september septembre septiembre settembre set setembro wrzesnia wrzesien wrz zari sept sep
    october oktober octobre octubre ottobre ott outubro out pazdziernika pazdziernik paz rijen rijna okt oct
    november novembre noviembre novembro listopada listopad lis nov
    december dezember decembre diciembre dic dicembre dezembro desember grudnia grudzien gru prosinec prosince dez dec
"""
"""Months in English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Czech and the Nordic languages."""


def plain(text: str) -> str:
    r"""Text without escapes (HTML, JSON, addresses), accents and invisible signs, in lower case; umlauts as one letter.

    >>> plain("J&ouml;rg M\\u00fcller") == plain("JOERG MUELLER") == "jorg muller"
    True
    """
    if "&" in text:
        text = html.unescape(text)
    if "\\" in text:
        text = re.sub(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})", lambda m: chr(int(m[1] or m[2], 16)), text)
    if "%" in text:
        text = urllib.parse.unquote(text, errors="ignore")
    text = text.casefold()
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.translate(_LETTERS)).casefold()
        text = re.sub(r"[^\x00-\x7f]", lambda m: _sign(m[0]), text)
    text = re.sub(r"(?<=[^\W\d_])['’ʼ`´](?:s\b)?", lambda m: " " if "s" in m[0] else "", text)
    return re.sub(r"([aou])e|(a)a", lambda m: m[1] or m[2], text)


@cache
def _sign(sign: str) -> str:
    """Give a sign of decomposed text as it counts: nothing for accents and what cannot be seen, digits as ours."""
    if unicodedata.combining(sign) or unicodedata.category(sign) == "Cf":
        return ""
    return str(unicodedata.decimal(sign, sign))


_MONTHS = {
    plain(name): number for number, line in enumerate(_MONTH_NAMES.strip().splitlines(), 1) for name in line.split()
}
_ROMAN = {
    name: n for n, name in enumerate(("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii"), 1)
}


def _longest_first(names: Iterable[str]) -> str:
    return "|".join(sorted(names, key=len, reverse=True))


_YEAR, _SHORT, _DAY, _MONTH = r"(?P<y>(?:19|20)\d\d)", r"(?P<y>\d\d)", r"(?P<d>\d\d?)", r"(?P<m>\d\d?)"
_START, _END = r"(?<!\d)(?<!\d\.)", r"(?!\d)"
_IN_FIGURES = [
    rf"{_START}{_YEAR}(?P<m>\d\d)(?P<d>\d\d)(?:[0-2]\d[0-5]\d(?:[0-5]\d)?)?{_END}",
    rf"{_START}(?P<d>\d\d)(?P<m>\d\d){_YEAR}{_END}",
    rf"(?<!\d){_YEAR}[-./: ]{{1,2}}{_MONTH}[-./: ]{{1,2}}{_DAY}{_END}",
    rf"(?<!\d){_DAY}[-./ ]{{1,2}}{_MONTH}[-./ ]{{1,2}}{_YEAR}{_END}",
    rf"(?<!\d)(?P<d>\d\d)[-./](?P<m>\d\d)[-./]{_SHORT}{_END}",
    rf"(?<!\d){_SHORT}[-./](?P<m>\d\d)[-./](?P<d>\d\d){_END}",
    rf"(?<![\d/]){_DAY}/{_MONTH}/{_SHORT}(?![\d/])",
]
_NAMED, _NTH, _OF = (
    f"(?P<m>{_longest_first(_MONTHS)})",
    "(?:st|nd|rd|th)?",
    r"(?:[-./, ]|\b(?:of|de|den|di|del)\b){0,6}",
)
_IN_WORDS = [
    rf"(?<!\d){_DAY}{_NTH}{_OF}{_NAMED}{_OF}'?{_YEAR}{_END}",
    rf"(?<!\d){_DAY}{_NTH}[-./ ]{{1,2}}{_NAMED}[-./ ]{{1,2}}'?{_SHORT}{_END}",
    rf"(?<![a-z]){_NAMED}[-./, ]*{_DAY}{_NTH}[-./, ]+{_YEAR}{_END}",
    rf"(?<!\d){_YEAR}[-./, ]*{_NAMED}[-./, ]*{_DAY}{_END}",
    rf"(?<!\d){_DAY}[-./ ]{{1,2}}(?P<m>{_longest_first(_ROMAN)})[-./ ]{{1,2}}{_YEAR}{_END}",
]
_FIGURES, _SPELT = ([re.compile(form) for form in forms] for forms in (_IN_FIGURES, _IN_WORDS))


def dates(text: str) -> set[tuple[int, int, int]]:
    """Dates (year, month, day) in a text, whatever their form; of one with day and month in doubt both readings.

    >>> sorted(dates("born 3.2.1961"))
    [(1961, 2, 3), (1961, 3, 2)]
    >>> dates("3. Februar 1961") == dates("1961-02-03") == dates("19610203") == {(1961, 2, 3)}
    True
    """
    return _dates_in(plain(text))


_MAYBE = re.compile(
    r"(?<!\d)(?=(\d{8}(?!\d)|\d{12}(?!\d)|\d{14}(?!\d)"
    r"|\d{1,4}[-./: ]{1,2}(?:\d{1,2}|[ivx]{1,4})[-./: ]{1,2}(?:\d{4}|\d{1,2})(?!\d)))"
)
"""Where a date in figures may begin; what follows is looked at in every form."""


def _dates_in(text: str) -> set[tuple[int, int, int]]:
    places = [match.span(1) for match in _MAYBE.finditer(text)]
    for name in _MONTHS.keys() & set(re.findall(r"[^\W\d_]+", text)):
        places += [(match.start() - 16, match.end() + 16) for match in re.finditer(rf"(?<![a-z]){name}(?![a-z])", text)]
    near = "\n".join({text[max(start - 2, 0) : end + 2].replace("\n", " ") for start, end in places})
    found = set()
    for form in (*_FIGURES, *_SPELT):
        for match in form.finditer(near):
            year, name, day = match["y"], match["m"], int(match["d"])
            month = _MONTHS.get(name) or _ROMAN.get(name) or int(name)
            years = [int(year)] if len(year) == 4 else [1900 + int(year), 2000 + int(year)]
            either = name.isdigit() and match.start("d") < match.start("y")
            pairs = {(month, day), (day, month)} if either else {(month, day)}
            found |= {(y, m, d) for y in years for m, d in pairs if 1 <= m <= 12 and 1 <= d <= 31}
    return found


def words(text: str) -> list[str]:
    """Words of a plain text; a date written with separators is one word.

    >>> words("doe^jane, born 1900-01-01")
    ['doe', 'jane', 'born', '19000101']
    """
    return re.findall(r"[^\W_]+", re.sub(r"\b(\d{4})[-./](\d\d)[-./](\d\d)\b", r"\1\2\3", text))


_NUMBER = re.compile(r"(?<!\d[.,])(?<![^\W_])(?:[a-z]*(\d{7,})(?:\.0+(?!\d))?|(\d{7,})[a-df-z])(?![^\W_])(?![.,]\d)")
_THOUSANDS = re.compile(r"(?<![\d.,'])\d{1,3}([.,'])\d{3}(?:\1\d{3})+(?![.,']?\d)")
_GROUPS = re.compile(r"(?<![\d.,-])\d{2,5}(?:[- ]\d{2,5}){1,4}(?![.,-]?\d)")


def _numbers_in(text: str) -> set[str]:
    """Numbers of seven digits or more that stand alone, behind letters, or in groups; with and without leading zeros.

    Decimals are none: the places of results would hold any number.
    """
    found = {match[1] or match[2] for match in _NUMBER.finditer(text)}
    found |= {re.sub(r"\D", "", match[0]) for match in _THOUSANDS.finditer(text)}
    for match in _GROUPS.finditer(text):
        number = re.sub(r"\D", "", match[0])
        if "-" in match[0] or len(number) >= SHORTEST_NUMBER + 2:
            found.add(number)
    return found | {number.lstrip("0") for number in found}


_NO_PERSON = re.compile("Institution|Station|StudyDescription|SerialNumber|ModelName|ProtocolName|Accession")
"""Sources whose texts are no names of people, but looked for as they stand."""
_PERSON = re.compile(r"(?i)(?:patient|physician|operators?)s?name|column \w*(?:name|rater|nurse|doctor|physician)")
_INITIAL_BEFORE = re.compile(r"(?<![^\W_])([^\W\d_])\.[ _-]?([^\W\d_]{5,})(?![^\W_])")
_INITIAL_AFTER = re.compile(r"(?<![^\W_])([^\W\d_]{5,})(?:(?:, ?|[\^_])([^\W\d_])(?![^\W_])| ([^\W\d_])\.)")


class Wanted:
    """Values to look for, each with where it comes from, in whatever form they may be written.

    Parameters
    ----------
    values : mapping of str to str, or iterable of str
        Values, and of what each is said, such as ``raw header (PatientName)``.
    """

    def __init__(self, values: Mapping[str, str] | Iterable[str]):
        sources = values if isinstance(values, Mapping) else dict.fromkeys(values, "")
        self.dates: dict[tuple[int, int, int], str] = {}
        self.numbers: dict[str, str] = {}
        self.single: dict[str, str] = {}
        self.joined: dict[str, str] = {}
        self.initials: dict[tuple[str, str], str] = {}
        self.phrases: dict[str, list[tuple[list[str], str]]] = {}
        self.names: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for value in sorted(sources):
            self._add(value, sources[value])

    def _add(self, value: str, source: str) -> None:
        text = plain(value)
        for date in _dates_in(text):
            self.dates.setdefault(date, source)
        parts = words(text)
        digits = re.fullmatch(r"[a-z]*(\d+(?:[ .,'-]\d+)*)(?:\.0+)?", text)
        number = re.sub(r"\D", "", digits[1]) if digits else ""
        if len(number) >= SHORTEST_NUMBER:
            for form in {number, number.lstrip("0")}:
                if len(form) >= SHORTEST_NUMBER:
                    self.numbers.setdefault(form, source)
        if len(parts) == 1 and not parts[0].isdigit():
            self.single.setdefault(parts[0], source)
        elif len(parts) > 1:
            self.phrases.setdefault(parts[0], []).append((parts, source))
        for name in _names_in(value, source):
            self.names.setdefault(name[0], []).append((name, source))
            if len("".join(name)) >= SHORTEST_JOINED:
                self.joined.setdefault("".join(name), source)
                self.joined.setdefault("".join(reversed(name)), source)
        for family, given in _family_and_given(value, source):
            if len(family) >= SHORTEST_FAMILY:
                self.initials.setdefault((family, given[0]), source)
                if len(family) >= SHORTEST_JOINED - 2:
                    self.joined.setdefault(given[0] + family, source)
                    self.joined.setdefault(family + given[0], source)

    def found_in(self, text: str) -> str | None:
        """Give where a value comes from that stands in a text in some form; None where none does.

        A name may have its words in any order with others between them; all else stands as whole words in their order.
        """
        text = plain(text)
        line = words(text)
        present = set(line)
        for found in (
            self._number_or_date(text),
            next((self.single[word] for word in self.single.keys() & present), None),
            self._joined_or_initial(text),
            self._phrase(line, present),
            self._name(line, present),
        ):
            if found is not None:
                return found
        return None

    def found_in_rows(self, text: str) -> str | None:
        """Give where a name comes from whose words are cells of one row of a table, however far apart."""
        if not self.names:
            return None
        for row in plain(text).splitlines():
            cells = {cell.strip(' "') for cell in re.split(r"[\t,;]", row)}
            for word in self.names.keys() & cells:
                for name, source in self.names[word]:
                    if cells.issuperset(name):
                        return source
        return None

    def _number_or_date(self, text: str) -> str | None:
        if self.numbers and (found := self.numbers.keys() & _numbers_in(text)):
            return self.numbers[min(found)]
        if self.dates and (found := self.dates.keys() & _dates_in(text)):
            return self.dates[min(found)]
        return None

    def _joined_or_initial(self, text: str) -> str | None:
        if self.joined and (found := self.joined.keys() & set(re.findall(r"[^\W\d_]{7,}", text))):
            return self.joined[min(found)]
        if self.initials:
            pairs = {(m[2], m[1]) for m in _INITIAL_BEFORE.finditer(text)}
            pairs |= {(m[1], m[2] or m[3]) for m in _INITIAL_AFTER.finditer(text)}
            if found := self.initials.keys() & pairs:
                return self.initials[min(found)]
        return None

    def _phrase(self, line: list[str], present: set[str]) -> str | None:
        joined = None
        for first in self.phrases.keys() & present:
            for parts, source in self.phrases[first]:
                if present.issuperset(parts):
                    joined = f" {' '.join(line)} " if joined is None else joined
                    if f" {' '.join(parts)} " in joined:
                        return source
        return None

    def _name(self, line: list[str], present: set[str]) -> str | None:
        for first in self.names.keys() & present:
            for name, source in self.names[first]:
                if present.issuperset(name) and _close_together(line, name):
                    return source
        return None


def _names_in(value: str, source: str) -> set[tuple[str, ...]]:
    """Words of a person's name, those of one letter left out, and its pairs of family and given name where known."""
    if _NO_PERSON.search(source):
        return set()
    found: set[tuple[str, ...]] = set(_family_and_given(value, source))
    for text in (plain(re.sub(r"[^\W\d_]\.", " ", value)), plain(re.sub(r"['’]", " ", value))):
        named = tuple(word for word in words(text) if len(word) > 1)
        if 2 <= len(named) <= 4 and all(map(str.isalpha, named)) and not _COMMON.intersection(named):
            found.add(named)
    return found


def is_a_name(value: str) -> bool:
    """Whether a value looks like a person's name: two to four words of letters, none of an institution's."""
    return bool(_names_in(value, ""))


def _family_and_given(value: str, source: str) -> set[tuple[str, str]]:
    """Pairs of a family and a given name: parted by ``^`` or a comma, or any two words of what is said to be a name."""
    parts = [words(plain(part)) for part in re.split(r"[\^,]", value)]
    parts = [part for part in parts if part]
    if _NO_PERSON.search(source):
        return set()
    everything = [word for part in parts for word in part]
    if not all(word.isalpha() for word in everything) or _COMMON.intersection(everything) or len(everything) > 6:
        return set()
    if len(parts) > 1:
        family, given = parts[0], [word for part in parts[1:3] for word in part]
        families = {word for word in (*family, "".join(family)) if len(word) > 2}
        return {(f, g) for f in families for g in given if len(g) > 2}
    if _PERSON.search(source):
        named = [word for word in everything if len(word) > 2]
        return {(f, g) for f in named for g in named if f != g}
    return set()


def _close_together(line: list[str], name: tuple[str, ...]) -> bool:
    """Whether all words of a name stand within a few words, in any order."""
    span = len(name) + BETWEEN
    indices = [i for i, word in enumerate(line) if word == name[0]]
    return any(set(name) <= set(line[max(i - span + 1, 0) : i + span]) for i in indices)
