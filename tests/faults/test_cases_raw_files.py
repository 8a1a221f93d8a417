"""What raw files say is used, or contradicted aloud: the small cases of the reference data, and siblings of each."""

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from mrsflow import files, nifti_mrs
from mrsflow.conversion import convert, vendors
from mrsflow.errors import InputError
from mrsflow.preprocessing import session_files
from mrsflow.study import config, layout
from mrsflow.study.study import read_study

KEY = "sub-01_ses-1"
IN_EACH_BLOCK = {"baseline": 160, "infusion": 160}


@pytest.fixture
def case(shared, tmp_path):
    """Copy a case, change its protocol or the first row of its samples, convert and preprocess it."""

    def run(name, row=None, convert_keys=None, copies=None, **protocol):
        folder = tmp_path / name
        shutil.copytree(shared / "cases" / name, folder, dirs_exist_ok=True)
        settings = yaml.safe_load((folder / "config.yaml").read_text())
        settings["protocols"]["p"] |= {"preset": "ideal", **protocol}
        settings["convert"] = convert_keys or {}
        names = ("samples", "participants", "sessions")
        bids = settings["inputs"].get("bids")
        settings["inputs"] = {"bids": str(folder / bids)} if bids else {n: str(folder / f"{n}.tsv") for n in names}
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        if not bids:
            table = files.read_table(folder / "samples.tsv", text_columns=True)
            for column, value in (row or {}).items():
                table.loc[0, column] = value
            files.write_table(table, folder / "samples.tsv")
        checked = config.load(str(folder / "config.yaml"))
        written = convert.convert_session(KEY, read_study(checked), checked, folder / "out")
        if any(path.name.endswith("_svs.nii.gz") for path in written):
            written += session_files.preprocess_session(KEY, written, checked, folder / "out")
        return written

    return run


def excitations(written: list[Path]) -> dict[str, int]:
    """Excitations averaged and rejected in each block that was made."""
    table = files.read_table(next(p for p in written if p.name.endswith(layout.BLOCK_QUALITY)))
    table = table[table["n_transients"] > 0]
    return dict(zip(table["block"], table["n_transients"] + table["n_rejected"], strict=True))


def remarks(written: list[Path]) -> str:
    table = files.read_table(next(p for p in written if p.name.endswith(layout.CONVERT_QUALITY)))
    return "; ".join(table.loc[table["status"] == "warn", "message"].dropna())


def converted(written: list[Path], ending: str = "_svs.nii.gz") -> nifti_mrs.Scan:
    return nifti_mrs.read(next(p for p in written if p.name.endswith(ending) and "_desc-" not in p.name))


def test_frames_after_a_pause_lie_where_their_stamps_say(case):
    written = case("twix-pause-in-the-time-stamps")
    assert excitations(written) == {"baseline": 160, "late": 160}
    assert "a pause of 600 s before frame 6" in remarks(written)


@pytest.mark.parametrize("declared", [16, 64, 1])
def test_stamps_contradict_another_number_of_excitations(case, declared):
    with pytest.raises(
        InputError, match=rf"line 2: .*64 s apart, and {declared} excitations of 2 s take .*protocols.p"
    ):
        case("twix-pause-in-the-time-stamps", excitations_per_frame=declared)


def test_stamps_say_the_excitations_where_the_protocol_does_not(case):
    assert excitations(case("twix-pause-in-the-time-stamps", excitations_per_frame=None)) == {
        "baseline": 160,
        "late": 160,
    }


@pytest.mark.parametrize(("start", "fits"), [("10:00:59", True), ("09:57:00", False), ("10:02:00", False)])
def test_a_start_that_the_file_contradicts_is_refused_with_a_way_out(case, start, fits):
    if fits:
        assert "clock differs by 59 s" in remarks(case("twix-pause-in-the-time-stamps", {"start_time": start}))
        return
    with pytest.raises(InputError, match=f"start_time is {start}, and the raw file says 10:00:00; .*maximum_clock"):
        case("twix-pause-in-the-time-stamps", {"start_time": start})
    case("twix-pause-in-the-time-stamps", {"start_time": start}, {"maximum_clock_difference_s": 200})


def test_averages_inside_repetitions_are_one_series(case):
    written = case("twix-averages-and-repetitions")
    assert excitations(written) == IN_EACH_BLOCK
    assert converted(written).dimension_header("DIM_DYN")["FrameOnset"] == [64.0 * n for n in range(10)]


def test_a_reference_in_another_phase_has_its_own_frames(case):
    written = case("twix-inline-reference")
    assert excitations(written) == IN_EACH_BLOCK
    assert converted(written, "_mrsref.nii.gz").size("DIM_DYN") == 1
    assert any(path.name.endswith("_desc-preproc_mrsref.nii.gz") for path in written)


def test_without_a_start_in_the_table_the_stamps_count_from_the_first_frame_after_the_reference(case):
    """The reference takes a frame of 64 s: frames begin at 10:01:04, and the infusion at 10:05:20, 256 s later."""
    assert excitations(case("twix-inline-reference", {"start_time": None})) == {"baseline": 128, "infusion": 160}


def test_runs_with_a_carrier_adjusted_anew_are_joined(case):
    assert excitations(case("runs-with-readjusted-carrier")) == IN_EACH_BLOCK


@pytest.mark.parametrize(("apart_mhz", "joined"), [(0.0, True), (1.1e-3, True), (9.8e-3, False)])
def test_runs_are_one_series_within_ten_ppm_of_the_carrier(shared, tmp_path, apart_mhz, joined):
    from dataclasses import replace

    from mrsflow.preprocessing import blocks, preprocess

    paths = [shared / f"cases/runs-with-readjusted-carrier/{name}.nii.gz" for name in "ab"]
    scans = [nifti_mrs.read(path) for path in paths]
    other = {**scans[1].header, "SpectrometerFrequency": [scans[0].spectrometer_frequency + apart_mhz]}
    runs = [
        preprocess.Run(scan, blocks.frames(5, 2.0, 32, event_onset=-320.0 * n))
        for n, scan in enumerate([scans[0], replace(scans[1], header=other)])
    ]
    if joined:
        assert len(preprocess.in_time(runs)) == 2
        return
    with pytest.raises(InputError, match=r"spectrometer frequency \(MHz\) \(123.254999 and 123.264799\)"):
        preprocess.in_time(runs)


@pytest.mark.parametrize(
    ("lost", "said"), [([2], "frames 3 hold only zeros with signal after them"), ([0, 9], "frames 1 ")]
)
def test_frames_of_zeros_before_others_are_refused(shared, tmp_path, lost, said):
    from mrsflow.conversion import checks

    scan = nifti_mrs.read(shared / "cases/extension-frequency-as-a-number/a.nii.gz")
    scan.fid[lost] = 0
    nifti_mrs.write(scan, tmp_path / "a.nii.gz")
    assert said in checks.failure(checks.check_frames(vendors.convert([tmp_path / "a.nii.gz"]).scan))


def test_frames_of_zeros_at_the_end_are_left_out(case):
    written = case("aborted-scan-with-empty-frames")
    assert excitations(written) == {"baseline": 160, "infusion": 96}
    assert "the last 2 of 10 frames hold only zeros" in remarks(written)


def test_water_at_the_end_of_each_cycle(case):
    with pytest.raises(InputError, match=r"frames 5, 10 of the file .*water_frames to 'every 5 from 5'"):
        case("water-last-of-five")
    written = case("water-last-of-five", water_frames="every 5 from 5")
    assert excitations(written) == {"baseline": 128, "infusion": 128}
    onsets = converted(written).dimension_header("DIM_DYN")["FrameOnset"]
    assert onsets == [64.0 * n for n in (0, 1, 2, 3, 5, 6, 7, 8)]


@pytest.mark.parametrize("name", ["extension-frequency-as-a-number", "nifti-with-sidecar-only"])
def test_headers_of_other_tools_are_read(case, name):
    assert excitations(case(name)) == IN_EACH_BLOCK


@pytest.mark.parametrize(("raw", "water"), [("a.nii.gz", "header"), ("list.nii.gz", "first 2")])
def test_dimension_headers_in_short_forms_are_read(case, raw, water):
    written = case("dimension-header-short-forms", {"raw": raw}, water_frames=water)
    assert excitations(written)["baseline"] == (160 if water == "header" else 96)  # two frames of water come first
    assert excitations(written)["infusion"] == 160


def by_hand(folder: Path, *raw: Path) -> nifti_mrs.Scan:
    return nifti_mrs.read(convert.convert_by_hand(list(raw), folder / "out" / "svs.nii.gz", {})[0])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dicom-own-series-for-each-file", "3 series UIDs"),
        ("dicom-without-instance-number", "order of their file names"),
    ],
)
def test_dicom_files_that_an_archive_renumbered_are_one_scan(shared, tmp_path, name, said):
    (tmp_path / "case").mkdir()
    make = [sys.executable, shared / "cases" / name / "make.py", tmp_path / "case"]
    subprocess.run(make, check=True, env={"MRSFLOW_SHARED": str(shared)}, capture_output=True)
    found = vendors.convert([tmp_path / "case"])
    assert any(said in note for note in found.notes)
    first = sorted((shared / "data/siemens-dicom-megapress-te68/metab").iterdir())[:3]
    np.testing.assert_array_equal(found.scan.fid, vendors.convert(first).scan.fid)


def test_decimal_commas_of_a_spar_file_are_read(shared, tmp_path):
    scan = by_hand(tmp_path, shared / "cases/spar-decimal-commas/a.SDAT")
    assert (scan.header["EchoTime"], scan.header["RepetitionTime"]) == pytest.approx((0.03, 2.0))
    np.testing.assert_allclose(np.linalg.norm(scan.affine[:3, :3], axis=0), [20, 30, 25], atol=1e-4)
    np.testing.assert_allclose(scan.affine[:3, 3], [0, 35, 20], atol=1e-4)


def test_a_null_tag_is_a_missing_one_and_small_letters_are_read(shared, tmp_path):
    with pytest.raises(InputError, match=r"null.nii.gz: dimension 5 has no tag \(dim_5\)"):
        by_hand(tmp_path, shared / "cases/dimension-tag-null/null.nii.gz")
    scan = by_hand(tmp_path, shared / "cases/dimension-tag-null/small.nii.gz")
    assert scan.dims == ("DIM_DYN",)


def test_water_as_a_sum_and_metabolites_as_a_mean_make_amounts_impossible(case, shared, tmp_path):
    from mrsflow.quantification import quantify

    written = case("water-summed-metabolites-averaged")
    assert excitations(written) == IN_EACH_BLOCK
    assert nibabel.load(next(p for p in written if p.name.endswith("preproc_mrsref.nii.gz"))).shape[:3] == (1, 1, 1)
    assert "stored as a sum" in quantify.remark_on_amounts(0.59)


MEGA = "data/siemens-dicom-megapress-te68-pair"


@pytest.fixture
def edited(shared, tmp_path):
    """An edited scan in vivo in one file, ON and OFF in an order, and its protocol."""

    def make(order):
        on, off = (vendors.convert([shared / MEGA / name]).scan for name in ("edit_on", "edit_off"))
        if order == "DIM_EDIT":
            scan = on.with_data(np.stack([on.fid, off.fid]), ("DIM_EDIT", "DIM_DYN"))
        else:
            fid = np.concatenate([on.fid, off.fid])
            fid = fid if order == "halves" else np.stack([on.fid, off.fid], axis=1).reshape(fid.shape)
            scan = on.with_data(fid, ("DIM_DYN",))
        nifti_mrs.write(scan, tmp_path / "edited.nii.gz")
        return tmp_path / "edited.nii.gz", off

    return make


def parted(path: Path, **protocol):
    from mrsflow.conversion import frames

    converted = vendors.convert([path])
    notes: list[str] = []
    settings = {"water_frames": "header", "use_frames": "all", "sequence": "press", "phase_cycle": 1, **protocol}
    scan = frames.placed(converted, 1, "protocols.p", notes)
    return frames.parted(scan, settings, "protocols.p", notes)


@pytest.mark.parametrize("order", ["halves", "alternating", "DIM_EDIT"])
def test_edit_off_is_found_in_whatever_order_it_was_measured(edited, order):
    path, off = edited(order)
    part = parted(path, use_frames="edit off")
    np.testing.assert_array_equal(part.scan.fid, off.fid.astype(np.complex64))


@pytest.mark.parametrize(("order", "rule"), [("halves", "odd"), ("alternating", "first half")])
def test_a_rule_that_mixes_both_conditions_is_refused(edited, order, rule):
    with pytest.raises(InputError, match="both editing conditions are among them; set it to 'edit off'"):
        parted(edited(order)[0], use_frames=rule)


@pytest.mark.parametrize("rule", ["first half", "edit on"])
def test_edit_on_is_no_press(edited, rule):
    with pytest.raises(InputError, match="hold no NAA: they are edit-on"):
        parted(edited("halves")[0], use_frames=rule)
    assert parted(edited("halves")[0], use_frames=rule, sequence="other").scan.size("DIM_DYN") == 16
