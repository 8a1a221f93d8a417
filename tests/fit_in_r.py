"""Formulas fitted by lmerTest and pbkrtest, for the tests of the mixed-model core."""

import subprocess
import tempfile
from pathlib import Path

from mrsflow import files
from mrsflow.models import formula as formulas
from mrsflow.models.table_models import describe_fit

SCRIPT = Path(__file__).parent / "validation" / "mixed_models.R"
QUANTITIES = ("estimate", "se", "df_satterthwaite", "p_satterthwaite", "se_kr", "df_kr", "p_kr")
LIMITS = {"loglik": 1e-8, "df_satterthwaite": 1e-5, "df_kr": 1e-5}  # everything else 1e-6


def differences(models):
    """Model, effect, quantity and how far ours and R's are apart: estimates in standard errors, p absolute."""
    with tempfile.TemporaryDirectory() as folder:
        asked = {}
        for i, (name, model) in enumerate(models.items()):
            path = Path(folder, f"table{i}.tsv")
            model.table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.17g")
            text = sorted({*formulas.labels(model.formula), *model.design.levels})
            asked[name] = {"table": str(path), "formula": model.formula, "levels": model.design.levels, "text": text}
        files.write_json(asked, Path(folder, "models.json"))
        command = ["Rscript", "--vanilla", str(SCRIPT), "models.json", "results.json"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        found = files.read_json(Path(folder, "results.json"))
    for name, model in models.items():
        ours, theirs = describe_fit(model), found[name]
        yield name, "", "loglik", abs(ours["loglik"] - theirs["loglik"])
        for effect, mine in ours["fixed"].items():
            for quantity in QUANTITIES:
                a, b = mine[quantity], theirs["fixed"][effect][quantity]
                unit = mine["se"] if quantity == "estimate" else 1.0 if quantity.startswith("p_") else abs(b)
                yield name, effect, quantity, abs(a - b) / unit
