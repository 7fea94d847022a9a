"""Facts of the CZII CryoET Object Identification challenge, each stated once.

Source: the challenge's data and metric (CryoET Data Portal datasets 10440, 10445, 10446; Peck et al., Nature Methods
22, 1819-1823, 2025).
"""

from cryofind.types import ParticleSpec, VoxelGrid

# name, radius in Angstrom, weight in the score, colour (Okabe and Ito's palette, safe for colour-blind readers)
OBJECTS = (
    ParticleSpec("apo-ferritin", 60.0, 1, (0, 158, 115, 255), 1.0),
    ParticleSpec("beta-amylase", 65.0, 2, (230, 159, 0, 255), 0.0),
    ParticleSpec("beta-galactosidase", 90.0, 3, (86, 180, 233, 255), 2.0),
    ParticleSpec("ribosome", 150.0, 4, (213, 94, 0, 255), 1.0),
    ParticleSpec("thyroglobulin", 130.0, 5, (204, 121, 167, 255), 2.0),
    ParticleSpec("virus-like-particle", 135.0, 6, (0, 114, 178, 255), 1.0),
)

OBJECT_NAMES = tuple(spec.name for spec in OBJECTS)

# The scorer matches a pick and a reference within this many particle radii.
MATCH_RADIUS_FACTOR = 0.5

# The folders say 10.000; the metadata say this, z, y, x.
VOXEL_SPACING_ZYX_ANGSTROM = (10.012444196428572, 10.012444196428572, 10.012444537618887)

TOMOGRAM_GRID = VoxelGrid((184, 630, 630), VOXEL_SPACING_ZYX_ANGSTROM)

# Names that other programs and the Data Portal use for the same objects.
ALIASES = {
    "ferritin-complex": "apo-ferritin",
    "cytosolic-ribosome": "ribosome",
    "virus-like-capsid": "virus-like-particle",
    "pp7-vlp": "virus-like-particle",
}
