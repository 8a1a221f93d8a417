"""The sessions and tables of a simulated trial as files: raw data, configuration, and the truth beside them.

Each session has its own seed and is written by itself, so that an interrupted run resumes and the number of
processes does not matter. The truth is for people and tests; no stage of the workflow reads it:

- ``truth/trial.json``: what the analysis should find (`mrsflow.simulation.trial_simulation.summarise`), settings, seed;
- ``truth/blocks.tsv``: per block the true concentrations (mM), ratios and linewidth (Hz);
- ``truth/sessions/S.json`` and ``S_excitations.tsv``: per session what was drawn for it, and the frequency, phase,
  amplitude, broadening and corruption of each excitation.
"""

import datetime
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow.basis_sets.basis import Basis
from mrsflow.errors import InputError
from mrsflow.files import checksum, digest_of, read_json, write_json, write_table, write_text
from mrsflow.simulation import head, rawfiles, simulate, trial_anatomy, trial_simulation
from mrsflow.simulation.trial_anatomy import TO_MNI
from mrsflow.simulation.trial_simulation import BLOCKS, EXCITATIONS_PER_BLOCK, REPETITION_TIME, Trial
from mrsflow.study.layout import SessionKey

ECHO_TIME = 0.03
N_POINTS = 2048
EXCITATIONS_AVERAGED = 8
REFERENCE_EXCITATIONS = 16
SNR_ACQUISITION = 1.024
"""Acquisition time (s) for which the SNR of the settings holds; noise per hertz is the same for all vendors."""
FIRST_DAY = datetime.date(2030, 1, 7)


@dataclass(frozen=True)
class Vendor:
    """How the scanners of a vendor sample: MHz, s."""

    spectrometer_frequency: float
    dwell_time: float
    averaged: bool = False


VENDORS = {
    "ge": Vendor(127.73, 1 / 2000),
    "siemens": Vendor(123.25, 1 / 4000),
    "philips": Vendor(127.75, 1 / 2000, averaged=True),  # exported as one combined spectrum a block
}


@dataclass(frozen=True)
class SessionTask:
    """One session to write."""

    plan: dict[str, Any]
    settings: dict[str, Any]
    seed: tuple[int, int]
    averaged: int
    basis: Basis
    start: datetime.datetime
    out: Path
    anatomy: bool = False

    @property
    def key(self) -> str:
        """Name of the session, ``sub-X_ses-Y``."""
        return str(SessionKey(self.plan["participant"], self.plan["session"]))

    @property
    def head(self) -> head.Head | None:
        """Head of the participant at this visit, where the trial has images."""
        return trial_anatomy.head_of(self.plan["participant"], self.plan["visit"]) if self.anatomy else None

    @property
    def images(self) -> dict[str, list[str]]:
        """Images by role, relative to the trial's folder; none where the trial has none."""
        return trial_anatomy.names(self.plan["participant"], f"raw/{self.key}") if self.anatomy else {}

    @property
    def file_start(self) -> datetime.datetime:
        """First excitation of the raw file: GE acquires its unsuppressed water in it, before the metabolites."""
        lead = rawfiles.GE_REFERENCE_EXCITATIONS * REPETITION_TIME if self.plan["vendor"] == "ge" else 0.0
        return self.start - datetime.timedelta(seconds=lead)

    @property
    def digest(self) -> str:
        """Changes with anything that changes the files: plan, settings, seed, basis, code."""
        package = Path(__file__).parent
        modules = ("simulate", "rawfiles", "trial_simulation", "trial_files", "trial_anatomy", "head")
        code = [checksum(package / f"{name}.py") for name in modules]
        signals = [digest_of(self.basis.names), *np.abs(self.basis.fids).sum(axis=1).tolist()]
        return digest_of(
            [self.plan, self.settings, self.seed, self.averaged, str(self.start), self.anatomy, signals, code]
        )


def write_trial(
    trial: Trial,
    out: Path,
    settings: dict[str, Any],
    seed: int,
    single_transients: bool = False,
    cores: int = 1,
    anatomy: bool = False,
) -> None:
    """Write the files of a trial; sessions that stand complete are left alone.

    Parameters
    ----------
    trial : Trial
    out : Path
        Gets ``raw/``, ``config/`` and ``truth/``.
    settings : dict
        Complete, see `trial_simulation.checked_settings`.
    seed : int
    single_transients : bool
        Store every excitation instead of means of eight.
    cores : int
        Processes; the files do not depend on it.
    anatomy : bool
        T1-weighted images too, with maps of tissue for most participants.
    """
    averaged = 1 if single_transients else EXCITATIONS_AVERAGED
    bases = {vendor: vendor_basis(vendor) for vendor in sorted({plan["vendor"] for plan in trial.plans})}
    tasks = []
    for index, plan in enumerate(trial.plans):
        day = FIRST_DAY + datetime.timedelta(days=7 * (index // 2))
        if plan["visit"] == 2:
            day += datetime.timedelta(days=int(trial.sessions["gap_days"].iloc[index]))
        minutes = plan["infusion_start"] - trial_simulation.BLOCK_MINUTES
        start = datetime.datetime.combine(day, datetime.time(minutes // 60, minutes % 60))
        tasks.append(
            SessionTask(plan, settings, (seed, index + 1), averaged, bases[plan["vendor"]], start, out, anatomy)
        )
    _write_tables(trial, tasks, out)
    open_tasks = [task for task in tasks if not _stands(task)]
    _progress(len(tasks) - len(open_tasks), len(tasks))
    if cores > 1 and len(open_tasks) > 1:
        with ProcessPoolExecutor(min(cores, len(open_tasks))) as pool:
            for number, _ in enumerate(pool.map(write_session, open_tasks), 1 + len(tasks) - len(open_tasks)):
                _progress(number, len(tasks))
    else:
        for number, task in enumerate(open_tasks, 1 + len(tasks) - len(open_tasks)):
            write_session(task)
            _progress(number, len(tasks))


def _progress(done: int, total: int) -> None:
    print(f"simulated sessions: {done} of {total}", file=sys.stderr, flush=True)


def vendor_basis(vendor: str) -> Basis:
    """Simulate the basis set of a vendor's protocol."""
    from mrsflow.basis_sets import sequences

    return sequences.simulate(
        sequences.Sequence("press", ECHO_TIME),
        VENDORS[vendor].spectrometer_frequency,
        metabolites=tuple(simulate.CONCENTRATIONS_MM),
        dwell_time=VENDORS[vendor].dwell_time,
        n_points=N_POINTS,
    )


def session_content(task: SessionTask, rng: np.random.Generator) -> simulate.Content:
    """Make the signals of a session."""
    plan = task.plan
    concentrations = {
        **plan["concentrations_mM"],
        "Glu": simulate.CONCENTRATIONS_MM["Glu"],
        "Gln": simulate.CONCENTRATIONS_MM["Gln"],
    }
    return simulate.brain_content(
        task.basis,
        concentrations,
        linewidth=plan["linewidth_hz"],
        factor=trial_simulation.glx_factor(plan, task.settings),
        narrowing_hz=trial_simulation.narrowing(plan, task.settings),
        lipid_mM=plan["lipid_mM"],
        rng=rng,
    )


def simulate_planned(task: SessionTask) -> simulate.SimulatedSession:
    """Simulate a session of the trial."""
    rng = np.random.default_rng(np.random.SeedSequence(task.seed))
    plan, settings, vendor = task.plan, task.settings, VENDORS[task.plan["vendor"]]
    averaged = EXCITATIONS_AVERAGED if vendor.averaged else task.averaged
    acquisition = simulate.Acquisition(
        spectrometer_frequency=vendor.spectrometer_frequency,
        dwell_time=vendor.dwell_time,
        n_points=N_POINTS,
        n_frames=len(BLOCKS) * EXCITATIONS_PER_BLOCK // averaged,
        excitations_per_frame=averaged,
        n_coils=int(settings["n_coils"]),
        n_reference=REFERENCE_EXCITATIONS // averaged,
        repetition_time=REPETITION_TIME,
    )
    disturbances = simulate.Disturbances(
        snr=settings["block_snr"] * np.sqrt(SNR_ACQUISITION / (N_POINTS * vendor.dwell_time) / EXCITATIONS_PER_BLOCK),
        **{name: plan[name] for name in ("offset_hz", "drift_hz", "eddy_hz", "residual_water")},
        **{name: settings[name] for name in ("wander_hz", "jitter_hz", "jitter_deg", "corrupted_fraction")},
    )
    content = session_content(task, rng)
    if fractions := held_by_voxel(task):
        water = trial_anatomy.water_mM(fractions, vendor.spectrometer_frequency, ECHO_TIME, REPETITION_TIME)
        content = replace(content, water_mM=water)
    return simulate.simulate_session(content, acquisition, disturbances, rng)


def held_by_voxel(task: SessionTask) -> dict[str, float]:
    """Fractions of tissue in the voxel of a session; none where the trial has no images."""
    own = task.head
    return {} if own is None else trial_anatomy.held(own, rawfiles.voxel_affine(raw_header(task, 1, task.start)))


def write_session(task: SessionTask) -> None:
    """Simulate and write one session: raw files, truth per excitation, and last the record that it stands."""
    session = simulate_planned(task)
    names = raw_names(task)
    for name in names:
        (task.out / name).parent.mkdir(parents=True, exist_ok=True)
    _WRITERS[task.plan["vendor"]](session, task, [task.out / name for name in names])
    if (own := task.head) is not None:
        trial_anatomy.write(own, task.images, task.out, np.random.default_rng(np.random.SeedSequence([*task.seed, 1])))
    _write_excitations(session, task)
    sizes = {path.relative_to(task.out).as_posix(): path.stat().st_size for path in _files(task)}
    truth = {
        "plan": task.plan,
        "tissue": held_by_voxel(task),
        "coil_sensitivities": {
            "real": session.sensitivities.real.tolist(),
            "imag": session.sensitivities.imag.tolist(),
        },
    }
    write_json({"digest": task.digest, "files": sizes, **truth}, _record(task))


def _files(task: SessionTask) -> list[Path]:
    names = raw_names(task)
    if task.plan["vendor"] == "philips":
        names = names + [name.replace(".SDAT", ".SPAR") for name in names]
    return [task.out / name for name in (*names, *(name for own in task.images.values() for name in own))]


def _record(task: SessionTask) -> Path:
    return task.out / "truth" / "sessions" / f"{task.key}.json"


def _stands(task: SessionTask) -> bool:
    """Whether the session was written whole, from the same plan by the same code."""
    try:
        record = read_json(_record(task))
    except InputError:
        return False
    files = record.get("files", {})
    return record.get("digest") == task.digest and all(
        (task.out / name).is_file() and (task.out / name).stat().st_size == size for name, size in files.items()
    )


def raw_names(task: SessionTask) -> list[str]:
    """Raw files of a session relative to the trial's folder, as the vendor names them; the water reference last."""
    folder = f"raw/{task.key}"
    number = int(task.plan["participant"]) * 10 + task.plan["visit"]
    if task.plan["vendor"] == "ge":
        return [f"{folder}/P{number:05d}.7"]
    if task.plan["vendor"] == "siemens":
        return [f"{folder}/meas_MID{number:05d}_ACC_PRESS{part}.dat" for part in ("", "_WREF")]
    return [f"{folder}/ACC_PRESS_{part}.SDAT" for part in (*range(1, len(BLOCKS) + 1), "REF")]


def raw_header(task: SessionTask, excitations_per_frame: int, start: datetime.datetime) -> rawfiles.RawHeader:
    """Make up what the scanner would note; the person is fictional."""
    plan, vendor = task.plan, VENDORS[task.plan["vendor"]]
    return rawfiles.RawHeader(
        spectrometer_frequency=vendor.spectrometer_frequency,
        dwell_time=vendor.dwell_time,
        echo_time=ECHO_TIME,
        repetition_time=REPETITION_TIME,
        excitations_per_frame=excitations_per_frame,
        start=start,
        voxel_position=tuple(plan["voxel_position"]),
        voxel_rotation_deg=plan["voxel_rotation_deg"],
        patient_name=f"FICTIONAL^PERSON{plan['participant']}",
        patient_id=f"FAKE_ID_{plan['participant']}",
        birth_date="19000101",
        sex=plan["sex"],
        weight=plan["weight"],
    )


def _write_ge(session: simulate.SimulatedSession, task: SessionTask, paths: list[Path]) -> None:
    header = raw_header(task, session.acquisition.excitations_per_frame, task.file_start)
    rawfiles.write_ge_pfile(paths[0], session.fid, session.water_reference, header)


def _write_siemens(session: simulate.SimulatedSession, task: SessionTask, paths: list[Path]) -> None:
    averaged = session.acquisition.excitations_per_frame
    before = task.start - datetime.timedelta(minutes=2)
    rawfiles.write_siemens_twix(paths[0], session.fid, raw_header(task, averaged, task.start))
    rawfiles.write_siemens_twix(paths[1], session.water_reference, raw_header(task, averaged, before), False)


def _write_philips(session: simulate.SimulatedSession, task: SessionTask, paths: list[Path]) -> None:
    blocks = scanner_average(session.fid, session, len(BLOCKS))
    for number, (path, fid) in enumerate(zip(paths[:-1], blocks, strict=True)):
        begin = task.start + datetime.timedelta(seconds=number * EXCITATIONS_PER_BLOCK * REPETITION_TIME)
        rawfiles.write_philips_sdat(path, fid, raw_header(task, EXCITATIONS_PER_BLOCK, begin))
    before = task.start - datetime.timedelta(minutes=2)
    reference = scanner_average(session.water_reference, session, 1)[0]
    rawfiles.write_philips_sdat(paths[-1], reference, raw_header(task, REFERENCE_EXCITATIONS, before))


_WRITERS = {"ge": _write_ge, "siemens": _write_siemens, "philips": _write_philips}


def scanner_average(fid: NDArray, session: simulate.SimulatedSession, n_blocks: int) -> NDArray[np.complexfloating]:
    """Average (coils, frames, points) to (blocks, points) like a scanner.

    Coils are combined, with the phase of the first; nothing is aligned, nothing is rejected.
    """
    phase = np.exp(1j * np.angle(session.sensitivities[0]))
    frames = np.tensordot(phase * session.coil_weights, fid, axes=1)
    return frames.reshape(n_blocks, -1, frames.shape[-1]).mean(axis=1)


def _write_excitations(session: simulate.SimulatedSession, task: SessionTask) -> None:
    import pandas as pd

    columns = ("shift_hz", "phase_deg", "amplitude", "broadening_hz", "corrupted")
    table = pd.DataFrame({name: getattr(session, name) for name in columns}).round(5)
    table.insert(0, "onset_s", session.acquisition.excitation_times)
    write_table(table.astype({"corrupted": int}), task.out / "truth" / "sessions" / f"{task.key}_excitations.tsv")


def _write_tables(trial: Trial, tasks: list[SessionTask], out: Path) -> None:
    import pandas as pd

    samples = pd.DataFrame([row for task in tasks for row in _sample_rows(task)])
    vendors = sorted({task.plan["vendor"] for task in tasks})
    config = _config_text(vendors, tasks[0].averaged, out, 4 if len(tasks) >= 32 else 1, tasks[0].anatomy)
    summary = {**trial.summary, "settings": tasks[0].settings, "seed": tasks[0].seed[0]}
    _refresh(out / "config" / "samples.tsv", write_table, samples)
    _refresh(out / "config" / "participants.tsv", write_table, trial.participants)
    _refresh(out / "config" / "sessions.tsv", write_table, trial.sessions)
    _refresh(out / "config" / "config.yaml", write_text, config)
    _refresh(out / "truth" / "blocks.tsv", write_table, trial.blocks)
    _refresh(out / "truth" / "trial.json", write_json, summary)


def _refresh(path: Path, write: Callable[[Any, Path], None], content: Any) -> None:
    """Write a file, or leave it alone with its time where nothing in it would change."""
    fresh = path.with_name(f".new-{path.name}")
    write(content, fresh)
    if path.is_file() and path.read_bytes() == fresh.read_bytes():
        fresh.unlink()
    else:
        fresh.replace(path)


def _sample_rows(task: SessionTask) -> list[dict[str, Any]]:
    plan = task.plan
    common = {"participant": plan["participant"], "session": plan["session"], "task": "ketamine"}
    common |= {"condition": plan["arm"], "protocol": plan["vendor"]}
    names = raw_names(task)
    n_svs = {"ge": 1, "siemens": 1, "philips": len(BLOCKS)}[plan["vendor"]]
    rows = []
    for number, name in enumerate(names):
        svs = number < n_svs
        begin = task.file_start + datetime.timedelta(seconds=number * EXCITATIONS_PER_BLOCK * REPETITION_TIME)
        rows.append(
            {
                **common,
                "role": "svs" if svs else "mrsref",
                "run": str(number + 1) if svs and n_svs > 1 else None,
                "raw": f"../{name}",
                "start_time": f"{begin:%H:%M:%S}" if svs else None,
            }
        )
    for role, files in task.images.items():
        raw = " | ".join(f"../{name}" for name in files)
        rows.append({"participant": plan["participant"], "session": plan["session"], "role": role, "raw": raw})
    return rows


def _config_text(vendors: list[str], averaged: int, out: Path, batch_size: int, anatomy: bool) -> str:
    import yaml

    protocols = {
        name: {
            "sequence": "press",
            "preset": "ideal",
            "echo_time_ms": 1000 * ECHO_TIME,
            "repetition_time_ms": 1000 * REPETITION_TIME,
            "spectrometer_frequency_mhz": VENDORS[name].spectrometer_frequency,
            "excitations_per_frame": EXCITATIONS_PER_BLOCK if VENDORS[name].averaged else averaged,
            "coils": "combined" if VENDORS[name].averaged else "uncombined",
        }
        for name in vendors
    }
    length = trial_simulation.BLOCK_MINUTES
    content: Mapping[str, Any] = {
        "study": {
            "name": "Simulated trial of ketamine after naltrexone or placebo",
            "design": "crossover",
            "conditions": list(trial_simulation.ARMS),
            "freeze": True,
        },
        "inputs": {
            name: (out / "config" / f"{name}.tsv").as_posix() for name in ("samples", "participants", "sessions")
        }
        | ({"to_template": (out / "raw/sub-PARTICIPANT_ses-SESSION" / TO_MNI).as_posix()} if anatomy else {}),
        "output": (out / "results").as_posix(),
        "batch_size": batch_size,
        "protocols": protocols,
        "blocks": {
            "event": "infusion",
            "bins": {name: [(i - 1) * length, i * length] for i, name in enumerate(BLOCKS)},
            "baseline": ["baseline"],
        },
        "group": {"moderators": ["sex"]},
    }
    title = "# Configuration of the simulated trial. Paths are relative to the folder Snakemake runs in.\n"
    return title + yaml.safe_dump(dict(content), sort_keys=False, default_flow_style=None, width=110)
