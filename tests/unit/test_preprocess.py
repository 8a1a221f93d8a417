"""The chain of a session on simulated sessions of known truth, and its files."""

import json
import statistics
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small_config import single_arm

from mrsflow import nifti_mrs
from mrsflow.axes import ppm_to_hz, shift_frequency, time_axis
from mrsflow.errors import InputError
from mrsflow.files import read_json, read_table, write_json, write_text
from mrsflow.nifti_mrs import Scan
from mrsflow.preprocessing import blocks, measures, preprocess, session_files
from mrsflow.run import run
from mrsflow.simulation import simulate
from mrsflow.study import records
from mrsflow.study.config import checked

FREQUENCY, DWELL, POINTS, TR = 123.25, 5e-4, 1024, 2.0
BINS = {"baseline": [-1.6, 0.0], "infusion1": [0.0, 0.8], "infusion2": [1.6, 3.2]}  # unequal, with a gap
TIME = time_axis(POINTS, DWELL)
NEAR_2021 = {
    "RF coil combination",
    "Frequency and phase correction",
    "Signal averaging",
    "Eddy current correction",
    "Nuisance peak removal",
    "Phasing",
    "Apodization",
}
DISTURBED = simulate.Disturbances(snr=15.0, jitter_deg=20.0, corrupted_fraction=0.0, residual_water=1.5)


def voxel(n, factor=None, narrowing=None):
    """Singlets and a broad background that stay, a multiplet that may change."""

    def lines(*values):
        return sum(
            a * np.exp((2j * np.pi * ppm_to_hz(ppm, FREQUENCY) - np.pi * width) * TIME) for ppm, a, width in values
        )

    still = lines((2.008, 3, 6), (3.027, 2.2, 6), (3.91, 1.3, 7), (3.21, 1.7, 6), (0.9, 3, 30), (3.6, 1, 9))
    factor = np.ones(n) if factor is None else factor
    narrowing = np.zeros(n) if narrowing is None else narrowing
    return simulate.Content(still, lines((2.35, 1, 9), (2.31, 0.6, 9)), factor, narrowing, 6.0, 0.4)


def simulated(seed=1, n=144, n_coils=4, averaged=1, disturbances=DISTURBED, **content):
    acquisition = simulate.Acquisition(FREQUENCY, DWELL, POINTS, n // averaged, averaged, n_coils, repetition_time=TR)
    return simulate.simulate_session(voxel(n, **content), acquisition, disturbances, np.random.default_rng(seed))


def as_scan(fid, *dims):
    header = {"SpectrometerFrequency": [FREQUENCY], "ResonantNucleus": ["1H"], "RepetitionTime": TR}
    header |= {f"dim_{number}": dim for number, dim in enumerate(dims, start=5)}
    return Scan(fid, dims, DWELL, header)


def as_run(session, reference=True, event_onset=96.0):
    n, averaged = session.fid.shape[1], session.acquisition.excitations_per_frame
    water = as_scan(session.water_reference, "DIM_COIL", "DIM_DYN") if reference else None
    times = blocks.frames(n, TR, averaged, event_onset)
    return preprocess.Run(as_scan(session.fid, "DIM_COIL", "DIM_DYN"), times, water)


SETTINGS = preprocess.Settings(bins=BINS, minimum_transients=8)


@pytest.fixture(scope="module")
def session():
    return simulated()


@pytest.fixture(scope="module")
def processed(session):
    return preprocess.process([as_run(session)], SETTINGS)


def likeness(one, other):
    """Correlation of two FIDs at the best common phase, and the gain between them."""
    product = np.vdot(one, other)
    return abs(product) / np.linalg.norm(one) / np.linalg.norm(other)


def at_their_shifts(fid):
    """FID moved and turned to where the singlets say."""
    from mrsflow.preprocessing.referencing import fit_singlets

    found = fit_singlets(fid, DWELL, FREQUENCY)
    return shift_frequency(fid, -found.shift_hz, DWELL) * np.exp(-1j * found.phase_rad)


def test_mean_is_the_ideal_average_within_its_noise(session, processed):
    ideal = session.combined().mean(axis=0) - session.residual_water
    ideal = at_their_shifts(ideal)
    scale = np.vdot(processed.mean, ideal) / np.vdot(processed.mean, processed.mean)
    error = (ideal - scale * processed.mean)[:400]
    noise = np.sqrt((session.coil_weights @ session.noise_covariance @ session.coil_weights.conj()).real / 144)
    assert np.sqrt(np.mean(np.abs(error) ** 2)) < 2 * noise
    assert abs(np.angle(scale)) < 0.03


def test_every_block_holds_its_own_transients(processed):
    names = list(BINS)
    times = processed.times
    middles = (times.onset_s + times.duration_s / 2) / 60
    for number, name in enumerate(names):
        inside = (middles >= BINS[name][0]) & (middles < BINS[name][1])
        assert np.array_equal(processed.assigned == number, inside)
    assert processed.made == (0, 1, 2)


def test_change_between_blocks_is_kept():
    course = np.where(np.arange(144) < 48, 1.0, 1.5)
    found = preprocess.process([as_run(simulated(disturbances=replace(DISTURBED, snr=60), factor=course))], SETTINGS)
    difference = found.averages[2] - found.averages[0]
    changed = 0.5 * voxel(1).varying
    gain = np.vdot(voxel(1).static, found.averages[0]).real / np.vdot(voxel(1).static, voxel(1).static).real
    assert np.vdot(changed, difference).real / np.vdot(changed, changed).real / gain == pytest.approx(1, abs=0.1)


def test_frames_that_average_excitations_count_for_what_they_are():
    found = preprocess.process([as_run(simulated(averaged=4))], SETTINGS)
    rows = measures.block_rows(found, SETTINGS, ["baseline"])
    assert [row["n_transients"] + row["n_rejected"] for row in rows] == [48, 24, 48]
    assert [row["phase"] for row in rows] == ["baseline", "infusion", "infusion"]


def test_steps_are_recorded_in_order_with_their_keywords(processed):
    methods = [method for method, _ in processed.steps]
    assert methods == [
        "RF coil combination",
        "Frequency and phase correction",
        "Signal averaging",
        "Eddy current correction",
        "Nuisance peak removal",
        "Phasing",
    ]
    assert set(methods) <= NEAR_2021


def test_without_reference_coils_are_combined_by_the_metabolites(session):
    found = preprocess.process([as_run(session, reference=False)], SETTINGS)
    assert "metabolites from 1.8 to 3.4 ppm" in found.steps[0][1]
    truth = session.sensitivities / np.linalg.norm(session.sensitivities)
    assert abs(np.vdot(found.weights.sensitivities, truth)) > 0.999


def test_a_coil_that_recorded_nothing_is_left_out(session):
    """As if there were no such coil, and the steps say it; the water has it too."""
    run = as_run(session)
    heard = np.array([True, True, False, True])
    silenced = [scan.with_data(scan.fid.copy(), scan.dims) for scan in (run.scan, run.reference)]
    for scan in silenced:
        scan.fid[2] = 0
    without = [scan.selected("DIM_COIL", heard) for scan in silenced]
    found, wanted = (
        preprocess.combined([replace(run, scan=scan, reference=water)], SETTINGS) for scan, water in (silenced, without)
    )
    np.testing.assert_array_equal(found.fids, wanted.fids)
    np.testing.assert_array_equal(found.reference.fid, wanted.reference.fid)
    assert found.reference_scales
    assert found.steps[0][1] == wanted.steps[0][1] + "; 1 more recorded nothing"


def test_combined_single_average_passes_through():
    fid = simulated(disturbances=replace(DISTURBED, snr=500, drift_hz=0)).combined().mean(axis=0)
    one = preprocess.Run(as_scan(fid), blocks.frames(1, TR, 48, 96.0))
    found = preprocess.process([one], SETTINGS)
    assert found.made == (0,) and found.reasons.tolist() == [""]
    assert likeness(found.averages[0], voxel(1).static + voxel(1).varying) > 0.99
    assert [m for m, _ in found.steps] == [
        "Frequency and phase correction",
        "Signal averaging",
        "Nuisance peak removal",
        "Phasing",
    ]


def test_runs_of_one_average_each_are_joined_in_time():
    frames = simulated(disturbances=replace(DISTURBED, snr=200)).combined().reshape(3, 48, POINTS).mean(axis=1)
    onsets = (96.0, 0.0, -96.0)  # of the event, in each run
    runs = [preprocess.Run(as_scan(f), blocks.frames(1, TR, 48, o)) for f, o in zip(frames, onsets, strict=True)]
    settings = preprocess.Settings(bins={"a": [-2, 0], "b": [0, 1.6], "c": [1.6, 4]})
    found = preprocess.process(runs[::-1], settings)  # in any order
    assert found.made == (0, 1, 2)
    assert np.diff(found.times.onset_s).tolist() == [96.0, 96.0]


def test_narrowing_is_measured_and_matched():
    course = np.where(np.arange(144) < 48, 0.0, 0.6)
    quiet = replace(DISTURBED, snr=60.0, jitter_deg=5.0, drift_hz=1.0)
    run_ = as_run(simulated(disturbances=quiet, narrowing=course))
    found = preprocess.process([run_], SETTINGS)
    narrowed = preprocess.broadening(found)
    assert narrowed[2] - narrowed[0] == pytest.approx(-0.6, abs=0.1)
    matched = preprocess.process([run_], replace(SETTINGS, match_linewidth=True))
    after = preprocess.broadening(replace(matched, broadening_hz=None))
    assert np.ptp(after) < 0.05
    assert matched.steps[-1][0] == "Apodization"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (replace(SETTINGS, bins={"late": [60, 70]}), "scan lasts from -1.6 to 3.2 min after the event"),
        (replace(SETTINGS, minimum_transients=500), "no block has 500 good excitations"),
        (replace(SETTINGS, align_ppm=(0.2, 0.8)), "holds none of NAA"),
    ],
)
def test_settings_that_leave_nothing_are_refused(session, settings, words):
    with pytest.raises(InputError, match=words):
        preprocess.process([as_run(session)], settings)


def test_edited_data_are_refused(session):
    scan = as_scan(np.stack([session.combined()] * 2), "DIM_EDIT", "DIM_DYN")
    with pytest.raises(InputError, match=r"edited \(DIM_EDIT of length 2\).*set use_frames .*'edit off'"):
        preprocess.process([preprocess.Run(scan, blocks.frames(144, TR, 1, 96.0))], SETTINGS)


def test_runs_that_differ_are_refused(session):
    one = as_run(session)
    other = replace(one, scan=replace(one.scan, dwell_time=4e-4), times=blocks.frames(144, TR, 1, -400.0))
    with pytest.raises(InputError, match="differ in dwell time"):
        preprocess.process([one, other], SETTINGS)


def test_noise_alone_is_refused():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(40, POINTS)) + 1j * rng.normal(size=(40, POINTS))
    with pytest.raises(InputError, match="no tNAA, tCr and tCho stand out of the noise"):
        preprocess.process([preprocess.Run(as_scan(noise, "DIM_DYN"), blocks.frames(40, TR, 1, 40.0))], SETTINGS)


def test_not_a_number_is_refused(session):
    run_ = as_run(session)
    fid = run_.scan.fid.copy()
    fid[1, 3, 700] = np.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        preprocess.process([replace(run_, scan=replace(run_.scan, fid=fid))], SETTINGS)


CONFIG = {
    "blocks": {"event": "infusion", "bins": BINS, "baseline": ["baseline"], "minimum_transients": 8},
    "preprocess": {
        "align_ppm": [1.8, 3.4],
        "max_shift_ppm": 0.3,
        "remove_water": True,
        "eddy_current": True,
        "match_linewidth": False,
    },
    "on_error": "continue",
}
STEM = "sub-01_ses-1_task-drug"


def converted(folder, session, sidecar=None):
    """Lay out what conversion writes for a session and give the files."""
    mrs = folder / "bids" / "sub-01" / "ses-1" / "mrs"
    run_ = as_run(session)
    nifti_mrs.write(run_.scan, mrs / f"{STEM}_svs.nii.gz")
    nifti_mrs.write(run_.reference, mrs / f"{STEM}_mrsref.nii.gz")
    content = {"RepetitionTime": TR, "ExcitationsPerFrame": 1, "SpectrometerFrequency": [FREQUENCY], "EchoTime": 0.03}
    write_json(content if sidecar is None else sidecar, mrs / f"{STEM}_svs.json")
    write_text("onset\tduration\ttrial_type\n96\t2400\tinfusion\n", mrs / f"{STEM}_events.tsv")
    return sorted(mrs.iterdir())


@pytest.fixture(scope="module")
def written(tmp_path_factory, session):
    """A study of one session, preprocessed by the script."""
    import importlib.util
    from pathlib import Path

    folder = tmp_path_factory.mktemp("study")
    files = converted(folder, session)
    outputs = {str(p.relative_to(folder)): "x" for p in files}
    record = {"session": "sub-01_ses-1", "stage": "convert", "status": "ok", "reason": "", "outputs": outputs}
    write_json(record, records.record_path(folder, "convert", "sub-01_ses-1"))
    write_text("participant\tsession\trole\tprotocol\traw\n01\t1\tsvs\tp\tx.dat\n", folder / "samples.tsv")
    write_text("participant\n01\n", folder / "participants.tsv")
    write_text("participant\tsession\tvisit\tarm\n01\t1\t1\tdrug\n", folder / "sessions.tsv")
    tables = {name: str(folder / f"{name}.tsv") for name in ("samples", "participants", "sessions")}
    config = {
        **CONFIG,
        "study": checked(single_arm())["study"] | {"conditions": ["drug"]},
        "inputs": {**tables, "bids": None},
        "output": str(folder),
        "protocols": {"p": {"phase_cycle": 1}},
    }
    script = Path(__file__).parents[2] / "scripts" / "preprocess.py"
    spec = importlib.util.spec_from_file_location("preprocess_script", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table = folder / "batch.tsv"
    run(module.main, ["--config", json.dumps(config), "--sessions", "sub-01_ses-1", "--status", str(table)])
    return folder, read_table(table)


def test_script_writes_the_files_of_the_contract(written):
    folder, table = written
    assert table["status"].tolist() == ["ok"]
    mrs = folder / "derivatives" / "mrsflow" / "sub-01" / "ses-1" / "mrs"
    assert {p.name.removeprefix(f"{STEM}_") for p in mrs.iterdir()} == {
        "desc-blocks_svs.nii.gz",
        "desc-blocks_svs.json",
        "desc-blocks_quality.tsv",
        "desc-transients_quality.tsv",
        "desc-session_quality.json",
        "desc-preproc_figure.npz",
        "desc-preproc_mrsref.nii.gz",
    }
    rows = read_table(mrs / f"{STEM}_desc-blocks_quality.tsv")
    assert rows["block"].tolist() == list(BINS)
    assert rows["onset_s"].tolist() == [-96, 0, 96] and rows["duration_s"].tolist() == [96, 48, 96]
    scan = nifti_mrs.read(mrs / f"{STEM}_desc-blocks_svs.nii.gz")
    assert scan.dims == ("DIM_DYN",) and scan.dimension_header("DIM_DYN")["block"] == list(BINS)
    assert {step["Method"] for step in scan.processing} <= NEAR_2021
    sidecar = read_json(mrs / f"{STEM}_desc-blocks_svs.json")
    assert sidecar["ProcessingApplied"] == scan.processing and sidecar["EchoTime"] == 0.03
    values = read_json(mrs / f"{STEM}_desc-session_quality.json")
    assert values["n_coils"] == 4 and sum(values["coil_weights"]) == pytest.approx(1)
    assert values["n_transients"] + values["n_rejected"] == 144
    transients = read_table(mrs / f"{STEM}_desc-transients_quality.tsv")
    assert len(transients) == 144 and transients["onset_s"].iloc[0] == -96


def test_spread_of_a_block_is_the_sample_sd_of_its_frames(written):
    folder, _ = written
    mrs = folder / "derivatives" / "mrsflow" / "sub-01" / "ses-1" / "mrs"
    blocks = read_table(mrs / f"{STEM}_desc-blocks_quality.tsv").set_index("block")
    frames = read_table(mrs / f"{STEM}_desc-transients_quality.tsv")
    for name, own in frames[frames["rejected"].astype(str) == "False"].groupby("block"):
        assert blocks.loc[name, "shift_sd_hz"] == pytest.approx(statistics.stdev(own["shift_hz"]), rel=1e-5)
        assert blocks.loc[name, "phase_sd_deg"] == pytest.approx(statistics.stdev(own["phase_deg"]), rel=1e-3)


def test_amplitude_and_width_of_frames_stand_against_the_median_of_all(processed):
    found = processed.registration
    other = replace(found, amplitude=3 * found.amplitude, broadening_hz=found.broadening_hz + 5)
    first, second = (measures.frame_rows(replace(processed, registration=r), SETTINGS) for r in (found, other))
    for name, centre in (("amplitude", 1.0), ("broadening_hz", 0.0)):
        assert statistics.median(row[name] for row in first) == pytest.approx(centre, abs=1e-9)
        assert [row[name] for row in first] == pytest.approx([row[name] for row in second], abs=1e-9)


def test_rejected_are_counted_of_all_that_were_acquired(processed):
    corrupted = replace(processed, reasons=np.where(np.arange(144) % 4 == 0, "phase", ""))
    rows = measures.block_rows(corrupted, SETTINGS, ["baseline"])
    assert [row["rejected_fraction"] for row in rows] == [0.25] * 3
    values = measures.session_values(corrupted, rows)
    assert (values["n_rejected"], values["n_transients"], values["rejected_fraction"]) == (36, 108, 0.25)


def test_shares_of_the_coils_are_those_of_the_best_combination(written, session):
    folder, _ = written
    path = folder / "derivatives" / "mrsflow" / "sub-01" / "ses-1" / "mrs" / f"{STEM}_desc-session_quality.json"
    share = np.abs(session.coil_weights * session.sensitivities)
    np.testing.assert_allclose(read_json(path)["coil_weights"], share / share.sum(), atol=0.02)


def test_middle_of_a_block_is_that_of_its_excitations():
    """Two runs, one of single excitations and one of frames of eight."""
    runs = [blocks.frames(4, 2.0, 1, 0.0), blocks.frames(3, 2.0, 8, -20.0)]
    session = SimpleNamespace(times=blocks.joined(runs))
    each = [2.0 * k + 1 for k in range(4)] + [20 + 2.0 * k + 1 for k in range(24)]
    assert measures._mean_time(session, np.ones(7, bool)) == pytest.approx(np.mean(each))


def test_drift_is_that_of_the_field_and_not_jitter_from_frame_to_frame():
    jitter = np.where(np.arange(144) % 2, 2.0, -2.0)
    assert measures._drift(np.linspace(0, 10, 144) + jitter) == pytest.approx(10, abs=0.6)  # 4/31 of jitter at each end


def test_drift_in_the_tables_is_that_of_the_simulation(written, session):
    folder, _ = written
    mrs = folder / "derivatives" / "mrsflow" / "sub-01" / "ses-1" / "mrs"
    transients = read_table(mrs / f"{STEM}_desc-transients_quality.tsv")
    error = transients["shift_hz"] - session.shift_hz
    assert error.std() < 0.2
    values = read_json(mrs / f"{STEM}_desc-session_quality.json")
    assert values["drift_hz"] == pytest.approx(np.ptp(session.shift_hz), abs=1.0)
    assert values["drift_after_hz"] < 0.3


def test_pictures_have_what_their_contract_says(written):
    folder, _ = written
    path = folder / "derivatives" / "mrsflow" / "sub-01" / "ses-1" / "mrs" / f"{STEM}_desc-preproc_figure.npz"
    with np.load(path) as arrays:
        n = arrays["ppm"].size
        assert arrays["before"].shape == arrays["after"].shape == (n,)
        assert arrays["blocks"].shape == (3, n) and arrays["moving"].shape == (arrays["moving_minutes"].size, n)
        assert arrays["image_after"].shape == (arrays["image_minutes"].size, arrays["image_ppm"].size)
        peak = arrays["ppm"][np.argmax(np.where(arrays["ppm"] < 4, arrays["after"], 0))]
        assert peak == pytest.approx(2.008, abs=0.02)
        assert arrays["after"].max() > arrays["before"].max()


def test_the_same_input_gives_the_same_bytes(tmp_path, session):
    one, two = (
        session_files.preprocess_session(
            "sub-01_ses-1",
            converted(tmp_path / name, session),
            {**CONFIG, "protocols": {"p": {"phase_cycle": 1}}},
            tmp_path / name,
        )
        for name in ("a", "b")
    )
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


@pytest.mark.parametrize("missing", ["RepetitionTime", "ExcitationsPerFrame"])
def test_timing_is_never_guessed(tmp_path, session, missing):
    sidecar = {"RepetitionTime": TR, "ExcitationsPerFrame": 1}
    del sidecar[missing]
    files = converted(tmp_path, session, sidecar)
    with pytest.raises(InputError, match=f"has no {missing}"):
        session_files.read_runs([p for p in files if p.name.endswith("_svs.nii.gz")], "infusion")


def test_a_block_with_too_few_transients_is_a_row_with_a_reason(session):
    settings = replace(SETTINGS, minimum_transients=30)
    found = preprocess.process([as_run(session)], settings)
    rows = measures.block_rows(found, settings, ["baseline"])
    assert found.made == (0, 2) and len(found.averages) == 2
    assert [bool(row["reason"]) for row in rows] == [False, True, False]
    assert "24 good excitations, blocks.minimum_transients is 30" in rows[1]["reason"]


def test_a_session_with_water_alone_gets_it_combined(tmp_path, session):
    files = [p for p in converted(tmp_path, session) if "_mrsref" in p.name]
    config = {**CONFIG, "protocols": {}}
    (written,) = session_files.preprocess_session("sub-01_ses-1", files, config, tmp_path)
    assert written.name == f"{STEM}_desc-preproc_mrsref.nii.gz"
    assert nifti_mrs.read(written).dims == ()
    assert session_files.preprocess_session("sub-01_ses-1", [], config, tmp_path) == []  # anatomy alone


def test_water_of_another_scale_corrects_eddy_currents_only(tmp_path, session):
    files = converted(tmp_path, session)
    (water,) = [p for p in files if p.name.endswith("_mrsref.nii.gz")]
    nifti_mrs.write(as_scan(session.water_reference[0], "DIM_DYN"), water)  # combined elsewhere
    config = {**CONFIG, "protocols": {"p": {"phase_cycle": 1}}}
    written = session_files.preprocess_session("sub-01_ses-1", files, config, tmp_path)
    assert not [p for p in written if "_mrsref" in p.name]
    (blocks_file,) = [p for p in written if p.name.endswith("_desc-blocks_svs.nii.gz")]
    assert "Eddy current correction" in {step["Method"] for step in nifti_mrs.read(blocks_file).processing}


def test_every_switch_of_the_configuration_reaches_the_blocks(tmp_path):
    disturbed = replace(DISTURBED, corrupted_fraction=0.05, jitter_deg=5.0)
    session = simulated(disturbances=disturbed, narrowing=np.where(np.arange(144) < 48, 0.0, 0.6))
    files = converted(tmp_path, session)

    def steps(cycle=1, **switches):
        config = {
            **CONFIG,
            "preprocess": {**CONFIG["preprocess"], **switches},
            "protocols": {"p": {"phase_cycle": cycle}},
        }
        out = tmp_path / f"out{cycle}{sorted(switches)}"
        paths = session_files.preprocess_session("sub-01_ses-1", files, config, out)
        found = {path.name.removeprefix(f"{STEM}_desc-"): path for path in paths}
        return [s["Method"] for s in nifti_mrs.read(found["blocks_svs.nii.gz"]).processing], found

    usual, found = steps()
    assert set(usual) == NEAR_2021 - {"Apodization"}
    assert steps(match_linewidth=True)[0] == [*usual, "Apodization"]
    assert steps(remove_water=False)[0] == [s for s in usual if s != "Nuisance peak removal"]
    assert steps(eddy_current=False)[0] == [s for s in usual if s != "Eddy current correction"]
    singly = read_table(found["transients_quality.tsv"])["rejected"].astype(str) == "True"
    whole = read_table(steps(4)[1]["transients_quality.tsv"])["rejected"].astype(str) == "True"
    cycles = np.arange(144) // 4
    assert whole.tolist() == np.isin(cycles, cycles[singly]).tolist() and whole.sum() > singly.sum() > 0


def test_an_averaged_reference_guides_the_coils_as_its_transients_do(session):
    each = as_run(session)
    averaged = replace(each, reference=as_scan(session.water_reference.mean(axis=1), "DIM_COIL"))
    weights = [preprocess.process([run_], SETTINGS).weights.sensitivities for run_ in (each, averaged)]
    assert abs(np.vdot(*weights)) == pytest.approx(1, abs=1e-6)
    truth = session.sensitivities / np.linalg.norm(session.sensitivities)
    assert abs(np.vdot(weights[1], truth)) == pytest.approx(1, abs=1e-4)
