"""Density-matrix simulation of PRESS, semi-LASER and STEAM.

The state is carried between pulses in the eigenbasis of the Hamiltonian, where a delay is a phase factor. Crushers
are a filter on the coherence order after each pulse. With shaped refocusing pulses the state is averaged over
position after each slice-selective group, which equals the full two-dimensional grid at the cost of two lines
(Zhang et al. 2017, doi:10.1002/mp.12375; Landheer et al. 2020, doi:10.1002/nbm.4129).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.axes import ppm_to_hz, time_axis
from mrsflow.basis_sets import spins
from mrsflow.basis_sets.basis import Basis
from mrsflow.basis_sets.broad_lines import parametrised
from mrsflow.basis_sets.pulses import Pulse
from mrsflow.basis_sets.spins import Fragment, Levels
from mrsflow.constants import WATER_PPM
from mrsflow.errors import InputError
from mrsflow.files import atomic_path, checksum, digest_of

STANDARD = (
    "Ala", "Asc", "Asp", "Cr", "PCr", "-CrCH2", "GABA", "Glc", "Gln", "Glu", "Gly", "GPC", "GSH", "Ins", "Lac", "NAA",
    "NAAG", "PCh", "PE", "sIns", "Tau",
)  # fmt: skip
"""The metabolites of a 3 T short echo time basis set."""
SMALLEST_LINE = 1e-9
"""Lines below this share of the largest one of a fragment are left out."""


@dataclass(frozen=True)
class Sequence:
    """A localisation sequence.

    Attributes
    ----------
    name : {"press", "semi_laser", "steam"}
        Semi-LASER has four refocusing pulses at equal distances: TE/8, three times TE/4, TE/8.
    echo_time : float
        s.
    te1 : float or None
        PRESS: time of the first echo, s; half of `echo_time` when None.
    mixing_time : float or None
        STEAM, s.
    refocusing : Pulse or None
        Shape of the refocusing pulses of PRESS and semi-LASER; None: ideal.
    """

    name: str
    echo_time: float
    te1: float | None = None
    mixing_time: float | None = None
    refocusing: Pulse | None = None

    @classmethod
    def from_protocol(cls, protocol: dict[str, Any]) -> "Sequence":
        """Take sequence, timing and pulses from a protocol of the configuration (ms there, s here)."""

        def seconds(key: str) -> float | None:
            return None if protocol.get(key) is None else protocol[key] / 1e3

        shaped = protocol["refocusing"]
        return cls(
            name=protocol["sequence"],
            echo_time=protocol["echo_time_ms"] / 1e3,
            te1=seconds("te1_ms") if protocol["sequence"] == "press" else None,
            mixing_time=seconds("mixing_time_ms") if protocol["sequence"] == "steam" else None,
            refocusing=Pulse.from_protocol(shaped) if shaped and protocol["sequence"] != "steam" else None,
        )


@dataclass(frozen=True)
class _Step:
    """A delay, then a pulse, then the coherence order that survives; `last` ends a slice-selective group."""

    delay: float
    angle: float
    order: int
    last: bool = True


def simulate(
    sequence: Sequence,
    spectrometer_frequency: float,
    metabolites: tuple[str, ...] = STANDARD,
    macromolecules: bool = False,
    dwell_time: float = 2.5e-4,
    n_points: int = 4096,
    linewidth: float = 1.0,
) -> Basis:
    """Simulate a basis set.

    Parameters
    ----------
    sequence : Sequence
    spectrometer_frequency : float
        MHz.
    metabolites : tuple of str
        Names of the spin system table.
    macromolecules : bool
        Append the macromolecule and lipid signals of the table.
    dwell_time : float
        s; the default covers 4 kHz.
    n_points : int
    linewidth : float
        Lorentzian width given to the metabolites, Hz.

    Returns
    -------
    Basis
        Unit: a singlet of one proton starts with amplitude 1, whatever the sequence costs all signals alike (STEAM:
        half). So water, two protons per molecule, starts with 2 at the same concentration.

    Raises
    ------
    InputError
        Unknown sequence or metabolite, a missing or impossible time.
    """
    from threadpoolctl import threadpool_limits

    known = spins.systems()
    if unknown := [name for name in metabolites if name not in known]:
        raise InputError(f"metabolite {unknown[0]!r} is not in the spin system table; it has {', '.join(known)}")
    t = time_axis(n_points, dwell_time)
    with threadpool_limits(1):  # the same rounding whatever the number of threads
        scale = singlet_amplitude(sequence, spectrometer_frequency)
        fids = [
            sum(
                fragment.weight * line_fid(*lines(fragment, sequence, spectrometer_frequency), dwell_time, n_points)
                for fragment in spins.fragments(name)
            )
            for name in metabolites
        ]
    signals = np.array(fids) / scale * np.exp(-np.pi * linewidth * t)
    broad = parametrised(spectrometer_frequency, dwell_time, n_points) if macromolecules else None
    return Basis(
        names=(*metabolites, *(broad.names if broad else ())),
        fids=np.array([*signals, *(broad.fids if broad else ())]),
        dwell_time=dwell_time,
        spectrometer_frequency=spectrometer_frequency,
        reference_ppm=WATER_PPM,
        linewidth=linewidth,
        description=describe(sequence),
        echo_time=sequence.echo_time,
    )


def cached(folder: Path | str, sequence: Sequence, spectrometer_frequency: float, **options: Any) -> Basis:
    """Give `simulate` of the same arguments, from `folder` when it was made there before.

    The file is named by a digest of the arguments, the spin system table and the code of the simulation.
    """
    code = [
        checksum(Path(__file__).with_name(name)) for name in ("sequences.py", "spins.py", "pulses.py", "broad_lines.py")
    ]
    content = [
        asdict(sequence),
        spectrometer_frequency,
        options,
        checksum(spins.TABLE),
        checksum(spins.EXTRA_TABLE),
        code,
    ]
    path = Path(folder) / f"{digest_of(content)}.npz"
    if not path.is_file():
        with atomic_path(path) as temporary:
            np.savez(temporary, **asdict(simulate(sequence, spectrometer_frequency, **options)))
    with np.load(path) as stored:
        values = {name: value if value.ndim else value.item() for name, value in stored.items()}
    return Basis(**{**values, "names": tuple(values["names"].tolist())})


def describe(sequence: Sequence) -> str:
    """Sequence, timing and pulses in a few words."""
    text = f"{sequence.name} TE {sequence.echo_time * 1e3:g} ms"
    if sequence.te1 is not None:
        text += f", TE1 {sequence.te1 * 1e3:g} ms"
    if sequence.mixing_time is not None:
        text += f", TM {sequence.mixing_time * 1e3:g} ms"
    if sequence.refocusing is None:
        return f"{text}, ideal pulses, simulated"
    return f"{text}, refocusing pulses of {sequence.refocusing.duration * 1e3:g} ms, simulated"


def singlet_amplitude(sequence: Sequence, spectrometer_frequency: float) -> complex:
    """First point of a proton without partner at the carrier: 1 for ideal spin echoes, 1/2 for STEAM."""
    carrier = WATER_PPM if sequence.refocusing is None else sequence.refocusing.carrier_ppm
    single = Fragment(shifts=np.array([carrier]), couplings=np.zeros((1, 1)))
    return complex(lines(single, sequence, spectrometer_frequency)[1].sum())


def lines(
    fragment: Fragment, sequence: Sequence, spectrometer_frequency: float
) -> tuple[NDArray[np.floating], NDArray[np.complexfloating]]:
    """Frequencies (Hz) and complex amplitudes of the lines of a fragment; the FID begins at the echo.

    The amplitude of n protons right after an ideal excitation is n.
    """
    pulse = sequence.refocusing
    carrier_ppm = WATER_PPM if pulse is None else pulse.carrier_ppm
    states = spins.isotopomers(fragment, spectrometer_frequency, carrier_ppm)
    seen = np.delete(np.arange(len(fragment.shifts)), fragment.unseen)
    found = [_lines_of(hz, fragment.couplings, seen, sequence) for hz in states]
    frequencies = np.concatenate([f for f, _ in found]) + ppm_to_hz(carrier_ppm, spectrometer_frequency)
    return frequencies, np.concatenate([a for _, a in found]) / len(states)


def _lines_of(shifts: NDArray, couplings: NDArray, seen: NDArray, sequence: Sequence) -> tuple[NDArray, NDArray]:
    """Run the sequence on protons of given shifts from the carrier and couplings (Hz); `seen` ones are detected."""
    levels = spins.levels(shifts, couplings)
    n_spins = len(shifts)
    order = levels.coherence_order()
    x, iy, z = spins.spin_operators(n_spins)
    rho = levels.operator(z.sum(axis=0)).astype(complex)[None]
    steps = _steps(sequence)
    propagators = {
        angle: spins.rotation(n_spins, angle)[None]
        if sequence.refocusing is None or angle < np.pi
        else sequence.refocusing.propagators(shifts, couplings)
        for angle in {step.angle for step in steps[:-1]}
    }
    propagators = {angle: levels.operator(unitaries) for angle, unitaries in propagators.items()}
    for step in steps[:-1]:
        rho = rho * _delay(levels, step.delay)
        unitaries = propagators[step.angle]
        rho = unitaries @ rho @ np.conj(np.swapaxes(unitaries, -1, -2)) * (np.abs(order - step.order) < 0.5)
        if step.last:
            rho = rho.mean(axis=0, keepdims=True)
    rho = rho[0] * _delay(levels, steps[-1].delay)
    amplitudes = rho * levels.operator((x + iy)[seen].sum(axis=0)).T / 2 ** (n_spins - 2)
    kept = np.abs(amplitudes) > SMALLEST_LINE * max(np.abs(amplitudes).max(), np.finfo(float).tiny)
    frequencies = (levels.energies[None, :] - levels.energies[:, None]) / (2 * np.pi)
    return frequencies[kept], amplitudes[kept]


def _delay(levels: Levels, time: float) -> NDArray[np.complexfloating]:
    """Factor of each density matrix element for free evolution over `time` (s)."""
    phase = np.exp(-1j * levels.energies * time)
    return phase[:, None] * phase[None, :].conj()


def _steps(sequence: Sequence) -> list[_Step]:
    """Pulses of a sequence with the delays between them; the last step is the delay before the echo."""
    te, half, flip = sequence.echo_time, np.pi / 2, np.pi
    pulse = 0.0 if sequence.refocusing is None else sequence.refocusing.duration
    if sequence.name == "press":
        te1 = te / 2 if sequence.te1 is None else sequence.te1
        steps = [
            _Step(0.0, half, -1),
            _Step(te1 / 2 - pulse / 2, flip, +1),
            _Step(te / 2 - pulse, flip, -1),
            _Step((te - te1) / 2 - pulse / 2, 0.0, -1),
        ]
    elif sequence.name == "semi_laser":
        between = te / 4 - pulse
        steps = [
            _Step(0.0, half, -1),
            _Step(te / 8 - pulse / 2, flip, +1, last=False),
            _Step(between, flip, -1),
            _Step(between, flip, +1, last=False),
            _Step(between, flip, -1),
            _Step(te / 8 - pulse / 2, 0.0, -1),
        ]
    elif sequence.name == "steam":
        if sequence.mixing_time is None or sequence.refocusing is not None:
            raise InputError("STEAM needs its mixing time (mixing_time_ms), and has no refocusing pulses to shape")
        steps = [
            _Step(0.0, half, +1),
            _Step(te / 2, half, 0),
            _Step(sequence.mixing_time, half, -1),
            _Step(te / 2, 0.0, -1),
        ]
    else:
        raise InputError(
            f"sequence {sequence.name!r} cannot be simulated; use press, semi_laser, steam or a basis file"
        )
    if min(step.delay for step in steps) < 0:
        raise InputError(f"{describe(sequence)}: leaves no time between the pulses; check TE, TE1 and pulse duration")
    return steps


def line_fid(frequencies: NDArray, amplitudes: NDArray, dwell_time: float, n_points: int) -> NDArray:
    """Sum of undamped lines, (n_points,): exact, as a product of coarse and fine time steps."""
    block = int(np.ceil(np.sqrt(n_points)))
    fine = np.exp(2j * np.pi * np.outer(frequencies, time_axis(block, dwell_time)))
    coarse = np.exp(2j * np.pi * np.outer(time_axis(block, block * dwell_time), frequencies))
    return ((coarse * amplitudes) @ fine).ravel()[:n_points]
