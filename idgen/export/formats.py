"""The one place where names of the command line become formats."""

from idgen.export.diffusers_format import DiffusersFormat
from idgen.export.embeddings_format import EmbeddingsFormat
from idgen.export.format import ExportFormat
from idgen.export.fusion_format import FusionFormat
from idgen.export.kohya_format import KohyaFormat
from idgen.export.merged_format import MergedFormat

FORMATS: dict[str, ExportFormat] = {
    made.name: made
    for made in (
        DiffusersFormat(),
        KohyaFormat(),
        MergedFormat(),
        EmbeddingsFormat(),
        FusionFormat(),
    )
}
