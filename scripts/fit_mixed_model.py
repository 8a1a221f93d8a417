"""Fit one mixed model by hand."""

from pathlib import Path

from mrsflow.run import run


def main(
    table: Path, formula: str, out: Path, where: str | None = None, reference: dict[str, str] | None = None
) -> None:
    """Fit a linear mixed model with random intercepts by REML and write it as JSON.

    Each fixed effect has its Satterthwaite and Kenward-Roger test. A column is a factor when it holds text, when
    --reference names it or when its name ends in _f; its reference level is the first in order. Effects that are
    combinations of those before them are left out, and named.

    Parameters
    ----------
    table : path
        Tab- or comma-separated, one row per observation.
    formula : str
        Such as "outcome ~ a*b + x + (1|g) + (1|g:h)"; names that are not plain stand between backticks.
    out : path
        JSON file to write.
    where : str, optional
        Rows to use, such as "phase == 'infusion'".
    reference : COLUMN=LEVEL, optional
        Reference levels of factors.
    """
    from mrsflow import files
    from mrsflow.errors import InputError
    from mrsflow.models import formula as formulas
    from mrsflow.models.table_models import describe_fit, fit_table
    from mrsflow.statistics import design_checks

    rows = files.read_table(table, text_columns=formulas.labels(formula))
    try:
        if where is not None:
            rows = rows[formulas.where(where, rows)]
        design_checks.check_blocks(rows)
        model = fit_table(rows, formula, reference or {}, aliased="leave out")
    except InputError as error:
        raise InputError(f"{table}: {error}") from None
    found = describe_fit(model)
    if found["left_out"]:
        print(f"left out, as they depend on effects before them: {', '.join(found['left_out'])}")
    files.write_json(found, out)


if __name__ == "__main__":
    run(main)
