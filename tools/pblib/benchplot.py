# SPDX-License-Identifier: BSD-2-Clause
"""Two plots as SVG: bars of the ratio by operation, and lines of a cost against the number of CPUs.
Tested by tools/tests/test_bench.py."""
import math
from xml.sax.saxutils import escape

COLOURS = ["#4878a8", "#d1605e", "#6a9f58", "#967662", "#a87c9f", "#e7ca60", "#5b8f8f", "#f1a2a9"]
FONT = 'font-family="sans-serif" font-size="12"'


class Canvas:
    def __init__(self, width, height, title):
        self.parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">'
                      % (width, height, width, height), '<rect width="100%" height="100%" fill="white"/>']
        self.text(10, 20, title, weight="bold")

    def text(self, x, y, words, anchor="start", weight="normal"):
        self.parts.append('<text x="%.1f" y="%.1f" %s text-anchor="%s" font-weight="%s">%s</text>'
                          % (x, y, FONT, anchor, weight, escape(words)))

    def line(self, x1, y1, x2, y2, colour="#cccccc", width=1.0, dashed=False):
        self.parts.append('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%.1f"%s/>'
                          % (x1, y1, x2, y2, colour, width, ' stroke-dasharray="6 4"' if dashed else ""))

    def rect(self, x, y, width, height, colour, tip):
        self.parts.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s</title></rect>'
                          % (x, y, max(width, 0.5), height, colour, escape(tip)))

    def save(self, path):
        with open(path, "w", encoding="ascii", errors="xmlcharrefreplace") as f:
            f.write("\n".join(self.parts + ["</svg>"]) + "\n")


def ticks(low, high):
    """1, 2, 5, 10, ... that cover low..high, for a logarithmic axis."""
    found, value = [], 10.0 ** math.floor(math.log10(low))
    while not found or found[-1] < high:
        for step in (1, 2, 5):
            if value * step >= low / 2 and (not found or found[-1] < high):
                found.append(value * step)
        value *= 10
    return found


def bars(path, title, rows):
    """rows: (label, ratio, bound or None); one horizontal bar each, the bound as a mark."""
    rows = [r for r in rows if r[1]]
    if not rows:
        return
    left, width, each = 130, 560, 18
    canvas = Canvas(left + width + 90, 60 + each * len(rows), title)
    values = [r[1] for r in rows] + [r[2] for r in rows if r[2]] + [1.0]
    marks = ticks(min(values), max(values))
    low, high = math.log(marks[0]), math.log(marks[-1])

    def at(value):
        return left + width * (math.log(value) - low) / (high - low)

    for mark in marks:
        canvas.line(at(mark), 30, at(mark), 36 + each * len(rows), "#888888" if mark == 1 else "#dddddd")
        canvas.text(at(mark), 50 + each * len(rows), "%g" % mark, "middle")
    for i, (label, ratio, bound) in enumerate(rows):
        y = 34 + i * each
        canvas.text(left - 6, y + 11, label, "end")
        start = at(1)
        missed = bound and ratio > bound
        canvas.rect(min(start, at(ratio)), y, abs(at(ratio) - start), each - 5, COLOURS[1 if missed else 0],
                    "%s: %.2f%s" % (label, ratio, ", target %.2f" % bound if bound else ""))
        canvas.text(max(at(ratio), start, at(bound) if bound else 0) + 5, y + 11, "%.2f" % ratio)
        if bound:
            canvas.line(at(bound), y - 2, at(bound), y + each - 3, "black", 2)
    canvas.save(path)


def lines(path, title, series):
    """series: "what, who" -> [(cpus, value)]; a colour for each what, dashes for the first who. Both axes logarithmic."""
    points = [p for line in series.values() for p in line if p[1] > 0]
    if not points:
        return
    left, top, width, height = 70, 40, 460, 360
    canvas = Canvas(left + width + 220, top + height + 50, title)
    cpus = sorted({p[0] for p in points})
    marks = ticks(min(p[1] for p in points), max(p[1] for p in points))
    low, high = math.log(marks[0]), math.log(marks[-1])

    def x(n):
        return left + (width * math.log(n / cpus[0]) / math.log(cpus[-1] / cpus[0]) if len(cpus) > 1 else width / 2)

    def y(value):
        return top + height * (high - math.log(value)) / (high - low)

    for mark in marks:
        canvas.line(left, y(mark), left + width, y(mark))
        canvas.text(left - 6, y(mark) + 4, "%g" % mark, "end")
    for n in cpus:
        canvas.line(x(n), top, x(n), top + height)
        canvas.text(x(n), top + height + 18, "%d" % n, "middle")
    canvas.text(left + width / 2, top + height + 38, "CPUs", "middle")
    whats = list(dict.fromkeys(name.split(", ")[0] for name in series))
    first = next(iter(series)).split(", ")[-1]
    for i, (name, line) in enumerate(series.items()):
        colour = COLOURS[whats.index(name.split(", ")[0]) % len(COLOURS)]
        dashed = name.split(", ")[-1] == first
        line = [p for p in sorted(line) if p[1] > 0]
        for (n1, v1), (n2, v2) in zip(line, line[1:]):
            canvas.line(x(n1), y(v1), x(n2), y(v2), colour, 2, dashed)
        for n, v in line:
            canvas.rect(x(n) - 3, y(v) - 3, 6, 6, colour, "%s, %d CPUs: %.4g" % (name, n, v))
        canvas.text(left + width + 38, top + 16 * i + 10, name)
        canvas.line(left + width + 8, top + 16 * i + 6, left + width + 34, top + 16 * i + 6, colour, 2, dashed)
    canvas.save(path)
