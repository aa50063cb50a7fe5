import os
import subprocess

import pytest

from lightning_al.sweep import Job
from lightning_al.sweep.shell import shell_line, slurm_array


def jobs_in(folder):
    """Jobs that write where and with how many threads they run."""
    script = 'echo "$PWD $OMP_NUM_THREADS $1"; test "$1" = "b c"'
    return [
        Job(name, ("sh", "-c", script, "sh", name), folder / "logs of all" / f"{i}.log")
        for i, name in enumerate(("a'\"$HOME", "b c"))
    ]


def test_a_line_runs_in_a_shell(tmp_path):
    cwd = tmp_path / "the runs' folder"
    cwd.mkdir()
    line = shell_line(jobs_in(tmp_path)[0], {"OMP_NUM_THREADS": "3"}, cwd=cwd)
    done = subprocess.run(["sh", "-c", line], cwd="/", capture_output=True, text=True)
    assert done.stdout == f"{cwd} 3 a'\"$HOME\n"


@pytest.mark.parametrize(("cores", "threads"), [(None, "1"), ("4", "4")])
def test_each_task_of_an_array_is_a_job(tmp_path, cores, threads):
    (tmp_path / "here").mkdir()
    jobs = jobs_in(tmp_path)
    script = tmp_path / "array.sh"
    script.write_text(slurm_array(jobs, name="small", at_once=2, cwd=tmp_path / "here"))
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    assert "#SBATCH --array=0-1%2" in lines
    assert {"#SBATCH --output=small_array.log", "#SBATCH --open-mode=append"} <= set(lines)  # a `cd` may fail
    env = {"PATH": os.environ["PATH"]} | ({} if cores is None else {"SLURM_CPUS_PER_TASK": cores})
    codes = []
    for task in range(3):
        done = subprocess.run(["bash", str(script)], env={**env, "SLURM_ARRAY_TASK_ID": str(task)}, cwd="/")
        codes.append(done.returncode)
    assert codes == [1, 0, 1]  # the first job fails, and there is no third
    for job in jobs:
        assert job.log.read_text() == f"{tmp_path / 'here'} {threads} {job.name}\n"


def test_a_cluster_may_have_no_limit(tmp_path):
    said = slurm_array(jobs_in(tmp_path), name="x y", at_once=None, cwd=tmp_path)
    assert "#SBATCH --array=0-1\n" in said
    assert "#SBATCH --job-name='x y'\n" in said
