"""What stands in the documentation and in the code at once must agree."""

import re

import pytest
import yaml

from mrsflow.command import reference
from mrsflow.study.config import schema


def test_every_module_is_on_the_map(root):
    guide = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_0-9]+)`", guide))
    modules = {path.stem for path in (root / "scripts/mrsflow").rglob("[a-z]*.py")}
    assert modules <= named, sorted(modules - named)


def test_links_of_the_readme_lead_somewhere(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (root / target).exists(), target


@pytest.mark.parametrize(("page", "made"), [("configuration", reference.guide), ("quality", reference.metrics)])
def test_pages_made_from_the_code_are_those_of_make_docs(root, page, made):
    assert (root / f"docs/{page}.md").read_text(encoding="utf-8") == made()


def test_every_key_of_the_configuration_has_its_row(root):
    """Looked up by a walk of its own through the schema."""

    def walk(name, rule):
        more = rule.get("additionalProperties")
        inner = rule.get("properties", {}) | ({"NAME": more} if isinstance(more, dict) else {})
        for key, own in inner.items():
            yield f"{name}.{key}" if name else key
            yield from walk(f"{name}.{key}" if name else key, own)

    text = (root / "docs/configuration.md").read_text(encoding="utf-8")
    keys = [key for key in walk("", schema("config")) if not key.endswith(".NAME")]
    assert len(keys) > 100
    sections = set(schema("config")["properties"])
    assert [key for key in keys if f"| `{key}` |" not in text and not (key in sections and f"## {key}" in text)] == []


def test_the_site_has_every_page_once_and_its_links_lead_somewhere(root):
    pages = sorted(path.name for path in (root / "docs").glob("*.md"))
    listed = re.findall(r"([\w-]+\.md)$", (root / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == pages
    assert yaml.safe_load((root / "mkdocs.yml").read_text())["theme"]["font"] is False
    for page in (root / "docs").glob("*.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
