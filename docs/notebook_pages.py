"""A hook of `mkdocs.yml`: each notebook is a page of the site too, as it was last run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FENCE = "````"  # longer than any in a notebook
# Between notebooks and to the pages beside them, as the files link to each other in the repository.
TO_NOTEBOOK, TO_PAGE = re.compile(r"\]\((\w+)\.ipynb\)"), re.compile(r"\]\(\.\./docs/")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the notebooks, and a page for each."""
    for notebook in sorted((Path(config.config_file_path).parent / "notebooks").glob("*.ipynb")):
        page = page_of(json.loads(notebook.read_text(encoding="utf-8")))
        page += f"\n\n---\n\nAs it was last run: [{notebook.name}]({notebook.name}).\n"
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=page))
        files.append(File.generated(config, f"notebooks/{notebook.name}", abs_src_path=str(notebook)))
    return files


def page_of(notebook: dict[str, Any]) -> str:
    """Return a notebook as Markdown.

    Example:
        >>> page_of({"cells": [{"cell_type": "markdown", "source": ["See [the next](02_next.ipynb)."]}]})
        'See [the next](02_next.md).'
    """
    blocks = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(TO_PAGE.sub("](../", TO_NOTEBOOK.sub(r"](\1.md)", source)))
        elif cell["cell_type"] == "code":
            blocks.append(f"{FENCE}python\n{source}\n{FENCE}")
            blocks += [_shown(output) for output in cell["outputs"]]
    return "\n\n".join(blocks)


def _shown(output: dict[str, Any]) -> str:
    """Return an output in the best form that it has."""
    if output["output_type"] == "stream":
        return f"{FENCE}text\n{''.join(output['text']).rstrip()}\n{FENCE}"
    if output["output_type"] == "error":
        return f"{FENCE}text\n{output['ename']}: {output['evalue']}\n{FENCE}"
    forms = {kind: "".join(lines) for kind, lines in output["data"].items()}
    if "image/png" in forms:
        picture = forms["image/png"].replace("\n", "")
        return f'<img src="data:image/png;base64,{picture}" alt="What the code above draws">'
    if "text/html" in forms:
        return forms["text/html"].replace(' border="1" class="dataframe"', "")  # so it looks like other tables
    return forms.get("text/markdown") or f"{FENCE}text\n{forms['text/plain']}\n{FENCE}"
