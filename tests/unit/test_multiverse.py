"""The multiverse: joint test against naive sums and under the null, and the group stage of a trial with 64 paths."""

import json
from types import SimpleNamespace

import fitted_trial
import numpy as np
import pandas as pd
import pytest
import yaml

from mrsflow.errors import InputError
from mrsflow.files import read_table
from mrsflow.models import permutation
from mrsflow.reporting import figures_multiverse
from mrsflow.statistics import group, multiverse
from mrsflow.statistics.contrasts import Assigned
from mrsflow.study import config

N, PATHS = 14, 3
LEVELS = ("a", "b")


def assigned_t(draws: int, effect: float = 0.0) -> tuple[np.ndarray, np.ndarray, int]:
    """t of every path as observed and for drawn assignments, of a crossover with noise that paths share."""
    rng = np.random.default_rng(8)
    labels = np.array([LEVELS, LEVELS[::-1]] * (N // 2))
    shared = rng.normal(size=(N, 2)) + effect * (labels == "b")
    visit = np.tile([0.0, 1.0], N)[:, np.newaxis]
    people = np.repeat(np.arange(N), 2)
    orders, _ = permutation.assignments(labels, draws, 1)
    values = (shared + 0.5 * rng.normal(size=(PATHS, N, 2))).reshape(PATHS, -1)
    found = [permutation.drawn_t(y, visit, labels, people, LEVELS, "b", orders) for y in values]
    observed, t, df = zip(*found, strict=True)
    return np.array(observed), np.column_stack(t), df[0]


def test_the_joint_test_holds_its_level_over_2000_labellings():
    """Of all 3432 assignments of 14 participants: each of 2000 in the place of the observed one."""
    _, t, df = assigned_t(4000)
    assert len(t) == 3432
    labellings = np.random.default_rng(0).permutation(t)[:2000]
    p = np.array([permutation.joint_test(own, t, [df] * PATHS, exact=True)[1::2] for own in labellings])
    assert ((p < 0.05).mean(axis=0) > 0.03).all()
    assert ((p < 0.05).mean(axis=0) < 0.065).all()


def test_an_effect_in_all_paths_is_found():
    observed, t, df = assigned_t(999, effect=2.0)
    found = permutation.joint_test(observed, t, [df] * PATHS, exact=False)
    assert found.median_p < 0.01
    assert found.share_p < 0.01
    assert found.share == 1.0


def test_statistics_are_those_of_naive_counts():
    observed, drawn = np.array([-3.0, -2.5, 0.1]), np.array([[2.6, 2.7, 2.8], [0.1, 0.2, 0.3], [-4.0, -0.1, -3.0]])
    found = permutation.joint_test(observed, drawn, [10, 10, 10], exact=False)
    assert found.median_t == -2.5
    assert found.median_p == pytest.approx((1 + 2) / 4)  # 2.7 and 3.0
    assert found.share == pytest.approx(2 / 3)
    assert found.share_p == pytest.approx((1 + 2) / 4)  # all three; two, with the larger mean of abs(t)


def test_a_participant_without_values_in_a_path_keeps_the_labels_of_the_others():
    """The same draws as for the smaller trial alone, whose labels are those of the members."""
    rng = np.random.default_rng(4)
    labels = np.array([LEVELS, LEVELS[::-1]] * 3)
    y, visit = rng.normal(size=(6, 2)), np.tile([0.0, 1.0], 6)[:, np.newaxis]
    members = np.array([0, 1, 3, 4])
    orders = np.array([[1, 0, 2, 3, 5, 4], [0, 1, 2, 3, 4, 5]])
    _, t, _ = permutation.drawn_t(
        y[members].ravel(), visit[:8], labels, np.repeat(members, 2), LEVELS, "b", orders, members
    )
    for order, found in zip(orders, t, strict=True):
        sign = np.where(labels[order[members]][:, 0] == "a", 1, -1)  # b - a of each is y2 - y1 for order ab
        d = (y[members][:, 1] - y[members][:, 0]) * sign
        x = np.column_stack([np.ones(4), sign])
        beta, rss = np.linalg.lstsq(x, d, rcond=None)[:2]
        se = np.sqrt(rss[0] / 2 * np.linalg.inv(x.T @ x)[0, 0])
        assert found == pytest.approx(beta[0] / se)


FACTORS = {
    "": 1.0, "water-kept": 1.3, "macromolecules-none": 1.5, "water-kept_macromolecules-none": 1.5, "lcmodel": 1.1,
}  # fmt: skip
"""By which ratios of a variant, and of the second fitter, are larger than those of the study."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A trial of two fitters and four variants, whose ratios differ by `FACTORS`; some blocks are doubtful.

    One variant lost a session.
    """
    declared = {
        "fitter": ["mrsflow", "lcmodel"], "macromolecules": ["default", "none"], "residual_water": ["removed", "kept"],
        "denominator": ["tNAA", "tCr"], "doubtful": ["kept", "left out"], "summary": ["mean", "huber"],
    }  # fmt: skip
    settings = {"draws": 199, "mood_scale": None, "multiverse": declared, "secondary": []}
    made = fitted_trial.write(tmp_path_factory.mktemp("trial"), n=8, group=settings)
    content = yaml.safe_load(made.config.read_text()) | {"fit": {"fitter": ["mrsflow", "lcmodel"]}}
    made.config.write_text(yaml.safe_dump(content))
    for k, record in enumerate(sorted((made.output / "status" / "fit").glob("*.json"))):
        known = json.loads(record.read_text())
        for name in known["outputs"]:
            if "_mrsfit" not in name and k % 3 == 0:
                table = pd.read_csv(made.output / name, sep="\t", dtype=str)
                table.loc[2, "status"] = "doubtful"
                table.loc[3, "snr"] = "12"  # warned
                table.to_csv(made.output / name, sep="\t", index=False, na_rep="n/a")
        for variant in list(FACTORS)[:4]:
            write_variant(made.output, known, variant)
    name = "status/fit_water-kept/sub-001_ses-1.json"
    (made.output / name).write_text(json.dumps({"session": "sub-001_ses-1", "status": "failed", "reason": "why"}))
    group.run(config.load(str(made.config)))
    return made


def write_variant(output, known, variant):
    """Write tables of both fitters of a session, and the records of the stages of a variant."""
    outputs = {}
    for name, fitter in ((name, fitter) for name in known["outputs"] for fitter in ("blocks", "lcmodel")):
        table = pd.read_csv(output / name, sep="\t", dtype=str)
        for ratio in {"per_tnaa", "per_tcr"} & set(table):
            factor = FACTORS[variant] * FACTORS.get(fitter, 1.0)
            table[ratio] = [f"{factor * value:.15g}" for value in table[ratio].astype(float)]
        own = name.replace("derivatives/mrsflow", f"variants/{variant}") if variant else name
        path = output / own.replace("desc-blocks", f"desc-{fitter}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if variant or fitter != "blocks":
            table.to_csv(path, sep="\t", index=False, na_rep="n/a")
        outputs[str(path.relative_to(output))] = "0"
    before = variant.replace("_macromolecules-none", "").replace("macromolecules-none", "")
    for stage, own in (("fit", variant), ("preprocess", before)):
        path = output / "status" / f"{stage}_{own}".rstrip("_") / f"{known['session']}.json"
        path.parent.mkdir(exist_ok=True)
        preprocessed = json.loads((output / "status" / "preprocess" / path.name).read_text())
        path.write_text(json.dumps({**known, "outputs": outputs} if stage == "fit" else preprocessed))


def test_every_combination_is_a_row_that_names_its_inputs(made):
    table = read_table(made.output / "group" / "multiverse.tsv")
    assert len(table) == 64
    assert table["inputs"].nunique() == 64
    assert not table.duplicated([axis for axis in multiverse.AXES if table[axis].nunique() > 1]).any()
    own = table.iloc[0]
    primary = read_table(made.output / "group" / "contrasts.tsv").iloc[0]
    assert (own["estimate"], own["p"]) == pytest.approx((primary["estimate"], primary["p"]), rel=1e-9)
    without = table[(table["doubtful"] == "left out") & (table["fitter"] == "mrsflow")].iloc[0]
    sensitivity = read_table(made.output / "group" / "sensitivity.tsv").set_index("analysis")
    assert without["estimate"] == pytest.approx(sensitivity.loc["without doubtful fits", "estimate"], rel=1e-9)
    assert without["n_blocks"] < own["n_blocks"]


def test_no_path_takes_the_fits_of_another(made):
    """Each estimate is that of the study times the factors that its own files were written with."""
    table = read_table(made.output / "group" / "multiverse.tsv", ("variant",)).fillna({"variant": ""})
    table = table[table["variant"] != "water-kept"]  # which lost a session
    choices = ["denominator", "doubtful", "summary"]
    first = table[(table["variant"] == "") & (table["fitter"] == "mrsflow")].set_index(choices)["estimate"]
    factors = table["variant"].map(FACTORS) * np.where(table["fitter"] == "lcmodel", FACTORS["lcmodel"], 1.0)
    expected = factors.to_numpy() * first[pd.MultiIndex.from_frame(table[choices])].to_numpy()
    np.testing.assert_allclose(table["estimate"], expected, rtol=1e-5)
    named = {("none", "removed"): "macromolecules-none", ("none", "kept"): "water-kept_macromolecules-none"}
    pairs = zip(table["macromolecules"], table["residual_water"], strict=True)
    assert table["variant"].tolist() == [named.get(pair, "") for pair in pairs]


def test_the_same_fits_under_two_names_and_a_session_that_a_variant_lost_are_said(made):
    table = read_table(made.output / "group" / "multiverse.tsv", ("variant",)).fillna({"remark": ""})
    assert table["fits"].nunique() == 2 * 3  # the factors of two variants are alike
    by = table.groupby(["variant", "fitter"])["fits"]
    assert (by.nunique() == 1).all()
    same = table[table["remark"].str.contains("its fits are those of path")]
    assert set(same["variant"]) == {"water-kept_macromolecules-none"}
    lacking = table[table["remark"].str.contains("sub-001_ses-1 is left out: why")]
    assert set(lacking["variant"]) == {"water-kept"}
    assert len(lacking) == 16
    assert (lacking.loc[lacking["summary"] == "mean", "n_sessions"] == 15).all()


def test_all_paths_are_tested_together(made):
    tests = read_table(made.output / "group" / "multiverse_test.tsv")
    assert tests["n_paths"].tolist() == tests["n_estimated"].tolist() == [64, 64]
    assert ((tests["p"] > 0) & (tests["p"] <= 1)).all()
    assert tests["draws"].str.contains("70 assignments").all()  # all of 8 participants in two sequences
    assert tests["remark"].isna().all()


def test_a_choice_that_the_study_does_not_have_is_named(made):
    content = yaml.safe_load(made.config.read_text())
    content["group"]["multiverse"] = {"fitter": ["fsl_mrs"], "denominator": ["NAA"]}
    faults = []
    config.checked(content, "config", faults)
    assert any("group.multiverse.fitter has 'fsl_mrs', which is not among mrsflow, lcmodel" in said for said in faults)
    assert any("group.multiverse.denominator has 'NAA'" in said for said in faults)
    content["group"]["multiverse"] = {"doubtful": ["left_out"]}
    with pytest.raises(InputError, match="left_out"):
        config.checked(content)


def test_the_figure_shows_paths_in_order_and_the_choices_along_which_they_differ(made):
    tables = {name: read_table(made.output / "group" / f"{name}.tsv") for name in ("multiverse", "multiverse_test")}
    above, below = figures_multiverse.multiverse(SimpleNamespace(tables=tables)).axes
    drawn = np.sort(np.concatenate([line.get_ydata() for line in above.lines if line.get_marker() == "o"]))
    np.testing.assert_allclose(drawn, np.sort(tables["multiverse"]["percent_of_baseline"]))
    named = [label.get_text() for label in below.get_yticklabels()]
    assert named[:3] == ["fitter: mrsflow", "fitter: lcmodel", "macromolecules: default"]
    assert not any(name.startswith("estimand") for name in named)
    order = tables["multiverse"].sort_values("percent_of_baseline", kind="stable")["fitter"].to_numpy()
    np.testing.assert_array_equal(below.lines[0].get_xdata(), np.flatnonzero(order == "mrsflow"))
    assert "joint tests" in above.get_title()
    assert below.get_xlabel().startswith("64 of 64 declared paths")
    assert figures_multiverse.multiverse(SimpleNamespace(tables={})) is None


def test_an_axis_that_is_left_out_takes_the_choice_of_the_study(made):
    settings = config.load(str(made.config))
    settings["group"]["multiverse"] = {"warned": ["kept", "left out"]}
    assert [path.warned for path in multiverse.paths_of(settings)] == ["kept", "left out"]
    assert {path.fitter for path in multiverse.paths_of(settings)} == {"mrsflow"}


def test_a_variant_in_which_nothing_was_fitted_is_a_matter_of_its_rows(made):
    settings = config.load(str(made.config))
    files = [SimpleNamespace(key="sub-001_ses-1"), SimpleNamespace(key="sub-001_ses-2")]
    own = {"mrsflow": multiverse.Source(lambda: None, files)}
    found = multiverse._of_variant(settings, own, "mrsflow", "align-0.2-4.2", lambda files: None)
    assert found.files == ()
    with pytest.raises(InputError, match=r"no session has fits of align-0\.2-4\.2: not run"):
        found.read()


def test_a_path_with_too_few_participants_is_left_out_of_the_joint_test_and_the_others_are_tested():
    rng = np.random.default_rng(6)

    def path(n):
        people = np.repeat([f"p{k}" for k in range(n)], 2)
        labels = np.array([LEVELS, LEVELS[::-1]] * (n // 2), dtype=object)
        visit = np.tile([0.0, 1.0], n)[:, np.newaxis]
        return Assigned(rng.normal(size=2 * n), visit, labels, people, LEVELS, "b")

    plan = SimpleNamespace(contrasts=[SimpleNamespace(name="b - a")], draws=99, seed=1)
    whole, few = path(8), path(2)
    alone, both = (multiverse._joint(plan, paths, 5) for paths in ([whole], [whole, few]))
    assert [row.p for row in both] == [row.p for row in alone]
    assert {row.n_estimated for row in both} == {1}
    assert all(row.remark.startswith("1 estimated paths do not enter: 2 participants are too few") for row in both)
    none = multiverse._joint(plan, [few], 5)
    assert all(np.isnan(row.p) and row.n_estimated == 0 and "too few" in row.remark for row in none)
