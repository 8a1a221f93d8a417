"""By hand: one raw scan to a NIfTI-MRS file."""

from pathlib import Path

from mrsflow.run import run


def main(raw: list[Path], out: Path, set: dict[str, str] | None = None, keep_header: list[str] | None = None) -> None:
    """Convert one raw scan to NIfTI-MRS with a JSON sidecar, identities removed.

    A reference found in the same file goes to OUT_mrsref.nii.gz. Ends with one line and writes nothing where the
    scan cannot be read as it is.

    Parameters
    ----------
    raw : list of Path
        A file (one of a SPAR/SDAT pair is enough), a folder (read for its DICOM files only), or several files.
    out : Path
        NIfTI-MRS file to write, .nii.gz.
    set : dict
        What the header lacks or has wrong: EchoTime, RepetitionTime, MixingTime, InversionTime, DwellTime (s),
        SpectralWidth (Hz), SpectrometerFrequency (MHz), ResonantNucleus.
    keep_header : list of str
        Header keys to keep although they are listed as identifying.
    """
    import logging

    from mrsflow.conversion.convert import convert_by_hand

    logging.getLogger("mrsflow.conversion.convert").addHandler(remarks := logging.StreamHandler())
    remarks.setLevel(logging.WARNING)
    for path in convert_by_hand(raw, out, set or {}, keep_header):
        print(path)


if __name__ == "__main__":
    run(main)
