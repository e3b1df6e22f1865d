from pathlib import Path

import pytest

from lightune.common import cores


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/job/run\n", {"job/cpu.max": "150000 100000\n", "job/run/cpu.max": "max 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("3:cpuset:/\n2:cpu,cpuacct:/host/path\n0::/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "50000\n"}, 1),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n"}, None),
        ("3:cpuset:/\n", {"cpu.max": "100000 100000\n"}, None),
    ],
)
def test_cores_are_those_of_the_smallest_quota(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: str, files: dict[str, str], expected: int | None
):
    monkeypatch.setattr(cores, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "OWN_CGROUPS", tmp_path / "own")
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.with_name("cpu.cfs_period_us").write_text("100000\n")
    assert cores.granted_cores() == expected


def test_a_system_without_control_groups_grants_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(cores, "OWN_CGROUPS", tmp_path / "missing")
    assert cores.granted_cores() is None


def test_threads_wait_as_the_environment_says():
    for given in ({"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}):
        environ = dict(given)
        cores.wait_briefly(environ)
        assert environ == given
    environ = {}
    cores.wait_briefly(environ)
    assert environ == {"GOMP_SPINCOUNT": "1000"}
