"""Rule check_headers: the raw files of a large study, looked at before any of them is converted."""

import sys
from pathlib import Path

from mrsflow.run import run


def main(config: str, out: Path) -> None:
    """List every raw file that is not there or does not say what no table says.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    out : Path
        File to write once no fault stands in the way.
    """
    from mrsflow.conversion import headers
    from mrsflow.errors import InputError
    from mrsflow.files import write_text
    from mrsflow.study.config import load
    from mrsflow.study.study import read_study

    settings = load(config)
    study = read_study(settings)
    lost, faults = headers.missing(study), headers.contradictions(study, settings)
    for line in [*lost, *faults]:
        print(line, file=sys.stderr)
    if faults or (lost and settings["on_error"] == "stop"):
        raise InputError(f"{len(faults) + len(lost)} faults in the raw files, listed above; mend them and run again")
    write_text(f"{len(study.samples)} scans, {len(lost)} files missing\n", out)


if __name__ == "__main__":
    run(main)
