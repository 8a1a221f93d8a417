"""Rule average_macromolecules: mean of the macromolecules that metabolite-nulled scans of a study show."""

from pathlib import Path

from mrsflow.run import run


def main(config: str, protocol: str, out: Path) -> None:
    """Average the macromolecules of all sessions with a metabolite-nulled scan at the field of a protocol.

    Those of the protocol's echo time are taken where there are any, else all.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    protocol : str
        Name of the protocol.
    out : Path
        NIfTI-MRS file to write.
    """
    from mrsflow import nifti_mrs
    from mrsflow.basis_sets.basis import ECHO_TIME_TOLERANCE, FIELD_TOLERANCE
    from mrsflow.errors import InputError
    from mrsflow.preprocessing import nulled_scan
    from mrsflow.study import config as study_config
    from mrsflow.study import layout, records
    from mrsflow.study.study import read_study

    settings = study_config.load(config)
    samples = read_study(settings).samples.query("role == 'mm'")
    chosen = settings["protocols"][protocol]
    output = Path(settings["output"])
    scans = []
    for key in dict.fromkeys(samples["key"]):
        try:
            written = records.outputs_of(output, "preprocess", key)
        except records.Skipped:
            continue
        scans += [nifti_mrs.read(path) for path in written if path.name.endswith(layout.MACROMOLECULES)]
    frequency, echo_time = chosen["spectrometer_frequency_mhz"], chosen["echo_time_ms"] / 1e3
    scans = [scan for scan in scans if abs(scan.spectrometer_frequency / frequency - 1) <= FIELD_TOLERANCE]
    if not scans:
        raise InputError(
            f"protocols.{protocol}.macromolecules is {chosen['macromolecules']}, but no scan of role mm at "
            f"{frequency:g} MHz was processed; set it to `default`, or add such a scan to the samples table"
        )
    same = [scan for scan in scans if abs((scan.header.get("EchoTime") or 0) - echo_time) <= ECHO_TIME_TOLERANCE]
    nifti_mrs.write(nulled_scan.mean(same or scans), out)
    records.record_step(output, "average_macromolecules", [out], protocol)


if __name__ == "__main__":
    run(main)
