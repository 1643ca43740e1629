"""The caster's surfaces: patterns, photographs, and the colour of a point of an object.

Source: own. See `caster.py` for the rules that such code keeps.
"""

# ruff: noqa: RUF046  math.floor is an int in Python, but a float in CUDA

import math
from collections.abc import Callable

from jog3r.data.world.kinds import BRICKS, CHECKER, MOTTLED, PHOTO, PLANKS, STRIPES, TILES


def build_surfaces(jit: Callable) -> Callable:
    """Compile the surfaces with a decorator.

    Returns:
        `albedo(px, py, pz, nx, ny, nz, objects, which, m, materials, photos, footprint)`: linear
        red, green, blue.
    """

    @jit
    def hashed(x, y, z):
        """A repeatable number in [0, 1) for a lattice point, by integers: equal everywhere."""
        h = (x * 73856093) ^ (y * 19349663) ^ (z * 83492791)
        h = h & 0xFFFFFFFF
        h = ((h ^ (h >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
        h = ((h ^ (h >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
        return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0

    @jit
    def smooth_noise(x, y, z):
        """Trilinear value noise in [0, 1]."""
        ix, iy, iz = int(math.floor(x)), int(math.floor(y)), int(math.floor(z))
        fx, fy, fz = x - ix, y - iy, z - iz
        fx, fy, fz = (
            fx * fx * (3.0 - 2.0 * fx),
            fy * fy * (3.0 - 2.0 * fy),
            fz * fz * (3.0 - 2.0 * fz),
        )
        total = 0.0
        for a in range(2):
            for b in range(2):
                for c in range(2):
                    weight = (
                        (fx if a else 1.0 - fx) * (fy if b else 1.0 - fy) * (fz if c else 1.0 - fz)
                    )
                    total += weight * hashed(ix + a, iy + b, iz + c)
        return total

    @jit
    def pattern(kind, u, v, x, y, z, nx, ny, nz):
        """Share of the second colour in [0, 1] at a surface point; u, v in pattern units."""
        if kind == CHECKER:
            if abs(ny) < 0.999 and abs(nx) < 0.999 and abs(nz) < 0.999:  # curved: a solid pattern
                return float((int(math.floor(x)) + int(math.floor(y)) + int(math.floor(z))) & 1)
            return float((int(math.floor(u)) + int(math.floor(v))) & 1)
        if kind == STRIPES:
            return float(int(math.floor(2.0 * v)) & 1)
        if kind == BRICKS:
            row = int(math.floor(2.0 * v))
            shift = 0.5 * (row & 1)
            column = int(math.floor(u + shift))
            if u + shift - column < 0.06 or 2.0 * v - row < 0.12:
                return 1.0
            return 0.30 * hashed(column, row, 7)
        if kind == PLANKS:
            board = int(math.floor(2.0 * u))
            if 2.0 * u - board < 0.06:
                return 1.0
            return 0.5 * hashed(board, 3, 11) + 0.3 * smooth_noise(9.0 * u, 0.7 * v, 3.0 * board)
        if kind == TILES:
            i, j = int(math.floor(u)), int(math.floor(v))
            if u - i < 0.06 or v - j < 0.06:
                return 1.0
            return 0.18 * hashed(i, j, 5)
        if kind == MOTTLED:
            return 0.6 * smooth_noise(x, y, z) + 0.4 * smooth_noise(3.1 * x, 3.1 * y, 3.1 * z)
        return 0.25 * smooth_noise(x, y, z)

    @jit
    def photo_colour(photos, index, u, v, channel):
        """Bilinear look-up, u and v in photographs; mirrored at the edges, so without seams."""
        height, width = photos.shape[1], photos.shape[2]
        u = abs(u - 2.0 * math.floor(0.5 * (u + 1.0)))
        v = abs(v - 2.0 * math.floor(0.5 * (v + 1.0)))
        x = min(max(u * width - 0.5, 0.0), width - 1.001)
        y = min(max(v * height - 0.5, 0.0), height - 1.001)
        i, j = int(x), int(y)
        fx, fy = x - i, y - j
        top = photos[index, j, i, channel] * (1.0 - fx) + photos[index, j, i + 1, channel] * fx
        bottom = (
            photos[index, j + 1, i, channel] * (1.0 - fx)
            + photos[index, j + 1, i + 1, channel] * fx
        )
        return top * (1.0 - fy) + bottom * fy

    @jit
    def albedo(px, py, pz, nx, ny, nz, objects, which, m, materials, photos, footprint):
        """Linear surface colour at a world point: the material's pattern in the object's own axes.

        It fades to its mean where a pixel covers more than half a period: far floors do not
        sparkle.
        """
        c, s = objects[which, 7], objects[which, 8]
        wx, wy, wz = px - objects[which, 1], py - objects[which, 2], pz - objects[which, 3]
        x, y, z = c * wx - s * wz, wy, s * wx + c * wz
        ax, az = abs(c * nx - s * nz), abs(s * nx + c * nz)
        ay = abs(ny)
        if ay >= ax and ay >= az:
            u, v = x, z
        elif ax >= az:
            u, v = z, y
        else:
            u, v = x, y
        scale = materials[m, 7]
        kind = int(materials[m, 0])
        if kind == PHOTO:
            index = int(materials[m, 8])
            u, v = u * scale + materials[m, 10], v * scale + materials[m, 11]
            return (
                photo_colour(photos, index, u, v, 0),
                photo_colour(photos, index, u, v, 1),
                photo_colour(photos, index, u, v, 2),
            )
        # The offset keeps pattern edges off the faces of axis-aligned bodies.
        offset = materials[m, 10]
        share = pattern(
            kind,
            u * scale + offset,
            v * scale + offset,
            x * scale + offset,
            y * scale + offset,
            z * scale + offset,
            ax,
            ay,
            az,
        )
        sharp = 1.0 - min(max(3.0 * footprint * scale - 0.5, 0.0), 1.0)
        share = sharp * share + (1.0 - sharp) * materials[m, 9]
        return (
            materials[m, 1] * (1.0 - share) + materials[m, 4] * share,
            materials[m, 2] * (1.0 - share) + materials[m, 5] * share,
            materials[m, 3] * (1.0 - share) + materials[m, 6] * share,
        )

    return albedo
