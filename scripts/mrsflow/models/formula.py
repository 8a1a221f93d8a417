"""Model formulas of mixed models, parsed strictly, and their design matrices.

The grammar: ``outcome ~ term + term ...`` where a term is ``1``, a column, a product ``a:b``, a crossing ``a*b``
(short for ``a + b + a:b``) or a random intercept ``(1|g)`` or ``(1|a:b)``; names that are not plain stand between
backticks, as in R. Nothing of a formula is ever evaluated. Factors are treatment-coded against a reference level;
effects are named as R names them (``conditionnaltrexone``).
"""

import re
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

NAME = r"[A-Za-z][A-Za-z0-9_.]*"
COLUMN = rf"{NAME}|`[^`]+`"
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
GRAMMAR = "outcome ~ a + b + a:b + a*b + (1|g) + (1|g:h), other names than letters, digits, '_' and '.' in backticks"


@dataclass(frozen=True)
class Formula:
    """A parsed formula; terms are tuples of column names."""

    outcome: str
    fixed: tuple[tuple[str, ...], ...]
    random: tuple[tuple[str, ...], ...]

    @property
    def columns(self) -> list[str]:
        """Every column that is needed."""
        return list(dict.fromkeys([self.outcome, *(c for term in (*self.fixed, *self.random) for c in term)]))


@dataclass(frozen=True)
class Design:
    """What a model is fitted to.

    Attributes
    ----------
    x : (n, p)
    y : (n,)
    effects : tuple
        What each column of `x` is: its (column, level) pairs, level None for a covariate; empty for the intercept.
    groups : dict
        Name of each random intercept and its (n,) labels.
    levels : dict
        Levels of each factor, the reference first.
    rows : (n,) int
        Positions of the rows used.
    n_dropped : int
        Rows left out because a value is missing.
    left_out : tuple of str
        Effects that are combinations of those before them, where they were left out.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    effects: tuple[tuple[tuple[str, str | None], ...], ...]
    groups: dict[str, NDArray]
    levels: dict[str, list[str]]
    rows: NDArray[np.int_]
    n_dropped: int
    left_out: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each effect: columns and levels run together, products joined by ':'."""
        return tuple(":".join(quoted(c) + (v or "") for c, v in effect) or "(Intercept)" for effect in self.effects)

    def keep(self, columns: NDArray[np.bool_]) -> "Design":
        """Keep some of the columns of `x`, (p,)."""
        effects = tuple(self.effects[i] for i in np.flatnonzero(columns))
        left_out = tuple(self.names[i] for i in np.flatnonzero(~columns))
        return replace(self, x=self.x[:, columns], effects=effects, left_out=left_out)


def labels(text: str) -> set[str]:
    """Columns of a formula that only name groups, whatever their cells look like.

    >>> sorted(labels("y ~ a + session + (1|g) + (1|g:session)"))
    ['g']
    """
    terms = parse(text)
    fixed = {column for term in terms.fixed for column in term}
    return {column for term in terms.random for column in term} - fixed


def quoted(column: str) -> str:
    """Name of a column as a formula has it."""
    return column if re.fullmatch(NAME, column) else f"`{column}`"


def parse(text: str) -> Formula:
    """Parse a formula.

    Raises
    ------
    InputError
        Anything outside the grammar, with the part that is not understood.

    >>> parse("y ~ a*b + x + (1|g) + (1|g:h)").fixed
    (('a',), ('b',), ('x',), ('a', 'b'))
    """
    tokens = re.findall(rf"{COLUMN}|\S", text)
    if tokens[1:2] != ["~"] or not re.fullmatch(COLUMN, tokens[0]):
        raise InputError(f"formula {text!r}: one column name is needed before a single '~'; write {GRAMMAR}")
    outcome = tokens[0].strip("`")
    fixed: list[tuple[str, ...]] = []
    random: list[tuple[str, ...]] = []
    for part in _split(tokens[2:], "+"):
        if part[:3] == ["(", "1", "|"] and part[-1] == ")":
            random.append(_product(part[3:-1], text))
        elif part != ["1"]:
            pieces = [_product(piece, text) for piece in _split(part, "*")]
            for size in range(1, len(pieces) + 1):
                for chosen in combinations(pieces, size):
                    fixed.append(tuple(dict.fromkeys(c for piece in chosen for c in piece)))
    order = list(dict.fromkeys(c for term in fixed for c in term))
    unique = dict.fromkeys(tuple(sorted(term, key=order.index)) for term in fixed)
    if any(outcome in term for term in (*unique, *random)):
        raise InputError(f"formula {text!r}: the outcome {outcome!r} stands on both sides of '~'")
    return Formula(outcome, tuple(sorted(unique, key=len)), tuple(dict.fromkeys(random)))


def _split(tokens: list[str], sign: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token == sign:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _product(tokens: list[str], text: str) -> tuple[str, ...]:
    """Read column names joined by colons."""
    names, signs = tokens[::2], tokens[1::2]
    if len(names) == len(signs) or set(signs) - {":"} or not all(re.fullmatch(COLUMN, name) for name in names):
        raise InputError(f"formula {text!r}: {' '.join(tokens) or 'an empty term'} is not understood; write {GRAMMAR}")
    return tuple(name.strip("`") for name in names)


def design(formula: Formula, table: "pd.DataFrame", references: dict[str, str] | None = None) -> Design:
    """Build the design matrix of the fixed effects and the labels of the random ones.

    Parameters
    ----------
    formula : Formula
    table : DataFrame
        Its index counts the rows below the header line. A column is a factor when it holds text, when `references`
        names it or when its name ends in ``_f``.
    references : dict, optional
        Reference level of factors; elsewhere it is the first in order.

    Raises
    ------
    InputError
        A missing column, text among numbers, infinite values, an unknown reference, a factor with a single level, or no
        rows left.
    """
    import pandas as pd

    references = references or {}
    for column in [*formula.columns, *references]:
        if column not in table:
            raise InputError(f"column {column!r} is missing; the table has {', '.join(map(repr, table.columns))}")
    for column in formula.columns:
        if column not in references and column not in {c for term in formula.random for c in term}:
            _refuse_mixed(table[column], column, must_be_number=column == formula.outcome)
    complete = table[formula.columns].notna().all(axis=1).to_numpy()
    if not complete.any():
        raise InputError(f"no row has a value in every one of {', '.join(formula.columns)}")
    used = table.loc[complete, formula.columns]
    data, levels = {}, {}
    for column in dict.fromkeys(c for term in formula.fixed for c in term):
        if column in references or column.endswith("_f") or not pd.api.types.is_numeric_dtype(used[column]):
            levels[column] = _levels(used[column], column, references.get(column))
            if len(levels[column]) < 2:
                raise InputError(f"factor {column} has the single level {levels[column][0]!r}; leave it out")
            codes, present = pd.factorize(used[column])
            where_of = {label: i for i, label in enumerate(levels[column])}
            order = np.array([where_of[label] for label in _labels(pd.Series(present))])
            data[column] = pd.Categorical.from_codes(order[codes], categories=levels[column])
        else:
            data[column] = used[column].to_numpy(float)
    x, effects = _matrix(formula.fixed, data, levels, len(used))
    groups = {":".join(term): _group(used, term) for term in formula.random}
    y = used[formula.outcome].to_numpy(float)
    return Design(x, y, effects, groups, levels, np.flatnonzero(complete), int((~complete).sum()))


def _matrix(
    terms: tuple[tuple[str, ...], ...], data: dict[str, Any], levels: dict[str, list[str]], n: int
) -> tuple[NDArray[np.float64], tuple[tuple[tuple[str, str | None], ...], ...]]:
    """Let formulaic code the terms, under plain names, so that no text of the user's reaches it."""
    import formulaic
    import pandas as pd

    plain = {column: f"v{i}" for i, column in enumerate(data)}
    safe = {
        plain[c]: v.rename_categories([f"l{i}" for i in range(len(levels[c]))]) if c in levels else v
        for c, v in data.items()
    }
    text = " + ".join(["1", *(":".join(plain[c] for c in term) for term in terms)])
    frame = pd.DataFrame(safe, index=range(n))
    matrix = formulaic.model_matrix(text, frame, na_action="raise")
    back = {p: c for c, p in plain.items()}
    effects = []
    for name in matrix.columns:
        parts = re.findall(r"(v\d+)(?:\[(?:T\.)?l(\d+)\])?", name)  # "Intercept" has none
        effects.append(tuple((back[v], levels[back[v]][int(level)] if level else None) for v, level in parts))
    return matrix.to_numpy(float), tuple(effects)


def _group(table: "pd.DataFrame", term: tuple[str, ...]) -> NDArray:
    return table.groupby(list(term), sort=True, observed=True).ngroup().to_numpy()


def _labels(column: "pd.Series") -> list[str]:
    import pandas as pd

    return [f"{v:.12g}" for v in column] if pd.api.types.is_numeric_dtype(column) else [str(v) for v in column]


def _levels(column: "pd.Series", name: str, reference: str | None) -> list[str]:
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        present = set(column)
        levels = [str(v) for v in column.cat.categories if v in present]
    else:
        levels = _labels(pd.Series(column.unique()).sort_values())
    if reference is None:
        return levels
    number = re.fullmatch(NUMBER, reference) and f"{float(reference):.12g}"
    for candidate in (reference, number):
        if candidate in levels:
            return [candidate, *(level for level in levels if level != candidate)]
    raise InputError(f"reference {name}={reference}: the levels of {name} are {', '.join(levels)}")


def _refuse_mixed(column: "pd.Series", name: str, must_be_number: bool) -> None:
    """Refuse infinite values, and text in a column of numbers."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return
    if pd.api.types.is_numeric_dtype(column):
        if np.isinf(column.to_numpy(float)).any():
            line = column.index[np.isinf(column.to_numpy(float))][0]
            raise InputError(
                f"line {line + 2}: column {name!r} is infinite; leave the cell empty where there is no value"
            )
        return
    text = column.dropna().astype(str)
    numeric = text.str.fullmatch(NUMBER)
    if (numeric.any() or must_be_number) and not numeric.all():
        line = text.index[~numeric][0]
        raise InputError(
            f"line {line + 2}: column {name!r} holds {text[line]!r} where numbers are expected; correct it or "
            f"leave the cell empty{'' if must_be_number else '; a column of codes needs a reference level'}"
        )
    if must_be_number and len(text):
        raise InputError(f"column {name!r} is the outcome but holds codes such as {text.iloc[0]!r}, not numbers")


def where(text: str, table: "pd.DataFrame") -> NDArray[np.bool_]:
    """Rows that meet conditions such as ``phase == 'infusion' and visit != 2``.

    Comparisons are ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, with a quoted text or a number on the right.

    Raises
    ------
    InputError
        A condition that is not understood, or a missing column.
    """
    import operator

    import pandas as pd

    signs = {"==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge}
    signs |= {"<": operator.lt, ">": operator.gt}
    keep = np.ones(len(table), bool)
    for part in re.split(r"\s+and\s+(?=(?:[^'\"`]*['\"`][^'\"`]*['\"`])*[^'\"`]*$)", text.strip()):
        found = re.fullmatch(rf"({COLUMN})\s*(==|!=|<=|>=|<|>)\s*(?:'([^']*)'|\"([^\"]*)\"|({NUMBER}))", part.strip())
        if not found:
            raise InputError(f"condition {part!r} is not understood; write COLUMN == 'value' or COLUMN < 3")
        name, sign, single, double, number = found.groups()
        name = name.strip("`")
        if name not in table:
            raise InputError(f"condition {part!r}: column {name!r} is missing; there is {', '.join(table.columns)}")
        column = table[name]
        if number is None:
            value = single if single is not None else double
            if sign not in ("==", "!="):
                raise InputError(f"condition {part!r}: only == and != compare with text")
            keep &= signs[sign](np.array(_labels(column), dtype=object), value)
        elif pd.api.types.is_numeric_dtype(column):
            keep &= signs[sign](column.to_numpy(float), float(number))
        else:
            raise InputError(f"condition {part!r}: column {name!r} holds text; quote the value")
    return keep
