"""What stands in the documentation and in the code at once must agree."""

import re

import yaml

from mrsflow.study import layout


def test_every_table_and_column_is_in_the_guide(root):
    guide = (root / "docs/tables.md").read_text(encoding="utf-8")
    columns = yaml.safe_load((root / "scripts/mrsflow/statistics/group_columns.yaml").read_text(encoding="utf-8"))
    for name, entry in columns.items():
        line = next((line for line in guide.splitlines() if line.startswith(f"| `{name}` |")), "")
        assert entry["Description"].replace("|", r"\|") in line, name
    for table in (*layout.GROUP_ALWAYS, *layout.GROUP_COMPARING, *layout.GROUP_SCORES, *layout.GROUP_MOOD):
        assert f"`{table}.tsv`" in guide, table


def test_every_module_is_on_the_map(root):
    guide = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_0-9]+)`", guide))
    modules = {path.stem for path in (root / "scripts/mrsflow").rglob("[a-z]*.py")}
    assert modules <= named, sorted(modules - named)


def test_links_of_the_readme_lead_somewhere(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (root / target).exists(), target
