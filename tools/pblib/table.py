# SPDX-License-Identifier: BSD-2-Clause
"""Plain text tables. Tested by tools/tests/test_stats_tool.py."""


def table(head, rows, left=1):
    """Lines of a table; the first `left` columns are text, the others numbers."""
    cells = [[str(x) for x in row] for row in [head] + list(rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = []
    for number, row in enumerate(cells):
        text = "  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths)))
        lines.append(text.rstrip())
        if number == 0:
            lines.append("-" * len(lines[0]))
    return lines
