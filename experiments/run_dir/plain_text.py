"""Text of a log or an error, without what a terminal would take for a command."""

import re

# Of a terminal: colours and moves (CSI), titles and links (OSC, which may be cut), other sequences.
SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]).*?(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain_text(text: str) -> str:
    """Without escape sequences, other control characters and changes of direction.

    Line ends and tabs stay.
    """
    return CONTROLS.sub("", SEQUENCES.sub("", text))
