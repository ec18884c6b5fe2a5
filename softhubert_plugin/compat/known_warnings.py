"""Silences, by name, the warnings of fairseq 0.12 and torch that appear in every run and that no user can act on. All others are shown."""

from __future__ import annotations

import warnings

# (beginning of the message as a regular expression, category)
KNOWN = (
    (r"`?torch\.nn\.utils\.weight_norm`? is deprecated", UserWarning),
    (r"`?torch\.nn\.utils\.weight_norm`? is deprecated", FutureWarning),
    (r"`torch\.cuda\.amp\.(autocast|GradScaler)\(args\.\.\.\)` is deprecated", FutureWarning),
    # fairseq and torchaudio compile parts of themselves when they are imported.
    (r"`torch\.jit\.script` is deprecated", FutureWarning),
    # fairseq pins memory whether or not there is a GPU to copy to.
    (r"'pin_memory' argument is set as true but no accelerator is found", UserWarning),
)


def silence_known_warnings() -> None:
    """Add a filter for each of :data:`KNOWN`."""
    for message, category in KNOWN:
        warnings.filterwarnings("ignore", message=message, category=category)
