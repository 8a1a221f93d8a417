"""Any header that the NIfTI-MRS standard allows is read, or refused in one line; what is written is read again."""

import json

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrsflow import nifti_mrs
from mrsflow.conversion import bids, checks, frames, identity, vendors
from mrsflow.conversion.vendors import Converted
from mrsflow.errors import InputError

TAGS = (
    "DIM_COIL", "DIM_DYN", "DIM_INDIRECT_0", "DIM_PHASE_CYCLE", "DIM_EDIT", "DIM_MEAS", "DIM_USER_0", "DIM_USER_2",
    "DIM_ISIS", "DIM_METCYCLE",
)  # fmt: skip
PROTOCOL = {
    "sequence": "press", "echo_time_ms": 30, "repetition_time_ms": 2000, "spectrometer_frequency_mhz": 127.75,
    "nucleus": "1H", "coils": "any", "phase_cycle": 1, "water_frames": "header", "use_frames": "all", "frames": None,
    "voxel_volume_ml": None, "spectral_width_hz": None,
}  # fmt: skip
KEYS = ("EchoTime", "RepetitionTime", "InversionTime", "EditCondition", "FrameOnset", "MyOwnKey")
RULES = st.sampled_from(["all", "all", "edit off", "odd", "1 of each 2 from 2", "first 1"])
NUMBER = st.one_of(st.floats(0.01, 5.0), st.integers(0, 5))
ENTRY = st.one_of(NUMBER, st.sampled_from(["ON", "OFF", ""]), st.none())


@st.composite
def dimension_headers(draw, size: int):
    """Values along a dimension in any of the forms, now and then one too many."""
    count = draw(st.sampled_from([size] * 19 + [size + 1]))
    form = draw(st.sampled_from(["list", "short", "Value", "short Value", "lists"]))
    short = {"start": draw(NUMBER), "increment": draw(NUMBER)}
    values = draw(st.lists(ENTRY, min_size=count, max_size=count))
    return {
        "list": values,
        "short": short,
        "Value": {"Value": values, "Description": "as it was"},
        "short Value": {"Value": short, "Description": ""},
        "lists": [[value, value] for value in values],
    }[form]


@st.composite
def headers(draw):
    """Sizes of the dimensions, and a header."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=0, max_size=3))
    strange = draw(st.sampled_from([False] * 5 + [True]))  # beyond what the standard allows
    header = {
        "SpectrometerFrequency": draw(st.sampled_from([[127.75], 127.75, [127.75, 51.7], 128])),
        "ResonantNucleus": draw(st.sampled_from([["1H"], "1H", ["1H", "31P"]])),
        "EchoTime": draw(st.sampled_from([0.03, None])),
        "RepetitionTime": draw(st.sampled_from([2.0, 2, None])),
    }
    if strange:
        key = draw(st.sampled_from(list(header)))
        header[key] = draw(st.sampled_from(["127.75", [None], None, "", [1], [], {}, 30, [0.03], "0.03", True]))
    header = {key: value for key, value in header.items() if value is not None or draw(st.booleans())}
    for number, size in enumerate(sizes, start=5):
        odd = [None, "", 5] if strange else ["dim_dyn", "Dim_Coil"]
        tag = draw(st.sampled_from([*TAGS, "DIM_DYN", "DIM_DYN", "DIM_COIL", *odd]))
        if tag is not None or draw(st.booleans()):
            header[f"dim_{number}"] = tag
        if draw(st.booleans()):
            header[f"dim_{number}_info"] = draw(st.sampled_from(["frames", None, 3]))
        if draw(st.booleans()):
            names = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=3))
            whole = {name: draw(dimension_headers(size)) for name in names}
            header[f"dim_{number}_header"] = draw(st.sampled_from([whole, whole, whole, None]))
        if draw(st.booleans()):
            header[f"dim_{number}_use"] = draw(st.sampled_from(["Signal to average", None]))
    return sizes, header


def write(path, sizes, header, n_points=96):
    rng = np.random.default_rng(sum(sizes))
    decay = np.exp(-np.arange(n_points) / 20)[:, np.newaxis]
    data = rng.normal(size=(n_points, int(np.prod(sizes)), 2)) @ [1, 1j] * 0.1 + 5 * decay
    image = nibabel.Nifti2Image(
        data.reshape(1, 1, 1, n_points, *sizes).astype(np.complex64), np.diag([20, 20, 20, 1.0])
    )
    image.header["pixdim"][4] = 5e-4
    image.header.set_xyzt_units("mm", "sec")
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(44, json.dumps(header).encode()))
    nibabel.save(image, path)


def through_the_door(folder, sizes, header, rule) -> None:
    """Convert and check a file of which a rule chooses frames, and read what conversion writes of it."""
    write(folder / "a.nii.gz", sizes, header)
    try:
        converted = vendors.convert([folder / "a.nii.gz"])
        notes: list[str] = []
        count = frames.excitations(converted, None, "protocols.p")
        protocol = {**PROTOCOL, "use_frames": rule, "excitations_per_frame": None}
        scan = frames.placed(Converted(converted.scan), count, "protocols.p", notes, rule)
        part = frames.parted(scan, protocol, "protocols.p", notes)
        frames.refuse_turns(converted, part, count, protocol, "protocols.p", notes)
        found = checks.check_scan(part.scan, "svs", PROTOCOL, "p", part.numbers)
    except InputError as error:
        message = str(error)
        assert "\n" not in message
        assert "cannot be read (" not in message  # what no check foresaw
        return
    clean, _ = identity.clean(part.scan)
    json.dumps(bids.sidecar(clean, count, "press", None))
    nifti_mrs.write(clean, folder / "out.nii.gz")
    again = vendors.convert([folder / "out.nii.gz"]).scan
    assert again.dims == part.scan.dims
    np.testing.assert_allclose(again.fid, part.scan.fid)
    if checks.failure(found) is None:
        again.ordered("DIM_COIL", "DIM_DYN")  # what conversion accepts, preprocessing can read


COMMON = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=150, **COMMON)
@given(headers(), RULES)
def test_headers_of_the_standard(tmp_path, made, rule):
    through_the_door(tmp_path, *made, rule)


@pytest.mark.slow
@settings(max_examples=2000, **COMMON)
@given(headers(), RULES)
def test_two_thousand_headers_of_the_standard(tmp_path, made, rule):
    through_the_door(tmp_path, *made, rule)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"dim_5": None}, r"dimension 5 has no tag \(dim_5\)"),
        ({}, r"dimension 5 has no tag \(dim_5\)"),
        ({"dim_5": "DIM_DYN", "dim_6": "DIM_DYN"}, "dimension 5 shares its tag DIM_DYN with another"),
        ({"dim_5": "DIM_DYN", "dim_6": "dim_dyn"}, "dimension 5 shares its tag DIM_DYN with another"),
        ({"dim_5": "DIM_DYN", "dim_5_header": {"EchoTime": [0.03]}}, "dim_5_header: EchoTime is 1 values; a list of 3"),
        ({"dim_5": "DIM_DYN", "dim_5_header": [1, 2, 3]}, "dim_5_header is no object"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(tmp_path, header, said):
    sizes = [3, 2] if "dim_6" in header else [3]
    physics = {"SpectrometerFrequency": [127.75], "ResonantNucleus": ["1H"]}
    write(tmp_path / "a.nii.gz", sizes, physics | header)
    with pytest.raises(InputError, match=said):
        vendors.convert([tmp_path / "a.nii.gz"])


def test_a_dimension_of_length_one_needs_no_tag(tmp_path):
    physics = {"SpectrometerFrequency": [127.75], "ResonantNucleus": ["1H"], "dim_6": "DIM_DYN"}
    write(tmp_path / "a.nii.gz", [1, 3], physics)
    assert vendors.convert([tmp_path / "a.nii.gz"]).scan.dims == ("DIM_DYN",)
