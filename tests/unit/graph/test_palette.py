"""The colours: each status has some, and they can be read."""

import pytest

from sagas.graph.palette import DARK, LIGHT, SURFACES, Paint
from sagas.model import SagaStatus, StepStatus


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """As WCAG has it."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_every_status_has_its_colours_in_the_light_and_in_the_dark() -> None:
    assert {status.value for status in (*StepStatus, *SagaStatus)} <= set(LIGHT)
    assert set(LIGHT) == set(DARK)


@pytest.mark.parametrize(
    ("theme", "paint"), [(theme, paint) for theme, all_ in enumerate((LIGHT, DARK)) for paint in all_.values()]
)
def test_whatever_is_written_on_a_box_can_be_read(theme: int, paint: Paint) -> None:
    for ink in (paint.ink, *(SURFACES[name][theme] for name in ("strong", "muted", "alarm"))):
        assert contrast(ink, paint.fill) >= 4.5, (ink, paint)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_so_can_whatever_is_written_beside_them(theme: int) -> None:
    for name in ("strong", "muted", "alarm", "no-return"):
        for ground in ("ground", "block"):
            assert contrast(SURFACES[name][theme], SURFACES[ground][theme]) >= 4.5, name


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_lines_can_be_seen_and_those_not_taken_stand_back(theme: int) -> None:
    ground = SURFACES["ground"][theme]
    for name in ("forward", "backward"):
        assert contrast(SURFACES[name][theme], ground) >= 3
        assert contrast(SURFACES["untaken"][theme], ground) < contrast(SURFACES[name][theme], ground)
