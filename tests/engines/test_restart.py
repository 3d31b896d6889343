from hypothesis import given
from hypothesis import strategies as st

from skyloom.engines.local import Restarts


def test_a_long_life_forgives_the_deaths_before_it():
    deaths = Restarts(4).after_death(lived_s=10.0)
    assert (deaths.delay_s, deaths.failing) == (0.0, False)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_failing_means_five_quick_deaths_in_a_row(lives: list[float]):
    deaths, quick = Restarts(), 0
    for lived in lives:
        deaths = deaths.after_death(lived)
        quick = quick + 1 if lived < 10 else 1
        assert deaths.failing == (quick >= 5)
        assert deaths.delay_s == [0, 0, 0.25, 0.5, 1, 5][min(quick, 5)]
