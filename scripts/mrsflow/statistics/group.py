"""The statistics of a whole study: from the tables of its sessions to the tables of its results."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from mrsflow import files, result_tables
from mrsflow.errors import InputError
from mrsflow.statistics import (
    agreement,
    analysis_plan,
    carry_over,
    clinical,
    clinical_course,
    consort,
    contrasts,
    denominator,
    design_checks,
    evidence,
    mediation,
    missing_sessions,
    moderators,
    multiplicity,
    multiverse,
    outcomes,
    participant_flow,
    sites,
    supplement,
    term_outcomes,
    timecourse,
    visits,
)
from mrsflow.statistics import sensitivity as sensitivity_set
from mrsflow.statistics.outcomes import Rows
from mrsflow.statistics.plan import Plan, plan_of
from mrsflow.statistics.results import Attenuation, Result, complete_row, counts, estimated, model_row
from mrsflow.study import cohort, covariates, layout, masking, metrics, quality_rules, ratings
from mrsflow.study.config import fitters_of
from mrsflow.study.estimand import in_words, phase_by_visit
from mrsflow.study.regressors import FREE, split_outcome
from mrsflow.study.study import Study, read_study
from mrsflow.study.trial import TrialData, conditions_of, planned

MASKED = "the first contrast of the configuration (arms are masked)"
logger = logging.getLogger(__name__)
Tables = dict[str, pd.DataFrame]


def run(config: dict[str, Any], status: list[Path] | None = None) -> dict[str, Any]:
    """Read the finished sessions of a study, analyse them and write every table to ``<output>/group``.

    Parameters
    ----------
    config : dict
        Checked configuration.
    status : list of Path, optional
        Batch tables of the fit stage; by default the records of every session of the study are read.

    Returns
    -------
    dict
        The content of headline.json.

    Raises
    ------
    InputError
        Tables that cannot be used; the outputs of an earlier run are then left alone.
    """
    located, lost, study = find(config, status)
    everyone, verdicts = load(config, study, located)
    plan = plan_of(config)
    rows = outcomes.prepare(everyone, config["group"]["outcome"])
    folder = Path(config["output"]) / "group"
    if not everyone.frozen and not (folder / "unmasking.json").is_file():  # a plan is made before arms were known
        analysis_plan.write(everyone, plan, rows, clinical.has_scores(config, everyone.sessions))
    if not everyone.frozen:
        plan = replace(plan, conditions=everyone.conditions)
    tables = describe(everyone, plan, rows, verdicts, lost)
    others = {
        name: cohort.locate(Path(config["output"]), [item.key for item in located], name)
        for name in fitters_of(config)[1:]
    }
    if others:
        tables["fitters"] = fitter_table(everyone, located, others)
    if config["study"]["freeze"]:
        refitted = {name: _once(config, study, files_of) for name, files_of in others.items()}
        tables |= analyse(everyone, plan, rows, refitted)
        if config["group"]["multiverse"] is not None:
            own = {fitters_of(config)[0]: multiverse.Source(lambda: everyone, located)}
            own |= {name: multiverse.Source(refitted[name], files_of) for name, files_of in others.items()}
            tables |= multiverse_tables(config, own, plan, lambda files_of: load(config, study, files_of)[0])
    headline = headline_of(everyone, plan, rows, tables)
    write(folder, tables, headline, everyone, located)
    return headline


def _once(config: dict[str, Any], study: Study, located: list[cohort.SessionFiles]) -> Callable[[], TrialData]:
    """Give what loads a trial when it is first asked for; what it raises is a matter of the row that asks."""
    return cache(lambda: load(config, study, located)[0])


def find(
    config: dict[str, Any], status: list[Path] | None = None
) -> tuple[list[cohort.SessionFiles], dict[str, cohort.Loss], Study]:
    """Find the files of finished sessions, where others are lost and why, and the study's tables."""
    output = Path(config["output"])
    study = read_study(config)
    keys, lost = cohort.finished(status) if status else cohort.recorded(output, study.keys)
    if unknown := sorted(set(keys) - set(study.sessions["key"])):
        raise InputError(f"{unknown[0]} was fitted but is not in {config['inputs']['sessions']}; add its row")
    return cohort.locate(output, keys), cohort.losses(output, study, lost), study


def load(config: dict[str, Any], study: Study, located: list[cohort.SessionFiles]) -> tuple[TrialData, pd.DataFrame]:
    """Put the sessions' tables beside the design; arms are replaced by codes unless the analysis is frozen.

    Returns
    -------
    TrialData
    DataFrame
        What the quality rules say of blocks and sessions.
    """
    sessions = design_of(config, study, located)
    blocks = blocks_of(config, located)
    of_fits = metrics.of_fits(config["quality"]["rules"])
    names = ("block", "snr", "linewidth_hz", "status", "reason", *of_fits)
    fitted = cohort.read_tables(located, layout.FIT_QUALITY, tuple(dict.fromkeys(names)))
    fitted = fitted.rename(columns={"status": "fit_status", "reason": "fit_reason"})
    blocks = blocks.merge(fitted.drop(columns=of_fits, errors="ignore"), on=["key", "block"], how="left")
    names = ["key", "participant", "session", "condition", "visit"]
    blocks = blocks.merge(sessions[names], on="key").sort_values(["participant", "visit", "onset_s", "block"])
    blocks = phase_by_visit(blocks, config["study"]["baseline_visits"])
    verdicts = judged(config, located, fitted.reindex(columns=["key", "block", "fit_status", "fit_reason", *of_fits]))
    marks = verdicts.assign(block=verdicts["block"].astype(str))
    by = marks.groupby(["participant", "session", "block"])
    reasons = marks[marks["action"] == "exclude"].groupby(["participant", "session", "block"])["reason"].agg("; ".join)
    index = pd.MultiIndex.from_frame(blocks[["participant", "session", "block"]].astype(str))
    blocks = blocks.assign(
        warned=index.isin(by.size().index), excluded=index.isin(reasons.index), reason=reasons.reindex(index).to_numpy()
    ).reset_index(drop=True)
    if term := split_outcome(config["group"]["outcome"])[1]:
        blocks = term_outcomes.blocks_of(config, located, blocks, outcome_names(config))
        blocks = phase_by_visit(blocks, config["study"]["baseline_visits"])
        if term in FREE:  # a change from the baseline already
            config = config | {"group": config["group"] | {"estimand": "total"}}
    return TrialData(config, sessions, blocks, conditions_of(config)), verdicts


def design_of(config: dict[str, Any], study: Study, located: list[cohort.SessionFiles]) -> pd.DataFrame:
    """Sessions table with the columns of participants, the vendor, numbers as numbers, and the (masked) condition."""
    sessions = planned(config, study)
    mood = [*clinical.mood_columns(config, sessions), *clinical_course.columns_of(config)]
    sessions = clinical.as_numbers(sessions, [c for c in mood if c in sessions])
    own = config["study"]
    design_checks.check_conditions(own["design"], sessions, bool(own["baseline_visits"]) or own["replicates"])
    if "vendor" not in sessions and (vendors := cohort.vendors(located)):
        sessions["vendor"] = sessions["key"].map(vendors)
        sessions = covariates.typed(config, sessions)
    sessions = with_voxels(config, sessions)
    for column in config["group"]["adjust_for"]:
        if column not in sessions:
            raise InputError(f"group.adjust_for: {column!r} is in no table and no scan says it; take it out")
    return sessions


def with_voxels(config: dict[str, Any], sessions: pd.DataFrame) -> pd.DataFrame:
    """Sessions with what was measured in their voxels, of the columns that the models take."""
    asked = set(covariates.names_of(config)) & {*config["inputs"]["maps"], *covariates.FRACTIONS} - set(sessions)
    if not asked:
        return sessions
    held = cohort.in_voxels(Path(config["output"]), list(sessions["key"]))
    columns = {name: sessions["key"].map(held[name]) if name in held else np.nan for name in sorted(asked)}
    return covariates.typed(config, sessions.assign(**columns))


def blocks_of(config: dict[str, Any], located: list[cohort.SessionFiles]) -> pd.DataFrame:
    """One row per block with the outcomes of the configuration."""
    names = [split_outcome(name)[0] for name in outcome_names(config)]
    numerator = names[0].partition("/")[0]  # by itself, for the audit of the denominator
    wanted = list(dict.fromkeys([*names, numerator]))
    metabolites = {part for name in wanted for part in name.split("/")} - {"water"}
    columns = ("block", "phase", "onset_s", "duration_s", "spectrum", "metabolite", *cohort.MEASURES)
    fits = cohort.read_tables(located, layout.FIT, columns, metabolites)
    return cohort.outcome_table(fits, wanted)


def outcome_names(config: dict[str, Any]) -> list[str]:
    """Every outcome that the tables have: the primary one, its other denominators, the secondary ones."""
    group = config["group"]
    if split_outcome(group["outcome"])[1]:
        return term_outcomes.names_of(group)
    numerator, _, denominator = group["outcome"].partition("/")
    names = [group["outcome"], *(f"{numerator}/{d}" for d in group["other_denominators"]), *group["secondary"]]
    return list(dict.fromkeys([*names, *([denominator] if denominator not in ("", "water") else [])]))


def judged(config: dict[str, Any], located: list[cohort.SessionFiles], fitted: pd.DataFrame) -> pd.DataFrame:
    """Apply the quality rules to the quality tables of all sessions and to the verdicts on their fits."""
    rules = config["quality"]["rules"]
    metrics = {r["metric"]: None for r in rules if r["level"] == "block" and r["metric"] not in fitted}
    columns = dict.fromkeys(("participant", "session", "block", "n_transients", "reason", *metrics))
    blocks = cohort.read_tables(located, layout.BLOCK_QUALITY, tuple(columns))
    blocks = blocks.merge(fitted, on=["key", "block"], how="left")
    given = config["quality"]["ratings"]
    rated = None if given is None else ratings.read(given)
    return quality_rules.exclusions(blocks, cohort.session_values(located), rules, rated)


def describe(
    everyone: TrialData, plan: Plan, rows: Rows, verdicts: pd.DataFrame, lost: dict[str, cohort.Loss]
) -> Tables:
    """Tables that compare nothing: blocks, losses, reliability, changes, courses, scores."""
    config = everyone.config
    known = [name for name in outcome_names(config) if name in everyone.blocks]
    order = ["participant", "session", "visit", "condition", "block", "phase", "onset_s", "duration_s", "spectrum"]
    order += ["linewidth_hz", "snr", "fit_status", "fit_reason", "excluded", "warned", "reason"]
    order += [c for n in known for c in (n, f"{n} sd")]
    wide = everyone.blocks[order].rename(columns={"condition": "arm"})
    tables = {
        "blocks_wide": wide,
        "exclusions": participant_flow.exclusion_table(verdicts, lost, rows),
        "flow": participant_flow.flow_table(everyone, lost, rows),
        "flow_by_sequence": consort.flow_table(everyone, lost, rows),
        "sites": sites.site_table(everyone, lost, rows),
        "baseline_by_sequence": consort.baseline_table(
            everyone, rows, clinical.scores_before(config, everyone.sessions)
        ),
        "loss_by_condition": participant_flow.loss_by_condition(
            everyone, plan, verdicts, rows.n_planned or len(config["blocks"]["bins"])
        ),
        "reliability": pd.DataFrame(timecourse.reliability_rows(everyone, known)),
        "session_changes": outcomes.change_table(rows, clinical.mood_change(config, everyone.sessions)),
        "time_course": timecourse.course_table(everyone, known, rows.left_out),
    }
    if config["group"]["mood_scale"] is not None:
        tables["mood_scores"] = clinical.score_table(config, everyone.sessions)
    return tables


def fitter_table(
    everyone: TrialData, located: list[cohort.SessionFiles], others: Mapping[str, list[cohort.SessionFiles]]
) -> pd.DataFrame:
    """How far each fitter beside the first agrees with it, over every block that both have; it compares no arms."""
    names = ("participant", "block", "phase", "metabolite", *cohort.MEASURES)
    first = fitters_of(everyone.config)[0]
    fits = {name: cohort.read_tables(found, layout.FIT, names) for name, found in {first: located, **others}.items()}
    rows = agreement.agreement_rows(fits, everyone.denominator)
    return result_tables.from_rows(map(asdict, rows), "fitters")


def multiverse_tables(
    config: dict[str, Any],
    own: Mapping[str, multiverse.Source],
    plan: Plan,
    read: Callable[[list[cohort.SessionFiles]], TrialData],
) -> Tables:
    """Every path of the multiverse, and the tests of all together."""
    rows, tests = multiverse.multiverse(config, own, plan, read)
    paths = result_tables.from_rows(rows, "multiverse")
    counted = dict.fromkeys(("n_participants", "n_sessions", "n_blocks", "n_dropped"), "Int64")
    return {
        "multiverse": paths.astype(counted),
        "multiverse_test": result_tables.from_rows(tests, "multiverse_test"),
    }


def analyse(
    everyone: TrialData, plan: Plan, rows: Rows, refitted: Mapping[str, Callable[[], TrialData]] = MappingProxyType({})
) -> Tables:
    """Tables that compare conditions; `refitted` read the trial by each fitter beside the first."""
    config, group = everyone.config, everyone.config["group"]
    usable = everyone.blocks[everyone.blocks[plan.outcome].notna() & ~everyone.blocks["excluded"]]
    all_blocks = usable.rename(columns={plan.outcome: "outcome"}).reset_index(drop=True)
    found, primary = primary_rows(plan, rows, all_blocks)
    sensitivity = shared_with_contrasts(found)
    if plan.design != "single_arm":
        sensitivity += sensitivity_set.sensitivity_rows(everyone, plan, rows, group["other_denominators"], refitted)
        sensitivity += carry_over.carry_over_rows(plan, rows)
    sensitivity += supplement.supplementary_rows(everyone, plan, rows, found[0])
    found += secondary_rows(everyone, plan, term_outcomes.secondary_of(group))
    found += moderators.moderator_rows(plan, rows, group["moderators"])
    tables: Tables = {}
    attenuated = clinical.attenuation_rows(plan, rows, plan.outcome, group["control"])
    attenuated += response_attenuation(everyone, plan, rows)
    if group["mood_scale"] is not None:
        made, more, tables["link"] = mood_results(everyone, plan, rows, primary)
        found, attenuated = found + made, attenuated + more
        columns = clinical.mood_columns(config, everyone.sessions)
        tables["mood"] = clinical.mood_table(config, everyone.sessions, columns)
    found += clinical_course.clinical_course_rows(plan, everyone.sessions, group["clinical"])
    found += missing_sessions.followup_rows(plan, everyone.sessions, group["clinical"], group["imputation"])
    tables["contrasts"] = as_table(found, "contrasts")
    tables["sensitivity"] = as_table(sensitivity, "sensitivity")
    tables["attenuation"] = result_tables.from_rows(attenuated, "attenuation")
    tables["denominator"] = result_tables.from_rows(denominator.audit_rows(everyone, plan), "denominator")
    tests = [r for c in plan.contrasts for r in timecourse.course_tests(plan, rows, c)]
    tables["time_tests"] = result_tables.from_rows(tests, "time_tests").drop_duplicates(ignore_index=True)
    return tables


def response_attenuation(everyone: TrialData, plan: Plan, rows: Rows) -> list[Attenuation]:
    """Attenuation of the response, where the primary rows are of something else and a baseline follows the dose."""
    if rows.change or not rows.has_baseline or everyone.estimand.placement not in ("after", "both"):
        return []
    config = everyone.config
    own = replace(everyone, config=config | {"group": config["group"] | {"estimand": "response"}})
    return clinical.attenuation_rows(plan, outcomes.prepare(own, plan.outcome), plan.outcome, None)


def primary_rows(plan: Plan, rows: Rows, all_blocks: pd.DataFrame) -> tuple[list[Result], list[Result]]:
    """Rows of every named contrast of the primary outcome, and those of them that are the primary family."""
    made = [contrasts.compare(plan, rows, contrast) for contrast in plan.contrasts]
    family = multiplicity.primary_family([own[0] for own in made])
    found = [row for first, own in zip(family, made, strict=True) for row in (first, *own[1:])]
    found += [row for contrast in plan.contrasts for row in visits.visit_rows(plan, rows, contrast)]
    if plan.design != "crossover" or rows.known:
        return found, family
    failed = Result(analysis="blocks treated as independent (condition x time)", contrast=plan.contrasts[0].name)
    more = estimated(lambda: [contrasts.participant_only_time(plan, all_blocks)], failed)
    if rows.has_baseline:
        failed = replace(failed, analysis="condition x phase, all blocks")
        more += estimated(lambda: [phase_row(plan, all_blocks)], failed)
    return found + [complete_row(row, rows, plan) for row in more], family


def phase_row(plan: Plan, all_blocks: pd.DataFrame) -> Result:
    """Row of the secondary model: difference of the changes from baseline, all blocks in one model."""
    model, first = contrasts.phase_model(plan, all_blocks), plan.contrasts[0]
    weights = first.difference(model, phase="infusion") - first.difference(model, phase="baseline")
    return model_row(model, weights, "condition x phase, all blocks", first.name, estimand="response")


def shared_with_contrasts(found: list[Result]) -> list[Result]:
    """First rows of the sensitivity table: the primary analysis and what always stands beside it."""
    wanted = ("primary", "primary (Satterthwaite)", "equal variances", "pair means", "re-randomisation")
    wanted += ("blocks treated as independent",)
    return [row for row in found if row.analysis in wanted and row.contrast == found[0].contrast]


def secondary_rows(everyone: TrialData, plan: Plan, names: list[str]) -> list[Result]:
    """Primary model of the secondary outcomes, Benjamini-Hochberg over them."""
    tested, contrast = [], plan.contrasts[0]
    for name in dict.fromkeys(n for n in names if n != plan.outcome):
        own = replace(plan, outcome=name)

        def make(own: Plan = own, name: str = name) -> list[Result]:
            return contrasts.compare(own, outcomes.prepare(everyone, name), contrast, all_analyses=False)

        failed = Result(analysis="secondary", contrast=contrast.name, outcome=name)
        tested += [replace(row, analysis="secondary") for row in estimated(make, failed)]
    return multiplicity.adjust(tested, multiplicity.SECONDARY, multiplicity.benjamini_hochberg)


def mood_results(
    everyone: TrialData, plan: Plan, rows: Rows, primary: list[Result]
) -> tuple[list[Result], list[Attenuation], pd.DataFrame]:
    """Rows of the clinical outcome, its attenuation and the table of its link to the primary outcome."""
    group = everyone.config["group"]
    before, after = (f"{group['mood_scale']}_{group[k]}" for k in ("mood_baseline", "mood_followup"))
    name = f"{group['mood_scale']} {group['mood_followup']} - {group['mood_baseline']}"
    failed = Result(analysis=clinical.CLINICAL, contrast=plan.contrasts[0].name, outcome=name)
    try:
        mood = clinical.mood_rows(everyone.config, everyone.sessions)
    except InputError as error:
        return [replace(failed, remark=f"not estimated: {error}")], [], as_table([], "link")
    found = clinical.clinical_rows(plan, mood, name) + clinical.mood_time_rows(plan, mood, before, after, name)
    tests = iter(multiplicity.gated([row for row in found if row.analysis == clinical.CLINICAL], primary))
    found = [next(tests) if row.analysis == clinical.CLINICAL else row for row in found]
    own = replace(plan, outcome=name)
    if plan.design == "single_arm":
        own = replace(own, contrasts=(replace(plan.contrasts[0], name=clinical.FOLLOWED),))
    moderated = moderators.moderator_rows(own, mood, group["moderators"], multiplicity.MOOD_MODERATORS)
    found += [clinical.of_mood(row) for row in moderated]
    found += supplement.mood_rows(plan, everyone.config, everyone.sessions, mood, name)
    attenuated = clinical.attenuation_rows(plan, mood, name, group["control"])
    failed = Result(analysis="link", contrast="slopes")
    linked = estimated(lambda: clinical.link_rows(plan, rows, mood, name), failed)
    linked += mediation.mediation_rows(plan, rows, mood, name)
    return found, attenuated, as_table(linked, "link")


def as_table(rows: list[Result], name: str) -> pd.DataFrame:
    """Make a table of results, whole numbers as such where some are missing."""
    table = result_tables.from_rows(rows, name)
    return table.astype(dict.fromkeys(("n_participants", "n_sessions", "n_blocks", "n_dropped", "seed"), "Int64"))


def headline_of(everyone: TrialData, plan: Plan, rows: Rows, tables: Tables) -> dict[str, Any]:
    """Give the primary result for people and pages that want one line."""
    config, masked = everyone.config, not everyone.frozen
    found: dict[str, Any] = {
        "design": plan.design, "outcome": plan.outcome, "masked": masked,
        "config_digest": masking.analysis_digest(config),
        "question": in_words(config, everyone.estimand, plan.contrasts[0].words if everyone.frozen else MASKED),
        "estimand": everyone.estimand.kind, "baseline": everyone.estimand.placement,
        "adjusted_for": covariates.text_of(everyone.sessions, plan.adjust_for),
        **counts(rows.blocks), "n_doubtful": int((rows.blocks["fit_status"] == "doubtful").sum()),
        "n_dropped": rows.n_dropped, "notes": rows.notes, "estimate": None,
    }  # fmt: skip
    if masked:
        return found | {"reason": "arms are masked; set study.freeze to true when the analysis is final"}
    row = tables["contrasts"].iloc[0]
    if not np.isfinite(row["estimate"]):
        return found | {"contrast": row["contrast"], "reason": row["remark"]}
    names = ("n_participants", "n_sessions", "n_blocks", "n_dropped", "contrast", "model", "df_method", "remark")
    names += ("p_adjusted", "family", "estimate", "se", "df", "p", "ci_low", "ci_high", "ci_level")
    names += ("percent_of_baseline", "percent_ci_low", "percent_ci_high", "d_z", "g_av", "singular", "converged")
    found |= {name: _plain(row[name]) for name in names}
    bounds = tables["sensitivity"][tables["sensitivity"]["analysis"].isin(evidence.KINDS)].to_dict("records")
    if bounds:
        found["equivalence"] = {name: _plain(bounds[0][name]) for name in ("analysis", "p", "remark")}
    first = tables["attenuation"].head(1).to_dict("records")
    return found | {"attenuation": {k: _plain(v) for k, v in first[0].items()} if first else None}


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if value is pd.NA or (isinstance(value, float) and not np.isfinite(value)) else value


def write(
    folder: Path, tables: Tables, headline: dict[str, Any], everyone: TrialData, located: list[cohort.SessionFiles]
) -> None:
    """Write every table with its data dictionary, headline.json last; tables of an unmasked run go when masked."""
    names = set(layout.group_files(everyone.config))
    for stale in [*folder.glob("*.tsv"), *folder.glob("*.json")]:
        if stale.name not in names and stale.name != "unmasking.json" and not stale.name.startswith("."):
            stale.unlink()
    for name, table in tables.items():
        rounded = table.assign(**{c: table[c].map({True: "true", False: "false"}) for c in table.select_dtypes(bool)})
        result_tables.write(rounded, folder / f"{name}.tsv", described=True)
    planned = everyone.sessions.set_index("key")
    design = {item.key: (str(planned["visit"][item.key]), str(planned["condition"][item.key])) for item in located}
    with (
        files.atomic_path(folder / "blocks_long.tsv") as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as out,
    ):
        lines = cohort.long_text(located, design)
        header = next(lines, "visit\tarm\n")
        out.write(header)
        out.writelines(lines)
    long_columns = header.rstrip("\n").split("\t")
    files.write_json(result_tables.dictionary("blocks_long", long_columns), folder / "blocks_long.json")
    if everyone.frozen:
        masking.record_unmasking(folder / "unmasking.json", everyone.config)
    files.write_json(headline, folder / "headline.json")
