"""Quality tables and pictures of a processed session; `mrsflow.result_tables` says what each value is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrsflow import result_tables, water
from mrsflow.axes import ppm_axis, to_spectrum
from mrsflow.errors import InputError
from mrsflow.preprocessing import align, blocks, quality, referencing
from mrsflow.preprocessing.preprocess import Session, Settings, broadening

DRIFT_PARTS = 12
PICTURE_PPM = (0.0, 5.2)
IMAGE_PPM = (1.8, 3.5)
IMAGE_ROWS = 180


def block_rows(session: Session, settings: Settings, baseline: list[str]) -> list[dict[str, Any]]:
    """Row of each configured block that holds frames, in the order of the configuration.

    A block with too few good excitations has no values but a reason.
    """
    rows = []
    widths = dict(zip(session.made, broadening(session), strict=True))
    for number, (name, (start, end)) in enumerate(settings.bins.items()):
        own = session.assigned == number
        if not own.any():
            continue
        used = own & session.good
        row = {
            "block": name,
            "phase": "baseline" if name in baseline else "infusion",
            "onset_s": 60.0 * start,
            "duration_s": 60.0 * (end - start),
            "n_transients": int(session.times.excitations[used].sum()),
            "n_rejected": int(session.times.excitations[own & ~session.good].sum()),
            "centre_s": _mean_time(session, used) if used.any() else float("nan"),
        }
        row["rejected_fraction"] = row["n_rejected"] / (row["n_transients"] + row["n_rejected"])
        if number in session.made:
            position = session.made.index(number)
            row |= spectrum_values(session.averages[position], session.with_water[1 + position], session)
            row |= _spread(session, used)
            row |= {"linewidth_change_hz": float(widths[number]), "reason": ""}
        else:
            few = f"{row['n_transients']} good excitations, blocks.minimum_transients is {settings.minimum_transients}"
            row |= {"reason": few}
        rows.append(row)
    return rows


def _mean_time(session: Session, used: NDArray[np.bool_]) -> float:
    return float(np.average(session.times.centre_s[used], weights=session.times.excitations[used]))


def spectrum_values(
    fid: NDArray[np.complexfloating], with_water: NDArray[np.complexfloating], session: Session
) -> dict[str, Any]:
    """SNR, linewidth, residual water and lipid of a clean spectrum; NaN where its singlets cannot be fitted."""
    sampling = session.sampling
    sd, noise_range = quality.noise(fid, *sampling)
    values: dict[str, Any] = {"snr": float("nan"), "snr_definition": quality.snr_definition(noise_range)}
    names = ("linewidth_hz", "linewidth_ppm", "residual_water_ratio", "residual_water_after_ratio", "lipid_ratio")
    try:
        found = referencing.fit_singlets(fid, *sampling)
    except InputError:
        return values | dict.fromkeys(names, float("nan"))
    height = found.heights["tNAA"]
    before, after = (quality.peak_magnitude(f, *sampling, quality.WATER_PPM_RANGE) / height for f in (with_water, fid))
    lipid = quality.lipid_area(fid, *sampling) / found.areas["tNAA"]
    widths = (found.linewidth_hz, found.linewidth_hz / sampling[1])
    return values | {"snr": height / sd, **dict(zip(names, (*widths, before, after, lipid), strict=True))}


def _spread(session: Session, used: NDArray[np.bool_]) -> dict[str, float]:
    shift, phase = (values[used] for values in (session.registration.shift_hz, session.registration.phase_rad))
    spread = np.angle(np.exp(1j * phase) / np.exp(1j * phase).mean())
    freedom = min(1, len(shift) - 1)
    return {
        "shift_sd_hz": float(shift.std(ddof=freedom)),
        "phase_sd_deg": float(np.degrees(spread.std(ddof=freedom))),
    }


def frame_rows(session: Session, settings: Settings) -> list[dict[str, Any]]:
    """Row of each frame, in the order of acquisition."""
    found, times, names = session.registration, session.times, list(settings.bins)
    typical = np.median(found.amplitude)
    return [
        {
            "transient": n,
            "onset_s": float(times.onset_s[n]),
            "duration_s": float(times.duration_s[n]),
            "n_excitations": int(times.excitations[n]),
            "block": names[session.assigned[n]] if session.assigned[n] >= 0 else None,
            "shift_hz": float(found.shift_hz[n]),
            "phase_deg": float(np.degrees(found.phase_rad[n])),
            "amplitude": float(found.amplitude[n] / typical),
            "broadening_hz": float(found.broadening_hz[n] - np.median(found.broadening_hz)),
            "rejected": bool(session.reasons[n] != ""),
            "reason": str(session.reasons[n]) or None,
        }
        for n in range(len(times.onset_s))
    ]


def session_values(session: Session, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Values of the session's quality file; None where there is nothing to measure."""
    good, excitations = session.good, session.times.excitations
    weights = session.weights
    values = spectrum_values(session.mean, session.with_water[0], session)
    lipid = [row["lipid_ratio"] for row in rows if row["reason"] == "" and np.isfinite(row["lipid_ratio"])]
    reference = session.reference
    values = {
        "n_coils": 1 if weights is None else len(weights.weights),
        "coil_weights": None if weights is None else _shares(np.abs(weights.weights * weights.sensitivities)),
        "coil_snr_gain": None if weights is None else weights.snr_gain(),
        "n_frames": len(good),
        "n_transients": int(excitations[good].sum()),
        "n_rejected": int(excitations[~good].sum()),
        "rejected_fraction": float(excitations[~good].sum() / excitations.sum()),
        "drift_hz": _drift(session.registration.shift_hz[good]),
        "drift_after_hz": _drift_after(session),
        **_spread(session, good),
        **values,
        "lipid_range": max(lipid) - min(lipid) if lipid else None,
        "water_linewidth_hz": None
        if reference is None
        else referencing.water_linewidth(reference.fid, reference.dwell_time, reference.spectrometer_frequency),
        "shift_hz": session.singlets.shift_hz,
        "phase_deg": float(np.degrees(session.singlets.phase_rad)),
    }
    values = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in values.items()}
    definitions = {k: text["Description"] for k, text in result_tables.dictionary("session_quality", values).items()}
    return values | {"definitions": definitions}


def _shares(contributions: NDArray[np.floating]) -> list[float]:
    """Share of the combined signal that each coil gives."""
    return [float(share) for share in contributions / contributions.sum()]


def _drift(shift_hz: NDArray[np.floating]) -> float:
    from scipy.signal import savgol_filter

    width = min(align.NEIGHBOURS, len(shift_hz) - (len(shift_hz) + 1) % 2)
    return float(np.ptp(savgol_filter(shift_hz, width, 1) if width >= 3 else shift_hz))


def _drift_after(session: Session) -> float | None:
    """Range of the frequency of means over consecutive parts of the session; None with a single frame."""
    parts = np.array_split(np.flatnonzero(session.good), min(DRIFT_PARTS, int(session.good.sum())))
    if len(parts) < 2:
        return None
    excitations = session.times.excitations
    means = np.stack([excitations[part] @ session.fids[part] / excitations[part].sum() for part in parts])
    limits = align.window(session.scan.n_points, *session.sampling, referencing.SPAN_PPM)
    template = align.denoised(blocks.average(session.fids, excitations, session.good), session.sampling[0])
    still = np.zeros(len(means))
    return float(np.ptp(align.refine(means, template, limits, still, still, session.sampling[1]).shift_hz))


def pictures(session: Session) -> dict[str, NDArray]:
    """Arrays for pictures, all real and of 32 bits.

    Returns
    -------
    dict
        ``ppm (P)``; ``before, after (P)``: mean of all frames as acquired, and of the good ones aligned; ``blocks
        (B, P)``; ``with_water (P)``: mean before water removal; ``image_ppm (Q)``, ``image_before, image_after
        (R, Q)`` and ``image_minutes (R)``: frames in order of time, neighbours averaged; ``moving_minutes (M)``,
        ``moving (M, P)``: moving average of two minutes.
    """
    dwell_time, frequency = session.sampling
    axis = ppm_axis(session.scan.n_points, dwell_time, frequency)
    shown = (axis >= PICTURE_PPM[0]) & (axis <= PICTURE_PPM[1])
    fids, found = session.fids, session.registration
    if session.eddy_phase is not None:
        fids = water.correct_eddy_currents(fids, session.eddy_phase)
    centred = [found.shift_hz - np.median(found.shift_hz[session.good]), _turn(found.phase_rad, session.good)]
    before = align.apply(fids, *(-values for values in centred), dwell_time)
    share = session.times.excitations / session.times.excitations.sum()
    centres, moving = blocks.moving_average(fids, session.times, session.good, width_s=120.0, step_s=60.0)
    rows = np.array_split(np.arange(len(fids)), min(IMAGE_ROWS, len(fids)))
    part = (axis >= IMAGE_PPM[0]) & (axis <= IMAGE_PPM[1])
    image_before, image_after = (
        to_spectrum(np.stack([own[row].mean(axis=0) for row in rows])).real[:, part] for own in (before, fids)
    )
    arrays = {
        "ppm": axis[shown],
        "before": to_spectrum(share @ before).real[shown],
        "after": to_spectrum(blocks.average(fids, session.times.excitations, session.good)).real[shown],
        "with_water": to_spectrum(session.with_water[0]).real[shown],
        "blocks": to_spectrum(session.averages).real[:, shown],
        "image_ppm": axis[part],
        "image_before": image_before,
        "image_after": image_after,
        "image_minutes": np.array([session.times.centre_s[row].mean() / 60 for row in rows]),
        "moving_minutes": centres / 60,
        "moving": to_spectrum(moving).real[:, shown] if len(moving) else np.empty((0, int(shown.sum()))),
    }
    return {name: np.asarray(values, dtype=np.float32) for name, values in arrays.items()}


def _turn(phase_rad: NDArray[np.floating], good: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Phases relative to their mean direction."""
    return np.angle(np.exp(1j * phase_rad) / np.exp(1j * phase_rad[good]).mean())
