# SPDX-License-Identifier: BSD-2-Clause
"""A picture (SVG) of a stretch of an event trace: a track a CPU with the guest and the exits as bars, marks for what
happened, and arrows from each post to the patch applied on another CPU. Tested by tools/tests/test_trace.py."""
import collections

from pblib import trace

WIDTH, LEFT, TOP, TRACK, BAR = 1200, 60, 64, 104, 34
COLOURS = collections.OrderedDict([  # bars
    ("guest", "#cfe8cf"), ("PF", "#e4574c"), ("INVLPG", "#8e5bd0"), ("CR_WRITE", "#b08be0"), ("HLT", "#dddddd"),
    ("INTR", "#5b8dd6"), ("other exit", "#f0a848"),
])
MARKS = collections.OrderedDict([("fill", "#2a7a2a"), ("post", "#c02020"), ("patch", "#1f4fa0"), ("ipi", "#888888")])


def crossing(dump):
    """Arrows between two CPUs, by the time of the post."""
    return sorted((a for a in trace.arrows(dump)[0] if a.post.cpu != a.patch.cpu), key=lambda a: a.post.tsc)


def busiest(dump, us):
    """The start of the stretch of that length with the most arrows between different pairs of CPUs, then the most."""
    ticks, made = int(us * dump.tsc_hz / 1e6), crossing(dump)
    best = ((0, 0), dump.events[0].tsc if dump.events else 0)
    for first in made:
        start = first.post.tsc - ticks // 20
        inside = [a for a in made if a.post.tsc >= start and a.patch.tsc <= start + ticks]
        score = (len({(a.post.cpu, a.patch.cpu) for a in inside}), len(inside))
        best = max(best, (score, start), key=lambda x: x[0])
    return best[1], best[1] + ticks


class Picture:
    """Collects SVG elements; x() turns a TSC into a place."""

    def __init__(self, dump, start, end):
        self.dump, self.start, self.end = dump, start, end
        self.out = []

    def x(self, tsc):
        tsc = min(max(tsc, self.start), self.end)
        return LEFT + (WIDTH - LEFT - 10) * (tsc - self.start) / (self.end - self.start)

    def rect(self, x, y, width, height, colour, title=""):
        inner = "<title>%s</title>" % title if title else ""
        self.out.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s">%s</rect>'
                        % (x, y, width, height, colour, inner))

    def text(self, x, y, text, anchor="start", size=12):
        self.out.append('<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">%s</text>' % (x, y, anchor, size, text))

    def legend(self):
        x = LEFT
        for name, colour in list(COLOURS.items()) + list(MARKS.items()):
            self.rect(x, 14, 12, 12, colour)
            self.text(x + 17, 24, name if name in COLOURS else name + " (mark)")
            x += 34 + 7 * len(name if name in COLOURS else name + " (mark)")

    def axis(self, bottom):
        span = self.dump.us(self.end - self.start)
        step = next(s for s in (10 ** e * f for e in range(9) for f in (1, 2, 5)) if span / s <= 12)
        at = 0
        while at <= span:
            x = self.x(self.start + int(at * self.dump.tsc_hz / 1e6))
            self.out.append('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#eeeeee"/>' % (x, TOP - 12, x, bottom))
            self.text(x, TOP - 16, "%d us" % at, "middle", 11)
            at += step

    def track(self, cpu, parts):
        y = TOP + TRACK * cpu
        self.text(8, y + BAR / 2 + 4, "cpu%d" % cpu, size=13)
        for begin, end, e in parts:
            if end <= self.start or begin >= self.end:
                continue
            name = "guest" if e is None else self.dump.exit_name(e)
            colour = COLOURS.get(name, COLOURS["other exit"])
            width = max(self.x(end) - self.x(begin), 0.6)
            label = "%s, %.1f us" % (name, self.dump.us(end - begin))
            self.rect(self.x(begin), y, width, BAR, colour, label)
            if width > 9 * len(name):
                self.text(self.x(begin) + width / 2, y + BAR / 2 + 4, name, "middle", 11)
        for e in self.dump.events:
            if e.cpu == cpu and e.kind in MARKS and self.start <= e.tsc <= self.end:
                row = list(MARKS).index(e.kind)
                self.rect(self.x(e.tsc) - 0.8, y + BAR + 2 + 7 * row, 1.6, 6, MARKS[e.kind], e.kind)

    def arrow(self, a):
        """From the producer's bar to the consumer's, leaving and arriving on the side that faces the other."""
        down = a.patch.cpu > a.post.cpu
        y1 = TOP + TRACK * a.post.cpu + (BAR if down else 0)
        y2 = TOP + TRACK * a.patch.cpu + (0 if down else BAR)
        x1, x2 = self.x(a.post.tsc), self.x(a.patch.tsc)
        bend = (y2 - y1) * 0.5
        self.out.append('<path d="M%.1f %d C%.1f %.1f %.1f %.1f %.1f %d" fill="none" stroke="#202020" stroke-width="1.1" '
                        'marker-end="url(#tip)"><title>cpu%d to cpu%d, %.1f us</title></path>'
                        % (x1, y1, x1, y1 + bend, x2, y2 - bend, x2, y2, a.post.cpu, a.patch.cpu,
                           self.dump.us(a.patch.tsc - a.post.tsc)))


def draw(dump, us):
    """The SVG text of the stretch of `us` microseconds with the most to see."""
    start, end = busiest(dump, us)
    p, parts = Picture(dump, start, end), trace.slices(dump)
    height = TOP + TRACK * dump.ncpus
    p.legend()
    p.axis(height - TRACK + BAR + 32)
    for c in range(dump.ncpus):
        p.track(c, parts[c])
    inside = [a for a in crossing(dump) if a.post.tsc >= start and a.patch.tsc <= end]
    for a in inside:
        p.arrow(a)
    p.text(LEFT, height - 22, "Arrows: %d patches, from the producer's post to the consumer's application at its next "
           "coherency event. Nobody waits in between." % len(inside), size=12)
    head = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" fill="#202020">'
            % (WIDTH, height - 10), "<!-- SPDX-License-Identifier: BSD-2-Clause. Made by tools/trace.py. -->",
            '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="6" refY="3" orient="auto">'
            '<path d="M0 0 L6 3 L0 6 z"/></marker></defs>',
            '<rect width="%d" height="%d" fill="#ffffff"/>' % (WIDTH, height)]
    return "\n".join(head + p.out + ["</svg>", ""])
