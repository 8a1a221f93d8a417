"""Presets: what they give a protocol, what is refused, and pulses in files of scanners."""

import copy

import numpy as np
import pytest

from mrsflow.basis_sets import presets, sequences
from mrsflow.basis_sets.pulse_files import read_samples
from mrsflow.basis_sets.pulses import Pulse
from mrsflow.errors import InputError
from mrsflow.study import config

PRESS = {"sequence": "press", "echo_time_ms": 35, "repetition_time_ms": 2000, "spectrometer_frequency_mhz": 123.25}
STEAM = {**PRESS, "sequence": "steam", "echo_time_ms": 20}
SLASER = {**PRESS, "sequence": "semi_laser", "echo_time_ms": 30}


def checked(**protocols):
    content = {
        "study": {"design": "single_arm", "conditions": ["none"]},
        "protocols": copy.deepcopy(protocols),
        "blocks": {"bins": {"all": [0, 10]}},
    }
    return config.checked(content)["protocols"]


def timed(**protocols):
    found = checked(**protocols)
    presets.refuse_unknown_timing(found)
    return found


def test_protocols_without_timing_are_refused_together_with_the_presets_that_fit():
    with pytest.raises(InputError) as error:
        timed(a=PRESS, b={**PRESS, "preset": "ideal"}, c=STEAM, d=SLASER, e={**PRESS, "te1_ms": 12})
    said = str(error.value)
    assert "a (press: preset ge_probe_p, siemens_svs_se, philips_press, ideal; or te1_ms)" in said
    assert "c (steam: preset siemens_steam, philips_steam, ge_steam, ideal; or mixing_time_ms)" in said
    assert "d (semi_laser: preset cmrr_slaser, ideal; or refocusing)" in said
    assert "b (" not in said and "e (" not in said
    assert "\n" not in said


def test_a_basis_set_file_needs_no_timing():
    assert timed(a={**PRESS, "basis": "x.BASIS"})["a"]["te1_ms"] is None


def test_what_is_added_to_a_basis_set_file_is_simulated_and_needs_timing():
    with pytest.raises(InputError, match="te1_ms"):
        timed(a={**PRESS, "basis": "x.BASIS", "extra_signals": ["ethanol"]})


def test_ideal_is_not_enough_for_the_mixing_time_of_steam():
    with pytest.raises(InputError, match="mixing_time_ms"):
        timed(a={**STEAM, "preset": "ideal"})
    assert timed(a={**STEAM, "preset": "ideal", "mixing_time_ms": 12})["a"]["mixing_time_ms"] == 12


@pytest.mark.parametrize("name", presets.table()["presets"])
def test_every_preset_can_be_simulated_and_has_a_source(name):
    preset = presets.table()["presets"][name]
    assert preset["source"]
    start = {"steam": {**STEAM, "mixing_time_ms": None}, "semi_laser": SLASER}.get(preset["sequence"], PRESS)
    full = checked(a={**start, "preset": name})["a"]
    sequence = sequences.Sequence.from_protocol(full)
    made = sequences.simulate(sequence, 123.25, ("Cr", "Asp"), n_points=64)
    assert made.fids[0, 0].real == pytest.approx(5, abs=0.2)  # protons of creatine; the slices are nearly the same


@pytest.mark.parametrize(
    ("name", "echo", "first"), [("ge_probe_p", 35, 14.7), ("philips_press", 30, 13.92), ("siemens_svs_se", 30, 12.0)]
)
def test_first_echoes_of_the_vendors(name, echo, first):
    full = checked(a={**PRESS, "preset": name, "echo_time_ms": echo})["a"]
    assert full["te1_ms"] == pytest.approx(first)
    assert sequences.Sequence.from_protocol(full).te1 == pytest.approx(first / 1e3)


def test_keys_of_the_protocol_come_before_those_of_its_preset():
    pulse = {"shape": "sinc", "duration_ms": 3, "bandwidth_hz": 2000}
    full = checked(a={**PRESS, "preset": "siemens_svs_se", "te1_ms": 11, "refocusing": pulse})["a"]
    assert (full["te1_ms"], full["refocusing"]["shape"]) == (11, "sinc")
    assert checked(a=full) == {"a": full}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preset": "siemens_steam"}, "which is steam; sequence is 'press': use ge_probe_p"),
        ({"preset": "siemens_svs_se", "echo_time_ms": 68}, "up to 36 ms, and echo_time_ms is 68; give te1_ms"),
        ({"preset": "ge"}, "preset: 'ge' is not one of"),
        ({"te1_ms": 12, "refocusing": {"duration_ms": 4}}, "give either shape or file"),
        ({"te1_ms": 12, "refocusing": {"duration_ms": 4, "shape": "sinc"}}, "bandwidth_hz is needed"),
        (
            {"te1_ms": 12, "refocusing": {"duration_ms": 4, "shape": "mao", "bandwidth_hz": 900}},
            "no choice for shape 'mao'",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, said):
    with pytest.raises(InputError, match=said):
        checked(a={**PRESS, **changes})


def test_the_schema_lists_the_presets_and_the_pulses_there_are():
    keys = config.schema("config")["properties"]["protocols"]["additionalProperties"]["properties"]
    assert set(keys["preset"]["enum"]) == {*presets.table()["presets"], None}
    shapes = keys["refocusing"]["properties"]["shape"]["enum"]
    assert set(shapes) == {*presets.FREE_WIDTHS, *presets.table()["pulses"], None}


@pytest.mark.parametrize(
    ("name", "duration", "width"), [("mao", 4.4, 1310), ("ge_rfa", 5.2, 1110), ("gtst1203", 6.89, 1354)]
)
def test_slices_of_the_vendors_pulses_are_as_wide_as_published(name, duration, width):
    """Widths that MRSCloud gives for these pulses, at its definition of a slice's edge: within a tenth."""
    pulse = Pulse.from_protocol({"shape": name, "duration_ms": duration, "carrier_ppm": 3.0})
    assert pulse.slice_width() == pytest.approx(width, rel=0.1)


# One pulse in the formats of four makers: amplitudes 0, 3, -4, 1 (negative: phase 180°).
PTA = """PULSENAME:\tmade.made
COMMENT:\tnone 12
REFGRAD:\t2.5
\t
0.0\t0.0\t; (0)
0.3\t0.0\t; (1)
0.4\t3.14159265359\t; (2)
0.1\t0.0\t; (3)
"""
VARIAN = """# MODULATION amplitude
# ***
0.0 0.0 1.0
0.0 768.0 1.0
180.0 1023.9 1.0
0.0 256.0 1.0
"""
BRUKER = """##TITLE= made
##JCAMP-DX= 5.00 $$ Bruker
##NPOINTS= 4
##XYPOINTS= (XY..XY)
0.000000E+00, 0.000000E+00
7.500000E+01, 0.000000E+00
1.000000E+02, 1.800000E+02
2.500000E+01, 0.000000E+00
##END=
"""
COLUMNS = "# amplitude phase\n0 0\n3 0\n4 180\n1 0\n"


@pytest.mark.parametrize("text", [PTA, VARIAN, BRUKER, COLUMNS], ids=["pta", "RF", "Bruker", "columns"])
def test_a_pulse_is_the_same_in_every_format(tmp_path, text):
    path = tmp_path / "pulse"
    path.write_text(text)
    amplitude, phase = np.array(read_samples(path)).T
    wave = amplitude * np.exp(1j * phase)
    np.testing.assert_allclose(wave / np.abs(wave).max(), [0, 0.75, -1, 0.25], atol=1e-3)


def test_steps_of_unequal_length_are_repeated(tmp_path):
    path = tmp_path / "pulse.RF"
    path.write_text("# made\n0 10 1\n90 20 3\n")
    amplitude, phase = np.array(read_samples(path)).T
    np.testing.assert_array_equal(amplitude, [10, 20, 20, 20])
    np.testing.assert_allclose(phase, np.deg2rad([0, 90, 90, 90]))


@pytest.mark.parametrize(
    ("text", "said"), [("1\n2\n", "no pulse of a known kind"), ("0 0\n0 0\n", "no amplitude"), ("words", "no pulse")]
)
def test_what_is_no_pulse_is_refused(tmp_path, text, said):
    path = tmp_path / "pulse.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_samples(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_samples(tmp_path / "none.pta")
