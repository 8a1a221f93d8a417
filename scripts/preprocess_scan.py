"""By hand: one converted scan to one clean spectrum."""

from pathlib import Path

from mrsflow.run import run


def main(
    spectra: Path,
    out: Path,
    reference: Path | None = None,
    remove_water: bool = True,
    eddy_current: bool = True,
) -> None:
    """Combine coils, align and average the transients of one scan, and remove residual water.

    Beside OUT stand OUT_quality.tsv (metrics of the spectrum), OUT.json (what was done) and, with a reference that came
    through the same coils, OUT_mrsref.nii.gz for molar concentrations.

    Parameters
    ----------
    spectra : Path
        NIfTI-MRS file, as convert_raw writes it.
    out : Path
        NIfTI-MRS file to write, .nii.gz.
    reference : Path
        NIfTI-MRS file of unsuppressed water, for coils and eddy currents.
    remove_water : bool
        Model and subtract residual water (HLSVD).
    eddy_current : bool
        Klose correction, where there is a reference.
    """
    from mrsflow.preprocessing.session_files import preprocess_by_hand

    for path in preprocess_by_hand(spectra, out, reference, remove_water, eddy_current):
        print(path)


if __name__ == "__main__":
    run(main)
