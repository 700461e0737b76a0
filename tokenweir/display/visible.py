"""Makes control characters visible, so that a terminal shows them instead of obeying. No I/O."""

from __future__ import annotations

__all__ = ["visible"]


def _controls() -> dict[int, str]:
    """What replaces each control character: pictures for C0, escapes for the rest."""
    table = {code: chr(0x2400 + code) for code in range(0x20)}
    table[0x7F] = "\u2421"
    invisible = [*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    table |= {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in invisible}
    table |= {code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)}
    del table[0x0A]
    # Models also end lines with CR LF. CR alone would let text overwrite itself.
    return table | {0x09: "    ", 0x0D: "", 0x2028: "\n", 0x2029: "\n"}


_CONTROLS = _controls()


def visible(text: str, encoding: str = "utf-8") -> str:
    """Replace everything that a terminal would interpret by something that it displays.

    These are control characters (escape sequences, backspace, bell), marks that change the
    direction of writing, and half surrogates. Characters that ``encoding`` lacks become escapes.
    """
    text = text.translate(_CONTROLS)
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        return text
    try:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:
        return text.encode("ascii", "backslashreplace").decode("ascii")
