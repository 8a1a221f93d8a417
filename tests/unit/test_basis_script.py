"""The script that makes the basis set of a protocol."""

import json

import numpy as np
import pytest

from mrsflow.basis_sets import basis_formats, sequences
from mrsflow.basis_sets.pulses import Pulse
from mrsflow.errors import InputError
from mrsflow.fitting import amounts

MHZ = 123.25
PROTOCOL = {
    "sequence": "press",
    "echo_time_ms": 30,
    "te1_ms": 11,
    "mixing_time_ms": None,
    "spectrometer_frequency_mhz": MHZ,
    "nucleus": "1H",
    "basis": None,
    "macromolecules": True,
    "refocusing": None,
}


@pytest.fixture(scope="module")
def main(root):
    import importlib.util

    spec = importlib.util.spec_from_file_location("simulate_basis_script", root / "scripts" / "simulate_basis.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def config(**changes):
    return json.dumps({"protocols": {"brain": {**PROTOCOL, **changes}}})


def test_simulated_protocol_has_the_standard_metabolites_and_macromolecules(main, tmp_path):
    out = tmp_path / "brain.BASIS"
    main(config(), "brain", out)
    found = basis_formats.load(out)
    assert set(found.names) >= {*sequences.STANDARD, *amounts.MACROMOLECULES, "Lip09", "Lip13", "Lip20"}
    expected = sequences.simulate(sequences.Sequence("press", 0.030, te1=0.011), MHZ, ("Glu",)).fids[0]
    np.testing.assert_allclose(found.fids[found.names.index("Glu")], expected, atol=1e-7)
    main(config(macromolecules=False), "brain", out)
    assert basis_formats.load(out).names == sequences.STANDARD


def test_macromolecules_are_added_to_a_named_file_once(main, tmp_path):
    bare, full, again = (tmp_path / f"{name}.BASIS" for name in ("bare", "full", "again"))
    main(config(macromolecules="none"), "brain", bare)
    main(config(), "brain", full)
    main(config(basis=str(bare), macromolecules="default"), "brain", again)
    found, expected = basis_formats.load(again), basis_formats.load(full)
    assert found.names == expected.names
    np.testing.assert_allclose(found.fids, expected.fids, rtol=0.02, atol=1e-5)
    assert "macromolecules: parametrised" in found.description
    with pytest.raises(InputError, match=r"has macromolecules already \(MM09.*leave out `macromolecules`"):
        main(config(basis=str(full), macromolecules=True), "brain", tmp_path / "never.BASIS")
    with pytest.raises(InputError, match="has macromolecules already"):
        main(config(basis=str(full), macromolecules="measured"), "brain", tmp_path / "never.BASIS")
    main(config(basis=str(full), macromolecules=None), "brain", again)
    assert basis_formats.load(again).names == expected.names
    main(config(basis=str(full), macromolecules=False), "brain", again)
    assert basis_formats.load(again).names == basis_formats.load(bare).names


def test_extra_signals_are_added_by_name(main, tmp_path):
    out = tmp_path / "brain.BASIS"
    main(config(extra_signals=["ethanol"], macromolecules="none"), "brain", out)
    found = basis_formats.load(out)
    assert found.names == (*sequences.STANDARD, "ethanol")
    expected = sequences.simulate(sequences.Sequence("press", 0.030, te1=0.011), MHZ, ("ethanol",)).fids[0]
    np.testing.assert_allclose(found.fids[-1], expected, atol=0.02 * np.abs(expected).max())
    with pytest.raises(InputError, match="'vodka' is not known"):
        main(config(extra_signals=["vodka"]), "brain", out)


def test_named_file_is_checked_and_copied(main, tmp_path):
    first, second = tmp_path / "first.BASIS", tmp_path / "second.BASIS"
    main(config(macromolecules=False), "brain", first)
    main(config(basis=str(first), macromolecules=None), "brain", second)
    np.testing.assert_allclose(basis_formats.load(second).fids, basis_formats.load(first).fids, atol=1e-7)
    with pytest.raises(InputError, match=r"123.25 MHz.*127.70 MHz.*use a basis of this field"):
        main(config(basis=str(first), spectrometer_frequency_mhz=127.7), "brain", tmp_path / "third.BASIS")
    with pytest.raises(InputError, match="is for TE 30 ms, the protocol has 35 ms"):
        main(config(basis=str(first), echo_time_ms=35), "brain", tmp_path / "third.BASIS")
    assert not (tmp_path / "third.BASIS").exists()


def test_unknown_protocol_is_named(main, tmp_path):
    with pytest.raises(InputError, match="'liver'; it has brain"):
        main(config(), "liver", tmp_path / "a.BASIS")


def test_shaped_pulses_of_a_protocol_reach_the_simulation():
    shaped = {"shape": "sinc", "duration_ms": 4, "bandwidth_hz": 2000, "carrier_ppm": 2.7}
    sequence = sequences.Sequence.from_protocol({**PROTOCOL, "refocusing": shaped})
    pulse = sequence.refocusing
    assert (pulse.shape, pulse.duration, pulse.bandwidth, pulse.carrier_ppm) == ("sinc", 0.004, 2000, 2.7)
    assert (sequence.echo_time, sequence.te1, sequence.mixing_time) == (0.030, 0.011, None)


def test_a_pulse_file_reaches_the_basis_set(main, tmp_path):
    """The samples of a sinc pulse give the basis set of that sinc pulse."""
    pulse = Pulse("sinc", 0.004, 1500.0)
    wave = pulse.waveform().real
    table = tmp_path / "sinc.txt"
    table.write_text("".join(f"{abs(value):.9f} {180 if value < 0 else 0}\n" for value in wave))
    file = {"file": str(table), "duration_ms": 4, "carrier_ppm": 3.0}
    sequence = sequences.Sequence.from_protocol({**PROTOCOL, "refocusing": file})
    found = sequences.simulate(sequence, MHZ, ("Glu",), n_points=256).fids
    by_formula = sequences.Sequence("press", 0.030, te1=0.011, refocusing=pulse)
    expected = sequences.simulate(by_formula, MHZ, ("Glu",), n_points=256).fids
    np.testing.assert_allclose(found, expected, atol=0.01)  # the edges of a slice measured on a grid
