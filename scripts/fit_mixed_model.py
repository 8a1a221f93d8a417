"""Fit one mixed model by hand."""

from pathlib import Path

from mrsflow.run import run


def main(
    table: Path, formula: str, out: Path, where: str | None = None, reference: dict[str, str] | None = None
) -> None:
    """Fit a linear mixed model with random intercepts by REML and write it as JSON.

    Each fixed effect has its Satterthwaite and Kenward-Roger test. A column is a factor when it holds text, when
    --reference names it or when its name ends in _f; its reference level is the first in order.

    Parameters
    ----------
    table : path
        Tab- or comma-separated, one row per observation.
    formula : str
        Such as "outcome ~ a*b + x + (1|g) + (1|g:h)".
    out : path
        JSON file to write.
    where : str, optional
        Rows to use, such as "phase == 'infusion'".
    reference : COLUMN=LEVEL, optional
        Reference levels of factors.
    """
    from mrsflow import files
    from mrsflow.statistics import formula as formulas
    from mrsflow.statistics.models import describe_fit, fit_table

    rows = files.read_table(table)
    if where is not None:
        rows = rows[formulas.where(where, rows)]
    files.write_json(describe_fit(fit_table(rows, formula, reference or {}), formula), out)


if __name__ == "__main__":
    run(main)
