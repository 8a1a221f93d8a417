"""Real scanner files of every format, good and bad: what comes out, and what is refused.

Expected values are those that the collection's own description states, and for files that spec2nii cannot open,
those of the vendor's text header or of a second, plain reading of the bytes.
"""

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mrsflow import axes
from mrsflow.conversion import checks, identity, vendors
from mrsflow.conversion.identity_search import scan_outputs
from mrsflow.errors import InputError

CHALLENGE = {"SpectrometerFrequency": "123.2", "SpectralWidth": "4000"}
T1W, DICOM_7T = (
    "philips-sdat-press30-t1w/mrs/sub-01_ses-01_press",
    "siemens-twix-vb17-slaser-7t/spinal_cord_sLASER_longTE",
)
STEAM_7T = "siemens-twix-vb17-steam-7t/meas_MID311_STEAM_wref1_FID115674.dat"
VE11 = "siemens-twix-ve11-svsse-phantom/svsse_ref-1_avg-1.dat"
COIL, DYN = "DIM_COIL", "DIM_DYN"

# path, shape, dimensions, MHz, dwell (s), TE (s), TR (s), what is there
GOOD = [
    (f"{T1W}/sub-01_ses-01_PRESS_raw-act_noID.SDAT", (2048,), (), 127.755, 5e-4, 0.03, 2.0, "NAA"),
    (f"{T1W}_ref/sub-01_ses-01_PRESS_raw-ref_noID.SPAR", (2048,), (), 127.755, 5e-4, 0.03, 2.0, "water"),
    ("philips-sdat-press35/sub-01_PRESS_35_act.sdat", (2048,), (), 127.7509, 5e-4, 0.035, 2.0, "NAA"),
    ("philips-sdat-press35/sub-01_PRESS_35_ref.spar", (2048,), (), 127.7509, 5e-4, 0.035, 2.0, "water"),
    ("philips-sdat-press30-1024/philips_spar_sdat_WS.SPAR", (1024,), (), 127.7861, 5e-4, 0.03, 2.0, "NAA"),
    ("philips-sdat-press30-1024/philips_spar_sdat_W.SDAT", (1024,), (), 127.7861, 5e-4, 0.03, 2.0, "water"),
    ("philips-sdat-phantom-2007/svs_30_WS.SPAR", (2048,), (), 127.788256, 5e-4, 0.03, 1.5, "lines"),
    ("philips-dicom-phantom/IM-0001-0002.dcm", (1024,), (), 63.89575, 1e-3, 0.0319136, 2.0, "lines"),
    ("siemens-rda-press30/ACC_PRESS.rda", (2048,), (), 123.2528, 5e-4, 0.03, 2.0, "NAA"),
    ("siemens-rda-press30/PCG_PRESS.rda", (2048,), (), 123.2528, 5e-4, 0.03, 2.0, "NAA"),
    ("siemens-dicom-rda-svs30-anat/SVS_30.IMA", (1024,), (), 123.2347, 8.334e-4, 0.03, 2.0, "NAA"),
    ("siemens-dicom-rda-svs30-anat/SVS_30.rda", (1024,), (), 123.2347, 8.33e-4, 0.03, 2.0, "NAA"),
    ("siemens-dicom-xa60-phantom/SVS_XA60.dcm", (1024,), (), 123.2551, 8.334e-4, 0.03, 2.0, ""),
    ("siemens-dicom-megapress-te68/metab", (64, 2048), (DYN,), 123.2524, 5e-4, 0.068, 2.0, "lines"),
    ("siemens-dicom-megapress-te68/water", (16, 2048), (DYN,), 123.2524, 5e-4, 0.068, 2.0, "water"),
    (f"{DICOM_7T}_WS.dcm", (4096,), (), 297.206, 2e-4, 0.04168, 4.13, "NAA"),
    (f"{DICOM_7T}_noWS.dcm", (4096,), (), 297.206, 2e-4, 0.04168, 3.68, "water"),
    (f"{DICOM_7T}_noWS.dat", (8, 2, 8224), (COIL, DYN), 297.206, 1e-4, 0.04168, 3.68, "water"),
    (STEAM_7T, (32, 2, 4096), (COIL, DYN), 297.2199, 8.33e-5, 0.011, 5.0, "water"),
    (VE11, (34, 2080), (COIL,), 123.2548, 4.167e-4, 0.03, 2.0, ""),
    ("ge-pfile-rev9-phantom/P1827_1.5T_030_2000.7", (16, 2048), (DYN,), 63.872616, 4e-4, 0.03, 2.0, ""),
    ("ge-pfile-rev9-phantom/P1859_1.5T_030_2000.7", (16, 2048), (DYN,), 63.872613, 4e-4, 0.03, 2.0, ""),
    ("bruker-pv6-steam-phantom/8", (1980,), (), 300.323, 3.0293e-4, 0.003, 2.5, "water"),
    ("bruker-pv6-steam-phantom/8/rawdata.job0", (1980,), (), 300.323, 3.0293e-4, 0.003, 2.5, "water"),
    ("varian-7t-steam-human/7T_STEAM_TE6ms_human.fid", (2048,), (), 295.102934, 1 / 6000.15, 0.006, 5.0, "NAA"),
    ("varian-14t-rat-mm/14.1T_MM_rat_SPECIAL_Lausanne.fid/fid", (4096,), (), 599.4416, 1.424e-4, 0.00275, 4.0, "lines"),
    ("jmrui-mm-3t-volunteers/Volunteer_1/Occipital/TE_20.txt", (2048,), (), 123.26, 2.5e-4, None, None, "lines"),
    ("jmrui-mm-3t-volunteers/Volunteer_4/Occipital/TE_44.txt", (2048,), (), 123.26, 2.5e-4, None, None, "lines"),
    ("fitting-challenge/datasets_text/dataset4.txt", (2048,), (), 123.2, 2.5e-4, None, None, "NAA"),
    ("fitting-challenge/datasets_LCModel/dataset4.RAW", (2048,), (), 123.2, 2.5e-4, None, None, "NAA"),
    ("fitting-challenge/datasets_LCModel/dataset28.H2O", (2048,), (), 123.2, 2.5e-4, None, None, "water"),
]  # fmt: skip
MEGA, STEAM, NULLED = (
    "siemens-dicom-megapress-te68-pair",
    "siemens-steam-7t-raw/steam",
    "jmrui-mm-3t-volunteers/Volunteer",
)
REST = [  # of a kind with those above: with them the whole collection
    *((f"{T1W}-inverted{of}_noID.SDAT", (2048,), (), 127.755, 5e-4, 0.03, 2.0, there)
      for of, there in (("/sub-01_ses-01_PRESS-Inverted_TI-600_raw-act", "lines"),
                        ("_ref/sub-01_ses-01_PRESS-Inverted_TI-600_raw-ref", "water"))),
    ("philips-sdat-phantom-2007/svs_30_ref.SDAT", (2048,), (), 127.788256, 5e-4, 0.03, 1.5, ""),
    *((f"{MEGA}/{half}", (16, 2048), (DYN,), 123.2524, 5e-4, 0.068, 2.0, "lines") for half in ("edit_on", "edit_off")),
    (VE11.replace("phantom/", "averages/").replace("avg-1", "avg-3_made"), (34, 3, 2080), (COIL, DYN), 123.2548,
     4.167e-4, 0.03, 2.0, ""),
    (f"{STEAM}_metab.nii.gz", (4, 16, 4096), (COIL, DYN), 297.2199, 8.33e-5, 0.011, 5.0, "lines"),
    *((f"{STEAM}_{of}.nii.gz", (4, 2, 4096), (COIL, DYN), 297.2199, 8.33e-5, 0.011, 5.0, "water")
      for of in ("water", "water_quant")),
    (f"{STEAM}_ecc.nii.gz", (4, 4096), (COIL,), 297.2199, 8.33e-5, 0.011, 5.0, "water"),
    ("t1w-7t-steam-defaced/steam_svs.nii.gz", (4097,), (), 297.2199, 8.33e-5, 0.011, 5.0, "NAA"),
    *((f"{NULLED}_{n}/Occipital/TE_{te}.txt", (2048,), (), 123.26, 2.5e-4, None, None, "lines")
      for n in range(1, 5) for te in (20, 32, 44)),
    *((f"fitting-challenge/datasets_{kind}/dataset{n}.{ending}", (2048,), (), 123.2, 2.5e-4, None, None, there)
      for n in (1, 4, 8, 12, 16, 20, 24, 28)
      for kind, ending, there in (("text", "txt", ""), ("LCModel", "RAW", ""), ("LCModel", "H2O", "water"))),
    *((f"fitting-challenge/Cr_water_scaling_{kind}.{ending}", (2048,), (), 123.2, 2.5e-4, None, None, "")
      for kind, ending in (("LCModel/Cr_10mM_test_water_scaling", "RAW"), ("text/Cr_10mM_test_water_scaling", "txt"))),
]  # fmt: skip


ALIKE = (  # of a kind with another case
    *("spar_sdat_W.SDAT", "PCG_PRESS.rda", "SVS_30.rda", "SVS_30.IMA", "P1859_1.5T_030_2000.7", "TE_44.txt"),
    *("rawdata.job0", "_35_ref.spar", "_noWS.dcm", "SVS_XA60.dcm", "spar_sdat_WS.SPAR", "dataset4.txt", "dataset4.RAW"),
)
CASES = [pytest.param(g, id=g[0], marks=pytest.mark.slow if g[0].endswith(ALIKE) else ()) for g in GOOD]
CASES += [pytest.param(g, id=g[0], marks=pytest.mark.slow) for g in REST if g not in GOOD]


@pytest.mark.parametrize("case", CASES)
def test_what_comes_out(shared, case):
    path, shape, dims, frequency, dwell, te, tr, there = case
    given = CHALLENGE if path.startswith("fitting") else {}
    scan = vendors.convert([shared / "data" / path], given=given).scan
    assert (scan.fid.shape, scan.dims, scan.nucleus) == (shape, dims, "1H")
    assert scan.spectrometer_frequency == pytest.approx(frequency, abs=5e-4)
    assert scan.dwell_time == pytest.approx(dwell, rel=1e-4)
    assert scan.header.get("EchoTime") == (te and pytest.approx(te, rel=1e-5))
    assert scan.header.get("RepetitionTime") == (tr and pytest.approx(tr, rel=1e-5))
    assert checks.looks_like_water(scan) or there != "water"
    assert (checks.metabolite_side(scan) == 1) or there in ("", "water") or path == f"{DICOM_7T}_WS.dcm"
    assert checks.metabolite_side(scan) >= 0
    power = np.mean(np.abs(axes.to_spectrum(scan.fid.reshape(-1, scan.n_points))), axis=0)
    ppm = axes.ppm_axis(scan.n_points, scan.dwell_time, scan.spectrometer_frequency)
    low, high, expected = {"water": (0, 9, 4.65), "NAA": (1.8, 2.5, 2.008)}.get(there, (0, 0, None))
    if expected:  # the carrier is off resonance by some hertz in every real scan
        inside = (ppm > low) & (ppm < high)
        assert ppm[inside][power[inside].argmax()] == pytest.approx(expected, abs=0.06)


NO_SCANS = {"LICENSES", "basis", "basis-variants", "stats", "siemens-rda-blank-fid"}
"""Folders of the collection that hold no scan; the last is a ramp, which has a test of its own."""


def test_no_case_of_the_collection_is_left_out(shared):
    folders = {path.name for path in (shared / "data").iterdir() if path.is_dir()}
    listed = {case[0].split("/")[0] for case in [*GOOD, *REST, *BAD]}
    assert folders - NO_SCANS <= listed


BAD = [
    ("siemens-twix-ve11-incomplete/svslcosy_incomplete.dat", "incomplete"),
    ("bruker-pv6-steam-phantom/8/pdata/1/2dseq", "name the fid or rawdata.job0"),
    ("siemens-dicom-megapress-te68", r"2 DICOM series \(series number"),
    ("fitting-challenge/datasets_text/dataset1.txt", "--set SpectrometerFrequency=VALUE"),
    ("fitting-challenge/datasets_LCModel/dataset1.RAW", "--set SpectrometerFrequency=VALUE"),
    ("basis/lcmodel_test_3t.basis", "basis set"),
    ("LICENSES", "no DICOM files"),
    ("MANIFEST.tsv", "no format"),
    ("nothing-here.dat", "no such file"),
]


@pytest.mark.parametrize(("path", "reason"), BAD, ids=[b[0] for b in BAD])
def test_what_is_refused(shared, path, reason):
    with pytest.raises(InputError, match=reason) as caught:
        vendors.convert([shared / "data" / path])
    assert "\n" not in str(caught.value)


def test_a_blanked_signal_keeps_its_header_and_fails_its_checks(shared):
    scan = vendors.convert([shared / "data/siemens-rda-blank-fid/single_voxel_example.rda"]).scan
    assert (scan.n_points, scan.header["EchoTime"]) == (1024, 0.03)
    protocol = {"echo_time_ms": 30, "repetition_time_ms": 2000, "spectrometer_frequency_mhz": 123.26, "nucleus": "1H"}
    rows = checks.check_scan(scan, "svs", {**protocol, "coils": "any", "phase_cycle": 1, "voxel_volume_ml": 8}, "p")
    assert [row.check for row in rows if row.status == "fail"] == ["decay"]


def test_old_ge_frames_are_those_of_the_file(shared):
    path = shared / "data/ge-pfile-rev9-phantom/P1827_1.5T_030_2000.7"
    words = np.fromfile(path, "<i4", offset=61464).reshape(25, 2048, 2)  # an empty frame, 8 of water, 16 suppressed
    frames = words @ [1, 1j]
    converted = vendors.convert([path])
    np.testing.assert_allclose(converted.references["ecc"].fid, frames[1:9], rtol=1e-6)
    np.testing.assert_allclose(converted.scan.fid, frames[9:], rtol=1e-6)
    size = np.sort(np.linalg.norm(converted.scan.affine[:3, :3], axis=0))
    np.testing.assert_allclose(size, [26.0, 26.00889778, 26.09431267], rtol=1e-6)


def test_rda_and_dicom_of_one_scan_agree(shared):
    folder = shared / "data/siemens-dicom-rda-svs30-anat"
    rda, dicom = (vendors.convert([folder / name]).scan for name in ("SVS_30.rda", "SVS_30.IMA"))
    np.testing.assert_allclose(rda.affine, dicom.affine, atol=1e-3)
    scale = np.vdot(rda.fid, dicom.fid) / np.vdot(rda.fid, rda.fid)
    np.testing.assert_allclose(rda.fid * scale, dicom.fid, atol=1e-4 * np.abs(dicom.fid).max())


def test_lcmodel_and_text_hold_the_same_numbers(shared):
    folder = shared / "data/fitting-challenge"
    text = vendors.convert([folder / "datasets_text/dataset4.txt"], given=CHALLENGE)
    raw = vendors.convert([folder / "datasets_LCModel/dataset4.RAW"], given=CHALLENGE).scan
    water = vendors.convert([folder / "datasets_LCModel/dataset4.H2O"], given=CHALLENGE).scan
    np.testing.assert_allclose(raw.fid, text.scan.fid, atol=1e-3)
    np.testing.assert_allclose(water.fid, text.references["ecc"].fid, rtol=1e-5, atol=1)


def test_reference_inside_the_file_is_parted(shared):
    for path in (VE11, "philips-dicom-phantom/IM-0001-0002.dcm"):
        converted = vendors.convert([shared / "data" / path])
        assert checks.looks_like_water(converted.references["ecc"])
        strength = [np.linalg.norm(s.fid) for s in (converted.references["ecc"], converted.scan)]
        assert strength[0] > 3 * strength[1]


def test_scan_and_its_reference_in_two_files_need_one_row(shared):
    folder = shared / "data/philips-sdat-press35"
    converted = vendors.convert([folder / "sub-01_PRESS_35_ref.sdat", folder / "sub-01_PRESS_35_act.spar"])
    assert not checks.looks_like_water(converted.scan)
    assert checks.looks_like_water(converted.references["ecc"])


IDENTITIES = (
    *("FAKE_SUBJECT_001", "FAKE_ID_01", "19000101", "IMAGINED", "MRS_FAKE_STUDY_DESCR_TEST", "PHAN_BUOY"),
    *("Purdue", "CEMEREM", "FMRIB", "QMC MRI"),
)
PEOPLE = [
    "siemens-rda-press30/ACC_PRESS.rda",
    STEAM_7T,
    "siemens-dicom-megapress-te68/water",
    "siemens-twix-vb17-slaser-7t/spinal_cord_sLASER_longTE_WS.dcm",
    "philips-sdat-press30-1024/philips_spar_sdat_WS.SPAR",
    "varian-14t-rat-mm/14.1T_MM_rat_SPECIAL_Lausanne.fid",
    "ge-pfile-rev9-phantom/P1827_1.5T_030_2000.7",
]


@pytest.mark.parametrize("path", [*PEOPLE[:2], *(pytest.param(p, marks=pytest.mark.slow) for p in PEOPLE[2:])])
def test_by_hand_nothing_of_a_person_comes_out(shared, root, tmp_path, path):
    raw, out = shared / "data" / path, tmp_path / "out" / "scan.nii.gz"
    out.parent.mkdir()
    done = by_hand(root, "--raw", raw, "--out", out, "--log", tmp_path / "out" / "log.txt")
    assert done.returncode == 0, done.stderr
    header = json.loads(nibabel.load(out).header.extensions[0].get_content())
    sidecar = json.loads(out.with_name("scan.json").read_text())
    assert not identity.IDENTIFYING & {*header, *sidecar}
    everything = json.dumps([header, sidecar]) + (out.parent / "log.txt").read_text() + done.stdout + done.stderr
    assert not [name for name in IDENTITIES if name.casefold() in everything.casefold()]
    found = scan_outputs(out.parent, identity.harvest(raw))
    assert not [finding for finding in found if "absolute path" not in finding[1] or finding[0] != "log.txt"]


@pytest.mark.parametrize("path", [BAD[0][0], BAD[2][0]])
def test_by_hand_a_refusal_is_one_line_and_no_file(shared, root, tmp_path, path):
    done = by_hand(root, "--raw", shared / "data" / path, "--out", tmp_path / "scan.nii.gz")
    assert done.returncode != 0
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def by_hand(root: Path, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, root / "scripts/convert_raw.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
