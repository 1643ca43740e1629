"""The one per-pixel function of the controlled world: what does this ray see?

Plain scalar arithmetic only, so that numba compiles the same source for CPU and for CUDA: `build(jit)` returns
`trace` (nearest surface) and `radiance` (shaded colour) compiled by the decorator it is given.

World axes are x right, y down, z forward (a level camera looking along +z is the identity); metres; the floor is y = 0.
Scene arrays are described column by column in `scene.py`. Source: own derivation from the textbook ray-surface equations.
"""

import math
from collections.abc import Callable

# Kinds of surface (column 0 of an object).
GROUND, ROOM, SPHERE, BOX, CYLINDER, CONE = range(6)
# Kinds of material (column 0 of a material).
PLAIN, CHECKER, STRIPES, BRICKS, PLANKS, TILES, MOTTLED, PHOTO = range(8)
# Kinds of light.
POINT_LIGHT, SUN = range(2)

NOTHING = -1
FAR = 1.0e9
NEAR = 1.0e-4
# Shadow rays start this far off the surface [m], above float32 rounding at room scale.
SHADOW_OFFSET = 2.0e-3


def build(jit: Callable) -> Callable:
    """Compile the caster with a decorator such as `numba.njit` or `numba.cuda.jit(device=True)`.

    Returns:
        `pixel(frame, row, column, cameras, intrinsics, samples, shadows, objects, materials, light, photos, colour,
        depth, normals, ids)`, which fills that pixel of the four output arrays.
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

    @jit
    def hashed(x, y, z):
        """A repeatable number in [0, 1) for a lattice point; integer mixing, equal on every machine."""
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
        """Bilinear look-up; the photograph is mirrored at its edges so that it has no seams. u, v in photographs."""
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
        """Linear surface colour at a world point: pattern of the material in the object's own axes, faded to its
        mean where one pixel covers more than half a period (keeps far floors from sparkling).
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

    @jit
    def fading(distance):
        """1 at the surface, 0.2 half a metre away."""
        near = 1.0 / (1.0 + 2.5 * max(distance, 0.0))
        return near * near

    @jit
    def corner_shade(px, py, pz, objects):
        """Soft darkening towards the corners of a room and towards the floor: what bounced light would do."""
        c, s = objects[0, 7], objects[0, 8]
        if int(objects[0, 0]) != ROOM:
            return 1.0
        wx, wy, wz = px - objects[0, 1], py - objects[0, 2], pz - objects[0, 3]
        x, z = c * wx - s * wz, s * wx + c * wz
        gx = objects[0, 4] - abs(x)
        gy = objects[0, 5] - abs(wy)
        gz = objects[0, 6] - abs(z)
        # The nearest face is the surface itself: use the two others.
        near = min(gx, gy, gz)
        total = fading(gx) + fading(gy) + fading(gz) - fading(near)
        return 1.0 - 0.45 * min(total, 1.0)

    @jit
    def sky(dy, light):
        up = min(max(-dy, 0.0), 1.0) ** 0.5
        return (
            light[14] * (1.0 - up) + light[17] * up,
            light[15] * (1.0 - up) + light[18] * up,
            light[16] * (1.0 - up) + light[19] * up,
        )

    @jit
    def irradiance(px, py, pz, nx, ny, nz, objects, light, shadows):
        """Ambient (from above and below) plus one lamp or sun with a hard shadow; linear red, green, blue."""
        if int(light[0]) == SUN:
            lx, ly, lz = light[1], light[2], light[3]
            distance, falloff = FAR, 1.0
        else:
            lx, ly, lz = light[1] - px, light[2] - py, light[3] - pz
            distance = math.sqrt(lx * lx + ly * ly + lz * lz) + 1.0e-9
            lx, ly, lz = lx / distance, ly / distance, lz / distance
            falloff = 1.0 / (0.6 + 0.10 * distance * distance)
        facing = nx * lx + ny * ly + nz * lz
        direct = 0.0
        if facing > 0.0:
            direct = facing * falloff
            if shadows:
                ox, oy, oz = (
                    px + nx * SHADOW_OFFSET,
                    py + ny * SHADOW_OFFSET,
                    pz + nz * SHADOW_OFFSET,
                )
                direct *= lit(ox, oy, oz, lx, ly, lz, distance, objects)
        above = 0.5 - 0.5 * ny
        soft = corner_shade(px, py, pz, objects)
        return (
            soft * (light[7] * above + light[10] * (1.0 - above)) + light[4] * direct,
            soft * (light[8] * above + light[11] * (1.0 - above)) + light[5] * direct,
            soft * (light[9] * above + light[12] * (1.0 - above)) + light[6] * direct,
        )

    @jit
    def radiance(ox, oy, oz, dx, dy, dz, pixel_angle, objects, materials, light, photos, shadows):
        t, which, nx, ny, nz = trace(ox, oy, oz, dx, dy, dz, objects)
        if which == NOTHING:
            return sky(dy, light)
        px, py, pz = ox + t * dx, oy + t * dy, oz + t * dz
        m = int(objects[which, 9])
        if int(objects[which, 0]) == ROOM:  # walls, floor and ceiling are three materials in a row
            if ny < -0.5:
                m += 1
            elif ny > 0.5:
                m += 2
        slant = max(abs(nx * dx + ny * dy + nz * dz), 0.05)
        r, g, b = albedo(
            px, py, pz, nx, ny, nz, objects, which, m, materials, photos, t * pixel_angle / slant
        )
        er, eg, eb = irradiance(px, py, pz, nx, ny, nz, objects, light, shadows)
        glow = materials[m, 12]
        r, g, b = r * (er + glow), g * (eg + glow), b * (eb + glow)
        if (
            int(light[0]) == SUN
        ):  # far things fade into the horizon; also hides where the ground ends
            clear = math.exp(-light[13] * t)
            r = r * clear + light[14] * (1.0 - clear)
            g = g * clear + light[15] * (1.0 - clear)
            b = b * clear + light[16] * (1.0 - clear)
        return r, g, b

    @jit
    def ray(camera, K, x, y):
        """World direction (unit) through image point (x, y) [px], and the z-depth of one unit along it."""
        a, b = (x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1]
        length = math.sqrt(a * a + b * b + 1.0)
        a, b, z = a / length, b / length, 1.0 / length
        return (
            camera[0, 0] * a + camera[0, 1] * b + camera[0, 2] * z,
            camera[1, 0] * a + camera[1, 1] * b + camera[1, 2] * z,
            camera[2, 0] * a + camera[2, 1] * b + camera[2, 2] * z,
            z,
        )

    @jit
    def pixel(
        frame,
        row,
        column,
        cameras,
        intrinsics,
        samples,
        shadows,
        objects,
        materials,
        light,
        photos,
        colour,
        depth,
        normals,
        ids,
    ):
        camera, K = cameras[frame], intrinsics[frame]
        solid = objects[frame % objects.shape[0]]
        ox, oy, oz = camera[0, 3], camera[1, 3], camera[2, 3]
        # Geometry belongs to the pixel's centre, colour to its area.
        dx, dy, dz, z = ray(camera, K, column + 0.5, row + 0.5)
        t, which, nx, ny, nz = trace(ox, oy, oz, dx, dy, dz, solid)
        depth[frame, row, column] = t * z if which != NOTHING else 0.0
        ids[frame, row, column] = which
        normals[frame, row, column, 0] = nx
        normals[frame, row, column, 1] = ny
        normals[frame, row, column, 2] = nz
        step = 1.0 / samples
        pixel_angle = step / K[1, 1]
        red, green, blue = 0.0, 0.0, 0.0
        for i in range(samples):
            for j in range(samples):
                dx, dy, dz, z = ray(camera, K, column + (i + 0.5) * step, row + (j + 0.5) * step)
                r, g, b = radiance(
                    ox, oy, oz, dx, dy, dz, pixel_angle, solid, materials, light, photos, shadows
                )
                red, green, blue = red + r, green + g, blue + b
        share = step * step
        colour[frame, row, column, 0] = red * share
        colour[frame, row, column, 1] = green * share
        colour[frame, row, column, 2] = blue * share

    return pixel
