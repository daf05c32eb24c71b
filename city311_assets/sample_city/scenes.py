"""What each visual topic looks like: a drawn street, with its own colours, ground and things.

What belongs here: the table of looks and how one is drawn. What does not: which case has which
photo, and its faults (`photos`); what a model sees in one (`vision`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw

# Scenes are drawn small, which is cheap; photos are enlarged.
SIZE = (320, 240)
Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]
Shape = Callable[[ImageDraw.ImageDraw, np.random.Generator, Box, Colour], None]

BLACK: Colour = (28, 28, 30)
# Noise of the sensor: the spread of a channel's value, and how many plates of it there are.
NOISE_SIGMA, NOISE_PLATES = 4.0, 4
# The light falls unevenly: values of this many places are drawn, the rest lies between them.
LIGHT_GRID = (5, 4)
DARKEST, BRIGHTEST = 0.5, 1.0


@dataclass(frozen=True, slots=True)
class Thing:
    """Things of one shape: how many at least and at most, how big, and how high their foot is.

    Widths and heights are parts of the picture's; a foot of 1 stands at its lower edge.
    """

    shape: Shape
    colour: Colour
    width: float
    height: float
    foot: float
    least: int = 1
    most: int = 1


@dataclass(frozen=True, slots=True)
class Look:
    """The colours of the wall and the ground, and what stands before them."""

    wall: Colour
    ground: Colour
    things: tuple[Thing, ...] = ()


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(value * factor)) for value in colour)
    return red, green, blue


def _block(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, colour: Colour) -> None:
    draw.rectangle(box, fill=colour, outline=_shade(colour, 0.6 + 0.2 * rng.random()))


def _blob(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, colour: Colour) -> None:
    left, top, right, bottom = box
    draw.ellipse(box, fill=colour)
    inset = (right - left) * (0.15 + 0.2 * rng.random())
    draw.ellipse((left + inset, top, right - inset, bottom), fill=_shade(colour, 1.15))


def _sofa(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, colour: Colour) -> None:
    left, top, right, bottom = box
    middle, arm = (top + bottom) / 2, (right - left) * (0.1 + 0.05 * rng.random())
    draw.rectangle((left, top, right, bottom), fill=_shade(colour, 0.75))
    draw.rectangle((left + arm, middle, right - arm, bottom), fill=colour)
    draw.rectangle((left, middle - arm / 2, left + arm, bottom), fill=_shade(colour, 1.2))
    draw.rectangle((right - arm, middle - arm / 2, right, bottom), fill=_shade(colour, 1.2))


def _car(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, colour: Colour) -> None:
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    lean = 0.05 * rng.random()
    roof = [(0.2 + lean, 0.45), (0.32, 0.0), (0.68 + lean, 0.0), (0.84, 0.45)]
    draw.polygon([(left + wide * x, top + high * y) for x, y in roof], fill=_shade(colour, 0.55))
    draw.rectangle((left, top + 0.42 * high, right, top + 0.85 * high), fill=colour)
    for hub in (0.22, 0.78):
        x, y, radius = left + wide * hub, top + 0.83 * high, 0.17 * high
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=BLACK)


def _can(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, colour: Colour) -> None:
    left, top, right, bottom = box
    slant = (right - left) * (0.08 + 0.08 * rng.random())
    foot = [(right - slant, bottom), (left + slant, bottom)]
    draw.polygon([(left, top), (right, top), *foot], fill=colour)
    draw.ellipse((left, top - slant, right, top + slant), fill=_shade(colour, 0.5))


def _tent(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, colour: Colour) -> None:
    left, top, right, bottom = box
    peak = left + (right - left) * (0.35 + 0.3 * rng.random())
    draw.polygon([(left, bottom), (peak, top), (right, bottom)], fill=colour)
    draw.polygon([(peak, top), (right, bottom), (peak, bottom)], fill=_shade(colour, 0.7))


def _crown(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, colour: Colour) -> None:
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    for x, y, tone in rng.random((9, 3)).tolist():
        at_x, at_y = left + wide * 0.7 * x, top + high * 0.7 * y
        leaf = (at_x, at_y, at_x + 0.35 * wide, at_y + 0.35 * high)
        draw.ellipse(leaf, fill=_shade(colour, 0.7 + 0.6 * tone))


def _log(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, colour: Colour) -> None:
    left, top, right, bottom = box
    ends = (top, bottom) if rng.random() < 0.5 else (bottom, top)
    thick = max(2, int((bottom - top) * 0.45))
    draw.line((left, ends[0], right, ends[1]), fill=colour, width=thick)
    draw.line((left, ends[0], right, ends[1]), fill=_shade(colour, 1.3), width=thick // 3)


def _scrawl(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, colour: Colour) -> None:
    left, top, right, bottom = box
    x = np.linspace(left, right, 9)
    y = top + (bottom - top) * rng.random(9)
    thick = max(2, int((bottom - top) * 0.12))
    draw.line(
        list(zip(x.tolist(), y.tolist(), strict=True)), fill=colour, width=thick, joint="curve"
    )


def _shards(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, colour: Colour) -> None:
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    for x, y, a, b, tone in rng.random((45, 5)).tolist():
        at_x, at_y = left + wide * x, top + high * y
        side = 0.09 * wide
        corners = [(at_x, at_y), (at_x + side * a, at_y + side / 2), (at_x + side, at_y - side * b)]
        draw.polygon(corners, fill=_shade(colour, 0.8 + 0.5 * tone))


def _bars(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, colour: Colour) -> None:
    left, top, right, bottom = box
    step = (right - left) / int(rng.integers(7, 11))
    for at in np.arange(left, right, step).tolist():
        draw.rectangle((at, top, at + 0.5 * step, bottom), fill=colour)
    for y in (top, (top + bottom) / 2):
        draw.rectangle((left, y, right, y + 0.12 * (bottom - top)), fill=_shade(colour, 0.8))


def _octagon(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, colour: Colour) -> None:
    left, top, right, bottom = box
    radius = min(right - left, bottom - top) / 2
    centre = ((left + right) / 2, (top + bottom) / 2)
    turn = float(rng.uniform(-20, 20))
    draw.regular_polygon((*centre, radius), 8, rotation=turn, fill=colour, outline=(240, 240, 240))


GREEN_CAN, RUST = (38, 92, 56), (150, 74, 38)
# By topic; None is a street on which nothing in particular is to be seen.
LOOKS: Mapping[str | None, Look] = {
    None: Look((168, 176, 186), (112, 114, 118)),
    "bulky_furniture": Look(
        (196, 178, 150),
        (150, 146, 140),
        (
            Thing(_sofa, (128, 62, 48), 0.5, 0.3, 0.85),
            Thing(_block, (226, 214, 196), 0.28, 0.36, 0.8),
        ),
    ),
    "loose_garbage": Look(
        (198, 158, 70),
        (96, 98, 104),
        (
            Thing(_blob, (24, 24, 28), 0.22, 0.24, 0.86, 4, 6),
            Thing(_shards, (230, 228, 220), 0.6, 0.2, 0.95),
        ),
    ),
    "sidewalk_waste": Look(
        (84, 62, 74),
        (176, 168, 152),
        (
            Thing(_block, (52, 36, 44), 0.3, 0.55, 0.55),
            Thing(_blob, (98, 66, 28), 0.2, 0.12, 0.85, 3, 5),
        ),
    ),
    "broken_glass": Look(
        (92, 110, 132),
        (52, 54, 58),
        (
            Thing(_car, (40, 60, 96), 0.6, 0.3, 0.6),
            Thing(_shards, (160, 222, 226), 0.7, 0.25, 0.95, 2, 3),
        ),
    ),
    "boxes": Look(
        (140, 82, 66),
        (158, 152, 146),
        (Thing(_block, (206, 160, 100), 0.22, 0.24, 0.86, 5, 7),),
    ),
    "overflowing_can": Look(
        (178, 190, 176),
        (136, 140, 134),
        (
            Thing(_can, GREEN_CAN, 0.3, 0.5, 0.88),
            Thing(_blob, (236, 236, 230), 0.16, 0.14, 0.48, 3, 4),
        ),
    ),
    "graffiti_wall": Look(
        (214, 206, 190),
        (120, 116, 112),
        (
            Thing(_scrawl, (222, 40, 140), 0.5, 0.35, 0.55, 2, 2),
            Thing(_scrawl, (40, 70, 220), 0.5, 0.35, 0.6, 2, 2),
        ),
    ),
    "graffiti_pole": Look(
        (150, 170, 190),
        (140, 138, 134),
        (
            Thing(_block, (70, 72, 76), 0.14, 0.95, 0.97),
            Thing(_block, (240, 214, 40), 0.08, 0.09, 0.5, 3, 4),
            Thing(_scrawl, (200, 50, 40), 0.15, 0.2, 0.7, 2, 2),
        ),
    ),
    "graffiti_box": Look(
        (226, 168, 140),
        (128, 128, 128),
        (
            Thing(_block, (32, 58, 140), 0.36, 0.5, 0.86),
            Thing(_scrawl, (236, 236, 240), 0.3, 0.2, 0.7, 2, 3),
        ),
    ),
    "tents": Look(
        (104, 98, 96),
        (142, 136, 128),
        (
            Thing(_tent, (30, 110, 190), 0.38, 0.4, 0.84, 2, 3),
            Thing(_tent, (232, 120, 30), 0.34, 0.32, 0.9, 1, 2),
        ),
    ),
    "blocked_driveway": Look(
        (214, 190, 198),
        (182, 178, 170),
        (
            Thing(_block, (246, 240, 238), 0.5, 0.42, 0.56),
            Thing(_car, (232, 232, 236), 0.62, 0.34, 0.86),
        ),
    ),
    "abandoned_car": Look(
        (168, 140, 190),
        (86, 88, 84),
        (Thing(_car, (128, 112, 84), 0.66, 0.38, 0.86),),
    ),
    "abandoned_trailer": Look(
        (120, 140, 168),
        (100, 96, 92),
        (
            Thing(_block, (228, 222, 200), 0.66, 0.42, 0.82),
            Thing(_block, RUST, 0.62, 0.1, 0.7),
            Thing(_block, (60, 70, 80), 0.14, 0.12, 0.56, 2, 3),
        ),
    ),
    "postings": Look(
        (132, 108, 92),
        (116, 112, 110),
        (
            Thing(_block, (92, 70, 50), 0.24, 0.95, 0.97),
            Thing(_block, (248, 246, 236), 0.17, 0.2, 0.5, 2, 3),
            Thing(_block, (250, 226, 120), 0.15, 0.16, 0.8, 2, 3),
        ),
    ),
    "overgrown_tree": Look(
        (176, 200, 222),
        (156, 152, 148),
        (
            Thing(_block, (84, 60, 40), 0.08, 0.6, 0.86),
            Thing(_crown, (60, 128, 44), 0.6, 0.5, 0.56, 2, 3),
        ),
    ),
    "fallen_tree": Look(
        (154, 164, 172),
        (74, 76, 80),
        (
            Thing(_log, (112, 78, 48), 0.9, 0.28, 0.86),
            Thing(_crown, (92, 132, 60), 0.38, 0.3, 0.88),
        ),
    ),
    "pothole": Look(
        (74, 84, 66),
        (64, 62, 60),
        (
            Thing(_blob, (16, 14, 14), 0.5, 0.26, 0.86),
            Thing(_blob, (112, 92, 70), 0.18, 0.1, 0.92, 2, 3),
        ),
    ),
    "cracked_sidewalk": Look(
        (120, 150, 92),
        (202, 196, 184),
        (
            Thing(_log, (96, 70, 48), 0.5, 0.14, 0.9, 1, 2),
            Thing(_scrawl, (46, 40, 36), 0.7, 0.2, 0.86, 2, 3),
        ),
    ),
    "broken_signal": Look(
        (120, 176, 226),
        (94, 94, 98),
        (
            Thing(_log, (60, 62, 60), 0.5, 0.3, 0.7),
            Thing(_block, (224, 176, 24), 0.2, 0.42, 0.56),
            Thing(_blob, (226, 40, 30), 0.1, 0.1, 0.3),
        ),
    ),
    "shelter_glass": Look(
        (150, 196, 196),
        (150, 150, 152),
        (
            Thing(_block, (40, 132, 136), 0.62, 0.56, 0.8),
            Thing(_shards, (222, 244, 244), 0.56, 0.4, 0.76, 2, 2),
        ),
    ),
    "defaced_sign": Look(
        (206, 214, 220),
        (128, 132, 124),
        (
            Thing(_block, (130, 134, 136), 0.05, 0.6, 0.97),
            Thing(_octagon, (200, 24, 32), 0.42, 0.52, 0.56),
            Thing(_block, (90, 220, 90), 0.09, 0.08, 0.42, 3, 5),
        ),
    ),
    "flooded_gutter": Look(
        (108, 112, 110),
        (66, 92, 118),
        (
            Thing(_blob, (70, 124, 170), 0.8, 0.26, 0.92, 2, 2),
            Thing(_block, (170, 170, 166), 0.9, 0.06, 0.62),
        ),
    ),
    "blocked_sidewalk": Look(
        (160, 150, 140),
        (172, 166, 158),
        (Thing(_bars, (242, 104, 16), 0.84, 0.4, 0.86, 1, 2),),
    ),
    "robot_taxi": Look(
        (150, 160, 170),
        (40, 132, 84),
        (
            Thing(_car, (244, 246, 250), 0.6, 0.38, 0.84),
            Thing(_block, (20, 20, 24), 0.12, 0.06, 0.44),
            Thing(_block, (150, 60, 210), 0.3, 0.05, 0.74),
        ),
    ),
}


def _street(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, look: Look, size: tuple[int, int]
) -> None:
    """Draw what is behind the things: houses, ground and the edge between them."""
    wide, high = size
    edge = high * rng.uniform(0.36, 0.6)
    draw.rectangle((0, 0, wide, edge), fill=look.wall)
    at = -wide * 0.1 * rng.random()
    while at < wide:
        front = wide * rng.uniform(0.12, 0.4)
        top = edge * rng.uniform(-0.3, 0.7)
        tone = rng.uniform(0.62, 1.3)
        draw.rectangle((at, top, at + front, edge), fill=_shade(look.wall, tone))
        at += front * rng.uniform(1.0, 1.4)
    draw.rectangle((0, edge, wide, high), fill=look.ground)
    slope = high * rng.uniform(-0.12, 0.12)
    kerb = max(1, int(high * rng.uniform(0.01, 0.05)))
    draw.line((0, edge - slope, wide, edge + slope), fill=_shade(look.ground, 1.25), width=kerb)
    for _ in range(3):
        left, top = wide * rng.uniform(-0.2, 0.9), rng.uniform(edge, high)
        patch = (left, top, left + wide * rng.uniform(0.1, 0.5), top + high * rng.uniform(0, 0.2))
        draw.rectangle(patch, fill=_shade(look.ground, rng.uniform(0.75, 1.2)))


def _put(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, thing: Thing, size: tuple[int, int]
) -> None:
    wide, high = size
    centre = rng.uniform(0.25, 0.75)
    for _ in range(int(rng.integers(thing.least, thing.most + 1))):
        grown = rng.uniform(0.75, 1.25)
        across, up = thing.width * grown, thing.height * grown * rng.uniform(0.9, 1.1)
        middle = centre + rng.normal(0, 0.14)
        foot = thing.foot + rng.normal(0, 0.05)
        box = (
            (middle - across / 2) * wide,
            (foot - up) * high,
            (middle + across / 2) * wide,
            foot * high,
        )
        thing.shape(draw, rng, box, _shade(thing.colour, rng.uniform(0.88, 1.12)))


def _light(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    across, down = LIGHT_GRID
    values = rng.uniform(DARKEST, BRIGHTEST, (down, across)) * 255
    grid = np.repeat(values[:, :, None], 3, axis=2) * rng.uniform(0.95, 1.0, 3)
    small = Image.fromarray(grid.astype(np.uint8))
    coarse = small.resize((size[0] // 4, size[1] // 4), Image.Resampling.BILINEAR)
    return coarse.resize(size, Image.Resampling.NEAREST)


class _Noise:
    """Plates of noise, larger than a picture, made when first needed."""

    def __init__(self) -> None:
        self._plates: list[Image.Image] = []

    def over(self, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
        """Return the noise of one picture: a piece of a plate, lighter than dark by half."""
        if not self._plates:
            own = np.random.default_rng(0)
            shape = (2 * SIZE[1], 2 * SIZE[0], 3)
            self._plates = [
                Image.fromarray((128 + own.normal(0, NOISE_SIGMA, shape)).astype(np.uint8))
                for _ in range(NOISE_PLATES)
            ]
        plate = self._plates[int(rng.integers(NOISE_PLATES))]
        left, top = int(rng.integers(SIZE[0])), int(rng.integers(SIZE[1]))
        return plate.crop((left, top, left + size[0], top + size[1]))


_NOISE = _Noise()


def scene(topic: str | None, rng: np.random.Generator, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a drawn photo of a topic, its places, sizes, light and noise by the generator."""
    look = LOOKS[topic]
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    _street(draw, rng, look, size)
    for thing in look.things:
        _put(draw, rng, thing, size)
    lit = ImageChops.multiply(image, _light(rng, size))
    return ImageChops.add(lit, _NOISE.over(size, rng), scale=1.0, offset=-128)
