"""By hand: linear-combination fit of the spectra of one file."""

from pathlib import Path
from typing import Literal

from mrsflow.run import run


def main(
    spectra: Path,
    basis: Path,
    out: Path,
    reference: Path | None = None,
    model: Literal["independent", "dynamic"] = "independent",
    design: Path | None = None,
    ppm: tuple[float, float] = (0.5, 4.2),
    constants: str = "fsl",
    constant: list[str] | None = None,
    free: list[str] | None = None,
    macromolecules: str | None = None,
    fitter: str = "mrsflow",
    follow: list[str] | None = None,
    page: Path | None = None,
) -> None:
    """Fit spectra with a basis set and write amplitudes with standard deviations.

    Beside OUT stand OUT_quality.tsv (a row for each spectrum) and, for a dynamic fit, OUT_terms.tsv. With a design the
    tables name the session of each spectrum as the design does.

    Parameters
    ----------
    spectra : Path
        NIfTI-MRS file; every spectrum along DIM_DYN is fitted.
    basis : Path
        Basis set: LCModel .BASIS, or a folder of .RAW, jMRUI text or JSON files.
    out : Path
        Table to write: spectrum, metabolite, amplitude, sd and ratios.
    reference : Path
        NIfTI-MRS file of unsuppressed water, for molar concentrations.
    model : str
        Amplitudes free in each spectrum, or as the time models of the design say.
    design : Path
        Table: spectrum, session (a label), onset_s, duration_s, and a column of numbers for each time model. Columns of
        text are labels that the tables repeat; where one is phase, with baseline for some, area, peak and time to peak
        of free blocks are among the terms. Spectra of one session are fitted together, hundreds in groups of nearly
        equal regressors. Without it every spectrum is fitted alone.
    ppm : tuple of float
        Fitted range.
    constants : str
        Set of constants for amounts by water: fsl, osprey, spant or challenge.
    constant : list of str
        Dynamic: metabolites that do not change over the session.
    free : list of str
        Dynamic: metabolites that follow no time model.
    macromolecules : str
        Macromolecules to add to the basis set: a file of measured ones (NIfTI-MRS, or a basis set file with signals
        MM... or Mac), `default` for those of the project, or `none`. Without it the basis set is used as it is.
    fitter : str
        Program that fits: mrsflow; lcmodel or fsl_mrs where they are installed (LCMODEL_EXEC, FSL_MRS_EXEC name them).
    follow : list of str
        Dynamic: time models that a metabolite follows, as Glu=task,drift; the others follow all.
    page : Path
        PDF to write: a page for each spectrum with data, fit, baseline, residual and the table of amounts.
    """
    from mrsflow.quantification.fit_files import fit_by_hand

    options = (tuple(constant or ()), tuple(free or ()))
    followed = {name: models.split(",") for name, _, models in (text.partition("=") for text in follow or ())}
    curves = fit_by_hand(
        spectra, basis, out, reference, model, design, ppm, constants, *options, macromolecules, fitter, followed
    )
    if page is not None:
        from mrsflow.files import read_table
        from mrsflow.reporting import fit_page

        tables = (read_table(out), read_table(out.with_name(f"{out.stem}_quality.tsv")))
        fit_page.write(curves, *tables, f"{spectra.name}, basis set {basis.name}", page)


if __name__ == "__main__":
    run(main)
