"""The one per-pixel function of the controlled world: what does this ray see?

Plain scalar arithmetic only, so that numba compiles the same source for CPU and for CUDA: each
`build` compiles its functions by the decorator it is given, here and in `caster_shapes.py` and
`caster_surfaces.py`.

World axes are x right, y down, z forward (a level camera looking along +z is the identity); metres;
the floor is y = 0. The columns of scene arrays are described in `scene.py`. Source: own.
"""

import math
from collections.abc import Callable

from jog3r.data.world.caster_shapes import build_shapes
from jog3r.data.world.caster_surfaces import build_surfaces
from jog3r.data.world.kinds import FAR, NOTHING, ROOM, SUN

# Shadow rays start this far off the surface [m], above float32 rounding at room scale.
SHADOW_OFFSET = 2.0e-3


def build(jit: Callable) -> Callable:
    """Compile the caster with a decorator such as `numba.njit` or `numba.cuda.jit(device=True)`.

    Returns:
        `pixel(frame, row, column, cameras, intrinsics, samples, shadows, objects, materials, light,
        photos, colour, depth, normals, ids)`, which fills that pixel of the last four arrays.
    """
    trace, lit = build_shapes(jit)
    albedo = build_surfaces(jit)

    @jit
    def fading(distance):
        """1 at the surface, 0.2 half a metre away."""
        near = 1.0 / (1.0 + 2.5 * max(distance, 0.0))
        return near * near

    @jit
    def corner_shade(px, py, pz, objects):
        """Darken softly towards the edges and corners of a room, as bounced light would do."""
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
        """Ambient light plus one lamp or sun with a hard shadow; linear red, green, blue."""
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
        if int(light[0]) == SUN:
            # Far things fade into the horizon, which also hides where the ground ends.
            clear = math.exp(-light[13] * t)
            r = r * clear + light[14] * (1.0 - clear)
            g = g * clear + light[15] * (1.0 - clear)
            b = b * clear + light[16] * (1.0 - clear)
        return r, g, b

    @jit
    def ray(camera, K, x, y):
        """Unit world direction through image point (x, y) [px], and its z-depth per unit length."""
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
        frame, row, column, cameras, intrinsics, samples, shadows,
        objects, materials, light, photos, colour, depth, normals, ids,
    ):  # fmt: skip
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
