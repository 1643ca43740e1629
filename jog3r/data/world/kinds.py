"""The codes by which scene arrays name kinds of surfaces, materials and lights."""

# Kinds of surface (column 0 of an object).
GROUND, ROOM, SPHERE, BOX, CYLINDER, CONE = range(6)
# Kinds of material (column 0 of a material).
PLAIN, CHECKER, STRIPES, BRICKS, PLANKS, TILES, MOTTLED, PHOTO = range(8)
# Kinds of light (column 0 of the light).
POINT_LIGHT, SUN = range(2)

# The index of nothing: a ray that leaves the scene.
NOTHING = -1
# A distance [m] beyond everything.
FAR = 1.0e9
