"""The slab-wise U-Net against the plain forward pass of the same network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cryofind.models import ResidualUNet, fold_batch_norm
from cryofind.predict import slabs
from cryofind.predict.slabs import SlabUNet


def make_network(
    widths: tuple[int, ...] = (4, 8, 8),
    encoder_blocks: tuple[int, ...] = (1, 2, 1),
    decoder_blocks: tuple[int, ...] = (2, 1),
) -> ResidualUNet:
    """Return a folded network none of whose layers is trivial."""
    torch.manual_seed(7)
    network = ResidualUNet(1, 3, widths=widths, encoder_blocks=encoder_blocks, decoder_blocks=decoder_blocks)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            assert module.running_mean is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    folded = fold_batch_norm(network)
    assert isinstance(folded, ResidualUNet)
    return folded


def draw_images(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_equal_logits(network: ResidualUNet, images: torch.Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(
            SlabUNet(network, torch.float32)(images), network(images), rtol=1e-4, atol=1e-5, check_stride=False
        )


@settings(max_examples=25, deadline=None)
@given(
    depth=st.integers(1, 6),
    height=st.integers(1, 3),
    width=st.integers(1, 3),
    planes=st.integers(1, 7),
    seed=st.integers(0, 99),
)
def test_any_slab_height_gives_the_plain_logits(depth: int, height: int, width: int, planes: int, seed: int) -> None:
    network = make_network()
    images = draw_images((1, 1, 8 * depth, 8 * height, 8 * width), seed)
    bytes_per_plane = 4 * (4 * height) * (4 * width) * 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "SLAB_BYTES", planes * bytes_per_plane)
        assert_equal_logits(network, images)


@pytest.mark.parametrize(
    ("widths", "encoder_blocks", "decoder_blocks"),
    [((4,), (1,), ()), ((4, 8), (0, 1), (0,)), ((4, 4, 8, 8), (1, 0, 2, 1), (0, 1, 2))],
)
def test_any_plan_of_blocks(
    widths: tuple[int, ...], encoder_blocks: tuple[int, ...], decoder_blocks: tuple[int, ...]
) -> None:
    assert_equal_logits(make_network(widths, encoder_blocks, decoder_blocks), draw_images((1, 1, 32, 16, 48)))


def test_a_batch_is_taken_image_by_image_and_left_as_it_was() -> None:
    images = draw_images((3, 1, 16, 24, 16))
    before = images.clone()
    assert_equal_logits(make_network(), images)
    assert torch.equal(images, before)


def test_plain_kernels_do_where_fused_ones_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "_has_fused_kernels", lambda dtype: False)
    monkeypatch.setattr(slabs, "SLAB_BYTES", 4096)
    assert_equal_logits(make_network(), draw_images((1, 1, 32, 16, 16)))


def test_bfloat16_rounds_no_more_than_the_plain_pass() -> None:
    network = make_network((16, 32), (1, 1), (1,))
    images = draw_images((1, 1, 32, 32, 32))
    with torch.inference_mode():
        exact = network(images)
        rounded = SlabUNet(network, torch.bfloat16)(images.bfloat16()).float()
        plain = fold_batch_norm(network).bfloat16()(images.bfloat16()).float()
    assert (rounded - exact).norm() < 1.2 * (plain - exact).norm()
    assert (rounded - exact).norm() < 0.01 * exact.norm()


def test_memory_is_that_of_the_levels_once() -> None:
    network = SlabUNet(make_network((16, 32), (1, 1), (1,)), torch.bfloat16)
    assert network.bytes_per_voxel == pytest.approx(2 * (16 / 8 + 32 / 64))


def test_logits_are_not_rounded_to_the_type_of_the_features() -> None:
    network = SlabUNet(make_network((16, 32), (1, 1), (1,)), torch.bfloat16)
    with torch.inference_mode():
        logits = network(torch.randn(1, 1, 16, 16, 16).bfloat16())
    assert logits.dtype == torch.float32
    assert len(torch.unique(logits)) > 3 * len(torch.unique(logits.bfloat16()))


def test_logits_come_plane_by_plane_and_are_the_same() -> None:
    network = SlabUNet(make_network((16, 32), (1, 1), (1,)), torch.float32)
    image = torch.randn(1, 1, 32, 16, 16)
    with torch.inference_mode():
        whole, parts = network(image)[0], list(network.iterate_logits(image))
    assert [start for start, _ in parts] == list(range(0, 16, parts[0][1].shape[1]))
    torch.testing.assert_close(torch.cat([planes for _, planes in parts], dim=1), whole, rtol=0, atol=0)
