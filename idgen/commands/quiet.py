"""What libraries say while commands run."""

import logging
import sys
import warnings


def quieten() -> None:
    """Keeps libraries from reporting what is no news, so that our own lines are read."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    for text in (
        ".*args parameter is intended.*",
        ".*does not have many workers.*",
        ".*sync_dist=True.*",
        ".*LeafSpec.*",
        ".*in eval mode at the start of training.*",
        ".*custom batch sampler.*",
    ):
        warnings.filterwarnings("ignore", text)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "litlogger" not in record.getMessage()
    )
    # Without the place in the code, which tells users nothing.
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
