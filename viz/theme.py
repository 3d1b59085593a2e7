"""Colours. Text has a contrast of at least 4.5:1, and no meaning hangs on colour alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """The colours of one drawing, as ``#rrggbb``."""

    background: str
    text: str
    line: str
    leaf: str
    interior: str
    result: str
    operation: str
    path: str  # what `highlight` marks, with a thicker line


THEMES = {
    "light": Theme("#ffffff", "#1b1f24", "#57606a", "#e3effd", "#f6f8fa", "#fff3c4", "#ffffff", "#c62828"),
    "dark": Theme("#16191d", "#e8ebee", "#9aa4af", "#1c3350", "#262b31", "#4a3b0a", "#16191d", "#ff8a80"),
    # Okabe and Ito, "Color Universal Design", 2008: sky blue, yellow, grey, lightened under the text.
    "colorblind": Theme("#ffffff", "#000000", "#4d4d4d", "#bfe3f7", "#f2f2f2", "#f7ef9e", "#ffffff", "#b34a00"),
}
