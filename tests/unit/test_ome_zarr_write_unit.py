"""What the writers put on disk, and that damage to it is found."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from cryofind.errors import OutputError, TomogramError
from cryofind.io import (
    fingerprint_volume,
    read_probability_zarr,
    read_segmentation_zarr,
    read_tomogram,
    write_mrc,
    write_probability_zarr,
    write_segmentation_zarr,
    write_tomogram_zarr,
)
from cryofind.io.ome_zarr_write import halve_by_mean
from cryofind.types import LabelVolume, ProbabilityVolume, Tomogram, VoxelGrid

RANDOM = np.random.default_rng(3)
GRID = VoxelGrid((9, 12, 15), (10.0, 10.0, 10.001))
VOLUME = RANDOM.normal(size=GRID.shape_zyx).astype(np.float32)
VOLUME[:2] = 0


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_tomogram_comes_back(tmp_path: Path, zarr_format: int) -> None:
    folder = tmp_path / "TS_1" / "VoxelSpacing10.000" / "wbp.zarr"
    write_tomogram_zarr(folder, Tomogram("TS_1", VOLUME, GRID), zarr_format=zarr_format)
    tomogram = read_tomogram(folder)
    np.testing.assert_array_equal(tomogram.volume_zyx, VOLUME)
    assert tomogram.volume_zyx.dtype == np.float32
    assert (tomogram.run, tomogram.flavour, tomogram.grid, tomogram.notes) == ("TS_1", "wbp", GRID, ())


def test_metadata_are_those_of_copick_1(tmp_path: Path) -> None:
    write_tomogram_zarr(tmp_path / "a.zarr", Tomogram("a", VOLUME, GRID), levels=2)
    attributes = json.loads((tmp_path / "a.zarr/.zattrs").read_text())
    array = json.loads((tmp_path / "a.zarr/0/.zarray").read_text())
    assert json.loads((tmp_path / "a.zarr/.zgroup").read_text()) == {"zarr_format": 2}
    (image,) = attributes["multiscales"]
    assert image["version"] == "0.4"
    assert image["name"] == "/"
    assert image["axes"] == [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]
    assert image["datasets"] == [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [10.0, 10.0, 10.001]}]},
        {"path": "1", "coordinateTransformations": [{"type": "scale", "scale": [20.0, 20.0, 20.002]}]},
    ]
    assert array["compressor"] == {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}
    assert array["dimension_separator"] == "/"
    assert array["fill_value"] == 0
    assert array["dtype"] == "<f4"
    assert array["order"] == "C"


def test_version_3_metadata(tmp_path: Path) -> None:
    write_tomogram_zarr(tmp_path / "a.zarr", Tomogram("a", VOLUME, GRID), zarr_format=3)
    document = json.loads((tmp_path / "a.zarr/zarr.json").read_text())
    assert document["zarr_format"] == 3
    assert document["attributes"]["ome"]["version"] == "0.5"
    array = json.loads((tmp_path / "a.zarr/0/zarr.json").read_text())
    assert array["dimension_names"] == ["z", "y", "x"]
    assert [codec["name"] for codec in array["codecs"]] == ["bytes", "blosc", "crc32c"]


def test_pyramid_is_the_mean_of_what_each_cell_covers(tmp_path: Path) -> None:
    write_tomogram_zarr(tmp_path / "a.zarr", Tomogram("a", VOLUME, GRID))
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    expected = VOLUME
    for level in ("1", "2"):
        shape = [-(-n // 2) for n in expected.shape]
        blocks = [
            [[expected[2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean() for x in range(shape[2])]
             for y in range(shape[1])]
            for z in range(shape[0])
        ]  # fmt: skip
        expected = np.array(blocks)
        np.testing.assert_allclose(np.asarray(group[level]), expected, atol=1e-6)


def test_halving_keeps_a_constant_at_odd_edges() -> None:
    np.testing.assert_array_equal(halve_by_mean(np.ones((5, 1, 3), np.float32)), np.ones((3, 1, 2)))


def test_levels_stop_at_a_single_voxel(tmp_path: Path) -> None:
    tomogram = Tomogram("a", np.ones((1, 2, 2)), VoxelGrid.isotropic((1, 2, 2), 10.0))
    write_tomogram_zarr(tmp_path / "a.zarr", tomogram, levels=5)
    assert sorted(path.name for path in (tmp_path / "a.zarr").iterdir() if path.is_dir()) == ["0", "1"]


def test_grid_with_an_origin_keeps_it(tmp_path: Path) -> None:
    grid = GRID.coarsened(2)
    tomogram = Tomogram("a", np.zeros(grid.shape_zyx, np.int16), grid)
    write_tomogram_zarr(tmp_path / "a.zarr", tomogram)
    assert read_tomogram(tmp_path / "a.zarr").grid == grid
    datasets = json.loads((tmp_path / "a.zarr/.zattrs").read_text())["multiscales"][0]["datasets"]
    shift = datasets[1]["coordinateTransformations"][1]["translation"]
    np.testing.assert_allclose(shift, grid.coarsened(2).origin_zyx_angstrom)


def test_what_was_there_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    write_tomogram_zarr(folder, Tomogram("a", VOLUME, GRID))
    write_tomogram_zarr(folder, Tomogram("a", VOLUME + 1, GRID), levels=1)
    np.testing.assert_array_equal(read_tomogram(folder).volume_zyx, VOLUME + 1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    assert not (folder / "1").exists()


def test_a_refused_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_tomogram_zarr(tmp_path / "file" / "a.zarr", Tomogram("a", VOLUME, GRID))
    with pytest.raises(ValueError, match="levels"):
        write_tomogram_zarr(tmp_path / "a.zarr", Tomogram("a", VOLUME, GRID), levels=0)
    with pytest.raises(ValueError, match="zarr_format"):
        write_tomogram_zarr(tmp_path / "a.zarr", Tomogram("a", VOLUME, GRID), zarr_format=4)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_flipped_bit_of_an_own_chunk_is_found(tmp_path: Path, zarr_format: int) -> None:
    folder = tmp_path / "a.zarr"
    write_tomogram_zarr(folder, Tomogram("a", VOLUME, GRID), levels=1, zarr_format=zarr_format)
    (path,) = [path for path in folder.rglob("*") if path.is_file() and path.name == "0"]
    content = bytearray(path.read_bytes())
    for _ in range(60):
        byte, bit = int(RANDOM.integers(len(content))), int(RANDOM.integers(8))
        content[byte] ^= 1 << bit
        path.write_bytes(content)
        with pytest.raises(TomogramError, match="chunk "):
            read_tomogram(folder)
        content[byte] ^= 1 << bit
    path.write_bytes(content)
    read_tomogram(folder)


def test_damaged_table_of_checksums_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    write_tomogram_zarr(folder, Tomogram("a", VOLUME, GRID), levels=1)
    text = (folder / ".zattrs").read_text()
    for table in ('"x"', '{"0/0/0/0": "x"}'):
        document = json.loads(text)
        document["cryofind"]["chunk_crc32"] = json.loads(table)
        (folder / ".zattrs").write_text(json.dumps(document))
        with pytest.raises(TomogramError, match="chunk_crc32: is damaged"):
            read_tomogram(folder)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_segmentation_comes_back(tmp_path: Path, zarr_format: int) -> None:
    labels = RANDOM.integers(0, 7, GRID.shape_zyx).astype(np.int64)
    names = {1: "ribosome", 6: "membrane"}
    write_segmentation_zarr(tmp_path / "a.zarr", LabelVolume("a", labels, GRID, names), zarr_format=zarr_format)
    volume = read_segmentation_zarr(tmp_path / "a.zarr", run="a", names_by_label=names)
    np.testing.assert_array_equal(volume.labels_zyx, labels)
    assert volume.labels_zyx.dtype == np.uint8
    assert (volume.run, volume.grid, volume.names_by_label) == ("a", GRID, names)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    np.testing.assert_array_equal(np.asarray(group["1"]), labels[::2, ::2, ::2])


def test_labels_that_do_not_fit_are_a_programming_error(tmp_path: Path) -> None:
    for value in (-1, 256):
        labels = np.full(GRID.shape_zyx, value)
        with pytest.raises(ValueError, match="0 to 255"):
            write_segmentation_zarr(tmp_path / "a.zarr", LabelVolume("a", labels, GRID, {}))


def test_missing_chunks_of_foreign_segmentations_are_background(tmp_path: Path) -> None:
    labels = np.zeros(GRID.shape_zyx, np.int8)
    labels[0, 0, 0] = 2
    write_tomogram_zarr(tmp_path / "a.zarr", Tomogram("a", labels, GRID), levels=1)
    attributes = json.loads((tmp_path / "a.zarr/.zattrs").read_text())
    group = zarr.open_group(tmp_path / "b.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=labels, chunks=(4, 4, 4))
    group.attrs.update({"multiscales": attributes["multiscales"]})
    volume = read_segmentation_zarr(tmp_path / "b.zarr", run="a", names_by_label={2: "x"})
    np.testing.assert_array_equal(volume.labels_zyx, labels)
    with pytest.raises(TomogramError, match="chunks are missing"):
        read_segmentation_zarr(tmp_path / "b.zarr", run="a", names_by_label={}, allow_missing_chunks=False)
    with pytest.raises(TomogramError, match="expected integers"):
        read_segmentation_zarr(tmp_path / "a.zarr", run="a", names_by_label={})


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_probabilities_come_back_with_their_grid(tmp_path: Path, zarr_format: int) -> None:
    grid = GRID.coarsened(2)
    values = RANDOM.random((2, *grid.shape_zyx)).astype(np.float16)
    written = ProbabilityVolume("TS_1", values, grid, ("ribosome", "apo-ferritin"))
    write_probability_zarr(tmp_path / "p.zarr", written, zarr_format=zarr_format)
    volume = read_probability_zarr(tmp_path / "p.zarr")
    np.testing.assert_array_equal(volume.probabilities, values)
    assert volume.probabilities.dtype == np.float16
    assert (volume.run, volume.objects) == ("TS_1", ("ribosome", "apo-ferritin"))
    assert volume.grid.shape_zyx == grid.shape_zyx
    np.testing.assert_allclose(volume.grid.origin_zyx_angstrom, grid.origin_zyx_angstrom)
    with pytest.raises(TomogramError, match="axis 'c': has 2 entries"):
        read_tomogram(tmp_path / "p.zarr")


def test_a_tomogram_is_no_probability_volume(tmp_path: Path) -> None:
    write_tomogram_zarr(tmp_path / "a.zarr", Tomogram("a", VOLUME, GRID), levels=1)
    with pytest.raises(TomogramError, match="does not name every channel"):
        read_probability_zarr(tmp_path / "a.zarr")


def test_fingerprint_does_not_depend_on_format_or_number_type(tmp_path: Path) -> None:
    integers = RANDOM.integers(-100, 100, (20, 30, 40)).astype(np.int16)
    grid = VoxelGrid.isotropic(integers.shape, 10.0)
    tomogram = Tomogram("a", integers, grid)
    write_tomogram_zarr(tmp_path / "a.zarr", tomogram)
    write_mrc(tmp_path / "a.mrc", tomogram)
    prints = {fingerprint_volume(read_tomogram(tmp_path / name).volume_zyx) for name in ("a.zarr", "a.mrc")}
    assert prints == {fingerprint_volume(integers)}
    assert fingerprint_volume(integers[:, :, ::-1]) not in prints
    assert fingerprint_volume(integers.reshape(20, 40, 30)) not in prints
