"""Masked arms until the analysis is frozen, and the record of when they were unmasked."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrsflow import files

if TYPE_CHECKING:
    from mrsflow.study.study import Study


def codes(conditions: list[str], seed: int) -> dict[str, str]:
    """Neutral codes of the conditions, in an order that follows a keyed digest and so tells nothing of their names.

    >>> codes(["placebo", "naltrexone"], 1) == codes(["naltrexone", "placebo"], 1)
    True
    """
    shuffled = sorted(conditions, key=lambda name: files.digest_of([seed, name]))
    return {name: f"arm {chr(ord('A') + i)}" for i, name in enumerate(shuffled)}


def mask_study(study: "Study", config: dict[str, Any]) -> "Study":
    """Put codes in place of the conditions in a study's tables, unless the analysis is frozen."""
    if config["study"]["freeze"]:
        return study
    known = codes(config["study"]["conditions"], config["group"]["seed"])
    participants = study.participants
    if "group" in participants:  # of a parallel trial: may well be the arm
        participants = participants.assign(group=participants["group"].map(lambda name: known.get(name, name)))
    return replace(
        study, sessions=study.sessions.assign(arm=study.sessions["arm"].map(known)), participants=participants
    )


def analysis_digest(config: dict[str, Any]) -> str:
    """Digest of every part of a configuration that bears on results."""
    sections = ("study", "protocols", "blocks", "preprocess", "fit", "quality", "group")
    return files.digest_of({name: config.get(name) for name in sections})


def record_unmasking(path: Path, config: dict[str, Any]) -> list[dict[str, str]]:
    """Record with time and configuration digest that arms were unmasked; the same configuration is recorded once.

    Parameters
    ----------
    path : Path
        JSON file that later runs extend; its times are the only thing in the outputs that a clock decides.
    config : dict

    Returns
    -------
    list of dict
        ``config_digest`` and ``unmasked_at`` (UTC, ISO 8601) of every configuration that was unmasked.
    """
    known: list[dict[str, str]] = files.read_json(path) if path.is_file() else []
    digest = analysis_digest(config)
    if digest not in {entry["config_digest"] for entry in known}:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        known = [*known, {"config_digest": digest, "unmasked_at": now}]
        files.write_json(known, path)
    return known
