"""What stands in the documentation and in the code at once must agree."""

import re


def test_every_module_is_on_the_map(root):
    guide = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_0-9]+)`", guide))
    modules = {path.stem for path in (root / "scripts/mrsflow").rglob("[a-z]*.py")}
    assert modules <= named, sorted(modules - named)


def test_links_of_the_readme_lead_somewhere(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (root / target).exists(), target
