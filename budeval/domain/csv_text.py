"""Tables as CSV that a spreadsheet shows as they are and runs nothing of.

Quoted as in RFC 4180, every text in quotes and every number without: so a line break of any kind within a
text stays in its cell. A text that a spreadsheet would take for a formula, also behind what it may leave
out, begins with a `'` (https://owasp.org/www-community/attacks/CSV_Injection).
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence

from budeval.domain.invisible import is_invisible

_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
"""How formulas begin; the last four are the wide forms of the first four."""
_SEPARATORS = ("\t", "\r")
"""OWASP names them, too, whatever follows."""


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A header and a line for each row; what a row lacks is empty, what it has beyond is left out."""
    text = io.StringIO()
    # Not QUOTE_MINIMAL: with it a carriage return would end the row.
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(safe_cell(column) for column in columns)
    for row in rows:
        writer.writerow([safe_cell(row.get(column)) for column in columns])
    return text.getvalue()


def safe_cell(value: object) -> str | int | float:
    """What stands in a cell: numbers as they are, all else as text; None and what is not finite are empty."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = str(value)
    return f"'{text}" if _may_be_run(text) else text


def _may_be_run(text: str) -> bool:
    first = next((character for character in text if not is_invisible(character)), "")
    return first in _FORMULA or text.startswith(_SEPARATORS)
