"""Edited scans: frames of either condition are found in whatever order they were measured, or the scan is refused."""

import numpy as np
import pytest

from mrsflow import axes, nifti_mrs
from mrsflow.conversion import convert, editing, frames, vendors
from mrsflow.errors import InputError
from mrsflow.nifti_mrs import Scan
from mrsflow.study import config
from mrsflow.study.study import before_jobs, read_study

FREQUENCY, DWELL, POINTS = 127.73, 5e-4, 1024
PRESS = {
    "sequence": "press", "preset": "ideal", "echo_time_ms": 68, "repetition_time_ms": 2000,
    "spectrometer_frequency_mhz": FREQUENCY, "excitations_per_frame": 8,
}  # fmt: skip
WATER = 4.65


def frame(lines: dict[float, float], seed: int) -> np.ndarray:
    t = axes.time_axis(POINTS, DWELL)
    clean = sum(size * np.exp((2j * np.pi * axes.ppm_to_hz(ppm, FREQUENCY) - 15) * t) for ppm, size in lines.items())
    return clean + np.random.default_rng(seed).normal(size=(POINTS, 2)) @ [1, 1j]


def edited(on: np.ndarray, header=None, **kinds) -> Scan:
    """Frames with NAA, and without where `on` is true; unsuppressed water at the indices `water`, zeros at `empty`."""
    lines = [{3.03: 10.0, 3.21: 7.0} | ({} if edit else {2.008: 15.0}) for edit in on]
    fid = np.stack([frame(own, n) for n, own in enumerate(lines)])
    for n in kinds.get("water", ()):
        fid[n] = frame({WATER: 3e4}, n)
    fid[list(kinds.get("empty", ()))] = 0
    keys = {"SpectrometerFrequency": [FREQUENCY], "ResonantNucleus": ["1H"], "EchoTime": 0.068, "RepetitionTime": 2.0}
    return Scan(fid, ("DIM_DYN",), DWELL, {**keys, "dim_5": "DIM_DYN", **(header or {})}, np.diag([20, 20, 20, 1.0]))


def protocol(**keys) -> dict:
    whole = {
        "study": {"design": "single_arm", "conditions": ["a"]},
        "protocols": {"p": PRESS | keys},
        "blocks": {"event": "start", "bins": {"all": [0, 60]}},
    }
    return config.checked(whole)["protocols"]["p"]


def parted(scan: Scan, folder, **keys):
    nifti_mrs.write(scan, folder / "a.nii.gz")
    converted, notes = vendors.convert([folder / "a.nii.gz"]), []
    placed = frames.placed(converted, 8, "protocols.p", notes)
    return frames.parted(placed, protocol(**keys), "protocols.p", notes, converted.lost), notes


INDEX = np.arange(32)
ORDERS = {
    "alternating": INDEX % 2 == 0,
    "off first": INDEX % 2 == 1,
    "halves": INDEX < 16,
    "second half": INDEX >= 16,
    "by 2": INDEX // 2 % 2 == 0,
    "by 4": INDEX // 4 % 2 == 1,
    "by 8": INDEX // 8 % 2 == 0,
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rule", ["edit off", "edit on"])
def test_frames_of_a_condition_are_found_in_any_usual_order(tmp_path, order, rule):
    on = ORDERS[order]
    header = (
        {"SequenceName": "*svs_edit"} if order == "by 2" else {}
    )  # of frames by twos a name tells that they are two
    part, notes = parted(edited(on, header), tmp_path, use_frames=rule, sequence="other", basis="x.BASIS")
    wanted = np.flatnonzero(on if rule == "edit on" else ~on) + 1
    np.testing.assert_array_equal(part.numbers, wanted)
    assert any("as NAA shows" in note for note in notes)


@pytest.mark.parametrize("measured", [31, 24, 20])
def test_halves_of_a_stopped_scan_are_those_that_were_planned(tmp_path, measured):
    part, _ = parted(edited(ORDERS["halves"], empty=range(measured, 32)), tmp_path, use_frames="edit off")
    np.testing.assert_array_equal(part.numbers, np.arange(17, measured + 1))


@pytest.mark.parametrize("order", ORDERS)
def test_an_edited_scan_that_nobody_called_so_is_refused(order):
    scan = edited(ORDERS[order])
    setting = "'2 of each 4 from 3' if neither" if order == "by 2" else "'edit off'"
    with pytest.raises(InputError, match=rf"frames with NAA .* are mixed, .*use_frames is 'all'; set it to {setting}"):
        editing.refuse_unnoticed(scan, 32, "press", "protocols.p", [])


def test_a_scan_that_is_not_edited_passes_and_one_without_naa_is_remarked_on():
    notes: list[str] = []
    editing.refuse_unnoticed(edited(np.zeros(32, bool)), 32, "press", "protocols.p", notes)
    assert notes == []
    editing.refuse_unnoticed(edited(np.ones(32, bool)), 32, "press", "protocols.p", notes)
    assert len(notes) == 1
    assert "as in frames with an editing pulse" in notes[0]


@pytest.mark.parametrize(("rule", "said"), [
    ("edit off", "all frames are edit on: NAA is 0.* of creatine; name the file of the other condition"),
    ("first 8", "chooses hold no NAA: they are edit-on"),
])  # fmt: skip
def test_a_file_of_the_other_condition_is_named_as_such(tmp_path, rule, said):
    with pytest.raises(InputError, match=said):
        parted(edited(np.ones(16, bool)), tmp_path, use_frames=rule)


@pytest.mark.parametrize(("rule", "wanted"), [("first 5", range(1, 6)), ("last 6", range(27, 33))])
def test_frames_may_be_chosen_by_number(tmp_path, rule, wanted):
    part, _ = parted(edited(np.zeros(32, bool)), tmp_path, use_frames=rule)
    assert part.numbers.tolist() == list(wanted)


@pytest.mark.parametrize("names", [("ON", "OFF"), ("edit_on", "edit_off"), ("Edit-On", "Edit-Off")])
def test_conditions_that_the_header_names_come_before_what_naa_shows(tmp_path, names):
    """The order is none of the usual ones."""
    on = np.random.default_rng(3).random(32) < 0.5
    header = {"dim_5_header": {"EditCondition": [names[0] if edit else names[1] for edit in on]}}
    part, _ = parted(edited(on, header), tmp_path, use_frames="edit off")
    np.testing.assert_array_equal(part.numbers, np.flatnonzero(~on) + 1)


def converted_row(scan: Scan, folder, apart=None, **keys):
    """What conversion makes of a row that names the scan, whose file says how far apart its frames began (s)."""
    path = folder / "a.nii.gz"
    nifti_mrs.write(scan if apart is None else scan.with_onsets(apart * np.arange(len(scan.fid))), path)
    row = {"role": "svs", "raw": [path], "protocol": "p", "line": "samples.tsv, line 2"}
    settings = {"protocols": {"p": protocol(**keys)}, "convert": {"maximum_clock_difference_s": 60}}
    return convert._convert_row("sub-01_ses-1", row, settings)[0]


OFF = np.zeros(8, bool)


@pytest.mark.parametrize(("apart", "said"), [
    (16.0, None), (32.0, "32 s apart, 2 times what one takes"), (64.0, "64 s apart, 4 times what one takes"),
])  # fmt: skip
def test_frames_of_one_condition_alone_lie_where_their_times_say(tmp_path, apart, said):
    """Eight excitations of 2 s a frame, as declared; frames of other conditions may have been between them."""
    item = converted_row(edited(OFF), tmp_path, apart, use_frames="edit off")
    assert item.excitations == 8
    assert item.scan.dimension_header("DIM_DYN")["FrameOnset"] == (apart * np.arange(8)).tolist()
    assert any(said in note for note in item.notes) if said else len(item.notes) == 1


@pytest.mark.parametrize(("apart", "use", "excitations", "said"), [
    (32.0, "all", 8, "correct protocols.p.excitations_per_frame, .*holds one condition .* use_frames to 'edit off'"),
    (48.0, "edit off", 8, "frames begin 48 s apart, and 8 excitations of 2 s take 16 s"),
    (24.0, "edit off", 8, "frames begin 24 s apart, and 8 excitations of 2 s take 16 s"),
    (32.0, "edit off", None, "set protocols.p.excitations_per_frame to 16, or to 8 if a frame of the other"),
])  # fmt: skip
def test_times_that_no_turns_explain_contradict(tmp_path, apart, use, excitations, said):
    with pytest.raises(InputError, match=said):
        converted_row(edited(OFF), tmp_path, apart, use_frames=use, excitations_per_frame=excitations)


def test_both_conditions_of_a_file_are_not_twice_as_far_apart(tmp_path):
    """Half the true number of excitations, declared for a file with both conditions."""
    with pytest.raises(InputError, match="32 s apart, and 8 excitations of 2 s take 16 s"):
        converted_row(edited(INDEX % 2 == 0), tmp_path, 32.0, use_frames="edit off")
    item = converted_row(edited(INDEX % 2 == 0), tmp_path, 32.0, use_frames="edit off", excitations_per_frame=16)
    assert item.scan.dimension_header("DIM_DYN")["FrameOnset"] == (64.0 * np.arange(16) + 32).tolist()


def test_frames_of_one_condition_without_times_are_said_to_follow_each_other(tmp_path):
    assert any("taken to follow" in note for note in converted_row(edited(OFF), tmp_path, use_frames="edit off").notes)
    both = converted_row(edited(INDEX % 2 == 0), tmp_path, use_frames="edit off")
    assert not any("taken to follow" in note for note in both.notes)


def test_many_pauses_are_said_in_a_few_lines(tmp_path):
    """Edit-off frames alone of a scan measured by twos, four conditions long: a pause before every second frame."""
    scan = edited(np.zeros(24, bool))
    starts = [16.0 * (n // 2 * 4 + n % 2) for n in range(24)]
    item = converted_row(scan.with_onsets(starts), tmp_path, use_frames="edit off")
    assert item.scan.dimension_header("DIM_DYN")["FrameOnset"] == starts
    pauses = [note for note in item.notes if "pause" in note]
    assert len(pauses) == 6
    assert pauses[-1] == "and 6 more pauses, of 192 s in all"


NAMED = {"SequenceName": "%CustomerSeq%\\hermes_svs"}


@pytest.mark.parametrize("rule", ["edit off", "edit on", "odd", "even", "first half", "2 of each 4 from 3"])
@pytest.mark.parametrize("header", [NAMED, {"ProtocolName": "HERCULES ACC"}, {"SequenceName": "svs_herc"}])
def test_of_four_conditions_naa_tells_only_two(tmp_path, header, rule):
    ways = r"four conditions, .*'1 of each 4 from K'.*name a NIfTI-MRS file .* \(EditCondition: OFF\)"
    with pytest.raises(InputError, match=ways):
        parted(edited(ORDERS["by 2"], header), tmp_path, use_frames=rule)


@pytest.mark.parametrize("sequence", ["press", "other"])
def test_four_conditions_are_never_pooled(sequence):
    with pytest.raises(InputError, match="mixed, and the header names a sequence of four conditions"):
        editing.refuse_unnoticed(edited(ORDERS["by 2"], NAMED), 32, sequence, "protocols.p", [])


def test_a_condition_of_four_has_a_way_in(tmp_path):
    """The file that the message asks for, of frames and of one average; and frames chosen by number."""
    off = {**NAMED, "dim_5_header": {"EditCondition": ["OFF"] * 32}}
    assert len(parted(edited(np.zeros(32, bool), off), tmp_path, use_frames="edit off")[0].numbers) == 32
    one = edited([False], {**NAMED, "dim_5_header": {"EditCondition": ["OFF"]}})
    assert len(parted(one, tmp_path, use_frames="edit off")[0].numbers) == 1
    part, _ = parted(edited(ORDERS["second half"], NAMED), tmp_path, use_frames="first 8")
    assert part.numbers.tolist() == list(range(1, 9))
    part, _ = parted(edited(ORDERS["by 2"], NAMED), tmp_path, use_frames="1 of each 4 from 4")
    assert part.numbers.tolist() == [4, 8, 12, 16, 20, 24, 28, 32]


def test_conditions_by_other_names_are_not_guessed_by_naa(tmp_path):
    names = {"dim_5_header": {"EditCondition": ["A", "B", "C", "D"] * 8}}
    with pytest.raises(InputError, match=r"names 4 conditions \(a, b, c, d\); name those frames OFF"):
        parted(edited(ORDERS["by 2"], names), tmp_path, use_frames="edit off")


@pytest.mark.parametrize(
    ("rule", "taken"),
    [("2 of each 4 from 3", [3, 4, 7, 8]), ("1 of each 4 from 3", [3, 7]), ("1 of each 4 from 4", [4, 8])],
)
def test_frames_by_twos_that_nothing_names_may_be_four_conditions_and_are_asked_for(tmp_path, rule, taken):
    with pytest.raises(InputError, match=r"'2 of each 4 from 3' if neither .*'1 of each 4 from K', K being 3 or 4"):
        parted(edited(ORDERS["by 2"]), tmp_path, use_frames="edit off")
    part, _ = parted(edited(ORDERS["by 2"]), tmp_path, use_frames=rule)
    assert part.numbers[: len(taken)].tolist() == taken


@pytest.mark.parametrize("rule", ["2 of each 4 from 2", "1 of each 4"])
def test_frames_by_turns_that_hold_no_naa_or_both_conditions_are_refused(tmp_path, rule):
    with pytest.raises(InputError, match=r"both editing conditions are among them|they are edit-on"):
        parted(edited(ORDERS["by 2"]), tmp_path, use_frames=rule)


@pytest.mark.parametrize("wet", [0, 1])
def test_conditions_by_turns_whose_water_alternates_too_may_be_four(tmp_path, wet):
    """As in HERMES, where every second frame with NAA has a pulse near water; the scatter of water alone is no sign."""
    scan, rng = edited(ORDERS["alternating"]), np.random.default_rng(2)
    t = axes.time_axis(POINTS, DWELL)
    for n in range(32):
        size = (400 if n % 4 == 3 or not wet else 20) * (1 + 0.2 * rng.normal())
        scan.fid[n] += size * np.exp((2j * np.pi * axes.ppm_to_hz(WATER, FREQUENCY) - 30) * t)
    if not wet:
        assert len(parted(scan, tmp_path, use_frames="edit off")[0].numbers) == 16
        return
    with pytest.raises(InputError, match=r"'even' if none .*'1 of each 4 from 2' or '1 of each 4 from 4'"):
        parted(scan, tmp_path, use_frames="edit off")
    assert parted(scan, tmp_path, use_frames="1 of each 4 from 4")[0].numbers.tolist() == list(range(4, 33, 4))
    assert len(parted(scan, tmp_path, use_frames="even")[0].numbers) == 16


def test_entries_of_a_dimension_of_four_conditions_are_chosen_by_place(tmp_path):
    flat = edited(ORDERS["by 2"])
    scan = flat.with_data(flat.fid.reshape(8, 4, POINTS).swapaxes(0, 1), ("DIM_EDIT", "DIM_DYN"))
    with pytest.raises(InputError, match=r"fits 2 of 4 entries of DIM_EDIT; .*'1 of each 4 from K' for entry K"):
        parted(scan, tmp_path, use_frames="edit off")
    part, _ = parted(scan, tmp_path, use_frames="1 of each 4 from 4")
    np.testing.assert_array_equal(part.scan.fid, flat.fid[3::4].astype(np.complex64))


def test_both_conditions_with_a_basis_set_of_their_own_are_said_to_be_mixed():
    notes = []
    editing.refuse_unnoticed(edited(ORDERS["alternating"]), 32, "other", "protocols.p", notes)
    assert "its own basis set must be that of both together" in notes[0]


def test_a_scan_that_was_stopped_before_its_water_has_none(tmp_path):
    scan = edited(np.zeros(32, bool), water=(30, 31), empty=range(20, 32))
    part, notes = parted(scan, tmp_path, water_frames="last 2")
    assert part.water is None
    assert part.numbers.tolist() == list(range(1, 21))
    assert "the scan was stopped before its frames of unsuppressed water" in notes


@pytest.mark.parametrize(("empty", "kept"), [(3, 28), (0, 32), (8, 24)])
def test_a_stopped_scan_keeps_its_whole_phase_cycles(tmp_path, empty, kept):
    part, _ = parted(edited(np.zeros(32, bool), empty=range(32 - empty, 32)), tmp_path, phase_cycle=4)
    assert part.numbers.tolist() == list(range(1, kept + 1))


def study(folder, rows: list[dict], scan: Scan, select=None, **protocols) -> dict:
    nifti_mrs.write(scan, folder / "a.nii.gz")
    names = ("participant", "session", "role", "task", "run", "protocol", "raw")
    full = [{"participant": "01", "session": "1", "role": "svs", "raw": "a.nii.gz", **row} for row in rows]
    lines = ["\t".join(names), *("\t".join(row.get(name, "n/a") for name in names) for row in full)]
    (folder / "samples.tsv").write_text("\n".join(lines) + "\n")
    (folder / "participants.tsv").write_text("participant\n01\n")
    (folder / "sessions.tsv").write_text("participant\tsession\tvisit\tarm\n01\t1\t1\ta\n01\t2\t2\ta\n")
    inputs = {name: str(folder / f"{name}.tsv") for name in ("samples", "participants", "sessions")}
    return config.checked(
        {
            "study": {"design": "single_arm", "conditions": ["a"]},
            "inputs": inputs | ({"select": select} if select else {}),
            "protocols": protocols,
            "blocks": {"event": "start", "bins": {"all": [0, 60]}},
        }
    )


HALVES = {"off": PRESS | {"use_frames": "edit off"}, "on": PRESS | {"use_frames": "edit on"}}


def test_both_conditions_of_one_file_may_be_two_rows(tmp_path):
    rows = [{"task": "off", "protocol": "off"}, {"task": "on", "protocol": "on"}]
    _, found = before_jobs(study(tmp_path, rows, edited(ORDERS["halves"]), **HALVES), {})
    assert len(found) == 1
    assert "choose one with inputs.select, as {task: off}" in found[0]
    settings = study(tmp_path, rows, edited(ORDERS["halves"]), {"task": "off"}, **HALVES)
    written = convert.convert_session("sub-01_ses-1", read_study(settings), settings, tmp_path / "out")
    assert nifti_mrs.read(written[1]).size("DIM_DYN") == 16


REFUSED = {
    "the same frames twice": (
        [{"run": "1", "protocol": "off"}, {"run": "2", "protocol": "off"}], r"line 3: repeats .*2 \(raw 'a.nii.gz'"),
    "by another path": (
        [{"run": "1", "protocol": "off"}, {"run": "2", "protocol": "off", "raw": "./a.nii.gz"}], "line 3: repeats"),
    "as two visits": (
        [{"protocol": "off"}, {"session": "2", "protocol": "off"}], "line 3: repeats"),
    "both conditions as runs": (
        [{"run": "1", "protocol": "off"}, {"run": "2", "protocol": "on"}],
        "line 3: is another run of the series of .*line 2, .*differ in use_frames"),
    "two echo times as runs": (
        [{"run": "1", "protocol": "off"}, {"run": "2", "protocol": "te", "raw": "b.nii.gz"}],
        r"line 3: is another run .*off and te differ in echo_time_ms \(68 and 30\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_rows_of_one_file_and_runs_of_one_series(tmp_path, name):
    import re

    rows, said = REFUSED[name]
    settings = study(tmp_path, rows, edited(ORDERS["halves"]), **HALVES, te=PRESS | {"echo_time_ms": 30})
    settings["blocks"]["event"] = "infusion"
    _, found = before_jobs(settings, {})
    found = [line for line in found if "infusion_start" not in line]
    assert len(found) == 1, found
    assert re.search(said, found[0])


@pytest.mark.parametrize(("other", "faults"), [("1 of each 4 from 2", 0), ("2 of each 4 from 3", 1)])
def test_two_rows_of_one_file_take_different_turns(tmp_path, other, faults):
    rows = [{"protocol": "first"}, {"session": "2", "protocol": "second"}]
    turns = {"first": PRESS | {"use_frames": "1 of each 4 from 4"}, "second": PRESS | {"use_frames": other}}
    found = before_jobs(study(tmp_path, rows, edited(np.zeros(32, bool)), **turns), {})[1]
    assert len(found) == faults


def test_the_two_halves_of_a_series_may_be_two_visits(tmp_path):
    rows = [{"protocol": "first"}, {"session": "2", "protocol": "second"}]
    halves = {name: PRESS | {"use_frames": f"{name} half"} for name in ("first", "second")}
    assert before_jobs(study(tmp_path, rows, edited(np.zeros(32, bool)), **halves), {})[1] == []


@pytest.mark.parametrize(("main", "taken"), [("metabolites", "reference"), ("water", "main")])
def test_a_row_of_water_takes_what_of_a_file_is_water(main, taken):
    """A GE file holds water beside the scan; a scan of water alone is water throughout."""
    scan = edited(np.zeros(4, bool), water=range(4) if main == "water" else ())
    reference = edited(np.zeros(2, bool), water=range(2))
    found = convert._water_of(vendors.Converted(scan, {"ecc": reference}), protocol(), "protocols.p", [])
    assert found is (reference if taken == "reference" else scan)


def test_water_of_a_metabolite_file_may_have_a_row_of_its_own(tmp_path):
    rows = [{"protocol": "p"}, {"role": "mrsref", "protocol": "p"}]
    scan = edited(np.zeros(32, bool), water=(4, 9, 14, 19, 24, 29))
    settings = study(tmp_path, rows, scan, p=PRESS | {"water_frames": "every 5 from 5"})
    written = convert.convert_session("sub-01_ses-1", read_study(settings), settings, tmp_path / "out")
    sizes = {p.name: nifti_mrs.read(p).size("DIM_DYN") for p in written if p.name.endswith(".nii.gz")}
    assert sizes == {"sub-01_ses-1_svs.nii.gz": 26, "sub-01_ses-1_mrsref.nii.gz": 6}
