"""The pages for people: their snippets as files, and their tables.

    python guides.py python migrating DIRECTORY

writes the snippets of both pages into the directory.
"""

import contextlib
import importlib
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
SNIPPET = re.compile(r"<!-- snippet: (\S+) -->\n```python\n(.*?)```\n", flags=re.DOTALL)


def snippets(page):
    """The code of each block, by the name of its file."""
    text = (DOCS / f"{page}.md").read_text()
    found = SNIPPET.findall(text)
    assert len(found) == text.count("```python"), "a block of Python has no name"
    assert len(found) == len(dict(found)), "two blocks have one name"
    return dict(found)


def write_snippets(page, directory):
    for name, code in snippets(page).items():
        (directory / name).write_text(code)


def table(page, first):
    """The rows of the table whose head begins with this cell."""
    lines = (DOCS / f"{page}.md").read_text().splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(f"| {first} |")]
    rows = []
    for start in starts:
        for line in lines[start + 2 :]:
            if not line.startswith("|"):
                break
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


@contextlib.contextmanager
def imported(page, directory, name):
    """A snippet as a module, beside the others of its page."""
    write_snippets(page, directory)
    before = set(sys.modules)
    sys.path.insert(0, str(directory))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(directory))
        for file in snippets(page):
            module = file.removesuffix(".py")
            if module not in before:
                sys.modules.pop(module, None)


if __name__ == "__main__":
    *pages, where = sys.argv[1:]
    for each in pages:
        write_snippets(each, Path(where))
