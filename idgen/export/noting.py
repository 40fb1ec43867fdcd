"""The note by which `idgen sample` knows an export of a run."""

from idgen import __version__
from idgen.export.exported_run import ExportedRun
from idgen.loaded.export_note import ExportNote


def note_for(run: ExportedRun, form: str, word: str) -> ExportNote:
    """What an export says of itself, for `idgen sample`.

    Args:
        run: That is exported.
        form: Name of the format.
        word: What stands for the subject in its files.
    """
    second = run.cast.second
    return ExportNote(
        version=__version__,
        format=form,
        word=word,
        class_noun=run.cast.first.class_noun,
        base=run.base,
        second=None if second is None else second.token,
        sampler=run.module.sampler.settings,
    )
