"""Time and number of excitations of frames, from files made so that the answer is known."""

import datetime
import json
import shutil
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from small_config import single_arm

from mrsflow import axes, files, nifti_mrs
from mrsflow.conversion import checks, convert, excitations, frames, vendors, voxels
from mrsflow.conversion.vendors import Converted
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import Scan
from mrsflow.raw_files.formats import Raw, detect
from mrsflow.simulation import rawfiles
from mrsflow.study import config
from mrsflow.study.study import read_study

START = datetime.datetime(2030, 1, 7, 23, 59, 30)
HEADER = rawfiles.RawHeader(127.73, 5e-4, 0.03, 2.0, 8, START)
WATER, NAA = 1000.0, 10.0


def line(size: float, ppm: float, seed: int, n_points: int = 512) -> np.ndarray:
    t = axes.time_axis(n_points, HEADER.dwell_time)
    noise = np.random.default_rng(seed).normal(size=(n_points, 2)) @ [1, 1j]
    return size * np.exp((2j * np.pi * axes.ppm_to_hz(ppm, HEADER.spectrometer_frequency) - 20) * t) + 0.05 * noise


def write_twix(
    path, counters: list[dict[str, int]], seconds: list[float], sizes: list[float], n_coils: int = 2
) -> np.ndarray:
    """Write a twix file whose readouts have these counters and times; gives the signals (readouts, points)."""
    fids = np.stack([line(size, 4.65 if size == WATER else 2.008, n) for n, size in enumerate(sizes)])
    rawfiles.write_siemens_twix(path, np.stack([1j**n * fids for n in range(n_coils)]), HEADER)
    content = bytearray(path.read_bytes())
    channel = rawfiles.TWIX_CHANNEL_HEADER.itemsize + 8 * fids.shape[-1]
    size = rawfiles.TWIX_SCAN_HEADER.itemsize + n_coils * channel
    begin = rawfiles.TWIX_OFFSET + int.from_bytes(content[rawfiles.TWIX_OFFSET :][:4], "little")
    names = ("Lin", "Ave", "Sli", "Par", "Eco", "Phs", "Rep", "Set", "Seg", "Ida", "Idb", "Idc", "Idd", "Ide")
    for n, (own, at) in enumerate(zip(counters, seconds, strict=True)):
        header = np.frombuffer(content, rawfiles.TWIX_SCAN_HEADER, 1, begin + n * size)
        header["loop_counter"][0] = [own.get(name, 0) for name in names]
        header["time_stamp"] = round((START.hour * 3600 + START.minute * 60 + START.second + at) % 86_400 / 2.5e-3)
    path.write_bytes(content)
    return fids


TWO = {"Ave": 3, "Rep": 2}


@pytest.mark.parametrize("second", ["Rep", "Set"])
@pytest.mark.parametrize("inner", ["Ave", "second"])
def test_two_counters_of_frames_are_one_series_in_the_order_of_time(tmp_path, second, inner):
    counters = [{"Ave": n % 3, second: n // 3} if inner == "Ave" else {second: n % 2, "Ave": n // 2} for n in range(6)]
    fids = write_twix(tmp_path / "a.dat", counters, [16.0 * n for n in range(6)], [NAA] * 6)
    found = vendors.convert([tmp_path / "a.dat"])
    assert found.scan.dims == ("DIM_COIL", "DIM_DYN")
    np.testing.assert_allclose(found.scan.fid[0], fids, rtol=1e-5)
    assert found.scan.dimension_header("DIM_DYN")["FrameOnset"] == [16.0 * n for n in range(6)]  # midnight passes
    assert found.start == "23:59:30.000"


@pytest.mark.parametrize("n_references", [1, 2])
def test_inline_references_fewer_than_averages_are_not_filled_up(tmp_path, n_references):
    counters = [{"Ave": n, "Phs": 0} for n in range(n_references)] + [{"Ave": n, "Phs": 1} for n in range(4)]
    seconds = [2.0 * n for n in range(n_references)] + [2.0 * n_references + 16.0 * n for n in range(4)]
    fids = write_twix(tmp_path / "a.dat", counters, seconds, [WATER] * n_references + [NAA] * 4)
    found = vendors.convert([tmp_path / "a.dat"])
    np.testing.assert_allclose(found.scan.fid[1], 1j * fids[n_references:], rtol=1e-5)
    np.testing.assert_allclose(found.references["ecc"].fid[0].reshape(-1, 512), fids[:n_references], rtol=1e-5)
    assert found.scan.dimension_header("DIM_DYN")["FrameOnset"] == [0.0, 16.0, 32.0, 48.0]
    assert found.lead_s == 2.0 * n_references


def test_phases_that_are_no_reference_are_refused_by_name(tmp_path):
    counters = [{"Ave": n // 2, "Phs": n % 2} for n in range(6)]
    write_twix(tmp_path / "a.dat", counters, [16.0 * n for n in range(6)], [NAA] * 6)
    rows = checks.check_scan(vendors.convert([tmp_path / "a.dat"]).scan, "svs", PROTOCOL, "p")
    assert "DIM_USER_0 can be neither frames nor coils here" in checks.failure(rows)


PROTOCOL = config.checked(single_arm(spectrometer_frequency_mhz=127.73))["protocols"]["p"]


def series(n_frames: int = 6, **header) -> Scan:
    fid = np.stack([line(NAA, 2.008, n) for n in range(n_frames)])
    keys = {"SpectrometerFrequency": [127.73], "ResonantNucleus": ["1H"], "EchoTime": 0.03, "RepetitionTime": 2.0}
    return Scan(
        fid, ("DIM_DYN",), HEADER.dwell_time, {**keys, "dim_5": "DIM_DYN", **header}, np.diag([20, 20, 20, 1.0])
    )


def test_most_frames_elsewhere_contradict_and_one_is_a_pause():
    notes: list[str] = []
    for onsets, wrong in (([0, 16, 32, 200, 216, 232], False), ([0, 32, 64, 96, 128, 160], True)):
        scan = Converted(series().with_onsets(onsets))
        if wrong:
            with pytest.raises(InputError, match="frames begin 32 s apart, and 8 excitations of 2 s take 16 s"):
                frames.placed(scan, 8, "protocols.p", notes)
        else:
            frames.placed(scan, 8, "protocols.p", notes)
    assert notes == ["a pause of 152 s before frame 4, by the times in the file"]
    with pytest.raises(InputError, match="frame 4 begins 5 s after the one before, which takes 16 s"):
        frames.placed(Converted(series().with_onsets([0, 16, 32, 37, 53, 69])), 8, "protocols.p", notes)


def test_more_than_half_of_the_gaps_decide():
    notes: list[str] = []
    frames.placed(Converted(series().with_onsets([0, 32, 64, 80, 96, 112])), 8, "protocols.p", notes)
    assert len(notes) == 2
    with pytest.raises(InputError, match="frames begin 32 s apart, and 8 excitations of 2 s take 16 s"):
        frames.placed(Converted(series().with_onsets([0, 32, 64, 96, 112, 128])), 8, "protocols.p", notes)


def test_times_of_each_frame_in_the_header_place_the_frames():
    """Two frames of 8 excitations at TR 2 s, then four at 4 s."""
    times = [2.0, 2.0, 4.0, 4.0, 4.0, 4.0]
    scan = series(dim_5_header={"RepetitionTime": {"Value": times, "Description": "s"}})
    placed = frames.placed(Converted(scan), 8, "protocols.p", [])
    assert placed.dimension_header("DIM_DYN")["FrameOnset"] == [0.0, 16.0, 32.0, 64.0, 96.0, 128.0]


@pytest.mark.parametrize("key", ["AcquisitionTime", "VolumeTiming", "time_stamp", "StartTime"])
@pytest.mark.parametrize("form", ["list", "Value", "short"])
def test_times_are_times_whatever_a_dimension_header_calls_them(tmp_path, key, form):
    """Seconds since midnight, or since any moment; a pause of 100 s before the fourth frame where they are listed."""
    times = [36_000 + 16.0 * n + (100 if n > 2 and form != "short" else 0) for n in range(6)]
    entry = {"list": times, "Value": {"Value": times, "Description": "s"}, "short": {"start": 36_000, "increment": 16}}
    scan = series()
    scan = replace(scan, header={**scan.header, "dim_5_header": {key: entry[form]}})
    nifti_mrs.write(scan, tmp_path / "a.nii.gz")
    converted_ = vendors.convert([tmp_path / "a.nii.gz"])
    assert converted_.scan.dimension_header("DIM_DYN")["FrameOnset"] == [time - 36_000 for time in times]
    assert frames.excitations(converted_, None, "protocols.p") == 8
    assert f"frames begin at the times that {key}" in converted_.notes[0]


@pytest.mark.parametrize("values", [["10:00:00"] * 6, [5.0] * 6, [3, 2, 1, 0, 1, 2]])
def test_times_that_cannot_be_used_are_said(tmp_path, values):
    scan = series()
    nifti_mrs.write(
        replace(scan, header={**scan.header, "dim_5_header": {"AcquisitionTime": values}}), tmp_path / "a.nii.gz"
    )
    converted_ = vendors.convert([tmp_path / "a.nii.gz"])
    assert "FrameOnset" not in converted_.scan.dimension_header("DIM_DYN")
    assert "AcquisitionTime of its dimension header is not used" in converted_.notes[0]


@pytest.mark.parametrize("values", [[0.0, "ON", 2.0, 3.0, 4.0, 5.0], [None] * 6, [[0.0, 1.0]] * 6])
def test_onsets_that_are_no_numbers_are_refused(tmp_path, values):
    scan = series()
    nifti_mrs.write(
        replace(scan, header={**scan.header, "dim_5_header": {"FrameOnset": values}}), tmp_path / "a.nii.gz"
    )
    with pytest.raises(InputError, match=r"FrameOnset of the dimension header is .*; one time for each frame"):
        vendors.convert([tmp_path / "a.nii.gz"])


def test_times_in_another_unit_contradict(tmp_path):
    scan = series()
    scan = replace(scan, header={**scan.header, "dim_5_header": {"TimeStamp": {"start": 0, "increment": 16_000}}})
    nifti_mrs.write(scan, tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"16000 s apart, .*or the times in the header of the file, which are seconds"):
        frames.placed(vendors.convert([tmp_path / "a.nii.gz"]), 8, "protocols.p", [])


@pytest.mark.parametrize(
    ("key", "values", "said"),
    [
        ("RepetitionTime", [2.0, 2.0, 2.0, 4.0, 4.0, 4.0], "repetition_time is 2000, 4000 ms.*frames 4, 5, 6 have"),
        ("EchoTime", {"start": 0.03, "increment": 0.005}, "echo_time is 30, 35, .*frames 2, 3, 4, 5, 6 have"),
        ("EchoTime", [0.035] * 6, r"echo_time is 35 ms, 30 ms expected: set protocols.p.echo_time_ms"),
        ("EchoTime", {"Value": [0.03, 0.068] * 3}, "echo_time is 30, 68 ms.*frames 2, 4, 6 have"),
    ],
)
def test_times_that_change_along_a_series_are_not_one_course(key, values, said):
    rows = checks.check_scan(series(dim_5_header={key: values}), "svs", PROTOCOL, "p")
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(checks.failure(rows))


def spar(folder, averages, rows=1):
    rawfiles.write_philips_sdat(folder / "a.SDAT", line(NAA, 2.008, 1), HEADER)
    text = (folder / "a.SPAR").read_text().replace("averages : 8", f"averages : {averages}")
    (folder / "a.SPAR").write_text(text.replace("rows : 1", f"rows : {rows}"))
    return folder / "a.SDAT"


@pytest.mark.parametrize(
    ("averages", "n_frames", "expected"),
    [
        ("32", 1, (32,)),
        ("32,0", 1, (32,)),
        ("16", 64, (16,)),
        ("64", 32, (64, 2)),
        ("1", 5, (1,)),
        ("0", 1, ()),
        ("x", 1, ()),
    ],
)
def test_averages_of_a_spar_file(tmp_path, averages, n_frames, expected):
    assert excitations.stated(detect([spar(tmp_path, averages)])[0], n_frames) == expected


def test_averages_of_other_formats(tmp_path, shared):
    rawfiles.write_ge_pfile(tmp_path / "a.7", line(NAA, 2, 1)[None, None], np.ones((1, 2, 512)), HEADER)
    nifti_mrs.write(series(), tmp_path / "b.nii.gz")
    (tmp_path / "b.json").write_text(json.dumps({"NumberOfTransients": 192}))
    data = shared / "data"
    stated = {
        tmp_path / "a.7": (8,),
        tmp_path / "b.nii.gz": (32,),
        data / "siemens-rda-press30/ACC_PRESS.rda": (32,),
        data / "siemens-dicom-rda-svs30-anat/SVS_30.IMA": (64,),
        data / "siemens-dicom-xa60-phantom/SVS_XA60.dcm": (80,),
        data / "philips-sdat-press35/sub-01_PRESS_35_act.sdat": (64,),
        data / "siemens-dicom-megapress-te68-pair/edit_on": (1,),
        data / "siemens-steam-7t-raw/steam_metab.nii.gz": (),
    }
    for path, expected in stated.items():
        assert vendors.convert([path]).excitations == expected, path


@pytest.mark.parametrize(
    ("kind", "averages", "expected"),
    [("philips_dcm", 1, ()), ("philips_dcm", 8, (8,)), ("uih", 1, (1,)), ("dicom", 0, ()), ("dicom", 0.5, ())],
)
def test_one_average_in_a_philips_dicom_file_says_nothing_as_sums_of_many_have_it_too(
    tmp_path, kind, averages, expected
):
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.2"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3"
    made.NumberOfAverages = str(averages)
    made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert excitations.stated(Raw(kind, [tmp_path / "a.dcm"]), 1) == expected


@pytest.mark.parametrize(
    ("stated", "declared", "found"),
    [((32,), None, 32), ((32,), 32, 32), ((64, 2), 2, 2), ((), 8, 8), ((), None, 1)],
)
def test_excitations_are_those_of_the_file_or_of_the_protocol(stated, declared, found):
    assert frames.excitations(Converted(series(), excitations=stated), declared, "protocols.p") == found


def test_excitations_that_the_header_contradicts_or_leaves_open_are_asked_for():
    with pytest.raises(InputError, match=r"averages 32 excitations, and .*_per_frame is 16; .*leave it"):
        frames.excitations(Converted(series(), excitations=(32,)), 16, "protocols.p")
    with pytest.raises(InputError, match=r"64 averages beside 6 frames.*excitations_per_frame to 64 or 2"):
        frames.excitations(Converted(series(), excitations=(64, 2)), None, "protocols.p")
    assert frames.excitations(Converted(series().with_onsets(16.0 * np.arange(6))), None, "protocols.p") == 8


@pytest.mark.parametrize(("transients", "declared", "said"), [
    (100, None, "NumberOfTransients is 100, which 6 frames cannot share evenly, .*_per_frame, or correct"),
    (3, None, "NumberOfTransients is 3"),
    (100, 8, "NumberOfTransients of the sidecar is 100, and 6 frames of 8 excitations are 48, which is what counts"),
    (40, 8, ""),  # of the five frames that are no water
    (48, None, ""),
])  # fmt: skip
def test_transients_that_frames_cannot_share_are_said(tmp_path, transients, declared, said):
    scan = series()
    scan.fid[2] = line(WATER, 4.65, 9)
    nifti_mrs.write(scan, tmp_path / "b.nii.gz")
    (tmp_path / "b.json").write_text(json.dumps({"NumberOfTransients": transients}))
    converted_, notes = vendors.convert([tmp_path / "b.nii.gz"]), []
    settings = {"water_frames": "every 6 from 3", "use_frames": "all", "phase_cycle": 1}
    if declared is None and said:
        with pytest.raises(InputError, match=said):
            frames.excitations(converted_, declared, "protocols.p")
        return
    count = frames.excitations(converted_, declared, "protocols.p")
    part = frames.parted(converted_.scan, settings, "protocols.p", notes)
    frames.remark_on_transients(converted_.uneven, part.planned, count, notes)
    assert notes == (
        [said.replace("6 frames of 8 excitations are 48", "5 frames of 8 excitations are 40")] if said else []
    )


@pytest.mark.parametrize(("key", "value"), [
    ("NumberOfTransients", "48"), ("NumberOfTransients", -48), ("ExcitationsPerFrame", 2.5), ("ExcitationsPerFrame", 0),
    ("EchoTime", "30 ms"), ("RepetitionTime", [2, 4]),
])  # fmt: skip
def test_what_is_no_number_in_a_sidecar_is_named(tmp_path, key, value):
    nifti_mrs.write(series(), tmp_path / "b.nii.gz")
    (tmp_path / "b.json").write_text(json.dumps({key: value, "MyKey": None}))
    with pytest.raises(InputError, match=f"b.json: {key} is .*; one positive (whole )?number is needed, correct it"):
        vendors.convert([tmp_path / "b.nii.gz"])
    (tmp_path / "b.json").write_text(
        json.dumps({"EchoTime": [0.03], "RepetitionTime": None, "NumberOfTransients": [48]})
    )
    assert vendors.convert([tmp_path / "b.nii.gz"]).excitations == (8,)


@pytest.mark.parametrize("value", [[2.0], [2.0] * 6])
def test_a_list_of_one_value_is_that_value(tmp_path, value):
    scan = series()
    nifti_mrs.write(replace(scan, header={**scan.header, "RepetitionTime": value}), tmp_path / "a.nii.gz")
    assert vendors.convert([tmp_path / "a.nii.gz"]).scan.header["RepetitionTime"] == 2.0


def test_frames_that_are_tagged_as_coils_are_not_combined():
    """NIfTI-MRS calls dimension 5 coils where a tool does not say; coils differ in phase."""
    scan = series()
    coils = scan.with_data(scan.fid, ("DIM_COIL",))
    protocol = {**PROTOCOL, "coils": "any"}
    said = checks.failure(checks.check_scan(coils, "svs", protocol, "p"))
    assert "what is tagged as coils looks like frames" in said and "protocols.p.coils to uncombined" in said
    assert checks.failure(checks.check_scan(coils, "svs", {**protocol, "coils": "uncombined"}, "p")) is None
    phases = np.exp(1j * np.arange(6))[:, np.newaxis]
    assert checks.failure(checks.check_scan(replace(coils, fid=scan.fid * phases), "svs", protocol, "p")) is None


@pytest.mark.parametrize(("stated", "spacing"), [(None, 32.0), (16.0, 16.0), (32.0, 32.0)])
def test_frames_of_one_editing_condition_are_as_far_apart_as_the_file_says_or_alternate(stated, spacing):
    scan = series()
    both = scan.with_data(np.stack([scan.fid, scan.fid]), ("DIM_EDIT", "DIM_DYN"))
    both = both if stated is None else both.with_onsets(stated * np.arange(6))
    notes = []
    placed = frames.placed(Converted(both), 8, "protocols.p", notes)
    assert placed.dimension_header("DIM_DYN")["FrameOnset"] == (spacing * np.arange(6)).tolist()
    assert [note for note in notes if "taken to alternate in time" in note] == notes
    assert bool(notes) == (stated is None)


@pytest.mark.parametrize("averaged", [1, 4, 8])
def test_frames_of_a_ge_file_begin_after_its_sixteen_excitations_of_water(tmp_path, averaged):
    header = replace(HEADER, excitations_per_frame=averaged)
    fid = np.stack([line(NAA, 2.008, n) for n in range(3)])[np.newaxis]
    water = np.stack([line(WATER, 4.65, n) for n in range(16 // averaged)])[np.newaxis]
    rawfiles.write_ge_pfile(tmp_path / "a.7", fid, water, header)
    found = vendors.convert([tmp_path / "a.7"])
    placed = frames.placed(found, averaged, "protocols.p", [])
    expected = [2.0 * (16 + averaged * n) for n in range(3)]
    assert placed.dimension_header("DIM_DYN")["FrameOnset"] == expected


def study(folder, rows: list[dict], voxel_mm: float = 0.0) -> dict:
    """Two NIfTI-MRS files, the second's voxel moved, and the tables that name them in rows."""
    first = series()
    moved = first.affine.copy()
    moved[0, 3] += voxel_mm
    nifti_mrs.write(first, folder / "a.nii.gz")
    other = np.stack([line(NAA, 2.008, 100 + n) for n in range(6)])
    nifti_mrs.write(replace(first, fid=other, affine=moved), folder / "b.nii.gz")
    shutil.copy(folder / "a.nii.gz", folder / "copy.nii.gz")
    names = ("participant", "session", "role", "protocol", "run", "raw")
    lines = ["\t".join(names)]
    for row in rows:
        full = {"participant": "01", "session": "1", "role": "svs", "protocol": "p", "run": "n/a", **row}
        lines.append("\t".join(full[name] for name in names))
    (folder / "samples.tsv").write_text("\n".join(lines) + "\n")
    (folder / "participants.tsv").write_text("participant\tsex\n01\tF\n")
    (folder / "sessions.tsv").write_text("participant\tsession\tvisit\tarm\n01\t1\t1\ta\n01\t2\t2\ta\n")
    return config.checked(
        {
            "study": {"design": "single_arm", "conditions": ["a"]},
            "inputs": {name: str(folder / f"{name}.tsv") for name in ("samples", "participants", "sessions")},
            "protocols": {"p": PROTOCOL | {"excitations_per_frame": 8}},
            "blocks": {"event": "start", "bins": {"all": [0, 60]}},
        }
    )


def converted(settings: dict, folder, *keys: str) -> list:
    read = read_study(settings)
    return [path for key in keys for path in convert.convert_session(key, read, settings, folder / "out")]


@pytest.mark.parametrize(("apart", "fits"), [(0.0, True), (5.0, True), (95.0, False)])
def test_runs_of_one_series_lie_in_one_voxel(tmp_path, apart, fits):
    settings = study(tmp_path, [{"run": "1", "raw": "a.nii.gz"}, {"run": "2", "raw": "b.nii.gz"}], apart)
    if fits:
        assert len(converted(settings, tmp_path, "sub-01_ses-1")) == 5
        return
    with pytest.raises(InputError, match=r"line 3: its voxel overlaps that of .*line 2 by 0.00 \(Dice; 95 mm apart\)"):
        converted(settings, tmp_path, "sub-01_ses-1")


WATERS = {  # sides (mm), moved by (mm): what is said
    "the same voxel": ((20, 20, 20), 0.0, None),
    "moved a little": ((20, 20, 20), 5.0, None),
    "another voxel": ((20, 20, 20), 95.0, r"line 3: its voxel overlaps that of the spectra in .*line 2 by 0.00 \(Dice"),
    "a larger one": ((25, 25, 25), 0.0, r"line 3: its voxel has 15.6 ml and that of the spectra in .*line 2 8 ml"),
    "place unknown": ((10_000, 10_000, 10_000), 95.0, None),
}


@pytest.mark.parametrize("water", WATERS)
def test_water_was_measured_in_the_voxel_of_its_spectra(tmp_path, water):
    sides, apart, said = WATERS[water]
    settings = study(tmp_path, [{"raw": "a.nii.gz"}, {"role": "mrsref", "raw": "w.nii.gz"}])
    spectra = nifti_mrs.read(tmp_path / "a.nii.gz")
    affine = np.diag([*sides, 1.0])
    affine[:3, 3] = spectra.affine[:3, 3] + [apart, 0, 0]
    fid = np.stack([line(WATER, 4.65, n) for n in range(6)])
    nifti_mrs.write(replace(spectra, fid=fid, affine=affine), tmp_path / "w.nii.gz")
    if said is None:
        assert len(converted(settings, tmp_path, "sub-01_ses-1")) == 5
        return
    with pytest.raises(InputError, match=said):
        converted(settings, tmp_path, "sub-01_ses-1")


def test_a_copy_of_a_scan_is_no_second_run(tmp_path):
    settings = study(tmp_path, [{"run": "1", "raw": "a.nii.gz"}, {"run": "2", "raw": "copy.nii.gz"}])
    with pytest.raises(InputError, match=r"line 3: 6 of its 6 frames are those of .*line 2"):
        converted(settings, tmp_path, "sub-01_ses-1")


@pytest.mark.parametrize(("second", "same"), [("copy.nii.gz", True), ("b.nii.gz", False)])
def test_a_copy_of_a_scan_is_no_second_visit(tmp_path, second, same):
    settings = study(tmp_path, [{"raw": "a.nii.gz"}, {"session": "2", "raw": second}])
    converted(settings, tmp_path, "sub-01_ses-1", "sub-01_ses-2")
    if not same:
        voxels.refuse_same_scan(read_study(settings), tmp_path / "out")
        return
    with pytest.raises(InputError, match="line 3: 6 of the 6 frames of sub-01_ses-2_svs are those of sub-01_ses-1_svs"):
        voxels.refuse_same_scan(read_study(settings), tmp_path / "out")


def test_one_scan_in_two_formats_is_no_second_visit(shared, tmp_path):
    folder = shared / "data/siemens-dicom-rda-svs30-anat"
    rows = [{"raw": str(folder / "SVS_30.rda")}, {"session": "2", "raw": str(folder / "SVS_30.IMA")}]
    settings = study(tmp_path, rows)
    settings["protocols"]["p"] |= {"spectrometer_frequency_mhz": 123.23, "excitations_per_frame": None}
    converted(settings, tmp_path, "sub-01_ses-1", "sub-01_ses-2")
    with pytest.raises(InputError, match="line 3: 1 of the 1 frames of sub-01_ses-2_svs are those of sub-01_ses-1_svs"):
        voxels.refuse_same_scan(read_study(settings), tmp_path / "out")


def test_the_sidecar_holds_the_excitations_that_were_found(tmp_path):
    settings = study(tmp_path, [{"raw": "a.nii.gz"}])
    settings["protocols"]["p"]["excitations_per_frame"] = None
    nifti_mrs.write(series(), tmp_path / "a.nii.gz")
    (tmp_path / "a.json").write_text(json.dumps({"NumberOfTransients": 24}))
    written = converted(settings, tmp_path, "sub-01_ses-1")
    assert files.read_json(next(p for p in written if p.suffix == ".json"))["ExcitationsPerFrame"] == 4


@pytest.mark.parametrize("n_references", [1, 3])
@pytest.mark.parametrize("second", ["Rep", "Set"])
def test_averages_inside_repetitions_and_an_inline_reference_come_apart(tmp_path, second, n_references):
    """Three averages in each of two repetitions, after references in a phase of their own; spec2nii pads with zeros."""
    counters = [{"Ave": n, "Phs": 0} for n in range(n_references)]
    counters += [{"Ave": n % 3, second: n // 3, "Phs": 1} for n in range(6)]
    lead = 2.0 * n_references
    seconds = [2.0 * n for n in range(n_references)] + [lead + 16.0 * n for n in range(6)]
    fids = write_twix(tmp_path / "a.dat", counters, seconds, [WATER] * n_references + [NAA] * 6)
    found = vendors.convert([tmp_path / "a.dat"])
    assert found.scan.dims == ("DIM_COIL", "DIM_DYN")
    np.testing.assert_allclose(found.scan.fid[0], fids[n_references:], rtol=1e-5)
    np.testing.assert_allclose(found.references["ecc"].fid[0].reshape(-1, 512), fids[:n_references], rtol=1e-5)
    assert found.scan.dimension_header("DIM_DYN")["FrameOnset"] == [16.0 * n for n in range(6)]
    assert found.lead_s == lead


@pytest.mark.parametrize("measured", [5, 4, 3])
def test_a_scan_stopped_within_its_repetitions_keeps_what_was_measured(tmp_path, measured):
    """Three averages in each of two repetitions were planned."""
    counters = [{"Ave": n % 3, "Rep": n // 3} for n in range(measured)]
    fids = write_twix(tmp_path / "a.dat", counters, [16.0 * n for n in range(measured)], [NAA] * measured)
    scan = vendors.convert([tmp_path / "a.dat"]).scan
    np.testing.assert_allclose(scan.fid[0], fids, rtol=1e-5)


@pytest.mark.parametrize("empty", [1, 3])
def test_twix_readouts_of_zeros_at_the_end_are_left_out(tmp_path, empty):
    counters = [{"Ave": n // 2, "Set": n % 2} for n in range(8)]
    fids = np.stack([line(NAA, 2.008, n) for n in range(8)])
    write_twix(tmp_path / "a.dat", counters, [16.0 * n for n in range(8)], [NAA] * 8)
    content = (tmp_path / "a.dat").read_bytes()
    channel = rawfiles.TWIX_CHANNEL_HEADER.itemsize + 8 * 512
    size = rawfiles.TWIX_SCAN_HEADER.itemsize + 2 * channel
    begin = rawfiles.TWIX_OFFSET + int.from_bytes(content[rawfiles.TWIX_OFFSET :][:4], "little")
    stopped = bytearray(content)
    for n in range(8 - empty, 8):
        for coil in range(2):
            end = begin + n * size + rawfiles.TWIX_SCAN_HEADER.itemsize + (coil + 1) * channel
            stopped[end - 8 * 512 : end] = bytes(8 * 512)
    (tmp_path / "a.dat").write_bytes(stopped)
    found = vendors.convert([tmp_path / "a.dat"])
    np.testing.assert_allclose(found.scan.fid[0], fids[: 8 - empty], rtol=1e-5)
    assert found.lost == empty
    assert any(f"the last {empty} of 8 frames hold only zeros" in note for note in found.notes)


@pytest.mark.parametrize("n_coils", [1, 2])
def test_a_single_coil_has_its_repetitions_and_reference_too(tmp_path, n_coils):
    counters = [{"Phs": 0}] + [{"Ave": n, "Phs": 1} for n in range(4)]
    fids = write_twix(tmp_path / "a.dat", counters, [0.0, 2.0, 18.0, 34.0, 50.0], [WATER, *[NAA] * 4], n_coils)
    found = vendors.convert([tmp_path / "a.dat"])
    assert found.scan.dims == (("DIM_COIL",) if n_coils > 1 else ()) + ("DIM_DYN",)
    np.testing.assert_allclose(found.scan.ordered("DIM_COIL", "DIM_DYN")[0], fids[1:], rtol=1e-5)
    np.testing.assert_allclose(found.references["ecc"].ordered("DIM_COIL")[0], fids[0], rtol=1e-5)
