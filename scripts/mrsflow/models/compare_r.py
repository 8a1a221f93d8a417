"""The models of a study fitted by R as well, as a second opinion."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from mrsflow import files
from mrsflow.errors import InputError
from mrsflow.models import formula as formulas
from mrsflow.models.table_models import Model, describe_fit

SCRIPT = Path(__file__).resolve().parents[2] / "mixed_models.R"
QUANTITIES = ("estimate", "se", "df_satterthwaite", "p_satterthwaite", "se_kr", "df_kr", "p_kr")


def missing_r() -> str | None:
    """Why R cannot be asked: not installed, or a package is missing; None where it can."""
    if shutil.which("Rscript") is None:
        return "Rscript is not installed (Debian: r-base-core r-cran-lmertest r-cran-pbkrtest r-cran-jsonlite)"
    needed = ["lme4", "lmerTest", "pbkrtest", "jsonlite"]
    test = "; ".join(f'if (!requireNamespace("{name}", quietly=TRUE)) cat("{name} ")' for name in needed)
    done = subprocess.run(["Rscript", "-e", test], capture_output=True, text=True, check=False)
    if done.returncode or done.stdout.strip():
        return f"R lacks {done.stdout.strip() or 'something'}; install r-cran-<package>"
    return None


def fit_in_r(models: dict[str, Model]) -> dict[str, dict[str, Any]]:
    """Fit models with lmerTest and pbkrtest.

    Parameters
    ----------
    models : dict
        Name and fitted model.

    Returns
    -------
    dict
        For each name what `describe_fit` gives of ours.

    Raises
    ------
    InputError
        R or a package is missing, or R stopped.
    """
    if reason := missing_r():
        raise InputError(reason)
    with tempfile.TemporaryDirectory() as folder:
        asked = {}
        for i, (name, model) in enumerate(models.items()):
            path = Path(folder, f"table{i}.tsv")
            model.table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.17g")
            text = sorted({*formulas.labels(model.formula), *model.design.levels})
            asked[name] = {"table": str(path), "formula": model.formula, "levels": model.design.levels, "text": text}
        files.write_json(asked, Path(folder, "models.json"))
        results = Path(folder, "results.json")
        command = ["Rscript", "--vanilla", str(SCRIPT), str(Path(folder, "models.json")), str(results)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise InputError(f"R stopped: {lines[-1]}")
        return files.read_json(results)


def differences(models: dict[str, Model], found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """List how far the two are apart: estimates in standard errors, p absolute, the rest relative.

    Returns
    -------
    list of dict
        model, effect, quantity, ours, r, difference; the log-likelihood (absolute) once for each model.
    """
    rows = []
    for name, model in models.items():
        ours, theirs = describe_fit(model), found[name]
        rows.append(_row(name, "", "loglik", ours["loglik"], theirs["loglik"], 1.0))
        for effect, mine in ours["fixed"].items():
            for quantity in QUANTITIES:
                a, b = mine[quantity], theirs["fixed"][effect][quantity]
                unit = mine["se"] if quantity == "estimate" else 1.0 if quantity.startswith("p_") else abs(b)
                rows.append(_row(name, effect, quantity, a, b, unit))
    return rows


def _row(model: str, effect: str, quantity: str, ours: float, r: float, unit: float) -> dict[str, Any]:
    named = {"model": model, "effect": effect, "quantity": quantity, "ours": ours, "r": r}
    return named | {"difference": abs(ours - r) / unit}
