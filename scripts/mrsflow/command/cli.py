"""The command ``mrsflow``, thin over Snakemake: what it does not know itself it passes on."""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrsflow.errors import InputError
from mrsflow.files import workflow_folder
from mrsflow.run import one_line, silence_readers

CONFIG = Path("config/config.yaml")
LEVELS = ("participant", "group")
PLUGINS = Path(__file__).parent / "plugins"
"""Folder of our plugin of Snakemake's logger, which tells progress."""
LOUD = {
    "-n",
    "--dry-run",
    "--dryrun",
    "-q",
    "--quiet",
    "--verbose",
    "-p",
    "--printshellcmds",
    "--logger",
    "--debug-dag",
}
"""Options of Snakemake with which its own lines are wanted."""
MEASURES = ("percent", "difference", "standardised")
USAGE = """mrsflow init FOLDER [--design DESIGN | --preset NAME] [--scan RAWFOLDER]   begin a study
       mrsflow check [options of Snakemake]                        list all that is wrong; nothing runs
       mrsflow run [-c CORES] [--profile PROFILE] [...]            run it, or go on
       mrsflow report [--open]                                     where the report is
       mrsflow rehearse [--trials N] [-c CORES]                    simulated raw data of the planned trial, analysed
       mrsflow pool SOURCE... --out FOLDER [...]                   pool finished studies and published trials
       mrsflow BIDS_DIR OUTPUT_DIR participant|group [...]         as a BIDS App"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 after success, 1 after a failure, 2 where the command line is wrong."""
    silence_readers()
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {"init": init, "check": check, "run": run, "report": report, "pool": pool, "rehearse": rehearse}
    try:
        if arguments and arguments[0] in commands:
            sys.exit(commands[arguments[0]](arguments[1:]))
        sys.exit(bids_app(arguments))
    except InputError as error:
        sys.exit("\n".join(f"error: {one_line(line)}" for line in str(error).split("\n")))
    except OSError as error:
        sys.exit(f"error: {error.filename or 'a file'}: {error.strerror}")


def init(arguments: list[str]) -> int:
    """Begin a study: configuration and tables for a design, from a folder of raw files where one is given."""
    from mrsflow.command import begin, scan
    from mrsflow.study import study_presets

    known = begin.designs()
    about = "\n\n".join(
        f"{what}:\n" + "\n".join(f"  {name:<15} {own['about']}" for name, own in listed.items())
        for what, listed in (("designs", known), ("presets", study_presets.presets()))
    )
    parser = _parser("init", init, about)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), help="folder of the study (default: this one)")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--design", choices=list(known), default="crossover", help="default: %(default)s")
    chosen.add_argument("--preset", choices=list(study_presets.presets()), help="a published design in place of it")
    parser.add_argument("--scan", type=Path, metavar="RAWFOLDER", help="folder of raw files to fill the tables from")
    options = parser.parse_args(arguments)
    found = (
        None
        if options.scan is None
        else scan.look(options.scan, lambda name: print(f"looking at {name}", file=sys.stderr))
    )
    if found is None:
        written = begin.write_study(options.folder, options.preset or options.design)
    else:
        written = scan.write_study(options.folder, options.preset or options.design, found, options.scan)
        print("\n".join(scan.lines(found)))
    print("\n".join(["wrote:", *map(str, written)]))
    there = "" if options.folder == Path() else f"cd {options.folder}, then "
    print(f"next: {there}fill in the tables, decide what is marked {begin.DECIDE}, and `mrsflow check`")
    return 0


def check(arguments: list[str]) -> int:
    """List all that is wrong with configuration, tables and raw files; nothing runs."""
    _, rest = _parser("check", check, "All options are Snakemake's.").parse_known_args(arguments)
    _print_resolved(_refuse_unreadable_config(rest))
    status = _snakemake(["--dry-run", *(_own_lines(rest) or ["--quiet", "rules", "host", "reason"]), *rest])
    if status == 0:
        print("nothing wrong was found; `mrsflow run` runs it")
    return status


def run(arguments: list[str]) -> int:
    """Run the study, or go on where it stopped."""
    parser = _parser("run", run, "All other options are Snakemake's, such as --configfile FILE, -n or --until fit.")
    parser.add_argument("-c", "--cores", "-j", "--jobs", dest="cores", nargs="?", const="all",
                        help="cores to use at most (default: all)")  # fmt: skip
    parser.add_argument("--profile", help=f"{', '.join(_profiles())}; or any of Snakemake's")
    options, rest = parser.parse_known_args(arguments)
    _refuse_unreadable_config(rest)
    again = shlex.join(["mrsflow", "run", *arguments])
    return _snakemake([*_resources(options.cores, options.profile), *_own_lines(rest), *rest], again)


def report(arguments: list[str]) -> int:
    """Name the report of the study, or open it."""
    from mrsflow.study import config as study_config

    parser = _parser("report", report)
    parser.add_argument("-d", "--directory", type=Path, default=Path(), help="folder of the study (default: this one)")
    parser.add_argument("--configfile", type=Path, help=f"default: {CONFIG} of that folder")
    parser.add_argument("--open", action="store_true", help="open it in a browser")
    options = parser.parse_args(arguments)
    file = options.configfile or options.directory / CONFIG
    _refuse_unreadable_config(["--configfile", str(file)])
    output = study_config.load(str(file))["output"]
    page = options.directory / output / "report/index.html"
    if not page.is_file():
        raise InputError(f"{page}: there is no report yet; `mrsflow run` writes it")
    print(page)
    if options.open and not webbrowser.open(page.absolute().as_uri()):
        raise InputError(f"{page}: no browser could be started here; open the file by hand")
    return 0


def rehearse(arguments: list[str]) -> int:
    """Rehearse a planned trial: plan, power, simulated raw data of exactly its design, and their finished analysis.

    Effects and variances are those of section power of the configuration; participants, trials and noise those of
    section rehearsal. The same command goes on where it stopped.
    """
    from mrsflow.command import rehearse as rehearsing

    parser = _parser("rehearse", rehearse)
    parser.add_argument("--configfile", type=Path, default=CONFIG, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("rehearsal"), help="folder to write (default: %(default)s)")
    parser.add_argument("--trials", type=int, help="simulated trials (default: rehearsal.trials)")
    parser.add_argument("--participants", type=int, help="of a trial (default: rehearsal.participants)")
    parser.add_argument("-c", "--cores", type=int, default=1, help="cores to use at most (default: %(default)s)")
    parser.add_argument(
        "--keep", action="store_true", help="keep all raw files and outputs, not those of the first trial alone"
    )
    options = parser.parse_args(arguments)
    _refuse_unreadable_config(["--configfile", str(options.configfile)])
    config = rehearsing.load(options.configfile)
    for name in ("trials", "participants"):
        if (value := getattr(options, name)) is not None:
            config["rehearsal"][name] = value
    print(rehearsing.rehearse(config, options.out, options.cores, options.keep, print))
    return 0


def pool(arguments: list[str]) -> int:
    """Pool finished studies and published trials by random effects: tables, figures and a page."""
    from mrsflow.pooling.sources import MODERATORS
    from mrsflow.reporting import pool_page

    parser = _parser("pool", pool)
    parser.add_argument("sources", type=Path, nargs="+", metavar="SOURCE",
                        help="folders of outputs of mrsflow, tables of published trials (docs/pooling.md)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("pooled"), help="folder to write (default: %(default)s)")
    parser.add_argument(
        "--measure", choices=MEASURES, default=MEASURES[0], help="what is pooled (default: %(default)s)"
    )
    parser.add_argument("--contrast", help="contrast of the studies, where they have several")
    parser.add_argument("--outcome", help="outcome of the studies (default: the primary one of each)")
    parser.add_argument("--moderators", nargs="+", default=(), metavar="NAME", help=f"of {', '.join(MODERATORS)}")
    parser.add_argument("--one-stage", action="store_true", help="participants of all studies in one model as well")
    parser.add_argument("--covariates", nargs="+", default=(), metavar="COLUMN", help="of participants, in one stage")
    parser.add_argument("--level", type=float, default=0.95, help="of intervals (default: %(default)s)")
    options = vars(parser.parse_args(arguments))
    print(pool_page.write(options.pop("sources"), **options))
    return 0


def bids_app(arguments: list[str]) -> int:
    """Analyse a BIDS dataset of NIfTI-MRS files: sessions (participant), then the whole study (group).

    The configuration says what the dataset cannot: design, conditions, protocols and blocks. Files that it names need
    whole paths. What Snakemake keeps for itself goes to the working folder, and nothing of it to the outputs.
    """
    parser = argparse.ArgumentParser(
        prog="mrsflow", usage=USAGE, description=bids_app.__doc__.replace("\n    ", "\n"), allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    from mrsflow import __version__

    parser.add_argument("--version", action="version", version=f"mrsflow {__version__}")
    parser.add_argument("bids_dir", type=Path, help="the dataset")
    parser.add_argument("output_dir", type=Path, help="folder of all outputs")
    parser.add_argument("level", choices=LEVELS)
    parser.add_argument("--participant-label", "--participant_label", nargs="+", metavar="LABEL", dest="labels",
                        help="participants of level participant, with or without sub- (default: all)")  # fmt: skip
    parser.add_argument("--config", type=Path, help="configuration (default: code/mrsflow.yaml of the dataset)")
    parser.add_argument(
        "-w", "--work-dir", "--work_dir", type=Path, help="default: OUTPUT_DIR_work, beside the outputs"
    )
    parser.add_argument(
        "-c", "--cores", "--n-cpus", "--n_cpus", dest="cores", help="cores to use at most (default: all)"
    )
    parser.add_argument("--profile", help=f"{', '.join(_profiles())}; or any of Snakemake's")
    options, rest = parser.parse_known_args(arguments)
    if options.labels and options.level == "group":
        raise InputError("--participant-label: level group is about all participants; leave the labels out")
    content, file = _bids_config(options.bids_dir, options.config)
    output = options.output_dir.absolute()
    targets = _targets(content, output, options.labels) if options.level == "participant" else []
    work = (options.work_dir or output.with_name(f"{output.name}_work")).absolute()
    if work == output or output in work.parents:
        raise InputError(f"{work}: lies in the outputs; name another working folder with --work-dir")
    work.mkdir(parents=True, exist_ok=True)
    given = {name: content[name] for name in ("inputs", "output", "batch_size")} | {"output": str(output)}
    values = [f"{name}={json.dumps(value) if isinstance(value, dict) else value}" for name, value in given.items()]
    command = ["--directory", str(work), "--configfile", str(file.absolute()), "--config", *values]
    # participants may run at once, each with a process of its own, and their files are not each other's
    alone = ["--nolock"] if options.labels else []
    return _snakemake([*_resources(options.cores, options.profile), *alone, *command, *rest, "--", *targets])


def _bids_config(dataset: Path, given: Path | None) -> tuple[dict[str, Any], Path]:
    """Give the checked configuration of a dataset as the jobs get it, and its file."""
    from mrsflow.study import config as study_config

    if not (dataset / "dataset_description.json").is_file():
        raise InputError(
            f"{dataset}: has no dataset_description.json, so it is neither a BIDS dataset nor a command; commands are "
            "init, check, run, report, rehearse and pool (mrsflow --help)"
        )
    file = given or dataset / "code/mrsflow.yaml"
    if not file.is_file():
        raise InputError(
            f"{file}: no such file; design, conditions, protocols and blocks stand in a configuration that --config "
            f"names (`mrsflow init FOLDER --scan {dataset}` begins one)"
        )
    content = study_config.read(file)
    if isinstance(content, dict):
        inputs = content.get("inputs") if isinstance(content.get("inputs"), dict) else {}
        content |= {"inputs": inputs | {"bids": str(dataset.absolute())}, "batch_size": 1}
    return study_config.checked(content, str(file)), file


def _targets(config: dict[str, Any], output: Path, labels: list[str] | None) -> list[str]:
    """Page of each session of some participants, as the jobs name what they write."""
    from mrsflow.study import layout, study

    found, faults = study.examine(config)
    if found is None or faults:
        raise InputError("\n".join(faults))
    keys = {key: layout.SessionKey.of(key).participant for key in found.keys}
    wanted = [label.removeprefix("sub-") for label in labels or keys.values()]
    if unknown := [label for label in wanted if label not in keys.values()]:
        there = ", ".join(dict.fromkeys(keys.values()))
        raise InputError(f"--participant-label {unknown[0]}: is not in the dataset, which has scans of {there}")
    table = f"{output}/status/report_sessions/batches"
    return [f"{table}/{key}.tsv" for key, participant in keys.items() if participant in wanted]


def _parser(name: str, what: Any, more: str = "") -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"mrsflow {name}", description=what.__doc__, epilog=more, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def _profiles() -> list[str]:
    return sorted(path.parent.name for path in (workflow_folder() / "profiles").glob("*/config.yaml"))


def _resources(cores: str | None, profile: str | None) -> list[str]:
    """Options of Snakemake for cores and profile; a profile says itself how many jobs it runs."""
    own = [] if profile is None else ["--profile", profile]
    if profile in _profiles():
        folder = workflow_folder() / "profiles" / profile
        own = ["--workflow-profile", str(folder), *_commands(folder)]
    if cores is None and profile in (None, "default"):
        cores = "all"
    return [*own, *([] if cores is None else ["--cores", cores])]


def _own_lines(rest: list[str]) -> list[str]:
    """Options for our lines in place of Snakemake's, unless its own are wanted."""
    return [] if LOUD & {word.partition("=")[0] for word in rest} else ["--logger", "mrsflow"]


def _commands(folder: Path) -> list[str]:
    """Options that name scripts of a profile by their place, as a study lies elsewhere."""
    from mrsflow.study.config import read

    found = []
    for key, value in read(folder / "config.yaml").items():
        script, _, rest = str(value).partition(" ")
        if script.startswith("profiles/"):
            found += [f"--{key}", f"{shlex.quote(str(folder.parents[1] / script))} {rest}".rstrip()]
    return found


def _print_resolved(contents: list[Any]) -> None:
    """Print what a preset and the configuration give together, where a preset is named."""
    from mrsflow.study import config as study_config
    from mrsflow.study import study_presets

    if len(contents) != 1 or not isinstance(contents[0], dict) or contents[0].get(study_presets.KEY) is None:
        return
    faults: list[str] = []  # Snakemake's run lists them
    config = study_config.checked(contents[0], "configuration", faults)
    if not faults:
        print(study_presets.resolved_text(contents[0], config))


def _refuse_unreadable_config(rest: list[str]) -> list[Any]:
    """Say how a study begins where there is none; read each configuration, as Snakemake unfolds aliases that swell."""
    from mrsflow.study import config as study_config

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--directory", "-d", type=Path, default=Path())
    parser.add_argument("--configfile", "--configfiles", nargs="+", type=Path)
    options, _ = parser.parse_known_args(rest)
    files = options.configfile or [options.directory / CONFIG]
    for file in files[1:]:
        if not file.is_file():
            raise InputError(
                f"{file}: no such file; --configfile takes all that follows it, so put `--` before targets, or correct "
                "the name"
            )
    file = files[0]
    if not file.is_file():
        raise InputError(
            f"{file}: no such file; go to the folder of a study, name its configuration with "
            "--configfile, or begin one with `mrsflow init FOLDER`"
        )
    return [study_config.read(file) for file in files]


def _snakemake(options: list[str], again: str = "the same command") -> int:
    """Run Snakemake with the workflow and wait for it; Ctrl-C is Snakemake's, which stops its jobs.

    Parameters
    ----------
    options : list of str
    again : str
        What to type to go on.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow_folder() / "Snakefile"), *options]
    interrupted = []
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.append(True))
    try:
        status = subprocess.run(command, env=_with_plugins()).returncode
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        print(f"interrupted; what is finished stays. To go on: {again}", file=sys.stderr)
    return abs(status)


def _with_plugins() -> dict[str, str]:
    """Give the environment in which Snakemake finds our plugin, and what was typed."""
    path = [str(PLUGINS), *filter(None, [os.environ.get("PYTHONPATH")])]
    typed = shlex.join(["mrsflow", *sys.argv[1:]])
    return os.environ | {"PYTHONPATH": os.pathsep.join(path), "MRSFLOW_COMMAND": typed}
