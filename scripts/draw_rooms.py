"""Draw the rooms of the code and their imports as an SVG: python -m scripts.draw_rooms

The arrows are the imports that the code has today. An arrow that follows from others is left out: where a imports b and
b imports c, there is none from a to c. A room stands above all rooms that it imports.
"""

from collections import Counter
from functools import cache
from html import escape

from tests.test_layering import ROOT, all_imports, room_of

PICTURE = ROOT / "docs" / "images" / "rooms.svg"
COLOURS = {"models": "#E3EDF7", "runtime": "#E4F3E6", "quantization": "#FBEBD5", "exporter": "#F3E4F1"}
BOX, GAP, STEP, MARGIN = (190, 44), 16, 92, 20


def arrows() -> dict[str, set[str]]:
    """For each room, the other rooms that its files import."""
    found: dict[str, set[str]] = {}
    for module, others in all_imports().items():
        room = room_of(module)
        found.setdefault(room, set()).update(room_of(other) for other in others)
    return {room: others - {room} for room, others in found.items()}


def reduce(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out every arrow that follows from others (the transitive reduction)."""

    @cache
    def below(room: str) -> frozenset[str]:
        return frozenset(graph[room].union(*(below(other) for other in graph[room])))

    return {room: {o for o in others if not any(o in below(m) for m in others)} for room, others in graph.items()}


def ranks(graph: dict[str, set[str]]) -> dict[str, int]:
    """The row of each room, from 0 at the bottom: one above the highest room that it imports."""

    @cache
    def rank(room: str) -> int:
        return 1 + max(map(rank, graph[room]), default=-1)

    return {room: rank(room) for room in graph}


def place(graph: dict[str, set[str]]) -> tuple[dict[str, tuple[float, float]], tuple[float, float]]:
    """The middle of each box, and the size of the picture. Rows are ordered by the middle of what they import."""
    rank = ranks(graph)
    rows = [[room for room in graph if rank[room] == row] for row in range(max(rank.values()) + 1)]
    width = max(map(len, rows)) * (BOX[0] + GAP) + 2 * MARGIN
    height = (len(rows) - 1) * STEP + BOX[1] + 2 * MARGIN
    places: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        middle = {r: sum(places[o][0] for o in graph[r]) / max(1, len(graph[r])) for r in row}
        for index, room in enumerate(sorted(row, key=lambda r: (middle[r], r))):
            x = width / 2 + (index - (len(row) - 1) / 2) * (BOX[0] + GAP)
            places[room] = (x, height - MARGIN - BOX[1] / 2 - number * STEP)
    return places, (width, height)


def draw() -> str:
    """The picture, as the text of an SVG file."""
    graph = arrows()
    files = Counter(map(room_of, all_imports()))
    reduced = reduce(graph)
    places, (width, height) = place(reduced)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        'font-family="sans-serif" font-size="13">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#667"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
    ]
    for room, others in sorted(reduced.items()):
        for other in sorted(others):
            (x1, y1), (x2, y2) = places[room], places[other]
            start, end = y1 + BOX[1] / 2, y2 - BOX[1] / 2
            bend = (end - start) / 2
            path = f"M{x1:.0f},{start:.0f} C{x1:.0f},{start + bend:.0f} {x2:.0f},{end - bend:.0f} {x2:.0f},{end:.0f}"
            lines.append(f'<path d="{path}" fill="none" stroke="#667" marker-end="url(#head)"/>')
    for room, (x, y) in sorted(places.items()):
        name = room.replace(".__init__", ", public names")
        corner = f'x="{x - BOX[0] / 2:.0f}" y="{y - BOX[1] / 2:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6"'
        lines += [
            f'<rect {corner} fill="{COLOURS[room.split(".")[0]]}" stroke="#99a"/>',
            f'<text x="{x:.0f}" y="{y - 3:.0f}" text-anchor="middle">{escape(name)}</text>',
            f'<text x="{x:.0f}" y="{y + 14:.0f}" text-anchor="middle" font-size="11" fill="#667">'
            f"{files[room]} file{'s' if files[room] > 1 else ''}</text>",
        ]
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(PICTURE)
