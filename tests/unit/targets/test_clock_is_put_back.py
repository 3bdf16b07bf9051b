"""Whatever happens while a clock is pinned, the next use of the device puts it back."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from targets.cpu_clock import pinned
from targets.device_files import LocalFiles
from targets.testing import FakeSystem

CLOCKS = [408_000, 816_000, 1_200_000, 1_608_000, 1_800_000]
FOLDERS = [f"sys/devices/system/cpu/cpufreq/policy{cpu}" for cpu in (0, 4)]


class LostAfter(LocalFiles):
    """Refuses what Linux refuses, and everything after so many writes."""

    def __init__(self, root: Path, n_writes: int) -> None:
        super().__init__(root)
        self._left = n_writes

    def write(self, path: str, text: str) -> None:
        folder, _, changed = path.rpartition("/")
        khz = {
            name: int((text if name == changed else self.read(f"{folder}/{name}")) or 0)
            for name in ("scaling_min_freq", "scaling_max_freq")
        }
        if khz["scaling_min_freq"] > khz["scaling_max_freq"]:
            raise OSError(22, "Invalid argument")
        if self._left == 0:
            raise ConnectionResetError(104, "Connection reset by peer")
        self._left -= 1
        super().write(path, text)


limits = st.tuples(st.sampled_from(CLOCKS), st.sampled_from(CLOCKS)).map(sorted)
governors = st.sampled_from(["ondemand", "schedutil", "powersave", "performance"])


@settings(max_examples=60, deadline=None)
@given(
    found=st.lists(st.tuples(limits, governors), min_size=2, max_size=2),
    wanted=st.lists(st.one_of(st.integers(1, 2_000_000), st.just("max")), min_size=1, max_size=4),
    n_writes=st.integers(0, 20),
)
def test_settings_are_put_back_however_early_the_device_is_lost(
    found: list[tuple[list[int], str]], wanted: list[int | str], n_writes: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        system = FakeSystem(folder / "root", n_cpus=8)
        expected = {}
        for path, ((lowest, highest), governor) in zip(FOLDERS, found, strict=True):
            system.add_policy(int(path[-1]), CLOCKS[0], CLOCKS[0], CLOCKS[-1])
            system.write(f"{path}/scaling_available_frequencies", " ".join(map(str, CLOCKS)))
            texts = {
                "scaling_governor": governor,
                "scaling_min_freq": str(lowest),
                "scaling_max_freq": str(highest),
            }
            for setting, text in texts.items():
                system.write(f"{path}/{setting}", text)
                expected[f"/{path}/{setting}"] = text
        unreliable = LostAfter(folder / "root", n_writes)
        for clock in wanted:
            with pinned(unreliable, clock, folder / "journal.json"):  # type: ignore[arg-type]
                pass
        with pinned(LostAfter(folder / "root", -1), None, folder / "journal.json"):
            assert {path: system.files.read(path) for path in expected} == expected
        assert not (folder / "journal.json").exists()
