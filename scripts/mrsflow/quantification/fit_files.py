"""Files of the fit: spectra and basis in, tables and arrays out, by hand and for a session of a study."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mrsflow import nifti_mrs, result_tables
from mrsflow.basis_sets import basis as basis_sets
from mrsflow.basis_sets import basis_formats
from mrsflow.basis_sets import macromolecules as broad
from mrsflow.errors import InputError
from mrsflow.files import atomic_path, read_table, write_table
from mrsflow.fitting import dynamic
from mrsflow.fitting.design import Design
from mrsflow.fitting.design import design as design_of
from mrsflow.fitting.fit import FitResult
from mrsflow.nifti_mrs import Scan
from mrsflow.quantification import fit_courses, fit_tables, fitters, quantify, tissue_files
from mrsflow.quantification.fit_courses import Courses
from mrsflow.quantification.fitters import Fitter, Request
from mrsflow.quantification.quantify import Scaling
from mrsflow.study import layout
from mrsflow.study.config import fitters_of
from mrsflow.study.session_facts import Facts


def fit_by_hand(
    spectra: Path,
    basis: Path,
    out: Path,
    reference: Path | None,
    model: str,
    design: Path | None,
    ppm: tuple[float, float],
    constants: str,
    constant: tuple[str, ...] = (),
    free: tuple[str, ...] = (),
    macromolecules: str | None = None,
    program: str = "mrsflow",
    follow: dict[str, list[str]] | None = None,
) -> dict[str, Any]:
    """Fit the spectra of one file; the options of ``scripts/fit_blocks.py``.

    Returns
    -------
    dict
        Curves of the spectra that could be fitted, as in ``desc-blocks_mrsfit.npz``, with their numbers (``spectra``).

    Raises
    ------
    InputError
        A file cannot be used, the options do not go together, or no spectrum can be fitted; nothing is written.
    """
    import pandas as pd

    scan, basis_set = nifti_mrs.read(spectra), broad.chosen(basis_formats.load(basis), macromolecules)
    if scan.size("DIM_COIL") > 1:
        raise InputError(
            f"{spectra}: has {scan.size('DIM_COIL')} coils (DIM_COIL), and a fit needs them combined: run "
            "preprocess_scan.py --spectra on it, and fit what that writes"
        )
    fids = scan.ordered("DIM_DYN")
    sessions, courses, labels = {str(index): [index] for index in range(len(fids))}, {}, {}
    if design is not None:
        listed = dynamic.read_design(read_table(design, ("session",)), str(design), len(fids))
        sessions = {label: list(map(int, part)) for label, part in listed.sessions.items()}
        courses, labels, spans = listed.courses, listed.labels, listed.spans
    elif model == "dynamic":
        raise InputError("--model dynamic needs --design: which spectra are blocks of one session, and the time models")
    scaling = None if reference is None else _scaling(reference, scan, basis_set, constants)
    fitter = fitters.make(program)
    results, terms_tables, problems = [], [], {}
    for label, indices in sessions.items():
        request = _request(fids[indices], scan, basis_set, ppm)
        try:
            if model == "dynamic":
                onset_s, duration_s = spans[indices].T
                own = Design(onset_s, duration_s, {name: course[indices] for name, course in courses.items()})
                found = fit_courses.fitted(fitter, request, own, constant, free, follow)
                baseline = labels["phase"][indices] == "baseline" if "phase" in labels else None
                terms_tables.append(fit_courses.table(label, found, onset_s, duration_s, baseline, scaling))
                result = found.result
            else:
                result = fitter(request)
            results.append((label, indices, _with_source(result, basis_set)))
        except fitters.fit.FitError as error:
            problems.update(dict.fromkeys(indices, str(error)))
        except InputError as error:
            raise InputError(f"{design or spectra}, session {label}: {error}") from None
    if not results:
        raise InputError(f"{spectra}: no spectrum could be fitted; the first: {next(iter(problems.values()))}")
    table, status = _tables(results, problems, scaling)
    if design is not None:
        label_of = {index: label for label, indices in sessions.items() for index in indices}
        for rows in (table, status):
            rows.insert(1, "session", rows["spectrum"].map(label_of))
            for place, (name, values) in enumerate(labels.items(), start=2):
                rows.insert(place, name, values[rows["spectrum"].to_numpy(int)])
    if model == "dynamic":
        terms = _with_labels(pd.concat(terms_tables, ignore_index=True), labels, sessions)
        write_table(terms, _beside(out, "terms"))
    write_table(status, _beside(out, "quality"))
    write_table(table, out)
    fitted = [indices for _, indices, _ in results]
    curves = fit_tables.arrays([result for _, _, result in results], fitted)
    return {**curves, "spectra": np.sort(np.concatenate(fitted))}


def _tables(
    results: list[tuple[str, list[int], FitResult]], problems: dict[int, str], scaling: Scaling | None
) -> tuple[Any, Any]:
    """Tables of amplitudes and of quality, in the order of the spectra; those with a problem have its reason alone."""
    import pandas as pd

    tables = [fit_tables.amplitudes(result, indices, scaling) for _, indices, result in results]
    judged = [fit_tables.quality(result, indices, scaling) for _, indices, result in results]
    tables += [_nothing(index, tables[0]) for index in problems]
    judged.append(pd.DataFrame({"spectrum": list(problems), "status": "failed", "reason": list(problems.values())}))

    def whole(parts: list[Any], columns: list[str]) -> Any:
        found = pd.concat([part.dropna(axis=1, how="all") for part in parts if len(part)], ignore_index=True)
        return found.reindex(columns=columns).sort_values("spectrum", kind="stable")

    status = whole(judged, fit_tables.quality_columns())
    return fit_tables.judged(whole(tables, fit_tables.amplitude_columns()), status), status


def _with_labels(terms: Any, labels: dict[str, Any], sessions: dict[str, list[int]]) -> Any:
    """Put labels of the design beside the session of a term, where all its spectra agree on them."""
    for name, values in labels.items():
        own = {label: set(values[indices]) for label, indices in sessions.items()}
        if all(len(found) == 1 for found in own.values()):
            terms.insert(1, name, terms["session"].map({label: min(found) for label, found in own.items()}))
    return terms


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.stem}_{what}.tsv")


def _nothing(index: int, like: Any) -> Any:
    """Rows of a spectrum that could not be fitted."""
    import pandas as pd

    names = like.loc[like["spectrum"] == like["spectrum"].iloc[0], "metabolite"]
    return pd.DataFrame({"spectrum": index, "metabolite": names})


def _request(fids: Any, scan: Scan, basis: Any, ppm: tuple[float, float]) -> Request:
    return Request(fids, scan.dwell_time, scan.spectrometer_frequency, scan.nucleus, basis, tuple(ppm))


def _with_source(result: FitResult, basis: basis_sets.Basis) -> FitResult:
    """Say among the constraints of a fit where macromolecules came from that were added to the basis set."""
    source = basis.description.partition("; macromolecules: ")[2]
    return replace(result, constraints=f"{result.constraints}; macromolecules: {source}") if source else result


def _scaling(reference: Path, scan: Scan, basis: basis_sets.Basis, constants: str, **voxel: Any) -> Scaling:
    water = nifti_mrs.read(reference)
    known = quantify.constants_at(constants, scan.spectrometer_frequency)
    sampled = basis_sets.match(basis, scan.spectrometer_frequency, scan.nucleus, scan.dwell_time, scan.n_points)
    try:
        return quantify.scaling(water, sampled, known, scan, **voxel)
    except InputError as error:
        raise InputError(f"{reference}: {error}") from None


def fit_session_files(
    key: str,
    written: list[Path],
    bases: dict[str, Path],
    config: dict[str, Any],
    macromolecules: Path | None = None,
    tissue: list[Path] | None = None,
    facts: Callable[[], Facts] | None = None,
    folder: Path | None = None,
) -> list[Path]:
    """Fit the blocks of one session of a study.

    Parameters
    ----------
    key : str
        ``sub-X_ses-Y``.
    written : list of Path
        What preprocessing wrote for it.
    bases : dict of str to Path
        Basis set of each of its protocols; a session has one.
    config : dict
        Section fit; with ``event``, time 0 of the blocks, where it has regressors.
    macromolecules : Path, optional
        Spectrum of macromolecules to add to the basis set.
    tissue : list of Path, optional
        Tables of what its voxels hold, none where they were not measured; None: the study has no maps of tissue.
    facts : callable, optional
        Gives what regressors are made of.
    folder : Path, optional
        Where to write, by default beside the blocks.

    Raises
    ------
    InputError
        No blocks, more than one protocol, or no block that can be fitted; names the file.
    """
    if len(bases) > 1:
        raise InputError(f"{key}: has metabolite scans of protocols {', '.join(sorted(bases))}; one session needs one")
    basis = basis_formats.load(next(iter(bases.values())))
    if macromolecules is not None:
        basis = broad.chosen(basis, str(macromolecules))
    programs = {name: fitters.make(name) for name in fitters_of({"fit": config})}
    made = []
    for path in sorted(file for file in written if file.name.endswith(f"_{layout.BLOCKS}")):
        try:
            made += _fit_one_file(path, written, basis, programs, config, tissue, facts, folder or path.parent)
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from None
    if not made:
        raise InputError(f"{key}: preprocessing left no blocks to fit")
    return made


def _fit_one_file(
    path: Path,
    written: list[Path],
    basis: basis_sets.Basis,
    programs: dict[str, Fitter],
    config: dict[str, Any],
    tissue: list[Path] | None,
    facts: Callable[[], Facts] | None,
    folder: Path,
) -> list[Path]:
    """Fit the blocks of one file with each program; what one beside the first cannot fit has failed for it alone."""
    scan = nifti_mrs.read(path)
    fids = scan.ordered("DIM_DYN")
    described = scan.dimension_header("DIM_DYN")
    request = _request(fids, scan, basis, config["ppm"])
    first, *others = programs
    if config["model"] == "dynamic":
        design = _design(config, described, facts)
        options = tuple(config["constant"]), tuple(config["free"]), config["follow"]
        found = fit_courses.fitted(programs[first], request, design, *options)
        with_notes = "; ".join([found.result.constraints, *design.notes])
        found = replace(found, result=replace(found.result, constraints=with_notes))
    else:
        result = programs[first](request)
        found = Courses(result, result)
    results = {None: _with_source(found.result, basis)}
    for name in others:
        try:
            results[name] = _with_source(programs[name](request), basis)
        except InputError as error:
            results[name] = _nothing_found(results[None], name, str(error))
    beginning = folder / path.name.removesuffix(f"_{layout.BLOCKS}")
    stem = beginning.name
    water = [file for file in written if file.name == f"{stem}_{layout.REFERENCE}"]
    scaling, unscaled = None, ""
    try:  # a fit without molar amounts is worth more than none
        if water:
            voxel = {"csf_corrected": config["csf_correction"], "alpha": config["alpha"], **_voxel(tissue, stem)}
            scaling = _scaling(water[0], scan, basis, config["constants"], **voxel)
    except InputError as error:
        unscaled = f"no molar amounts: {str(error).replace(str(water[0]), water[0].name)}"
    paths = []
    for name, result in results.items():
        compared = found.compared if name is None else {}
        paths += _write_fit(result, name, beginning, described, scaling, unscaled, compared)
    if scaling is not None:
        paths.append(layout.result(beginning, layout.CONSTANTS))
        table = fit_tables.constants(results[None], scaling)
        head = layout.SessionKey.of(stem)._asdict()
        result_tables.write(table.assign(**head), paths[-1])
    if all(name in described for name in ("onset_s", "duration_s", "phase")):
        spans = (np.array(described[name], float) for name in ("onset_s", "duration_s"))
        at = (*spans, np.array(described["phase"]) == "baseline", scaling)
        for name, result in results.items():
            own = found if name is None else Courses(result, result)
            terms = fit_courses.table(stem, own, *at)
            if len(terms) or name is not None:  # one that found nothing in a session is used for the others
                paths.append(layout.result(beginning, layout.of_fitter(layout.FIT_TERMS, name)))
                write_table(terms, paths[-1])
    return paths


def _voxel(tissue: list[Path] | None, stem: str) -> dict[str, Any]:
    """Give what is known of the voxel of a series, for its amounts; nothing where the study has no maps of tissue.

    Raises
    ------
    InputError
        The study has maps, and the tissue of this voxel is not known: amounts by assumed fractions would not compare.
    """
    if tissue is None:
        return {}
    held = tissue_files.held_by(tissue, stem)
    if held.fractions is None:
        raise InputError(held.problem)
    return {"fractions": held.fractions, "tissue": held.source}


def _write_fit(
    result: FitResult,
    name: str | None,
    beginning: Path,
    described: dict[str, Any],
    scaling: Scaling | None,
    said: str,
    compared: dict[str, Any],
) -> list[Path]:
    """Write tables, curves and the words of a program; `name`: of one beside the first; `said`: why without molar."""
    spectra = list(range(len(result.amplitudes)))
    endings = (layout.FIT, layout.FIT_QUALITY, layout.FIT_CURVES, *((layout.FIT_FILES,) if result.files else ()))
    paths = [layout.result(beginning, layout.of_fitter(ending, name)) for ending in endings]
    quality = fit_tables.quality(result, spectra, scaling, said)
    table = fit_tables.judged(fit_tables.amplitudes(result, spectra, scaling), quality)
    write_table(_with_blocks(table, beginning.name, described), paths[0])
    write_table(_with_blocks(quality, beginning.name, described), paths[1])
    _write_arrays({**fit_tables.arrays([result], [spectra]), **compared}, paths[2])
    if result.files:
        _write_files(result.files, paths[3])
    return paths


def _nothing_found(like: FitResult, name: str, reason: str) -> FitResult:
    """Give the result of a program that found nothing in any block, with the signals of one that did."""
    blank = {key: np.full_like(getattr(like, key), np.nan) for key in ("fit", "baseline", "components", "amplitudes")}
    n_blocks, m = like.amplitudes.shape
    joint = None if like.joint_covariance is None else np.full_like(like.joint_covariance, np.nan)
    return replace(
        like, **blank, joint_covariance=joint, block_covariance=np.full((n_blocks, m, m), np.nan),
        quality=[{}] * n_blocks, constraints=f"{name}: nothing was fitted",
        coefficients=blank["amplitudes"].ravel(), terms=(), problems=(reason,) * n_blocks,
        doubts=("",) * n_blocks, files={},
    )  # fmt: skip


def _design(config: dict[str, Any], described: dict[str, Any], facts: Callable[[], Facts] | None) -> Design:
    """Regressors of the blocks of a session."""
    if missing := [name for name in ("onset_s", "duration_s") if name not in described]:
        raise InputError(f"the dimension header of the blocks has no {missing[0]}, which a dynamic fit needs")
    spans = np.array(described["onset_s"], float), np.array(described["duration_s"], float)
    if not config["regressors"]:
        model = config["time_model"]
        return Design(*spans, {model: dynamic.course(model, *spans, 60 * config["rise_min"])})
    names = [str(name) for name in described.get("block", range(len(spans[0])))]
    return design_of(config["regressors"], config["event"], *spans, facts(), names)


def _with_blocks(table: Any, stem: str, described: dict[str, Any]) -> Any:
    """Put what belongs to a block before its rows: participant, session, and what the dimension header says."""
    spectrum = table["spectrum"].to_numpy()
    participant, session = layout.SessionKey.of(stem)
    table.insert(0, "participant", participant)
    table.insert(1, "session", session)
    for place, name in enumerate(("block", "phase", "onset_s", "duration_s", "n_transients", "n_rejected"), start=2):
        values = described.get(name)
        table.insert(place, name, np.nan if values is None else np.array(values, dtype=object)[spectrum])
    return table


def _write_files(files: dict[str, bytes], path: Path) -> None:
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # without a date: the same bytes


def _write_arrays(arrays: dict[str, Any], path: Path) -> None:
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)
