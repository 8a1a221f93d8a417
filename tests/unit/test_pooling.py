"""Trials to be pooled: what papers report, tables with faults, studies, and what the page must say."""

import json
from pathlib import Path

import fitted_trial
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mrsflow import result_tables
from mrsflow.errors import InputError
from mrsflow.pooling import effects, pool, sources
from mrsflow.study import config as study_config

GOLD = json.loads((Path(__file__).parents[1] / "validation/meta/gold.json").read_text())["conversions"]
CROSSOVER = {"design": "crossover", "n": 18, "unit": "percent"}
GROUPS = {"design": "parallel", "n_treated": 20, "n_reference": 22, "unit": "mM"}
MEANS = {"mean_treated": 12.0, "sd_treated": 3.0, "mean_reference": 10.0, "sd_reference": 2.5}


def same(found, known):
    assert found.estimate == pytest.approx(known["estimate"], rel=1e-6)
    assert found.se**2 == pytest.approx(known["variance"], rel=1e-6)


def test_means_and_spreads_equal_metafor():
    same(effects.effect_of(GROUPS | MEANS, "difference"), GOLD["MD"][0])
    same(effects.effect_of(GROUPS | MEANS, "standardised"), GOLD["SMD"][0])
    small = {"n_treated": 9, "n_reference": 11, "mean_treated": 5.1, "sd_treated": 2.0, "mean_reference": 6.0,
             "sd_reference": 2.2}  # fmt: skip
    same(effects.effect_of(GROUPS | small, "standardised"), GOLD["SMD"][1])
    pairs = CROSSOVER | MEANS | {"unit": "mM", "r": 0.6}
    same(effects.effect_of(pairs, "difference"), GOLD["MC"][0])
    same(effects.effect_of(pairs | {"sd_reference": 3.0}, "standardised"), GOLD["SMCR"][0])


def people(n, rng):
    """Values of participants under both conditions, which go together."""
    own = rng.normal(10, 2, n)
    return own + rng.normal(0, 1, n) + 1.0, own + rng.normal(0, 1, n)


def test_every_form_of_a_crossover_gives_the_paired_test():
    a, b = people(18, np.random.default_rng(1))
    test = stats.ttest_rel(a, b)
    low, high = test.confidence_interval(0.9)
    forms = [
        {"estimate": np.mean(a - b), "se": stats.sem(a - b)},
        {"estimate": np.mean(a - b), "ci_low": low, "ci_high": high, "ci_level": 0.9},
        {"estimate": np.mean(a - b), "t": test.statistic},
        {"estimate": np.mean(a - b), "f": test.statistic**2},
        {"estimate": np.mean(a - b), "p": test.pvalue},
        {"estimate": np.mean(a - b), "sd_change": np.std(a - b, ddof=1)},
        {"mean_treated": a.mean(), "mean_reference": b.mean(), "sd_treated": a.std(ddof=1),
         "sd_reference": b.std(ddof=1), "r": np.corrcoef(a, b)[0, 1]},
    ]  # fmt: skip
    found = [effects.effect_of(CROSSOVER | form, "percent") for form in forms]
    np.testing.assert_allclose([(e.estimate, e.se) for e in found], [(np.mean(a - b), stats.sem(a - b))] * len(forms))
    assert {e.df for e in found} == {17.0} and {e.n for e in found} == {18}


def test_a_test_alone_gives_the_same_standardised_difference_as_the_numbers():
    a, b = people(18, np.random.default_rng(2))
    spread = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    whole = {"estimate": np.mean(a - b), "se": stats.sem(a - b), "sd": spread}
    r = 1 - np.var(a - b, ddof=1) / (2 * spread**2)  # the correlation that SDs of one size would have
    test = stats.ttest_rel(a, b)
    known = effects.effect_of(CROSSOVER | whole, "standardised")
    for alone in ({"t": test.statistic}, {"f": test.statistic**2, "direction": "+"},
                  {"p": test.pvalue, "direction": "+"}):  # fmt: skip
        found = effects.effect_of(CROSSOVER | alone | {"r": r}, "standardised")
        assert (found.estimate, found.se) == pytest.approx((known.estimate, known.se))
    x, y = people(20, np.random.default_rng(3))[0], people(22, np.random.default_rng(4))[1]
    pooled = np.sqrt((19 * x.var(ddof=1) + 21 * y.var(ddof=1)) / 40)
    found = effects.effect_of(GROUPS | {"t": stats.ttest_ind(x, y).statistic}, "standardised")
    assert found.estimate == pytest.approx(effects.small_sample(40) * (x.mean() - y.mean()) / pooled)


def test_percent_takes_the_baseline_and_nothing_else():
    row = CROSSOVER | {"unit": "mM", "estimate": 0.5, "se": 0.1}
    found = effects.effect_of(row | {"baseline": 10.0}, "percent")
    assert (found.estimate, found.se) == pytest.approx((5.0, 1.0))
    with pytest.raises(InputError, match="give baseline, the mean before treatment in mM"):
        effects.effect_of(row, "percent")


@pytest.mark.parametrize(
    ("row", "measure", "words"),
    [
        ({"estimate": 1.0, "se": 1.0, "design": None}, "percent", "design is empty; write crossover"),
        ({"estimate": 1.0, "se": 1.0, "unit": None}, "percent", "unit is empty"),
        ({"estimate": 1.0, "se": 1.0, "n": None}, "percent", "n is empty; a crossover trial needs n"),
        ({"estimate": 1.0, "se": 1.0, "n_treated": 9}, "percent", "n_treated is given for a crossover"),
        ({"estimate": 1.0}, "percent", "no standard error; give se"),
        ({"se": 1.0}, "percent", "there is no estimate"),
        ({"mean_treated": 1.0, "se": 1.0}, "percent", "without the other mean"),
        ({"estimate": 1.0, "mean_treated": 1.0, "mean_reference": 2.0, "se": 1.0}, "percent", "the other way"),
        (MEANS, "percent", "say nothing of the changes within participants; give r"),
        ({"t": 2.0}, "percent", "t alone says nothing in percent"),
        ({"t": 2.0}, "standardised", "give r"),
        ({"p": 0.04, "r": 0.5}, "standardised", "p has no sign"),
        ({"estimate": 1.0, "t": -2.0}, "percent", "both are treated less reference"),
        ({"estimate": 1.0, "se": 1.0, "p": 0.001}, "percent", "gives a standard error of 1 and estimate and p one of"),
        ({"t": 2.0, "p": 0.001, "r": 0.5}, "standardised", "correct one, or df"),
        ({"estimate": 1.0, "ci_low": 0.0, "ci_high": 2.0}, "percent", "needs ci_low, ci_high and ci_level"),
        ({"estimate": 3.0, "ci_low": 0.0, "ci_high": 2.0, "ci_level": 0.95}, "percent", "the estimate lies within"),
        ({"estimate": 1.0, "se": 1.0}, "standardised", "sd is empty"),
        ({"estimate": 1.0, "se": 1.0, "unit": "sd"}, "percent", "unit is sd where percent is pooled"),
        ({"estimate": 5.0, "se": 1.0, "unit": "1", "baseline": 1.3}, "difference", "if it is in percent, set unit"),
    ],
)
def test_a_row_that_cannot_be_used_says_what_to_change(row, measure, words):
    given = {name: value for name, value in (CROSSOVER | row).items() if value is not None}
    with pytest.raises(InputError, match=words):
        effects.effect_of(given, measure)


def table(folder, *rows):
    columns = list(dict.fromkeys(name for row in rows for name in row))
    path = folder / "trials.tsv"
    path.write_text("\n".join("\t".join(map(str, line)) for line in
                              [columns, *([row.get(c, "") for c in columns] for row in rows)]) + "\n")  # fmt: skip
    return path


GOOD = {"trial": "A", "design": "crossover", "unit": "percent", "n": 18, "estimate": -3.0, "se": 1.0}


def test_every_bad_row_is_a_line_that_names_it(tmp_path):
    path = table(
        tmp_path, GOOD, GOOD | {"trial": "B", "se": 0}, GOOD | {"trial": "C", "design": ""}, GOOD,
        GOOD | {"trial": "D", "unit": "mM", "estimate": 0.2}, GOOD | {"trial": "E", "se": "", "p": "<0.001"},
        GOOD | {"trial": "F", "estimate": "-3 %"}, GOOD | {"trial": "G", "se": "1,2"},
        GOOD | {"trial": "H", "design": "cross-over"}, GOOD | {"trial": "I", "n": 17.5},
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        sources.read([path], "percent", None, None)
    lines = str(caught.value).splitlines()
    expected = (
        "line 3 (B): se: 0.0 is less than or equal", "line 4 (C): design is empty", "line 6 (D): unit is mM",
        "line 7 (E): p is '<0.001', a bound", "line 8 (F): estimate is '-3 %', a percentage",
        "line 9 (G): se is '1,2', no number; write a point", "line 10 (H): design: 'cross-over' is not one of",
        "line 11 (I): n: 17.5 is not of type 'integer'", "trial 'A' stands 2 times",
    )  # fmt: skip
    assert len(lines) == len(expected)
    for line, words in zip(lines, expected, strict=True):
        assert words in line
    with pytest.raises(InputError, match="unknown column 'Estimate'; did you mean 'estimate'"):
        sources.read([table(tmp_path, {"trial": "A", "Estimate": 1})], "percent", None, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"se": "", "ci_low": -5, "ci_high": -1, "ci_level": 95}, "ci_level: 95.0 is greater than or equal to"),
        ({"se": "", "ci_low": -12, "ci_high": -2.5, "ci_level": 0.95}, "the middle of the interval -12 to -2.5 is not"),
        ({"p_one_sided": 0.03}, "p is two-sided: twice a one-sided one"),
        ({"se": "", "p": "0.000"}, "or a rounded 0 or 1, says too little; give t or se"),
        ({"se": "", "f": "F(2,34)=5.1"}, "more than one number; f has 1 numerator degree of freedom"),
        ({"se": "", "f": 5.1, "df": "2, 34"}, "of an F of more conditions give estimate and se, or t"),
        ({"se": "", "f": 5.1, "df1": 2, "df2": 34}, "an F of more conditions is no comparison of two"),
        ({"median_treated": 3, "iqr_treated": 2}, "medians, quartiles and ranges are no mean and no SD"),
        ({"se": "", "sem_treated": 1}, "times the square root of its participants is sd_treated"),
        ({"estimate": "-3.0 ± 1.0"}, "more than one number; write each into its own column"),
        ({"estimate": "-1,000.5"}, "leave out the comma"),
        ({"field_t": "3T"}, "field_t is '3T', no number; write the number alone"),
        ({"n": -18}, "n: -18 is less than the minimum of 2"),
        ({"n": "18/20"}, "write the number alone"),
        ({"df": 350}, "df is 350 with 18 participants: it counts blocks or scans"),
        ({"unit": "% change"}, "unit is '% change'; write percent"),
        ({"design": "RCT"}, "design: 'RCT' is not one of"),
        ({"design": "parallel"}, "n_treated is empty; a parallel trial needs n_treated and n_reference"),
        ({"unit": "mM", "baseline": 0}, "baseline: 0.0 is less than or equal to"),
        ({"unit": "mM", "mean_treated": 2, "mean_reference": 1, "r": 1}, "r: 1.0 is greater than or equal to"),
        ({"direction": "up"}, "direction: 'up' is not one of"),
        ({"p": "NA"}, "p is 'NA', no number; correct or empty the cell"),
    ],
)
def test_odd_cells_are_one_line_that_says_what_to_change(tmp_path, change, words):
    path = table(tmp_path, GOOD | {"trial": "Z"} | change, GOOD)
    with pytest.raises(InputError) as caught:
        sources.read([path], "percent", None, None)
    assert words in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["trial;design;unit\nA;crossover;percent\n", "# a remark\ntrial\tdesign\nA\tcrossover\n"]
)
def test_a_table_without_its_header_says_what_the_first_line_is_to_hold(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match="write the names of the columns there, with tabs"):
        sources.read([tmp_path / "t.csv"], "percent", None, None)


@pytest.mark.parametrize("unit", ["%", "Percent", "percentage", "% of baseline"])
def test_percent_has_several_names(tmp_path, unit):
    (found,) = sources.read([table(tmp_path, GOOD | {"unit": unit})], "percent", None, None)
    assert found.effect.estimate == -3.0 and found.unit == "percent"


def test_an_interval_may_be_rounded(tmp_path):
    row = GOOD | {"se": "", "estimate": -0.34, "ci_low": -0.6, "ci_high": -0.1, "ci_level": 0.95}
    assert sources.read([table(tmp_path, row)], "percent", None, None)[0].effect.se == pytest.approx(
        0.25 / 2.11, rel=1e-2
    )


def test_two_outcomes_of_one_paper_may_be_of_the_same_people(tmp_path):
    path = table(
        tmp_path, GOOD | {"source": "doi:10.1000/x.1, table 2", "outcome": "Glx"},
        GOOD | {"trial": "B", "n": 17, "source": "https://doi.org/10.1000/X.1", "outcome": "Glu"},
        GOOD | {"trial": "C", "estimate": -0.03, "se": 0.01, "source": "10.1000/x.2"},
    )  # fmt: skip
    remarks = pool.pool(sources.read([path], "percent", None, None), "percent").remarks
    assert "A and B may hold the same participants (the same source, 10.1000/x.1)" in remarks[0]
    assert sum("may hold" in remark for remark in remarks) == 1
    assert any("The trials have 2 outcomes (Glx, Glu)" in remark for remark in remarks)
    assert any("standard error of C, 0.01, is less than a tenth" in remark for remark in remarks)


def test_percentages_and_units_are_not_pooled_as_differences(tmp_path):
    path = table(tmp_path, GOOD, GOOD | {"trial": "B", "unit": "mM", "estimate": 0.2})
    with pytest.raises(InputError, match=r"several units \(A in percent, B in mM\); pool --measure percent"):
        pool.pool(sources.read([path], "difference", None, None), "difference")


def trials(n, seed=0, tau=1.0, **told):
    rng = np.random.default_rng(seed)
    errors = rng.uniform(0.5, 1.5, n)
    values = 2 + tau * rng.standard_normal(n) + errors * rng.standard_normal(n)
    found = [effects.Effect(v, s, 17.0, 18 + i, "") for i, (v, s) in enumerate(zip(values, errors, strict=True))]
    return [sources.Trial(f"T{i}", "crossover", "percent", e, {k: v[i] for k, v in told.items()})
            for i, e in enumerate(found)]  # fmt: skip


def rows_of(found, analysis):
    return [row for row in found.rows if row.analysis == analysis]


def test_moderators_are_rows_with_their_levels_and_their_test():
    found = pool.pool(trials(12, drug=list("ab") * 6, field_t=[3.0, 7.0, 7.0, 3.0] * 3), "percent", ["drug", "field_t"])
    a, b, test = rows_of(found, "moderator drug")
    assert (a.term, b.term, test.term) == ("a", "b", "b - a") and (a.n_trials, test.n_trials) == (6, 12)
    assert test.estimate == pytest.approx(b.estimate - a.estimate)
    (slope,) = rows_of(found, "moderator field_t")
    assert slope.unit == "% of baseline per unit" and np.isfinite(slope.p)
    none = pool.pool(trials(4, drug=["a"] * 4), "percent", ["drug", "dose"])
    assert "4 trials with 1 different values are too few" in rows_of(none, "moderator drug")[0].remark
    assert "0 trials" in rows_of(none, "moderator dose")[0].remark


def test_few_trials_say_that_the_funnel_says_nothing():
    assert "9 trials are too few" in pool.pool(trials(9), "percent").rows[-1].remark
    assert np.isfinite(pool.pool(trials(10), "percent").rows[-1].p)


def test_the_same_people_in_two_trials_are_named_and_counted_once():
    found = pool.pool(trials(3, sample=["x", "y", "x"]), "percent")
    assert "T0 and T2 hold the same participants (the same sample, x)" in found.remarks[0]
    (row,) = rows_of(found, "one trial of each sample")
    assert row.n_trials == 2
    alike = [sources.Trial(t.name, t.design, t.unit, effects.Effect(*trials(1)[0].effect.__dict__.values()), t.told)
             for t in trials(2, drug="aa", cohort="bb", voxel="cc")]  # fmt: skip
    assert "T0 and T1 may hold the same participants" in pool.pool(alike, "percent").remarks[0]
    assert not rows_of(pool.pool(alike, "percent"), "one trial of each sample")
    parted = [sources.Trial(t.name, t.design, t.unit, t.effect, t.told | {"sample": t.name}) for t in alike]
    assert not any("participants (" in remark for remark in pool.pool(parted, "percent").remarks)


def test_trials_that_scatter_too_little_say_that_the_guard_is_cautious():
    found = pool.pool(trials(5, tau=0.0, seed=3), "percent")
    assert found.rows[0].factor < 1
    assert any("the row with the guard is cautious" in remark for remark in found.remarks)
    assert found.rows[1].ci_high - found.rows[1].ci_low > found.rows[0].ci_high - found.rows[0].ci_low


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    made = fitted_trial.write(tmp_path_factory.mktemp("one") / "first", n=8, group={"draws": 99})
    from mrsflow.statistics import group

    group.run(study_config.load(str(made.config)), [made.status])
    return made.output


def test_a_study_gives_its_primary_row(study, tmp_path):
    row = result_tables.read(study / "group/contrasts.tsv").iloc[0]
    (percent,) = sources.read([study], "percent", None, None)
    assert percent.name == "first" and percent.design == "crossover"
    assert percent.effect.estimate == pytest.approx(row["percent_of_baseline"], rel=1e-6)
    half = stats.t.ppf(0.5 + row["ci_level"] / 2, row["df"]) * percent.effect.se
    assert percent.effect.estimate + half == pytest.approx(row["percent_ci_high"], rel=1e-6)
    (difference,) = sources.read([study], "difference", None, None)
    assert (difference.effect.estimate, difference.effect.se) == pytest.approx((row["estimate"], row["se"]))
    (g,) = sources.read([study], "standardised", None, None)
    assert g.effect.estimate == pytest.approx(row["g_av"])
    path = table(tmp_path, {"trial": "ours", "results": str(study), "drug": "naltrexone"}, GOOD | {"results": ""})
    ours, _ = sources.read([path], "percent", None, None)
    assert (ours.name, ours.told["drug"], ours.effect) == ("ours", "naltrexone", percent.effect)
    again = pool.pool([ours, sources.Trial("twin", ours.design, ours.unit, ours.effect, {}, frozenset("a"))], "percent")
    assert not any("raw files" in remark for remark in again.remarks)


def test_a_study_of_another_outcome_or_unit_is_said(study, tmp_path):
    ours, paper = (
        {"trial": "ours", "results": str(study)},
        GOOD | {"trial": "paper", "outcome": "GABA/tCr", "results": ""},
    )
    path = table(tmp_path, ours, paper)
    remarks = pool.pool(sources.read([path], "percent", None, None), "percent").remarks
    assert any("The trials have 2 outcomes (Glx/tNAA, GABA/tCr)" in remark for remark in remarks)
    path = table(tmp_path, ours, paper | {"unit": "mM"})
    with pytest.raises(
        InputError, match=r"several units \(ours in units of Glx/tNAA, paper in mM\); pool --measure percent"
    ):
        pool.pool(sources.read([path], "difference", None, None), "difference")


def test_studies_that_cannot_be_pooled_say_why(study, tmp_path):
    for change, words in (
        ({"results": str(tmp_path)}, "has no group/headline.json"),
        ({"results": str(study), "estimate": 1}, "estimate and results are given"),
        ({"results": str(study), "contrast": "x - y"}, "has no contrast 'x - y'; it has"),
        ({"results": str(study), "outcome": "GABA"}, "has no 'GABA'; it has"),
    ):
        with pytest.raises(InputError, match=words):
            sources.read([table(tmp_path, {"trial": "A"} | change)], "percent", None, None)
    masked = tmp_path / "masked"
    (masked / "group").mkdir(parents=True)
    (masked / "group/headline.json").write_text('{"masked": true}')
    with pytest.raises(InputError, match=r"arms are masked, so there is no contrast to pool; set study\.freeze"):
        sources.read([masked], "percent", None, None)


def test_raw_files_that_are_the_same_are_found(tmp_path):
    for name, digests in (("a", {"x.dat": "1", "y": {"1.dcm": "2"}}), ("b", {"z.dat": "2"})):
        place = tmp_path / name / "status/convert"
        place.mkdir(parents=True)
        (place / "sub-1_ses-1.json").write_text(json.dumps({"inputs": digests}))
    assert sources._scans(tmp_path / "a") & sources._scans(tmp_path / "b") == {"2"}


@pytest.mark.usefixtures("png_alone")
def test_the_page_holds_both_figures_and_every_row(study, tmp_path):
    import pool_studies

    path = table(tmp_path, GOOD, GOOD | {"trial": "<B>", "estimate": -1.0, "drug": "x"})
    pool_studies.main([study, path], tmp_path / "out", moderators=["drug"])
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2 and "&lt;B&gt;" in page and "<B>" not in page
    assert "3 trials are too few to tell whether small ones differ" in page
    rows = result_tables.read(tmp_path / "out/pooled.tsv")
    assert rows["analysis"].tolist()[:2] == ["random effects", "random effects, guarded"]
    weights = result_tables.read(tmp_path / "out/pooled_trials.tsv")["weight_percent"]
    assert weights.sum() == pytest.approx(100)
    before = page
    pool_studies.main([study, path], tmp_path / "out", moderators=["drug"])
    assert (tmp_path / "out/index.html").read_text(encoding="utf-8") == before


def test_the_figures_show_the_numbers():
    from mrsflow.reporting import figures_pool

    found = pool.pool(trials(12), "percent")
    (axes,) = figures_pool.forest(found).axes
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels[0] == "T0 (18)" and labels[-1] == "Prediction of a further trial"
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "s"]
    assert points == [trial.effect.estimate for trial in found.trials]
    diamond = axes.patches[0].get_xy()[:4, 0]
    assert sorted(diamond)[::3] == pytest.approx([found.rows[0].ci_low, found.rows[0].ci_high])
    (funnel,) = figures_pool.funnel(found).axes
    assert funnel.get_ylim()[0] > funnel.get_ylim()[1] == 0  # precise trials on top
    assert "too few" in figures_pool.funnel(pool.pool(trials(4), "percent")).axes[0].get_title()


def test_the_guide_names_every_column(root):
    page = (root / "docs/pooling.md").read_text(encoding="utf-8")
    assert [name for name in study_config.schema("trials")["properties"] if f"`{name}`" not in page] == []


def test_participants_of_two_studies_in_one_model(study, tmp_path, tmp_path_factory):
    from mrsflow.statistics import group

    made = fitted_trial.write(tmp_path_factory.mktemp("two") / "second", n=10, seed=5, group={"draws": 99})
    group.run(study_config.load(str(made.config)), [made.status])
    people = pd.DataFrame({"participant_id": [f"sub-{i:03d}" for i in range(1, 11)], "age": range(20, 30)})
    for folder in (study, made.output):
        (folder / "bids").mkdir(exist_ok=True)
        people.to_csv(folder / "bids/participants.tsv", sep="\t", index=False)
    ours = [{"trial": "A", "results": study, "cohort": "MDD"}, {"trial": "B", "results": made.output, "cohort": "AUD"}]
    path = table(tmp_path, *ours, GOOD | {"trial": "C", "cohort": "AUD"})
    found = sources.read([path], "percent", None, None)
    rows = rows_of(pool.pool(found, "percent", ["cohort"], participants=True, covariates=["age"]), "one stage")
    assert [row.term for row in rows] == [None, "age within trials", "MDD", "AUD", "AUD - MDD"]
    assert {row.n_trials for row in rows} == {2} and {row.n_participants for row in rows} == {18}
    assert all("without the participants of 1 published trials" in row.remark for row in rows)
    changes = [result_tables.read(f / "group/session_changes.tsv") for f in (study, made.output)]
    means = []
    for own in changes:
        wide = own.pivot(index="participant", columns="arm", values="change_percent")
        means.append((wide["naltrexone"] - wide["placebo"]).mean())
    assert min(means) - 1 < rows[0].estimate < max(means) + 1
    assert rows[4].estimate == pytest.approx(rows[3].estimate - rows[2].estimate)
    with pytest.raises(InputError, match="no column of numbers 'weight'"):
        pool.pool(found, "percent", covariates=["weight"])
    with pytest.raises(InputError, match="needs two studies of mrsflow"):
        pool.pool(found[1:], "percent", participants=True)
    with pytest.raises(InputError, match="pool with --measure percent"):
        pool.pool(found, "difference", participants=True)


def test_two_trials_have_no_prediction():
    found = pool.pool(trials(2), "percent")
    assert np.isnan(found.rows[0].prediction_low) and "no prediction interval" in found.rows[0].remark
    with pytest.raises(InputError, match="there is one trial"):
        pool.pool(trials(1), "percent")


def test_rows_are_the_columns_that_are_described():
    described = set(result_tables.tables()["pooled"].columns)
    assert set(pool.PoolRow.__dataclass_fields__) == described


def test_the_command_says_every_fault_in_a_line_of_its_own(tmp_path, capsys):
    from mrsflow.command import cli

    path = table(tmp_path, GOOD | {"se": 0}, GOOD | {"trial": "B", "design": ""})
    with pytest.raises(SystemExit) as stopped:
        cli.main(["pool", str(path), "--out", str(tmp_path / "out")])
    lines = str(stopped.value.code).splitlines()
    assert len(lines) == 2 and all(line.startswith("error: ") for line in lines) and not (tmp_path / "out").exists()
    path = table(tmp_path, GOOD, GOOD | {"trial": "B"})
    with pytest.raises(SystemExit) as stopped:
        cli.main(["pool", str(path), "--level", "95"])
    assert "a level between 0.5 and 1" in stopped.value.code
