"""Rule check_outputs: the last look at everything."""

import itertools
from pathlib import Path
from typing import Any

from mrsflow.run import run

RAW_BYTES = 1_000_000_000
"""Bytes of raw files that are compared with what was read; of a larger study other sessions each time."""
HARMLESS = "; where it identifies nobody, list its words in report.harmless"
REPLACED = "run again with --config verify=true"


def main(config: str) -> None:
    """Look through every output for identities and damage, list the sessions that failed; end non-zero for any.

    Parameters
    ----------
    config : str
        Configuration: a YAML file, or JSON text.
    """
    from mrsflow.conversion import bids, identity
    from mrsflow.conversion.identity_search import scan_outputs
    from mrsflow.errors import InputError
    from mrsflow.files import sweep, write_text
    from mrsflow.raw_files.formats import files_of
    from mrsflow.study import layout, records, variants
    from mrsflow.study.config import load
    from mrsflow.study.study import NO_SPECTRA, read_study

    settings = load(config)
    study = read_study(settings)
    output = Path(settings["output"])
    complete = output / "status" / "complete.txt"
    complete.unlink(missing_ok=True)
    sweep(output)
    known = [record for record in records.of_study(output, study.keys) if counts(record, variants.stages_of(settings))]
    problems = records.open_cases(known, study.keys, study.without_spectra)
    named: dict[str, list[Path]] = {}
    raw: dict[str, list[Path]] = {}
    for key, role, paths in zip(*(study.samples[name] for name in ("key", "role", "raw")), strict=True):
        if role in layout.MAPS:  # which the conversion does not read
            continue
        named.setdefault(key, []).extend(paths)
        raw.setdefault(key, []).extend(files_of(paths))
    read = [r for r in known if r["stage"] == "convert" and r["status"] == "ok"]
    away = [r for r in read if records.is_away(r, named[r["session"]])]
    compared, replaced = records.compared_within(output, "convert", raw, RAW_BYTES)
    problems += [f"convert: {key}: raw files were replaced after they were read; {REPLACED}" for key in replaced]
    inside = bids.left_out(study, bids.named_columns(settings))
    secrets = told_by_study(study, inside, [path for paths in named.values() for path in paths], settings)
    secrets |= identity.harvest_all(itertools.chain(*raw.values()), settings["convert"]["keep_header"])
    for name, what in scan_outputs(output, secrets, settings["report"]["harmless"]):
        problems.append(f"identity: {name}: {what}{HARMLESS if what.startswith('a value') else ''}")
    damaged = records.damaged(output)
    problems += [f"{output / name}: is not as it was written; delete it and run again" for name in damaged]
    for problem in problems:
        print(problem)
    if problems:
        raise InputError(f"{output}: {len(problems)} things above need attention; everything else is finished")
    tables = [
        output / name for r in known for name in r["outputs"] if name.endswith((layout.CONVERT_QUALITY, layout.TISSUE))
    ]
    warned = {layout.SessionKey.of(path.name) for path in tables if _warns(path)}
    said = [f"{len(study.keys)} sessions finished, {len(warned)} with warnings of a check (see their pages)"]
    said += [f"{key}: {NO_SPECTRA}" for key in study.without_spectra]
    said += [f"raw files of {compared} sessions compared with the checksums of what was read"]
    said += records.of_no_row(output, study.keys)
    if away:
        said.append(f"raw files of {len(away)} are not there: not checked against them, nor searched for their names")
    columns = sorted({column for names in inside.values() for column in names})
    looked = f"{len(secrets)} values of raw headers, raw folders and columns that stay inside"
    said.append(f"no identity found in any output: looked for {looked} ({', '.join(columns) or 'none'})")
    write_text("\n".join(said) + "\n", complete)


def counts(record: dict[str, Any], stages: list[str]) -> bool:
    """Whether a record says something new: of a variant of the multiverse only what failed, and if it is declared."""
    from mrsflow.study import variants

    return not variants.is_variant(record["stage"]) or (record["stage"] in stages and record["status"] == "failed")


def _warns(path: Path) -> bool:
    """Whether a table has a check that warns, or tissue that could not be measured."""
    text = path.read_text(encoding="utf-8")
    return any(f"\t{word}\t" in text for word in ("warn", "fail"))


def told_by_study(
    study: Any, inside: dict[str, list[str]], raw: list[Path], settings: dict[str, Any]
) -> dict[str, str]:
    """Collect what columns that stay inside and folders of raw files say of people; no output may."""
    from mrsflow.conversion import identity

    found: dict[str, str] = {}
    for name, columns in inside.items():
        found |= identity.told_by_tables({column: getattr(study, name)[column].dropna() for column in columns})
    below = Path(settings["inputs"]["samples"]).parent
    folders = [path.parent if path.is_file() else path for path in raw]
    return found | identity.told_by_folders(f.relative_to(below) for f in folders if f.is_relative_to(below))


if __name__ == "__main__":
    run(main)
