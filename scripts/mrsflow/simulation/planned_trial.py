"""Raw data of a planned trial: design, blocks and protocols of a configuration, effects and variances of its plan.

Responses and variances are those of section ``power``: its trials (`mrsflow.planning.trials`) give the course of every
session, without the scatter of blocks, which here comes from the noise of the spectra. Only the numerator of the
outcome differs between people and sessions, so that the ratio has the variances of the plan. Raw files are twix files.
"""

import datetime
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mrsflow.basis_sets import basis_formats, presets, sequences
from mrsflow.basis_sets.basis import Basis, match
from mrsflow.errors import InputError
from mrsflow.files import write_json, write_table, write_text
from mrsflow.planning.trials import Scenario, simulate
from mrsflow.simulation import rawfiles
from mrsflow.simulation import simulate as signals
from mrsflow.simulation.trial_simulation import clock
from mrsflow.study.layout import SessionKey
from mrsflow.study.regressors import split_outcome

VARYING = ("Glu", "Gln", "Glx")
"""Numerators whose course is simulated; Glu and Gln change alike."""
BANDWIDTH_PER_MHZ = 4000 / 123.25
"""Sampling (Hz) by frequency, so that the same ppm are sampled at every field."""
N_POINTS, REFERENCE_EXCITATIONS, N_COILS = 2048, 16, 4
FRAME_S = 16.0
"""Stored frames last about so long where a protocol does not say how many excitations they average."""
FIRST_DAY = datetime.date(2030, 1, 7)
START = 10 * 3600
"""Time of the day at which event happens."""


@dataclass(frozen=True)
class Session:
    """A session to be written.

    Attributes
    ----------
    factor : (excitations,)
        Of the numerator, at each excitation.
    first_s : int
        Time of the day of the first excitation.
    """

    participant: str
    number: int
    visit: int
    arm: str
    protocol: str
    factor: NDArray[np.float64]
    first_s: int
    day: datetime.date

    @property
    def key(self) -> SessionKey:
        """Name of the session."""
        return SessionKey(self.participant, f"{self.visit:02d}")


@dataclass(frozen=True)
class Planned:
    """A planned trial as it was drawn: its sessions, the people, and the true contrast in percent of the baseline."""

    sessions: list[Session]
    people: list[dict[str, Any]]
    effect_percent: float


def draw(config: dict[str, Any], scenario: Scenario, seed: int) -> Planned:
    """Draw a trial of the planned design.

    Parameters
    ----------
    config : dict
        Checked configuration.
    scenario : Scenario
        Its plan: design, participants, weights of the contrast, responses and variances.
    seed : int

    Raises
    ------
    InputError
        The outcome, the event or the blocks cannot be simulated.
    """
    _refuse(config, scenario)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    trial = simulate(replace(scenario, sd_block=0.0, lost_blocks=0.0), 1, rng)
    protocols, conditions = list(config["protocols"]), config["study"]["conditions"]
    sessions, people = [], []
    for i in range(scenario.n):
        own = protocols[i % len(protocols)]
        code = f"{i + 1:02d}"
        people.append({"participant": code, "sex": "FM"[trial.half[i]], "age": int(rng.integers(18, 51)),
                       "weight": round(float(rng.normal(75, 10)), 1), "site": own})  # fmt: skip
        for visit in range(trial.order.shape[1]):
            if not trial.present[0, i, visit].any():
                continue
            arm = conditions[0 if scenario.single else trial.order[i, visit]]
            factor, lead = _course(config, own, trial.y[0, i, visit])
            day = FIRST_DAY + datetime.timedelta(days=7 * i + 14 * visit)
            sessions.append(Session(code, i + 1, visit + 1, arm, own, factor, START + lead, day))
    return Planned(sessions, people, 100 * scenario.effect)


def _refuse(config: dict[str, Any], scenario: Scenario) -> None:
    blocks, outcome = config["blocks"], split_outcome(config["group"]["outcome"])[0]
    numerator, _, denominator = outcome.partition("/")
    if numerator not in VARYING or not denominator:
        raise InputError(
            f"group.outcome is {config['group']['outcome']!r}; simulated are ratios of {', '.join(VARYING)}: rehearse "
            "with one of these"
        )
    if config["inputs"]["bids"]:
        raise InputError("inputs.bids is given; a rehearsal writes raw files of its own: set it to null for it")
    if blocks["event"] not in ("start", "infusion", "dose"):
        raise InputError(f"blocks.event is {blocks['event']!r}; a rehearsal knows start, infusion and dose")
    if blocks["event"] == "start" and min(start for start, _ in blocks["bins"].values()) < 0:
        raise InputError("blocks.bins begin before the first excitation; bins from event start begin at 0 or later")
    later = len(blocks["bins"]) - len(blocks["baseline"])
    if not scenario.over_visits and (later, len(blocks["baseline"])) != (len(scenario.shape), scenario.n_baseline):
        raise InputError(
            f"blocks.bins has {len(blocks['baseline'])} baseline bins and {later} others, power.n_baseline is "
            f"{scenario.n_baseline} and power.shape has {len(scenario.shape)} values; give a value for each bin"
        )
    presets.refuse_unknown_timing(config["protocols"])


def _course(config: dict[str, Any], protocol: str, values: NDArray) -> tuple[NDArray[np.float64], int]:
    """Give the numerator at each excitation of a session, and the seconds from the event to the first of them."""
    blocks, timing = config["blocks"], config["protocols"][protocol]
    bins, repetition = blocks["bins"], timing["repetition_time_ms"] / 1e3
    ordered = [*blocks["baseline"], *(name for name in bins if name not in blocks["baseline"])]
    of_bin = dict(zip(ordered, np.broadcast_to(values, len(ordered)), strict=True))
    first = min([0.0] * (blocks["event"] == "start") + [start for start, _ in bins.values()])
    frame = averaged(timing)
    count = int(np.ceil((max(end for _, end in bins.values()) - first) * 60 / repetition / frame)) * frame
    minutes = first + (np.arange(count) + 0.5) * repetition / 60
    factor = np.full(count, values[0])
    for name, (start, end) in bins.items():
        factor[(minutes >= start) & (minutes < end)] = of_bin[name]
    return factor, round(60 * first)


def averaged(protocol: dict[str, Any]) -> int:
    """Excitations that each stored frame averages."""
    return protocol["excitations_per_frame"] or max(1, round(FRAME_S * 1e3 / protocol["repetition_time_ms"]))


def write(planned: Planned, config: dict[str, Any], out: Path, seed: int, snr: float, cores: int = 1) -> Path:
    """Write raw files, tables, configuration and truth of a planned trial below a folder; give the configuration.

    Parameters
    ----------
    planned : Planned
    config : dict
        Checked configuration.
    out : Path
        Gets ``raw/``, ``config/`` and ``truth.json``.
    seed : int
    snr : float
        Of one excitation: height of NAA over the SD of the real spectrum, of an acquisition of 0.5 s at 3 T.
    cores : int
        Processes; the files do not depend on it.
    """
    import pandas as pd

    bases = {name: basis_of(own, out.parent / "basis") for name, own in config["protocols"].items()}
    tasks = [(s, config["protocols"][s.protocol], bases[s.protocol], out, seed, snr) for s in planned.sessions]
    if cores > 1:
        with ProcessPoolExecutor(cores) as pool:
            list(pool.map(_write_session, tasks))
    else:
        for task in tasks:
            _write_session(task)
    timed = config["blocks"]["event"] != "start"
    write_table(pd.DataFrame(planned.people), out / "config/participants.tsv")
    write_table(pd.DataFrame([_session_row(s, config) for s in planned.sessions]), out / "config/sessions.tsv")
    rows = [
        {"participant": s.participant, "session": s.key.session, "task": "rehearsal", "protocol": s.protocol,
         "role": role, "raw": f"../raw/{s.key}_{role}.dat",
         "start_time": clock(s.first_s) if timed and role == "svs" else None}
        for s in planned.sessions for role in ("svs", "mrsref")
    ]  # fmt: skip
    write_table(pd.DataFrame(rows), out / "config/samples.tsv")
    write_json({"effect_percent": planned.effect_percent, "seed": seed}, out / "truth.json")
    write_text(yaml.safe_dump(_own(config, out), sort_keys=False, allow_unicode=True), out / "config/config.yaml")
    return out / "config/config.yaml"


def _own(config: dict[str, Any], out: Path) -> dict[str, Any]:
    """Give the configuration of the rehearsal: that of the study with its own folders, masked."""
    protocols = {
        name: own | {"excitations_per_frame": averaged(own), "coils": "uncombined"}
        for name, own in config["protocols"].items()
    }
    tables = {name: (out / f"config/{name}.tsv").as_posix() for name in ("samples", "participants", "sessions")}
    inputs = config["inputs"] | tables | {"tissue": [], "maps": {}, "select": {}}
    group = config["group"] | {"mood_scale": None, "clinical": []}
    study = config["study"] | {"freeze": False}
    named = {"inputs": inputs, "output": (out / "results").as_posix(), "protocols": protocols}
    return {**config, "preset": None, "study": study, "group": group, **named}


def _session_row(session: Session, config: dict[str, Any]) -> dict[str, Any]:
    row = {"participant": session.participant, "session": session.key.session, "visit": session.visit,
           "arm": session.arm}  # fmt: skip
    event, dose = config["blocks"]["event"], config["rehearsal"]["dose_before_min"]
    end = max(end for _, end in config["blocks"]["bins"].values())
    if dose is not None or event == "dose":
        row["dose_time"] = clock(START if event == "dose" else START - round(60 * dose))
    if event == "infusion":
        row |= {"infusion_start": clock(START), "infusion_stop": clock(START + round(60 * end))}
    return row


def basis_of(protocol: dict[str, Any], cache: Path) -> Basis:
    """Give the signals of a protocol as its scanner would sample them."""
    frequency = protocol["spectrometer_frequency_mhz"]
    dwell = round(1e9 / (BANDWIDTH_PER_MHZ * frequency)) / 1e9  # as headers have it
    if protocol["basis"]:
        return match(basis_formats.load(protocol["basis"]), frequency, protocol["nucleus"], dwell, N_POINTS)
    sequence = sequences.Sequence.from_protocol(protocol)
    return sequences.cached(
        cache, sequence, frequency, metabolites=tuple(signals.CONCENTRATIONS_MM), dwell_time=dwell, n_points=N_POINTS
    )


def _write_session(task: tuple[Session, dict[str, Any], Basis, Path, int, float]) -> None:
    """Simulate a session and write its two raw files."""
    session, protocol, basis, out, seed, snr = task
    rng = np.random.default_rng(np.random.SeedSequence([seed, session.number, session.visit]))
    frame = averaged(protocol)
    acquisition = signals.Acquisition(
        spectrometer_frequency=protocol["spectrometer_frequency_mhz"],
        dwell_time=basis.dwell_time,
        n_points=N_POINTS,
        n_frames=len(session.factor) // frame,
        excitations_per_frame=frame,
        n_coils=N_COILS,
        n_reference=-(-REFERENCE_EXCITATIONS // frame),
        repetition_time=protocol["repetition_time_ms"] / 1e3,
    )
    minutes = len(session.factor) * acquisition.repetition_time / 60
    disturbances = signals.Disturbances(
        snr=snr,
        offset_hz=float(rng.normal(0, 3)),
        drift_hz=float(rng.uniform(0.1, 0.4) * rng.choice([-1, 1]) * minutes),
        eddy_hz=float(rng.uniform(1, 5)),
        residual_water=float(rng.uniform(0, 3)),
    )
    width = 7.0 * np.sqrt(protocol["spectrometer_frequency_mhz"] / 123.25) + float(rng.normal(0, 0.7))
    known = {name: c for name, c in signals.CONCENTRATIONS_MM.items() if name in basis.names}
    content = signals.brain_content(basis, known, linewidth=width, factor=session.factor, rng=rng)
    made = signals.simulate_session(content, acquisition, disturbances, rng)
    begin = datetime.datetime.combine(session.day, datetime.time()) + datetime.timedelta(seconds=session.first_s)
    stem = out / "raw"
    stem.mkdir(parents=True, exist_ok=True)
    for role, fid, start in (
        ("svs", made.fid, begin),
        ("mrsref", made.water_reference, begin - datetime.timedelta(minutes=2)),
    ):
        header = rawfiles.RawHeader(
            spectrometer_frequency=acquisition.spectrometer_frequency,
            dwell_time=acquisition.dwell_time,
            echo_time=protocol["echo_time_ms"] / 1e3,
            repetition_time=acquisition.repetition_time,
            excitations_per_frame=frame,
            start=start,
            patient_id=f"FAKE_ID_{session.participant}",
            sequence=protocol["sequence"],
        )
        rawfiles.write_siemens_twix(stem / f"{session.key}_{role}.dat", fid, header, role == "svs")
