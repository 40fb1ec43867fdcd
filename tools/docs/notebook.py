"""Runs docs/notebook.ipynb while the documentation is built, and makes a page of it."""

import tempfile
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

NOTEBOOK = "notebook.ipynb"
SECONDS = 600


def on_files(files: Files, config: Any) -> Files:
    """A hook of mkdocs: adds notebook.md and its pictures to the site."""
    page, pictures = executed(Path(config.docs_dir) / NOTEBOOK)
    files.append(File.generated(config, "notebook.md", content=page))
    for name, content in pictures.items():
        files.append(File.generated(config, name, content=content))
    return files


def executed(path: Path) -> tuple[str, dict[str, bytes]]:
    """The notebook as Markdown, with what its cells put out, and its pictures by file name.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails, which stops the build.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=SECONDS, resources=resources).execute()
    for cell in notebook.cells:
        # Not what commands say of their progress and of this machine.
        cell["outputs"] = [one for one in cell.get("outputs", []) if one.output_type != "stream"]
    named = {"output_files_dir": "notebook_files", "unique_key": "notebook"}
    page, made = MarkdownExporter().from_notebook_node(notebook, resources=named)
    note = f"[This page as a notebook]({NOTEBOOK}). Its cells were run while this page was built.\n"
    title, rest = page.split("\n", 1)
    return f"{title}\n\n{note}\n{rest}", dict(made["outputs"])


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A hook of mkdocs: links to the notebook lead to its page, but for the page's own."""
    if page.file.src_uri == "notebook.md":
        return markdown
    return markdown.replace(f"({NOTEBOOK})", "(notebook.md)")
