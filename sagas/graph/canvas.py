"""Shapes on an SVG: elements with the light colours, and one style sheet that changes them in dark mode.

Elements are made by ElementTree, so text is text whatever it contains. No ids, no references, no external fonts.
"""

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from sagas.graph.layout import Box
from sagas.graph.palette import DARK, LIGHT, SURFACES

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
ROOT = "saga-graph"

Point = tuple[float, float]


class Canvas:
    def __init__(self, width: float, height: float, title: str, description: str) -> None:
        size = {"width": _number(width), "height": _number(height)}
        self.root = Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                **size,
                "viewBox": f"0 0 {_number(width)} {_number(height)}",
                "role": "img",
                "class": ROOT,
                "font-family": FONT,
            },
        )
        SubElement(self.root, "title").text = title
        SubElement(self.root, "desc").text = description
        SubElement(self.root, "style").text = "".join(_dark_rules())
        self._here = self.root
        self._surface("rect", "fill", "ground", **size)

    def document(self) -> str:
        return tostring(self.root, encoding="unicode") + "\n"

    def group(self, title: str) -> None:
        """Start a group of elements, which shows this text when the pointer is over it."""
        self._here = SubElement(self.root, "g")
        SubElement(self._here, "title").text = title

    def box(
        self,
        paint: str,
        box: Box,
        *,
        round: float = 6.0,
        stroke: float = 1.5,
        dashed: bool = False,
    ) -> None:
        place = {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
        place |= {"rx": min(round, box.height / 2), "stroke-width": stroke}
        colours = {"fill": LIGHT[paint].fill, "stroke": LIGHT[paint].line, "class": f"box-{paint}"}
        self._put("rect", place, colours | ({"stroke-dasharray": "5 4"} if dashed else {}))

    def ground(self, box: Box) -> None:
        place = {"x": box.x, "y": box.y, "width": box.width, "height": box.height, "rx": 10.0}
        self._put("rect", place, _light("fill", "block"))

    def dot(self, colour: str, x: float, y: float, radius: float) -> None:
        self._surface("circle", "fill", colour, cx=_number(x), cy=_number(y), r=_number(radius))

    def ring(self, colour: str, x: float, y: float, radius: float) -> None:
        place = {"cx": _number(x), "cy": _number(y), "r": _number(radius), "fill": "none", "stroke-width": "2"}
        self._surface("circle", "stroke", colour, **place)

    def text(
        self,
        colour: str,
        x: float,
        y: float,
        text: str,
        *,
        size: float,
        bold: bool = False,
        anchor: str = "start",
    ) -> None:
        """Write text. ``colour`` is a surface's, or a status, which means the ink of its boxes."""
        ink = {"fill": LIGHT[colour].ink, "class": f"ink-{colour}"} if colour in LIGHT else _light("fill", colour)
        fixed = ink | {"text-anchor": anchor} | ({"font-weight": "600"} if bold else {})
        self._put("text", {"x": x, "y": y, "font-size": size}, fixed).text = text

    def way(
        self, colour: str, points: Sequence[Point], *, width: float = 1.5, dash: str | None = None, head: bool = True
    ) -> None:
        """Draw a line with right angles; its head is drawn, since a reference to one could meet another picture's."""
        path = "M" + " L".join(f"{_number(x)} {_number(y)}" for x, y in points)
        shape = {"d": path, "fill": "none", "stroke-width": _number(width), "stroke-linejoin": "round"}
        self._surface("path", "stroke", colour, **shape, **({"stroke-dasharray": dash} if dash else {}))
        if head:
            self._surface("path", "fill", colour, d=_head(points[-2], points[-1]))

    def _surface(self, tag: str, attribute: str, colour: str, **fixed: str) -> Element:
        return SubElement(self._here, tag, fixed | _light(attribute, colour))

    def _put(self, tag: str, numbers: dict[str, float], fixed: dict[str, str]) -> Element:
        return SubElement(self._here, tag, {name: _number(value) for name, value in numbers.items()} | fixed)


def _light(attribute: str, colour: str) -> dict[str, str]:
    return {attribute: SURFACES[colour][0], "class": f"{attribute}-{colour}"}


def _dark_rules() -> Iterator[str]:
    yield "@media (prefers-color-scheme: dark) {"
    for name, paint in DARK.items():
        yield f".{ROOT} .box-{name}{{fill:{paint.fill};stroke:{paint.line}}}.{ROOT} .ink-{name}{{fill:{paint.ink}}}"
    for name, (_, dark) in SURFACES.items():
        yield f".{ROOT} .fill-{name}{{fill:{dark}}}.{ROOT} .stroke-{name}{{stroke:{dark}}}"
    yield "}"


def _head(before: Point, end: Point) -> str:
    """Return a triangle that ends where the line ends."""
    (x0, y0), (x, y) = before, end
    length = max(abs(x - x0) + abs(y - y0), 1e-9)
    dx, dy = 8 * (x - x0) / length, 8 * (y - y0) / length
    corners = [(x, y), (x - dx + dy / 2, y - dy + dx / 2), (x - dx - dy / 2, y - dy - dx / 2)]
    return "M" + " L".join(f"{_number(a)} {_number(b)}" for a, b in corners) + " Z"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
