"""Tables of results, described once in ``tables.yaml``: by it they are written, read and documented."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from mrsflow.errors import InputError
from mrsflow.files import read_table, write_json, write_table

INTRODUCTION = """# Tables of results

Made from `scripts/mrsflow/tables.yaml` by `make docs`. Paths are below `output:` of the configuration. Missing is
`n/a`; labels are text, whatever they look like. Each table has a data dictionary (`.json`): those of `group/` and the
voxels beside them, those of sessions one for all in `derivatives/mrsflow/`. While arms are masked, the tables that
compare them are not written. Columns of outcomes have the names of the outcomes (`Glx/tNAA`, `Glx/tNAA sd`).
"""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    type : {"text", "whole", "number", "flag"}
    meaning, unit : str
    title : str
        On pages; by default the name of the column in words.
    digits : int
        After the decimal point, on pages.
    """

    type: str
    meaning: str
    unit: str = ""
    title: str = ""
    digits: int = 0


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes
    ----------
    file : str
        Pattern of its path below the folder of all outputs.
    content : str
        What its rows are.
    columns : dict of str to Column
        In their order.
    outcomes : bool
        Whether it has a column for each outcome of the study, and one for its standard deviation.
    """

    file: str
    content: str
    columns: dict[str, Column]
    outcomes: bool = False

    def get(self, name: str) -> Column | None:
        """Describe a column, also that of an outcome; None where the table has no such column."""
        if name in self.columns or not self.outcomes:
            return self.columns.get(name)
        outcome = name.removesuffix(" sd")
        unit = "mM" if outcome.endswith("/water") else "1" if "/" in outcome else "institutional units"
        text = f"Fitted {outcome}"
        if name.endswith(" sd"):
            text = f"Standard deviation of {outcome} from the fit"
        return Column("number", text, unit)


@cache
def tables() -> dict[str, Table]:
    """Read the descriptions of all tables, by name."""
    import yaml

    content = yaml.safe_load(Path(__file__).with_name("tables.yaml").read_text(encoding="utf-8"))
    groups = content["groups"]

    def names_of(listed: Iterable[Any]) -> Iterator[str]:
        for name in listed:
            inner = name if isinstance(name, list) else groups.get(name)
            yield from [name] if inner is None else names_of(inner)

    found = {}
    for table, entry in content["tables"].items():
        known = content["columns"] | entry.get("own", {})
        columns = {
            name: Column(**{"title": name.replace("_", " ").capitalize()} | known[name])
            for name in names_of(entry["columns"])
        }
        found[table] = Table(entry["file"], entry["content"], columns, entry.get("outcomes", False))
    return found


def labels(name: str) -> list[str]:
    """Columns of a table that are text, whatever their cells look like."""
    return [column for column, known in tables()[name].columns.items() if known.type == "text"]


def name_of(path: Path | str) -> str:
    """Name of the table that a file is, by how its own name ends.

    >>> name_of("sub-1_ses-1_desc-lcmodel_mrsfit.tsv"), name_of("group/flow.tsv")
    ('fit', 'flow')
    """
    file = Path(path).name
    endings = {name: table.file.rpartition("/")[2].removeprefix("*_") for name, table in tables().items()}
    return next(name for name, ending in endings.items() if fnmatch(file, f"*{ending}"))


def ordered(table: Any, name: str) -> Any:
    """Put the columns of a data frame in the order of their description; all must be in it."""
    described = tables()[name]
    if strange := [column for column in table.columns if described.get(column) is None]:
        raise ValueError(f"tables.yaml does not describe {', '.join(strange)} of {name}")
    first = [column for column in described.columns if column in table]
    return table[[*first, *(column for column in table.columns if column not in first)]]


def from_rows(rows: Iterable[Any], name: str) -> Any:
    """Make a data frame with every column of a table in its order.

    Parameters
    ----------
    rows : iterable of mappings, or of objects that have every column as an attribute
        What a mapping lacks is missing.
    name : str
    """
    import pandas as pd

    columns = list(tables()[name].columns)
    cells = [row if isinstance(row, Mapping) else {c: getattr(row, c) for c in columns} for row in rows]
    return pd.DataFrame(cells, columns=columns)


def write(table: Any, path: Path | str, described: bool = False) -> list[Path]:
    """Write a table by the name of its file, `described`: with its data dictionary beside it; give what was written."""
    path = Path(path)
    table = ordered(table, name_of(path))
    write_table(table, path)
    if not described:
        return [path]
    write_json(dictionary(name_of(path), table.columns), path.with_suffix(".json"))
    return [path, path.with_suffix(".json")]


def read(path: Path | str, name: str | None = None) -> Any:
    """Read a table with the types of its description; columns that it does not describe are text.

    Parameters
    ----------
    path : path
    name : str, optional
        Which table it is, where its file has a name of its own.

    Raises
    ------
    InputError
        The file cannot be read as a table, or a cell is not what its column holds.
    """
    described, cells = tables()[name or name_of(path)], read_table(path, text_columns=True, line_numbers=True)
    where = [f"{path}, line {line}" for line in cells.pop("line")]
    return cells.assign(**{column: _typed(cells[column], described.get(column), where) for column in cells})


def _typed(cells: Any, column: Column | None, where: list[str]) -> Any:
    """Give cells of text the type of their column."""
    import pandas as pd

    if column is None or column.type == "text":
        return cells
    if column.type == "flag":
        found = cells.str.lower().map({"true": True, "false": False})
        return found.astype(bool) if found.notna().all() else found
    numbers = pd.to_numeric(cells, errors="coerce")
    for row in (numbers.isna() & cells.notna()).to_numpy().nonzero()[0][:1]:
        raise InputError(f"{where[row]}: {cells.name} is {cells.iloc[row]!r}, where a number is needed")
    return numbers


def dictionary(name: str, columns: Iterable[str] | None = None) -> dict[str, dict[str, str]]:
    """Describe columns of a table (all by default) in the manner of BIDS: description and, where there is one, unit."""
    table = tables()[name]
    found = {}
    for column in table.columns if columns is None else columns:
        if (known := table.get(column)) is None:
            raise ValueError(f"tables.yaml does not describe {column} of {name}")
        found[column] = {"Description": known.meaning} | ({"Units": known.unit} if known.unit else {})
    return found


def guide() -> str:
    """Write ``docs/tables.md``."""
    lines = [INTRODUCTION, "| table | content |", "|---|---|"]
    lines += [f"| [`{name}`](#{name}): `{t.file}` | {t.content} |" for name, t in tables().items()]
    for name, table in tables().items():
        lines += ["", f"## {name}", "", f"`{table.file}`: {table.content}.", ""]
        lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{column}` | {entry.type} | {entry.unit} | {entry.meaning.replace('|', chr(92) + '|')} |"
            for column, entry in table.columns.items()
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(guide(), end="")
