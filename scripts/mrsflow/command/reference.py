"""Pages of the documentation that are made from the code: keys of the configuration, metrics of quality."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from mrsflow import result_tables
from mrsflow.study.config import rule_of, schema
from mrsflow.study.metrics import TABLES
from mrsflow.study.quality_rules import limit_text

INTRODUCTION = """# Every key of the configuration

Made from `config/schemas/config.schema.yaml` by `make docs`. A key that is not here, or a value of the wrong kind,
stops a run before any job. Keys of `protocols` stand below a name of yours, as `protocols.siemens.echo_time_ms`.
"""
METRICS = """# Metrics of quality

Made from `scripts/mrsflow/tables.yaml` and the default of `quality.rules` by `make docs`. Any of these can stand in a
rule: `{level: block, metric: snr, worse: below, warn: 20, exclude: 10}`. A limit is exceeded when the value is worse; a
block or session that is excluded is in no model, one that is warned of stays. Of a metric that two tables have, that of
the first counts. All limits are decided before arms are
compared.
"""
LEVELS = {name: level for level, tables in TABLES.items() for name in tables}
"""Level of a rule that names a metric of a table."""


def metrics() -> str:
    """Page of all metrics: definition, unit, and the limits there are by default."""
    rules = {(rule["level"], rule["metric"]): rule for rule in rule_of("quality.rules")["default"]}
    lines, told = [METRICS], {level: set() for level in LEVELS.values()}
    for name, level in LEVELS.items():
        table = result_tables.tables()[name]
        lines += [f"## Of each {level}: `{table.file}`\n", "| metric | unit | definition | warned | excluded |"]
        lines.append("|---|---|---|---|---|")
        for metric, column in table.columns.items():
            rule = None if metric in told[level] else rules.get((level, metric))
            limits = [limit_text(rule, action) if rule else "" for action in ("warn", "exclude")]
            if column.type in ("number", "whole") or rule:
                lines.append(f"| `{metric}` | {column.unit} | {_cell(column.meaning)} | {' | '.join(limits)} |")
        told[level] |= set(table.columns)
        lines.append("")
    return "\n".join(lines)


def guide() -> str:
    """Page of all keys: a section for each at the top, a row for each key with type, default and meaning."""
    lines = [INTRODUCTION]
    for name, rule in schema("config")["properties"].items():
        lines += [f"## {name}\n", f"{_cell(rule.get('description', ''))}\n"]
        rows = [*_rows(name, rule)] if _inner(rule) else [_row(name, rule)]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _inner(rule: dict[str, Any]) -> dict[str, Any]:
    """Keys of a mapping, also of one that may be null or whose names the study gives."""
    if rule.get("type") == "array":
        return _inner(rule["items"]) if isinstance(rule.get("items"), dict) else {}
    found = dict(rule.get("properties", {}))
    for other in rule.get("anyOf", []):
        found |= other.get("properties", {})
    more = rule.get("additionalProperties")
    return found | ({"*": more} if isinstance(more, dict) else {})


def _rows(name: str, rule: dict[str, Any]) -> Iterator[str]:
    for key, own in _inner(rule).items():
        inner = _inner(own)
        if key != "*" or not inner:
            yield _row(f"{name}.{key}", own)
        yield from _rows(f"{name}.{key}" if key != "*" else f"{name}.NAME", own) if inner else ()


def _row(key: str, rule: dict[str, Any]) -> str:
    default = f"`{json.dumps(rule['default'], ensure_ascii=False)}`" if _short(rule) else ""
    default = "see the schema" if "default" in rule and not default else default or "needed where it applies"
    return (
        f"| `{key.replace('.*', '.NAME')}` | {_kind(rule)} | {_cell(default)} | {_cell(rule.get('description', ''))} |"
    )


def _short(rule: dict[str, Any]) -> bool:
    return "default" in rule and len(json.dumps(rule["default"])) < 90


def _kind(rule: dict[str, Any]) -> str:
    """Type, or the values there are."""
    if "enum" in rule:
        return ", ".join("null" if value is None else f"`{value}`" for value in rule["enum"])
    kinds = rule.get("type", "mapping or null" if "anyOf" in rule else "any")
    words = {
        "object": "mapping",
        "array": "list",
        "integer": "whole number",
        "string": "text",
        "boolean": "true or false",
    }
    return " or ".join(words.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    print({"configuration": guide, "quality": metrics}[sys.argv[1]](), end="")
