"""A picture for a product that has none: drawn from its sku, so that no two are alike."""

import hashlib
from collections.abc import Iterator

SIZE = 88
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 88 88">{}</svg>\n'


def draw(sku: str) -> str:
    """Return an SVG: a sun and three hills in quiet colours; the same sku, the same picture."""
    numbers = iter(hashlib.sha512(sku.encode()).digest())
    hue = _pick(numbers, 360)
    shapes = [_background(hue), _sun(numbers, hue)]
    shapes += [_hill(numbers, hue, top=38 + 15 * n, light=72 - 16 * n) for n in range(3)]
    return SVG.format("".join(shapes))


def _pick(numbers: Iterator[int], below: int) -> int:
    """Take two bytes and make a number from 0 to `below` - 1 of them."""
    return (256 * next(numbers) + next(numbers)) % below


def _background(hue: int) -> str:
    return f'<path fill="hsl({hue} 32% 90%)" d="M0 0h{SIZE}v{SIZE}H0z"/>'


def _sun(numbers: Iterator[int], hue: int) -> str:
    x = 18 + _pick(numbers, 52)
    y = 18 + _pick(numbers, 16)
    radius = 8 + _pick(numbers, 9)
    other = (hue + 150 + _pick(numbers, 60)) % 360
    return f'<circle cx="{x}" cy="{y}" r="{radius}" fill="hsl({other} 58% 66%)"/>'


def _hill(numbers: Iterator[int], hue: int, *, top: int, light: int) -> str:
    """Draw a wave across the picture, about `top` high and `light` percent bright."""
    left = top + _pick(numbers, 16)
    right = top + _pick(numbers, 16)
    crest = top - 14 + _pick(numbers, 14)
    hollow = top + 8 + _pick(numbers, 14)
    wave = f"M0 {left}C26 {crest} 54 {hollow} {SIZE} {right}V{SIZE}H0z"
    return f'<path fill="hsl({hue} 30% {light}%)" d="{wave}"/>'
