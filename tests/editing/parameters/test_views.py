import math

import torch

from editing.parameters.views import Cameras, Views


def cameras(count: int = 2, width: int = 8, height: int = 6) -> Cameras:
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, 2, 3] = torch.arange(3.0, 3.0 + count)
    focal, center = torch.tensor([[10.0, 12.0]]), torch.tensor([[4.0, 3.0]])
    return Cameras(poses, focal.repeat(count, 1), center.repeat(count, 1), width, height)


def test_rays_go_through_the_centres_of_pixels() -> None:
    made = cameras()
    origins, directions = made.rays()
    assert origins.shape == directions.shape == (2, 6, 8, 3)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(2, 6, 8))
    torch.testing.assert_close(origins[1, 0, 0], torch.tensor([0.0, 0.0, 4.0]))
    # of the pixel in column 5 and row 1: right of the middle and above it
    expected = torch.tensor([(5.5 - 4) / 10, -(1.5 - 3) / 12, -1.0])
    torch.testing.assert_close(directions[0, 1, 5], expected / expected.norm())


def test_a_turned_camera_turns_its_rays() -> None:
    made = cameras(1)
    turn = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    made.poses[0, :3, :3] = turn
    _, turned = made.rays()
    torch.testing.assert_close(turned, cameras(1).rays()[1] @ turn.T)


def test_resizing_keeps_what_a_camera_sees() -> None:
    """The corner of the picture stays where it is, and so does the middle."""
    small, large = cameras(), cameras().resized(16, 24)
    assert (large.width, large.height) == (16, 24)

    def corner(made: Cameras) -> torch.Tensor:
        return made.center / made.focal

    torch.testing.assert_close(corner(small), corner(large))
    span = torch.tensor([small.width, small.height]) / small.focal
    torch.testing.assert_close(span, torch.tensor([16, 24]) / large.focal)


def test_cropping_takes_the_middle_and_its_rays() -> None:
    images = torch.rand(2, 3, 6, 8)
    views = Views(images, cameras(), ("a", "b"), 1, 5)
    cut = views.cropped(4, 2)
    assert torch.equal(cut.images, images[:, :, 2:4, 2:6])
    torch.testing.assert_close(cut.cameras.rays()[1], views.cameras.rays()[1][:, 2:4, 2:6])


def test_some_of_the_views() -> None:
    views = Views(torch.rand(3, 3, 6, 8), cameras(3), ("a", "b", "c"), 1, 5)
    some = views[[2, 0]]
    assert some.names == ("c", "a") and len(some) == 2
    assert torch.equal(some.images, views.images[[2, 0]])
    assert torch.equal(some.cameras.origins[:, 2], torch.tensor([5.0, 3.0]))


def test_the_field_of_view_is_that_of_the_focal_length() -> None:
    made = cameras(1, width=8)
    _, directions = made.rays()
    left, right = directions[0, 3, 0], directions[0, 3, 7]
    angle = math.degrees(math.acos(float(left @ right)))
    expected = 2 * math.degrees(math.atan(3.5 / 10))
    assert abs(angle - expected) < 0.1
