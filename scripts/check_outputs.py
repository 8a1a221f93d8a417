"""Rule check_outputs: the last look at everything."""

from pathlib import Path

from mrsflow.run import run


def main(config: str) -> None:
    """Look through every output for identities and damage, list the sessions that failed; end non-zero for any.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    """
    from mrsflow.conversion.identity import harvest, scan_outputs
    from mrsflow.errors import InputError
    from mrsflow.files import read_json, write_text
    from mrsflow.raw_files.formats import files_of
    from mrsflow.study.config import load
    from mrsflow.study.records import damaged
    from mrsflow.study.study import read_study

    settings = load(config)
    study = read_study(settings)
    output = Path(settings["output"])
    complete = output / "status" / "complete.txt"
    complete.unlink(missing_ok=True)
    records = [read_json(path) for path in sorted(output.glob("status/*/sub-*.json"))]
    wanted = [r for r in records if r["session"] in study.keys and r["status"] != "ok"]
    missing = sorted(set(study.keys) - {r["session"] for r in records if r["stage"] == "convert"})
    problems = [f"convert: {key}: was not run" for key in missing]
    problems += [f"{r['stage']}: {r['session']}: {r['status']}: {r['reason']}" for r in wanted]
    secrets = set().union(*(harvest(path) for paths in study.samples["raw"] for path in files_of(paths)))
    problems += [f"identity: {name}: {what}" for name, what in scan_outputs(output, secrets)]
    problems += [f"{output / name}: is not as it was written; delete it and run again" for name in damaged(output)]
    for problem in problems:
        print(problem)
    if problems:
        raise InputError(f"{output}: {len(problems)} things above need attention; everything else is finished")
    write_text(f"{len(study.keys)} sessions finished; no identity found in any output\n", complete)


if __name__ == "__main__":
    run(main)
