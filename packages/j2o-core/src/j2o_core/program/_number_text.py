"""Numbers of bytes and of elements, as people read them."""


def bytes_text(count: int) -> str:
    """A size in the unit that fits."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def counted(count: int, noun: str, several: str = "") -> str:
    """`1 node`, `2 nodes`; the plural where it is not the noun with an s."""
    return f"{count} {noun if count == 1 else several or noun + 's'}"


def count_text(count: int) -> str:
    """A number, in thousands, millions or billions where it is large."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)
