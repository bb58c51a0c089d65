"""Line charts as SVG, of the standard library alone: what the benchmarks draw for docs/."""
import html
import math

COLOURS = ["#1b6ca8", "#d1495b", "#3a7d44", "#b8860b", "#6a4c93", "#2a9d8f", "#8d5524", "#555555"]
WIDTH, LEFT, RIGHT, PANEL, GAP, TOP = 860, 64, 150, 150, 34, 26


def ticks(low, high, count=5):
    """Round numbers between the two."""
    span = high - low or 1
    step = 10 ** len(str(int(span))) / 1000
    for factor in (1, 2, 2.5, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000):
        if span / (step * factor) <= count:
            step *= factor
            break
    first = math.ceil(low / step) * step
    out = []
    while first <= high + 1e-9:
        out.append(first)
        first += step
    return out


def number(value):
    return ("%.4f" % value).rstrip("0").rstrip(".")


def line(points, x, y, colour, steps):
    path = []
    for i, (a, b) in enumerate(points):
        if steps and i > 0:
            path.append("H%.1f" % x(a))
        path.append("%s%.1f,%.1f" % ("L" if i > 0 and not steps else "M" if i == 0 else "L", x(a), y(b)))
    return '<path d="%s" fill="none" stroke="%s" stroke-width="1.6"/>' % (" ".join(path), colour)


def chart(title, x_label, panels):
    """panels: [(label of y, {name: [(x, y), ...]}, {"steps": bool, "low": y, "high": y})], one above the other over the same x."""
    xs = [a for _, series, _ in panels for points in series.values() for a, _ in points]
    x_low, x_high = min(xs), max(xs)
    height = TOP + len(panels) * (PANEL + GAP) + 24

    def x(value):
        return LEFT + (value - x_low) / ((x_high - x_low) or 1) * (WIDTH - LEFT - RIGHT)

    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">' % (WIDTH, height),
           '<rect width="%d" height="%d" fill="#ffffff"/>' % (WIDTH, height),
           '<text x="%d" y="17" font-size="13" font-weight="bold">%s</text>' % (LEFT, html.escape(title))]
    for index, (label, series, options) in enumerate(panels):
        top = TOP + index * (PANEL + GAP) + 8
        ys = [b for points in series.values() for _, b in points]
        low = options.get("low", min(ys))
        high = options.get("high", max(ys) * 1.05 or 1)

        def y(value, top=top, low=low, high=high):
            return top + PANEL - (min(max(value, low), high) - low) / ((high - low) or 1) * PANEL

        for tick in ticks(low, high):
            out.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#dddddd"/>' % (LEFT, WIDTH - RIGHT, y(tick), y(tick)))
            out.append('<text x="%d" y="%.1f" text-anchor="end">%s</text>' % (LEFT - 6, y(tick) + 4, number(tick)))
        out.append('<text transform="translate(14,%d) rotate(-90)" text-anchor="middle">%s</text>' % (top + PANEL // 2,
                                                                                                       html.escape(label)))
        for i, (name, points) in enumerate(series.items()):
            colour = COLOURS[i % len(COLOURS)]
            out.append(line(points, x, y, colour, options.get("steps", False)))
            out.append('<text x="%d" y="%d" fill="%s">%s</text>' % (WIDTH - RIGHT + 10, top + 12 + 15 * i, colour, html.escape(name)))
    bottom = TOP + len(panels) * (PANEL + GAP) - GAP + 8
    for tick in ticks(x_low, x_high, 9):
        out.append('<text x="%.1f" y="%d" text-anchor="middle">%s</text>' % (x(tick), bottom + 16, number(tick)))
    out.append('<text x="%d" y="%d" text-anchor="middle">%s</text>' % ((LEFT + WIDTH - RIGHT) // 2, bottom + 32, html.escape(x_label)))
    out.append("</svg>")
    return "\n".join(out) + "\n"
