"""Simulate a trial as raw scanner files."""

from pathlib import Path
from typing import Literal

from mrsflow.run import run


def main(
    out: Path,
    participants: int = 26,
    seed: int = 20250915,
    frames: Literal["averaged", "single"] = "averaged",
    sites: list[str] = ("ge", "siemens", "ge", "siemens", "philips"),
    settings: Path | None = None,
    cores: int = 1,
    anatomy: bool = False,
) -> None:
    """Simulate a crossover trial of known truth as raw scanner files, with tables and configuration.

    Writes OUT/raw, OUT/config and OUT/truth. A session that stands complete is not written again.

    Parameters
    ----------
    out : Path
        Folder of the trial; the configuration names it as given here.
    participants : int
        Number of participants, two visits each.
    seed : int
        Of everything random.
    frames : {"averaged", "single"}
        Stored frames: means of 8 excitations, or every excitation (8 times the size).
    sites : list of str
        Vendor of each site (ge, siemens, philips); participants are dealt to the sites in turn.
    settings : Path
        YAML file with effects, variation and disturbances that differ from the defaults in
        mrsflow.simulation.trial_simulation.SETTINGS.
    cores : int
        Processes; the files do not depend on it.
    anatomy : bool
        Write a T1-weighted image of a simulated head for each session, maps of its tissue for most participants, and
        water by what the voxel holds.
    """
    import yaml

    from mrsflow.errors import InputError
    from mrsflow.simulation import trial_files, trial_simulation

    if participants < 1 or cores < 1:
        raise InputError("--participants and --cores must be 1 or more")
    if unknown := [site for site in sites if site not in trial_files.VENDORS]:
        raise InputError(f"--sites: {unknown[0]!r} is not a vendor; known are {', '.join(trial_files.VENDORS)}")
    try:
        given = yaml.safe_load(settings.read_text(encoding="utf-8")) if settings else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{settings}: cannot be read as YAML ({error})") from error
    complete = trial_simulation.checked_settings(given)
    trial = trial_simulation.plan_trial(participants, list(sites), complete, seed)
    trial_files.write_trial(
        trial, out, complete, seed, single_transients=frames == "single", cores=cores, anatomy=anatomy
    )


if __name__ == "__main__":
    run(main)
