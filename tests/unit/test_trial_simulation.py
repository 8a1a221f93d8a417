"""Simulated trials: what was set is what the truth says, and the files hold it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mrsflow import nifti_mrs
from mrsflow.errors import InputError
from mrsflow.simulation import trial_files, trial_simulation
from mrsflow.study import config
from mrsflow.study.clock import seconds_between
from mrsflow.study.study import read_study

SITES = ["ge", "siemens", "ge", "siemens", "philips"]
STILL = dict.fromkeys(("person_sd", "visit_sd", "block_sd", "other_person_sd", "other_visit_sd", "response_sd"), 0.0)


def planned(n: int, seed: int = 1, **settings) -> trial_simulation.Trial:
    return trial_simulation.plan_trial(n, SITES, trial_simulation.checked_settings(settings), seed)


def infusion_means(trial: trial_simulation.Trial):
    """Glx of each session, mean over the infusion blocks, in percent of nominal."""
    blocks = trial.blocks[trial.blocks["phase"] == "infusion"]
    return (
        100
        * blocks.groupby(["participant", "sex", "visit", "arm"])["glx_mM"].mean().reset_index("visit", drop=True)
        / 13
    )


def test_arms_differ_by_the_declared_fraction_of_baseline():
    means = infusion_means(planned(8, **STILL, period_effect=0.0)).unstack("arm")
    difference = (means["naltrexone"] - means["placebo"]).groupby("sex").unique()
    np.testing.assert_allclose(difference["M"], -3)
    np.testing.assert_allclose(difference["F"], -1)


def test_placebo_rise_is_the_ramp_integrated_over_each_block():
    """A ramp of 10 min to 6 %: block means 2.4, 5.85, 6, 6, 6 percent, up to the 2 s between excitations."""
    blocks = planned(4, **STILL, period_effect=0.0).blocks
    rises = blocks[blocks["arm"] == "placebo"].groupby("block")["glx_mM"].mean() / 13 - 1
    np.testing.assert_allclose(100 * rises[list(trial_simulation.BLOCKS)], [0, 2.4, 5.85, 6, 6, 6], atol=0.011)


def test_second_visit_is_lower_by_the_period_effect():
    blocks = planned(4, **STILL).blocks
    baseline = blocks[blocks["phase"] == "baseline"].groupby("visit")["glx_tnaa"].unique()
    np.testing.assert_allclose(baseline[1], 13 / 12)
    np.testing.assert_allclose(baseline[2], 13 / 12 * 0.98)


def test_variation_is_as_declared():
    trial = planned(1500, period_effect=0.0, damping_men=0.0, damping_women=0.0)
    glx = np.log([plan["glx"] for plan in trial.plans]).reshape(-1, 2)
    assert np.diff(glx).std() / np.sqrt(2) == pytest.approx(0.05, rel=0.1)
    assert np.sqrt(glx.mean(axis=1).var() - 0.05**2 / 2) == pytest.approx(0.10, rel=0.1)
    assert np.exp(glx).mean() == pytest.approx(1, abs=0.01)
    factors = np.array([plan["block_factors"] for plan in trial.plans])
    assert factors.std() == pytest.approx(0.03, rel=0.05)
    assert np.corrcoef(factors[:, :-1].ravel(), factors[:, 1:].ravel())[0, 1] == pytest.approx(0.2, abs=0.04)
    scores = trial.sessions.assign(change=trial.sessions["madrs_day1"] - trial.sessions["madrs_pre"])
    assert scores.groupby("arm")["change"].mean().astype(float).to_dict() == pytest.approx(
        {"placebo": -14.5, "naltrexone": -10.5}, abs=0.6
    )


def test_mood_follows_the_response_when_it_is_asked_to():
    trial = planned(200, response_sd=0.05, madrs_residual_sd=0.0, madrs_per_percent=-0.5)
    change = (trial.sessions["madrs_day1"] - trial.sessions["madrs_pre"]).to_numpy(float, na_value=np.nan)
    deviation = np.array([100 * plan["response_deviation"] for plan in trial.plans])
    kept = (trial.sessions["arm"] == "placebo") & (change < -2) & np.isfinite(change)
    slope = np.polyfit(deviation[kept], change[kept], 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.05)


def test_trial_is_balanced():
    trial = planned(26)
    first = trial.sessions[trial.sessions["visit"] == 1]
    assert first["arm"].value_counts().to_dict() == {"placebo": 13, "naltrexone": 13}
    assert trial.participants["sex"].value_counts().to_dict() == {"F": 13, "M": 13}
    arms = trial.sessions.groupby("participant")["arm"].agg(set)
    assert all(pair == {"placebo", "naltrexone"} for pair in arms)
    assert trial.sessions["madrs_day1"].isna().sum() == 1
    broad = [plan["linewidth_hz"] for plan in trial.plans if plan["linewidth_hz"] == 20]
    assert len(broad) == 2


def test_summary_is_what_the_tables_say():
    trial = planned(26, seed=3)
    difference = trial.summary["arm_difference"]
    assert difference["population"] == pytest.approx(-0.02 * 13 / 12 * 0.99)
    values = trial.blocks[trial.blocks["phase"] == "infusion"].groupby("arm")["glx_tnaa"].mean()
    assert difference["values"] == pytest.approx(values["naltrexone"] - values["placebo"])
    assert difference["sample"] == pytest.approx(difference["population"], abs=0.003)


@pytest.mark.parametrize(
    "settings",
    [
        {"glx_ryse": 0.1},
        {"glx_rise": "much"},
        {"eddy_hz": 3.0},
        {"n_coils": True},
        {"n_coils": 2.5},
        {"rise_minutes": 0},
    ],
)
def test_setting_that_makes_no_sense_is_named(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        trial_simulation.checked_settings(settings)


def simulated(folder: Path, *options: str) -> subprocess.CompletedProcess:
    script = Path(trial_files.__file__).parents[2] / "simulate_trial.py"
    few = folder / "few.yaml"
    few.write_text("n_coils: 2\n")
    command = [sys.executable, script, "--out", "trial", "--settings", "few.yaml", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> Path:
    """A trial of three participants, one of each vendor, as files."""
    folder = tmp_path_factory.mktemp("simulated")
    simulated(folder, "--participants", "3", "--sites", "ge", "siemens", "philips")
    return folder


def test_configuration_and_tables_are_valid(trial, monkeypatch):
    monkeypatch.chdir(trial)
    study = read_study(config.load("trial/config/config.yaml"))
    assert len(study.keys) == 6
    assert all(path.is_file() for paths in study.samples["raw"] for path in paths)
    assert (study.samples["role"] == "mrsref").sum() == 4  # a P-file holds its own
    starts = study.samples.groupby("key")["start_time"].first()
    infusions = study.sessions.set_index("key")["infusion_start"]
    protocols = study.samples.query("role == 'svs'").groupby("key")["protocol"].first()
    for key in study.keys:  # a GE scan begins with 16 excitations of its reference, 2 s apart
        before = 32 if protocols[key] == "ge" else 0
        assert seconds_between(starts[key], infusions[key]) == pytest.approx(8 * 60 + before)


def test_files_hold_the_simulated_signal(trial):
    program = Path(sys.executable).with_name("spec2nii")
    raw = trial / "trial" / "raw" / "sub-01_ses-02" / "P00012.7"
    subprocess.run([program, "ge", raw, "-f", "out", "-o", trial], check=True, capture_output=True)
    settings = trial_simulation.checked_settings({"n_coils": 2})
    plan = trial_simulation.plan_trial(3, ["ge", "siemens", "philips"], settings, 20250915).plans[1]
    record = json.loads((trial / "trial" / "truth" / "sessions" / "sub-01_ses-02.json").read_text())
    assert json.loads(json.dumps(plan)) == record["plan"]
    task = trial_files.SessionTask(
        plan, settings, (20250915, 2), 8, trial_files.vendor_basis("ge"), trial_files.FIRST_DAY, trial
    )
    session = trial_files.simulate_planned(task)
    converted = nifti_mrs.read(trial / "out.nii.gz").fid
    scale = np.vdot(session.fid, converted).real / np.vdot(session.fid, session.fid).real
    assert np.log2(scale) == pytest.approx(round(np.log2(scale)), abs=1e-6)
    np.testing.assert_allclose(converted, scale * session.fid, atol=1)


def test_second_run_changes_nothing_and_mends_what_is_missing(trial):
    before = contents(trial / "trial")
    times = {p: p.stat().st_mtime_ns for p in (trial / "trial").rglob("*") if p.is_file()}
    options = ("--participants", "3", "--sites", "ge", "siemens", "philips")
    assert "6 of 6" in simulated(trial, *options).stderr.splitlines()[0]
    assert all(p.stat().st_mtime_ns == time for p, time in times.items())
    lost = trial / "trial" / "raw" / "sub-02_ses-01" / "meas_MID00021_ACC_PRESS_WREF.dat"
    cut = trial / "trial" / "raw" / "sub-03_ses-02" / "ACC_PRESS_2.SDAT"
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:100])
    assert "4 of 6" in simulated(trial, *options, "--cores", "2").stderr.splitlines()[0]
    assert contents(trial / "trial") == before


def test_another_seed_is_another_trial(trial, tmp_path):
    simulated(tmp_path, "--participants", "1", "--sites", "philips", "--seed", "5")
    record = json.loads((tmp_path / "trial" / "truth" / "trial.json").read_text())
    here = json.loads((trial / "trial" / "truth" / "trial.json").read_text())
    assert record["seed"] != here["seed"]
    assert record["arm_difference"] != here["arm_difference"]


def test_single_transients_are_stored_one_by_one(tmp_path):
    simulated(tmp_path, "--participants", "1", "--sites", "siemens", "--frames", "single")
    files = sorted((tmp_path / "trial" / "raw").rglob("*_ACC_PRESS.dat"))
    from mapvbvd import mapVBVD

    image = mapVBVD(str(files[0]), quiet=True).image
    image.flagRemoveOS = False
    assert image.sqzSize.tolist() == [2048, 2, 1440]
    settings = config.load(str(tmp_path / "trial" / "config" / "config.yaml"))
    assert settings["protocols"]["siemens"]["excitations_per_frame"] == 1


def test_images_of_a_trial_hold_the_tissue_that_its_water_is_of(tmp_path):
    """Fractions by counting points of the voxel in the head itself; water by Gasparovic's formula, written out."""
    from mrsflow.anatomy import images
    from mrsflow.simulation import head, rawfiles, trial_anatomy

    settings = trial_simulation.checked_settings({"n_coils": 1})
    trial = trial_simulation.plan_trial(1, ["siemens"], settings, 3)
    basis = trial_files.vendor_basis("siemens")
    task = trial_files.SessionTask(trial.plans[0], settings, (3, 1), 8, basis, trial_files.FIRST_DAY, tmp_path, True)
    (tmp_path / "raw" / task.key).mkdir(parents=True)
    trial_anatomy.write(task.head, task.images, tmp_path, np.random.default_rng(0))
    maps = {role: images.read(tmp_path / files[0]) for role, files in task.images.items()}
    voxel = rawfiles.voxel_affine(trial_files.raw_header(task, 1, task.start))
    steps = (np.arange(40) + 0.5) / 40 - 0.5
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    held = trial_files.held_by_voxel(task)
    for name in ("GM", "WM", "CSF"):
        image = maps[name]
        onto = np.linalg.inv(image.affine) @ voxel
        nearest = np.rint(points @ onto[:3, :3].T + onto[:3, 3]).astype(int)
        counted = np.asarray(image.dataobj)[tuple(np.moveaxis(nearest, -1, 0))].mean()
        assert held[name] == pytest.approx(counted, abs=0.005)
        assert np.asarray(image.dataobj).max() == pytest.approx(1)
    ventricle = head.parts_at(np.array([9.0, 0.0, 4.0]))  # of the head as it was made, in its own mm
    into = np.linalg.inv(np.loadtxt(tmp_path / "raw" / task.key / trial_anatomy.TO_MNI))
    place = into[:3, :3] @ (np.array([9.0, 0.0, 4.0]) + trial_anatomy.HEAD_IN_MNI) + into[:3, 3]
    index = np.linalg.inv(maps["CSF"].affine) @ [*place, 1.0]
    assert head.PARTS[ventricle] == "CSF" and maps["CSF"].dataobj[tuple(np.rint(index[:3]).astype(int))] > 0.99
    t1, t2 = {"GM": 1.50, "WM": 0.97, "CSF": 4.47}, {"GM": 0.088, "WM": 0.073, "CSF": 2.030}
    assert maps["T1w"].shape == maps["GM"].shape and task.images["T1w"][1].endswith("face.nii.gz")
    content = trial_files.simulate_planned(task)
    assert np.isfinite(content.water_reference).all()
    water = trial_anatomy.water_mM(held, 123.25, 0.03, 2.0)
    seen = sum(
        held[k] * {"GM": 0.78, "WM": 0.65, "CSF": 0.97}[k] * np.exp(-0.03 / t2[k]) * (1 - np.exp(-2.0 / t1[k]))
        for k in held
    )
    metabolites = np.exp(-0.03 / 0.194) * (1 - np.exp(-2.0 / 1.29))
    assert water == pytest.approx(55510 * seen / metabolites / (1 - held["CSF"]), rel=1e-3)
