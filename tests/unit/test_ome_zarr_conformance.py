"""Every kind of OME-Zarr folder, one set of promises."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from cryofind.errors import TomogramError
from cryofind.io import read_tomogram, read_tomogram_grid, write_tomogram_zarr
from cryofind.types import Tomogram, VoxelGrid

SHAPE = (7, 10, 13)
VOLUME = np.random.default_rng(7).normal(size=SHAPE).astype(np.float32)
SPACING = 10.012


@dataclass(frozen=True)
class Kind:
    zarr_format: int = 2
    shards: tuple[int, ...] | None = None
    level: str = "0"
    unit: str | None = "angstrom"
    scale: float = SPACING
    leading: tuple[str, ...] = ()
    separator: str = "/"
    codec: str = "default"
    dtype: str = "<f4"
    ome_key: bool | None = None


KINDS = {
    "v2": Kind(),
    "v2 dots": Kind(separator="."),
    "v2 raw": Kind(codec="raw"),
    "v2 blosc": Kind(codec="blosc"),
    "v2 big endian": Kind(dtype=">f4"),
    "v2 under ome": Kind(ome_key=True),
    "v3": Kind(3),
    "v3 top level": Kind(3, ome_key=False),
    "v3 raw": Kind(3, codec="raw"),
    "v3 v2 keys": Kind(3, separator="."),
    "v3 sharded": Kind(3, shards=(4, 8, 8)),
    "s0": Kind(level="s0"),
    "nested level": Kind(level="image/full"),
    "nanometer": Kind(unit="nanometer", scale=SPACING / 10),
    "micrometer": Kind(unit="micrometer", scale=SPACING / 1e4),
    "channel axis": Kind(leading=("c",)),
    "time and channel": Kind(3, leading=("t", "c")),
}


def write_kind(folder: Path, kind: Kind) -> Path:
    """Write `VOLUME` with zarr itself, so that the reader meets another writer."""
    group = zarr.open_group(folder, mode="w", zarr_format=3 if kind.zarr_format == 3 else 2)
    values = VOLUME.reshape((1,) * len(kind.leading) + SHAPE).astype(kind.dtype)
    leading = (1,) * len(kind.leading)
    options: dict[str, Any] = {}
    if kind.zarr_format == 2:
        options["chunk_key_encoding"] = {"name": "v2", "separator": kind.separator}
    elif kind.separator == ".":
        options["chunk_key_encoding"] = {"name": "v2", "separator": "."}
    if kind.codec == "raw":
        options["compressors"] = None
    elif kind.codec == "blosc":
        options["compressors"] = numcodecs.Blosc(cname="zstd", clevel=3)
    if kind.shards is not None:
        options["shards"] = leading + kind.shards
    array = group.create_array(
        kind.level,
        shape=values.shape,
        chunks=(*leading, 4, 4, 4) if kind.shards else (*leading, 4, 8, 8),
        dtype=kind.dtype,
        config={"write_empty_chunks": True},
        **options,
    )
    array[...] = values
    spatial: list[Any] = [
        {"name": axis, "type": "space"} | ({"unit": kind.unit} if kind.unit else {}) for axis in "zyx"
    ]
    axes: list[Any] = [{"name": axis, "type": "channel" if axis == "c" else "time"} for axis in kind.leading] + spatial
    scale = [1.0] * len(kind.leading) + [kind.scale] * 3
    image: dict[str, Any] = {
        "axes": axes,
        "datasets": [{"path": kind.level, "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
    }
    under_ome = kind.zarr_format == 3 if kind.ome_key is None else kind.ome_key
    if under_ome:
        group.attrs.update({"ome": {"version": "0.5", "multiscales": [image]}})
    else:
        group.attrs.update({"multiscales": [image | {"version": "0.4"}]})
    return folder


def chunk_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name[-1].isdigit()]


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_kind(tmp_path / "a.zarr", request.param)


def test_voxels_and_grid_are_those_written(folder: Path) -> None:
    tomogram = read_tomogram(folder)
    np.testing.assert_array_equal(tomogram.volume_zyx, VOLUME)
    assert tomogram.grid.shape_zyx == SHAPE
    np.testing.assert_allclose(tomogram.grid.spacing_zyx_angstrom, SPACING)
    assert tomogram.grid.origin_zyx_angstrom == (0.0, 0.0, 0.0)
    assert (tomogram.run, tomogram.flavour, tomogram.notes) == ("a", "", ())


def test_grid_needs_no_voxels(folder: Path) -> None:
    expected = read_tomogram_grid(folder)
    for path in chunk_files(folder):
        path.unlink()
    assert read_tomogram_grid(folder) == expected


def test_every_missing_chunk_is_refused_with_the_count(folder: Path) -> None:
    files = chunk_files(folder)
    for path in files:
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(TomogramError, match=f"1 of {len(files)} chunks are missing"):
            read_tomogram(folder)
        tomogram = read_tomogram(folder, allow_missing_chunks=True)
        assert any("1 of" in note for note in tomogram.notes)
        differs = tomogram.volume_zyx != VOLUME
        assert differs.any()
        assert (tomogram.volume_zyx[differs] == 0).all()
        path.write_bytes(content)
    np.testing.assert_array_equal(read_tomogram(folder).volume_zyx, VOLUME)


def test_every_truncated_or_empty_chunk_is_refused_by_name(folder: Path) -> None:
    for path in chunk_files(folder):
        content = path.read_bytes()
        for keep in {0, 1, len(content) // 2, len(content) - 1}:
            path.write_bytes(content[:keep])
            with pytest.raises(TomogramError, match="chunk ") as caught:
                read_tomogram(folder)
            key = caught.value.subject.rpartition("chunk ")[2]
            assert path.as_posix().endswith(key)
        path.write_bytes(content)


def test_spacing_can_be_given(folder: Path) -> None:
    tomogram = read_tomogram(folder, voxel_spacing_angstrom=13.48)
    assert tomogram.grid.spacing_zyx_angstrom == (13.48,) * 3
    assert any("as given" in note for note in tomogram.notes)


def edit_attributes(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = folder / ".zattrs"
    document = json.loads(path.read_text())
    edit(document["multiscales"][0])
    path.write_text(json.dumps(document))


def set_axes(axes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda image: image.__setitem__("axes", axes)


def set_scale(*scale: Any) -> Callable[[dict[str, Any]], None]:
    return lambda image: image["datasets"][0].__setitem__(
        "coordinateTransformations", [{"type": "scale", "scale": list(scale)}]
    )


@pytest.mark.parametrize(
    ("edit", "note"),
    [
        (set_axes(["z", "y", "x"]), "no unit of length"),
        (set_axes([{"name": n, "unit": "parsec"} for n in "ZYX"]), "parsec"),
        (lambda image: image.pop("axes"), "no axes"),
    ],
)
def test_missing_units_and_axes_are_assumed_with_a_note(
    tmp_path: Path, edit: Callable[[dict[str, Any]], None], note: str
) -> None:
    folder = write_kind(tmp_path / "a.zarr", Kind())
    edit_attributes(folder, edit)
    tomogram = read_tomogram(folder)
    assert tomogram.grid.spacing_angstrom == pytest.approx(SPACING)
    assert any(note in found for found in tomogram.notes)


def test_translation_is_the_origin_and_transformations_of_the_image_come_last(tmp_path: Path) -> None:
    folder = write_kind(tmp_path / "a.zarr", Kind(unit="nanometer", scale=1.0))

    def edit(image: dict[str, Any]) -> None:
        image["datasets"][0]["coordinateTransformations"].append({"type": "translation", "translation": [1, 2, 3]})
        image["coordinateTransformations"] = [{"type": "scale", "scale": [2.0, 2.0, 2.0]}]

    edit_attributes(folder, edit)
    tomogram = read_tomogram(folder)
    assert tomogram.grid.spacing_zyx_angstrom == (20.0, 20.0, 20.0)
    assert tomogram.grid.origin_zyx_angstrom == (20.0, 40.0, 60.0)
    assert any("translation" in note for note in tomogram.notes)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_axes([{"name": n} for n in "xyz"]), "axes: are x, y, z, expected to end in z, y, x"),
        (set_axes([{"name": n} for n in "zyxc"]), "for an array of 3D"),
        (set_axes([{"name": n} for n in "yx"]), "for an array of 3D"),
        (set_axes("zyx"), "axes: is not a list"),
        (set_axes([{"unit": "angstrom"}] * 3), "without a name"),
        (set_scale(0, 10, 10), "--voxel-size"),
        (set_scale(-10, 10, 10), "--voxel-size"),
        (set_scale(10, 10, 20), "differs between the axes"),
        (set_scale(1e-9, 1e-9, 1e-9), "no volume has"),
        (set_scale(10, 10), "three numbers or more"),
        (set_scale("10", 10, 10), "three numbers or more"),
        (set_scale(float("nan"), 10, 10), "finite"),
        (set_scale(10**400, 10, 10), "out of range"),
        (lambda image: image["datasets"][0].pop("coordinateTransformations"), "voxel size: is not in the file"),
        (lambda image: image["datasets"][0].__setitem__("coordinateTransformations", 7), "not a list of objects"),
        (lambda image: image["datasets"][0].__setitem__("coordinateTransformations", [{"type": "affine"}]), "affine"),
        (lambda image: image["datasets"][0].__setitem__("path", "../../0"), "expected a folder inside"),
        (lambda image: image["datasets"][0].__setitem__("path", 7), "expected a folder inside"),
        (lambda image: image.__setitem__("datasets", []), "datasets: is not a list"),
        (lambda image: image.__setitem__("coordinateTransformations", [{"type": "scale", "scale": [1] * 4}]), "differ"),
    ],
)
def test_metadata_that_make_no_sense_are_refused_with_the_field(
    tmp_path: Path, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    folder = write_kind(tmp_path / "a.zarr", Kind())
    edit_attributes(folder, edit)
    with pytest.raises(TomogramError, match=message) as caught:
        read_tomogram(folder)
    assert "\n" not in str(caught.value)


def test_spacing_of_one_without_a_unit_is_unknown_but_one_angstrom_is_one(tmp_path: Path) -> None:
    with pytest.raises(TomogramError, match="exactly 1"):
        read_tomogram(write_kind(tmp_path / "a.zarr", Kind(unit=None, scale=1.0)))
    assert read_tomogram(write_kind(tmp_path / "b.zarr", Kind(scale=1.0))).grid.spacing_angstrom == 1.0


def test_several_channels_or_times_are_refused_by_name(tmp_path: Path) -> None:
    for name in "ct":
        folder = write_kind(tmp_path / f"{name}.zarr", Kind(leading=(name,)))
        values = np.stack([VOLUME, VOLUME])
        shutil.rmtree(folder / "0")
        zarr.create_array(folder / "0", data=values, chunks=(1, 4, 4, 4), zarr_format=2)
        with pytest.raises(TomogramError, match=f"axis '{name}': has 2 entries, expected 1"):
            read_tomogram(folder)
        with pytest.raises(TomogramError, match="has 2 entries"):
            read_tomogram_grid(folder)


def test_bare_arrays_need_a_voxel_spacing(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "v2.zarr", data=VOLUME, chunks=(4, 4, 4), zarr_format=2)
    zarr.create_array(tmp_path / "v3.zarr", data=VOLUME, chunks=(4, 4, 4), zarr_format=3)
    group = zarr.open_group(tmp_path / "group.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=VOLUME, chunks=(4, 4, 4))
    for name in ("v2", "v3", "group"):
        with pytest.raises(TomogramError, match="--voxel-size"):
            read_tomogram(tmp_path / f"{name}.zarr")
        tomogram = read_tomogram(tmp_path / f"{name}.zarr", voxel_spacing_angstrom=10.0)
        np.testing.assert_array_equal(tomogram.volume_zyx, VOLUME)
        assert any("no OME-Zarr metadata" in note for note in tomogram.notes)


def test_groups_without_images_and_flat_arrays_are_refused(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "empty.zarr", mode="w", zarr_format=3)
    zarr.create_array(tmp_path / "flat.zarr", data=VOLUME[0], chunks=(4, 4), zarr_format=2)
    (tmp_path / "nothing.zarr").mkdir()
    for name, message in (("empty", "neither"), ("flat", "2D array"), ("nothing", "no zarr metadata")):
        with pytest.raises(TomogramError, match=message):
            read_tomogram(tmp_path / f"{name}.zarr", voxel_spacing_angstrom=10.0)


def test_missing_coarse_level_is_no_loss_but_a_missing_finest_one_is(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    write_tomogram_zarr(folder, Tomogram("a", VOLUME, VoxelGrid.isotropic(SHAPE, 10.0)))
    shutil.rmtree(folder / "2")
    np.testing.assert_array_equal(read_tomogram(folder).volume_zyx, VOLUME)
    shutil.rmtree(folder / "0")
    with pytest.raises(TomogramError, match="level 1: 1 of 1 chunks; level 2: missing too"):
        read_tomogram(folder)


def test_consolidated_metadata_do_not_matter(tmp_path: Path) -> None:
    folder = write_kind(tmp_path / "a.zarr", Kind())
    (folder / ".zmetadata").write_text('{"metadata": {}, "zarr_consolidated_format": 1}')
    np.testing.assert_array_equal(read_tomogram(folder).volume_zyx, VOLUME)


def test_only_the_first_of_several_images_is_read(tmp_path: Path) -> None:
    folder = write_kind(tmp_path / "a.zarr", Kind())
    document = json.loads((folder / ".zattrs").read_text())
    document["multiscales"] *= 2
    (folder / ".zattrs").write_text(json.dumps(document))
    assert any("first of 2 images" in note for note in read_tomogram(folder).notes)


def test_integer_voxels_stay_integers(tmp_path: Path) -> None:
    folder = write_kind(tmp_path / "a.zarr", Kind(dtype="<i2"))
    tomogram = read_tomogram(folder)
    assert tomogram.volume_zyx.dtype == np.int16
    values: NDArray[Any] = VOLUME.astype(np.int16)
    np.testing.assert_array_equal(tomogram.volume_zyx, values)
