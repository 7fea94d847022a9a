"""A scene as the state of Neuroglancer's page.

Neuroglancer's axes are x, y, z and its voxel i reaches from i to i + 1, so a position at index i lies at i + 0.5. Names
come from data and may be any text: they become names of layers, never part of a shader.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.types import VoxelGrid
from cryofind.view.scene import GreyVolume, Labels, Particles, Probability, Rgb, Scene

AXES = ("x", "y", "z")
METRES_PER_ANGSTROM = 1e-10
# Digits of scores in the page, and in the table of picks.
SCORE_DIGITS = 6
PICK_OPACITY, LABEL_OPACITY = 0.35, 0.4
# A probability below this is not drawn at first.
PROBABILITY_FLOOR = 0.05
# Frames of the truth are this far from the colour of the species towards white.
TRUTH_PALENESS = 0.5
FRAME_PIXELS = 2.0
# Slices at first: the larger of the two sides of the xy slice takes so many pixels.
SLICE_PIXELS = 420
# The tab with the sliders, without the shader above them.
RENDERING_TAB, HIDE_CODE = "rendering", {"codeVisible": False}

TOMOGRAM_SHADER = """#uicontrol invlerp contrast(range=[{black}, {white}], window=[0, 255])
#uicontrol bool invert checkbox(default=false)
void main() {{
  float grey = contrast();
  emitGrayscale(invert ? 1.0 - grey : grey);
}}
"""

SLIDER = """#uicontrol float minimum_score slider(min={low:.6f}, max={high:.6f}, step={step:g}, default={threshold:.6f})
"""
BELOW = "  if (prop_score() < minimum_score) discard;\n"

# A slice cuts an ellipsoid as a disc.
PICKS_SHADER = """#uicontrol float opacity slider(min=0, max=1, default={opacity})
void main() {{
{below}  setEllipsoidFillColor(vec4(defaultColor(), PROJECTION_VIEW ? 1.0 : opacity));
}}
"""

# ... and a box as an open frame: the truth differs from picks by its form, not by colour alone.
TRUTH_SHADER = """#uicontrol float width slider(min=0.5, max=6, default={width})
void main() {{
{below}  setBoundingBoxBorderColor(vec4(defaultColor(), 1.0));
  setBoundingBoxBorderWidth(width);
}}
"""

PROBABILITY_SHADER = """#uicontrol vec3 color color(default="{color}")
#uicontrol float lowest slider(min=0, max=1, default={lowest})
void main() {{
  float probability = toNormalized(getDataValue());
  if (probability < lowest) {{
    emitTransparent();
  }} else {{
    emitRGB(color * probability);
  }}
}}
"""


def draw_scene(scene: Scene) -> Any:
    """Return the `neuroglancer.ViewerState` of a scene: a tomogram, discs for picks, frames for the truth.

    Needs the package neuroglancer.
    """
    import neuroglancer

    dimensions = _dimensions(scene.tomogram.grid)
    state = neuroglancer.ViewerState(dimensions=dimensions, title=scene.title, layout="4panel", show_slices=False)
    state.layers.append(name="tomogram", layer=_draw_tomogram(scene.tomogram))
    for particles in scene.picks:
        layer = _draw_particles(particles, scene.tomogram.grid, dimensions, is_truth=False)
        state.layers.append(name=particles.name, layer=layer)
    for particles in scene.truth:
        layer = _draw_particles(particles, scene.tomogram.grid, dimensions, is_truth=True)
        state.layers.append(name=f"truth {particles.name}", layer=layer)
    for volume in scene.probabilities:
        layer = _draw_probability(volume, scene.tomogram.grid)
        state.layers.append(name=f"probability {volume.name}", layer=layer, visible=False)
    for labels in scene.segmentations:
        layer = _draw_labels(labels, scene.tomogram.grid)
        state.layers.append(name=f"segmentation {labels.name}", layer=layer, visible=False)
    _look_at(state, scene)
    return state


def to_page(positions_zyx_angstrom: Any, grid: VoxelGrid) -> Any:
    """Return where positions zyx, Angstrom, (..., 3) lie on the page's axes, (..., 3) xyz, for a tomogram's grid."""
    return grid.indices_from_positions(positions_zyx_angstrom)[..., ::-1] + 0.5


def format_color(color: Rgb) -> str:
    """Return a colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*(int(part) for part in color))


def _dimensions(grid: VoxelGrid) -> Any:
    import neuroglancer

    scales = [spacing * METRES_PER_ANGSTROM for spacing in grid.spacing_zyx_angstrom[::-1]]
    return neuroglancer.CoordinateSpace(names=AXES, units="m", scales=scales)


def _source(values_zyx: Any, grid: VoxelGrid, tomogram: VoxelGrid, volume_type: str) -> Any:
    """Return an array as a source whose lower corner lies where its grid and the tomogram's say."""
    import neuroglancer

    dimensions = _dimensions(grid)
    volume = neuroglancer.LocalVolume(values_zyx.T, dimensions=dimensions, volume_type=volume_type)
    spacing, corner = np.array(grid.spacing_zyx_angstrom), np.array(grid.origin_zyx_angstrom)
    from_corner = corner - spacing / 2 - (np.array(tomogram.origin_zyx_angstrom) - _half_voxel(tomogram))
    shift_xyz = (from_corner / spacing)[::-1]
    matrix = np.column_stack([np.eye(3), np.round(shift_xyz, 6)])
    transform = neuroglancer.CoordinateSpaceTransform(output_dimensions=dimensions, matrix=matrix)
    return neuroglancer.LayerDataSource(url=volume, transform=transform)


def _half_voxel(grid: VoxelGrid) -> Any:
    return np.array(grid.spacing_zyx_angstrom) / 2


def _draw_tomogram(volume: GreyVolume) -> Any:
    import neuroglancer

    black, white = volume.contrast
    return neuroglancer.ImageLayer(
        HIDE_CODE,
        source=_source(volume.values_zyx, volume.grid, volume.grid, "image"),
        shader=TOMOGRAM_SHADER.format(black=int(black), white=int(white)),
        opacity=1.0,
        tab=RENDERING_TAB,
    )


def _draw_probability(volume: Probability, tomogram: VoxelGrid) -> Any:
    import neuroglancer

    return neuroglancer.ImageLayer(
        HIDE_CODE,
        source=_source(volume.values_zyx, volume.grid, tomogram, "image"),
        shader=PROBABILITY_SHADER.format(color=format_color(volume.color), lowest=PROBABILITY_FLOOR),
        opacity=1.0,
        blend="additive",
        tab=RENDERING_TAB,
    )


def _draw_labels(labels: Labels, tomogram: VoxelGrid) -> Any:
    import neuroglancer

    return neuroglancer.SegmentationLayer(
        source=_source(labels.labels_zyx, labels.grid, tomogram, "segmentation"),
        segments=sorted(labels.colors),
        segment_colors={label: format_color(color) for label, color in labels.colors.items()},
        selected_alpha=LABEL_OPACITY,
        tab=RENDERING_TAB,
    )


def _draw_particles(particles: Particles, grid: VoxelGrid, dimensions: Any, *, is_truth: bool) -> Any:
    import neuroglancer

    has_slider = particles.threshold is not None
    below = BELOW if has_slider else ""
    if is_truth:
        shader = TRUTH_SHADER.format(width=FRAME_PIXELS, below=below)
    else:
        shader = PICKS_SHADER.format(opacity=PICK_OPACITY, below=below)
    if particles.threshold is not None:
        shader = _draw_slider(particles.scores, particles.threshold) + shader
    return neuroglancer.LocalAnnotationLayer(
        dimensions,
        HIDE_CODE,
        annotations=_annotations(particles, grid, is_truth=is_truth),
        annotation_properties=[neuroglancer.AnnotationPropertySpec(id="score", type="float32", default=0)],
        annotation_color=format_color(_pale(particles.color) if is_truth else particles.color),
        shader=shader,
        tab=RENDERING_TAB,
    )


def _draw_slider(scores: NDArray[np.float64], threshold: float) -> str:
    """Return the slider of scores from 0 to 1, or of what other programs give."""
    # Nothing is drawn where the default lies outside of the range, be it by rounding.
    low, high = min(0.0, threshold, float(scores.min())), max(1.0, threshold, float(scores.max()))
    return SLIDER.format(low=low, high=high, step=(high - low) / 1000, threshold=threshold)


def _annotations(particles: Particles, grid: VoxelGrid, *, is_truth: bool) -> Sequence[Any]:
    """Return spheres of the true radius for picks, the boxes around them for the truth."""
    import neuroglancer

    centers = np.round(to_page(particles.positions_zyx_angstrom, grid), 3)
    radii = np.round(particles.radius_angstrom / np.array(grid.spacing_zyx_angstrom)[::-1], 3)
    drawn = []
    for number, (center, score) in enumerate(zip(centers, particles.scores, strict=True)):
        common = {"id": str(number), "props": [round(float(score), SCORE_DIGITS)]}
        if is_truth:
            box = {"point_a": center - radii, "point_b": center + radii}
            drawn.append(neuroglancer.AxisAlignedBoundingBoxAnnotation(**common, **box))
        else:
            drawn.append(neuroglancer.EllipsoidAnnotation(**common, center=center, radii=radii))
    return drawn


def _pale(color: Rgb) -> Rgb:
    red, green, blue = (round(part + TRUTH_PALENESS * (255 - part)) for part in color)
    return red, green, blue


def _look_at(state: Any, scene: Scene) -> None:
    """Begin in the middle, at the depth where most particles are, with all of the xy slice in view."""
    import neuroglancer

    grid = scene.tomogram.grid
    center = np.array(grid.shape_zyx[::-1]) / 2
    shown = [particles.positions_zyx_angstrom[particles.shown] for particles in scene.picks or scene.truth]
    depths = np.concatenate([positions[:, 0] for positions in shown]) if shown else np.zeros(0)
    if depths.size:
        z = to_page([float(np.median(depths)), 0, 0], grid)[2]
        center[2] = np.clip(np.floor(z) + 0.5, 0.5, grid.shape_zyx[0] - 0.5)
    state.position = center
    state.cross_section_scale = max(grid.shape_zyx[1:]) / SLICE_PIXELS
    state.projection_scale = 1.5 * max(grid.shape_zyx)
    first = scene.picks or scene.truth
    name = "tomogram" if not first else (first[0].name if scene.picks else f"truth {first[0].name}")
    state.selected_layer = neuroglancer.SelectedLayerState(layer=name, visible=True)
