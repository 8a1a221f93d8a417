"""The plan of the analysis: written while arms are masked, compared with what was done once they are not."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mrsflow import files
from mrsflow.statistics import clinical_course, multiplicity, supplement, term_outcomes
from mrsflow.statistics.outcomes import Rows
from mrsflow.statistics.plan import Plan, formula, terms_of
from mrsflow.study import covariates, quality_rules
from mrsflow.study.estimand import in_words
from mrsflow.study.trial import TrialData

SECTIONS = ("study", "blocks", "quality", "group")
"""Parts of a configuration that are planned."""
NOT_PLANNED = ("study.freeze", "study.name")
TERMS = {
    "bl_dev": "bl_dev: baseline of the session less the mean baseline of the participant",
    "bl_mean": "bl_mean: mean baseline of the participant less that of all",
    "bl": "bl: baseline of the session",
    "(1|participant:condition)": "(1|participant:condition): participants differ at random in each condition",
    "(1|participant)": "(1|participant): participants differ at random",
    "(1|participant:session)": "(1|participant:session): sessions of a participant differ at random",
}


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """Every planned setting by its key, as ``group.outcome``."""

    def flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                yield from flat(inner, f"{key}.{name}")
        else:
            yield key, value

    found = [pair for section in SECTIONS for pair in flat(config[section], section)]
    return {key: value for key, value in found if key not in NOT_PLANNED}


def folder_of(output: Path | str) -> Path:
    """Folder of the plan, which outlives runs."""
    return Path(output, "sap")


def model_in_words(plan: Plan, rows: Rows) -> list[str]:
    """Give the primary model as a formula, and its terms in words."""
    if rows.blocks.empty:
        return ["The model follows once sessions have usable blocks."]
    value = "change from baseline" if rows.change else "level"
    repeated = plan.design == "parallel" and rows.sessions.duplicated("participant").any()
    if repeated:
        terms = ["visit", *(["bl_mean"] if rows.adjusts else []), *plan.adjust_for, "(1|participant)"]
        text = [
            f"in each condition by itself: mean {value} of a session ~ {' + '.join(terms)}; restricted maximum "
            "likelihood, Kenward-Roger; the conditions' means over the visits are compared, each with its own variance"
        ]
    elif plan.design == "parallel":
        terms = ["condition", *(["bl"] if rows.adjusts else []), *plan.adjust_for]
        text = [f"mean {value} of a session ~ {' + '.join(terms)}; least squares, each condition with its own variance"]
    else:
        terms = terms_of(plan, rows)
        text = [f"{formula(plan, rows)}; outcome: {value} of a block; restricted maximum likelihood, Kenward-Roger"]
    if rows.known and plan.design != "parallel":
        text.append("the variance of the error of each session's value is known from its fit, beside those between")
    if rows.sessions["visit"].nunique() > 1 and plan.visits:
        text.append("each visit is shown beside, Holm over the visits")
    if plan.carried:
        text.append("what each condition but the first carries over into the next visit: after <condition>, 1 or 0")
    return [*text, *(TERMS[term] for term in terms if term in TERMS)]


def families_of(trial: TrialData, plan: Plan, names: list[str], scored: bool) -> list[str]:
    """Say which tests are read in which order, contrasts under the names given."""
    return multiplicity.in_words(*_families(trial, plan, names, scored), single=plan.design == "single_arm")


def graph_of(trial: TrialData, plan: Plan, names: list[str], scored: bool) -> str:
    """Draw which tests are read in which order, as text."""
    families = _families(trial, plan, names, scored)
    others = tuple(_others(trial, plan, families[1]))
    return multiplicity.drawn(*families, others=others, single=plan.design == "single_arm")


def _others(trial: TrialData, plan: Plan, mood: str | None) -> Iterator[str]:
    """Say the families that stand beside: later visits, further clinical outcomes, mediation."""
    if plan.visits and len(set(trial.sessions["visit"]) - set(plan.visits)) > 1:
        yield "Each later visit by itself, exploratory (Holm over the visits of a contrast)"
    if scales := trial.config["group"]["clinical"]:
        said = "; ".join(clinical_course.asked_of(scale) for scale in scales)
        yield f"Further clinical outcomes, exploratory (Holm over all of them): {said}"
    if mood and plan.design != "single_arm":
        yield f"Indirect effect on {mood}, exploratory (Holm over the contrasts)"


def _families(
    trial: TrialData, plan: Plan, names: list[str], scored: bool
) -> tuple[list[str], str | None, list[str], list[str]]:
    """Give the primary contrasts, the clinical outcome, the secondary ones and the moderators."""
    group = trial.config["group"]
    mood = f"{group['mood_scale']} {group['mood_followup']} - {group['mood_baseline']}" if scored else None
    secondary = [name for name in dict.fromkeys(term_outcomes.secondary_of(group)) if name != plan.outcome]
    return names, mood, secondary, group["moderators"]


def write(trial: TrialData, plan: Plan, rows: Rows, scored: bool) -> None:
    """Write ``sap.json`` and ``sap.md`` of a trial whose arms are masked; the time stays while the settings do."""
    config = trial.config
    folder, settings = folder_of(config["output"]), settings_of(config)
    known = read(config["output"])
    same = known is not None and known["settings"] == settings
    names = [contrast.name for contrast in plan.contrasts]
    content = {
        "settings": settings,
        "digest": files.digest_of(settings),
        "written_at": known["written_at"] if known and same else datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "estimand": in_words(config, trial.estimand, plan.contrasts[0].words),
        "model": model_in_words(plan, rows),
        "adjusted_for": covariates.text_of(trial.sessions, plan.adjust_for),
        "families": families_of(trial, plan, names, scored),
        "graph": graph_of(trial, plan, names, scored),
        "beside": supplement.in_words(config, scored),
        "rules": [
            f"{rule['metric']} {limit} ({rule['level']})"
            for rule in config["quality"]["rules"]
            if (limit := quality_rules.limit_text(rule, "exclude"))
        ],
    }
    files.write_json(content, folder / "sap.json")
    files.write_text(in_markdown(content), folder / "sap.md")


def in_markdown(content: dict[str, Any]) -> str:
    """Write a plan for people."""
    question = [f"- {name}: {text}" for name, text in content["estimand"].items()]
    parts = {
        "Estimand (ICH E9(R1))": question,
        "Primary model": [f"- {text}" for text in content["model"]],
        "Covariates": [content["adjusted_for"] or "None beside those of the model."],
        "Families of tests": [*(f"- {text}" for text in content["families"]), "", "```text", content["graph"], "```"],
        "Beside the tests": [f"- {text}" for text in content["beside"]],
        "Rules that exclude": [f"- {text}" for text in content["rules"]] or ["None."],
        "Settings": [f"- `{key}`: {value}" for key, value in content["settings"].items()],
    }
    when = f"Written {content['written_at']} while arms were masked; digest {content['digest']}."
    head = f"# Statistical analysis plan\n\n{when}\n"
    return head + "".join(f"\n## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in parts.items())


def read(output: Path | str) -> dict[str, Any] | None:
    """Read the plan that was written while arms were masked; None where there is none."""
    path = folder_of(output) / "sap.json"
    return files.read_json(path) if path.is_file() else None


def differences(config: dict[str, Any]) -> list[dict[str, Any]] | None:
    """List the settings that are not those of the plan: key, planned, used; None where there is no plan."""
    planned = read(config["output"])
    if planned is None:
        return None
    old, new = planned["settings"], settings_of(config)
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [{"key": key, "planned": old.get(key), "used": new.get(key)} for key in keys]
