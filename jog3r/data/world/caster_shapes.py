"""The caster's geometry: where a ray meets the bodies of a scene.

Source: own derivation from the textbook ray-surface equations. See `caster.py` for the rules that
such code keeps.
"""

import math
from collections.abc import Callable

from jog3r.data.world.kinds import CONE, CYLINDER, FAR, GROUND, NOTHING, ROOM, SPHERE

# Hits nearer than this [m] are the surface that the ray starts on.
NEAR = 1.0e-4


def build_shapes(jit: Callable) -> tuple[Callable, Callable]:
    """Compile the geometry with a decorator.

    Returns:
        `trace(ox, oy, oz, dx, dy, dz, objects)`: distance, row and world normal of the nearest
        surface; `lit(ox, oy, oz, dx, dy, dz, distance, objects)`: 1.0 when no body stands in the
        way, else 0.0.
    """

    @jit
    def hit_sphere(ox, oy, oz, dx, dy, dz, radius):
        b = ox * dx + oy * dy + oz * dz
        c = ox * ox + oy * oy + oz * oz - radius * radius
        discriminant = b * b - c
        if discriminant <= 0.0:
            return FAR, 0.0, 0.0, 0.0
        t = -b - math.sqrt(discriminant)
        if t < NEAR:
            return FAR, 0.0, 0.0, 0.0
        return t, (ox + t * dx) / radius, (oy + t * dy) / radius, (oz + t * dz) / radius

    @jit
    def slab(o, d, half):
        if abs(d) < 1.0e-12:
            if abs(o) > half:
                return FAR, -FAR
            return -FAR, FAR
        t1 = (-half - o) / d
        t2 = (half - o) / d
        if t1 > t2:
            return t2, t1
        return t1, t2

    @jit
    def hit_box(ox, oy, oz, dx, dy, dz, hx, hy, hz, inside):
        x1, x2 = slab(ox, dx, hx)
        y1, y2 = slab(oy, dy, hy)
        z1, z2 = slab(oz, dz, hz)
        enter = max(x1, y1, z1)
        leave = min(x2, y2, z2)
        if enter > leave:
            return FAR, 0.0, 0.0, 0.0
        if inside:
            if leave < NEAR:
                return FAR, 0.0, 0.0, 0.0
            if leave == x2:
                return leave, -math.copysign(1.0, dx), 0.0, 0.0
            if leave == y2:
                return leave, 0.0, -math.copysign(1.0, dy), 0.0
            return leave, 0.0, 0.0, -math.copysign(1.0, dz)
        if enter < NEAR:
            return FAR, 0.0, 0.0, 0.0
        if enter == x1:
            return enter, -math.copysign(1.0, dx), 0.0, 0.0
        if enter == y1:
            return enter, 0.0, -math.copysign(1.0, dy), 0.0
        return enter, 0.0, 0.0, -math.copysign(1.0, dz)

    @jit
    def hit_caps(oy, dy, top, bottom):
        """Parameter and outward y of the first of two horizontal planes that the ray enters."""
        if abs(dy) < 1.0e-12:
            return FAR, 0.0
        if dy > 0.0:
            return (top - oy) / dy, -1.0
        return (bottom - oy) / dy, 1.0

    @jit
    def hit_cylinder(ox, oy, oz, dx, dy, dz, radius, half):
        best, nx, ny, nz = FAR, 0.0, 0.0, 0.0
        a = dx * dx + dz * dz
        if a > 1.0e-12:
            b = ox * dx + oz * dz
            discriminant = b * b - a * (ox * ox + oz * oz - radius * radius)
            if discriminant > 0.0:
                t = (-b - math.sqrt(discriminant)) / a
                if t > NEAR and abs(oy + t * dy) <= half:
                    best, nx, nz = t, (ox + t * dx) / radius, (oz + t * dz) / radius
        t, cap = hit_caps(oy, dy, -half, half)
        x, z = ox + t * dx, oz + t * dz
        if NEAR < t < best and x * x + z * z <= radius * radius:
            best, nx, ny, nz = t, 0.0, cap, 0.0
        return best, nx, ny, nz

    @jit
    def hit_cone(ox, oy, oz, dx, dy, dz, radius, half):
        """Apex up at y = -half, base disc at y = +half."""
        best, nx, ny, nz = FAR, 0.0, 0.0, 0.0
        slope = radius / (2.0 * half)
        k = slope * slope
        ay = oy + half
        a = dx * dx + dz * dz - k * dy * dy
        b = ox * dx + oz * dz - k * ay * dy
        c = ox * ox + oz * oz - k * ay * ay
        discriminant = b * b - a * c
        if abs(a) > 1.0e-12 and discriminant > 0.0:
            root = math.sqrt(discriminant)
            for sign in (-1.0, 1.0):
                t = (-b + sign * root) / a
                y = ay + t * dy
                if NEAR < t < best and 0.0 <= y <= 2.0 * half:
                    x, z = ox + t * dx, oz + t * dz
                    length = math.sqrt(x * x + z * z + k * k * y * y) + 1.0e-12
                    mx, my, mz = x / length, -k * y / length, z / length
                    if mx * dx + my * dy + mz * dz < 0.0:
                        best, nx, ny, nz = t, mx, my, mz
        if dy < 0.0:
            t = (half - oy) / dy
            x, z = ox + t * dx, oz + t * dz
            if NEAR < t < best and x * x + z * z <= radius * radius:
                best, nx, ny, nz = t, 0.0, 1.0, 0.0
        return best, nx, ny, nz

    @jit
    def hit_object(ox, oy, oz, dx, dy, dz, objects, i):
        """Nearest hit with object i; the normal comes in the object's own axes."""
        kind = int(objects[i, 0])
        if kind == GROUND:
            if dy <= 1.0e-9 or oy >= 0.0:
                return FAR, 0.0, 0.0, 0.0
            return -oy / dy, 0.0, -1.0, 0.0
        c, s = objects[i, 7], objects[i, 8]
        px, py, pz = ox - objects[i, 1], oy - objects[i, 2], oz - objects[i, 3]
        lx, lz = c * px - s * pz, s * px + c * pz
        ex, ez = c * dx - s * dz, s * dx + c * dz
        hx, hy, hz = objects[i, 4], objects[i, 5], objects[i, 6]
        if kind == SPHERE:
            return hit_sphere(lx, py, lz, ex, dy, ez, hx)
        if kind == CYLINDER:
            return hit_cylinder(lx, py, lz, ex, dy, ez, hx, hy)
        if kind == CONE:
            return hit_cone(lx, py, lz, ex, dy, ez, hx, hy)
        return hit_box(lx, py, lz, ex, dy, ez, hx, hy, hz, kind == ROOM)

    @jit
    def may_hit(ox, oy, oz, dx, dy, dz, objects, i):
        """Whether the ray meets the object's bounding sphere: spares most of the exact tests."""
        x, y, z = objects[i, 1] - ox, objects[i, 2] - oy, objects[i, 3] - oz
        along = x * dx + y * dy + z * dz
        return x * x + y * y + z * z - along * along <= objects[i, 10]

    @jit
    def trace(ox, oy, oz, dx, dy, dz, objects):
        best, which, nx, ny, nz = FAR, NOTHING, 0.0, 0.0, 0.0
        for i in range(objects.shape[0]):
            if may_hit(ox, oy, oz, dx, dy, dz, objects, i):
                t, mx, my, mz = hit_object(ox, oy, oz, dx, dy, dz, objects, i)
                if t < best:
                    best, which, nx, ny, nz = t, i, mx, my, mz
        if which != NOTHING:
            c, s = objects[which, 7], objects[which, 8]
            nx, nz = c * nx + s * nz, -s * nx + c * nz
        return best, which, nx, ny, nz

    @jit
    def lit(ox, oy, oz, dx, dy, dz, distance, objects):
        """1.0 when nothing solid stands within `distance` along the ray, else 0.0."""
        for i in range(objects.shape[0]):
            kind = int(objects[i, 0])
            if kind != GROUND and kind != ROOM and may_hit(ox, oy, oz, dx, dy, dz, objects, i):
                t, _, _, _ = hit_object(ox, oy, oz, dx, dy, dz, objects, i)
                if t < distance:
                    return 0.0
        return 1.0

    return trace, lit
