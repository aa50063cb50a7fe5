"""Jobs as lines of a shell, and as a job array of Slurm."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_al.sweep.jobs import Job


def shell_line(job: Job, variables: Mapping[str, str], *, cwd: Path) -> str:
    """Return a job as a line of a shell, wherever that is.

    Args:
        job: Which.
        variables: Of its environment.
        cwd: Folder in which the command runs.

    Example:
        >>> shell_line(Job("a", ("echo", "a b"), Path("a.log")), {"OMP_NUM_THREADS": "1"}, cwd=Path("/data"))
        "cd /data && OMP_NUM_THREADS=1 echo 'a b'"
    """
    words = [*(f"{name}={shlex.quote(value)}" for name, value in variables.items()), shlex.join(job.words)]
    return f"cd {shlex.quote(str(cwd))} && {' '.join(words)}"


def slurm_array(jobs: Sequence[Job], *, name: str, at_once: int | None, cwd: Path) -> str:
    """Return the script of a job array, one task a job.

    Args:
        jobs: At least one.
        name: Of the array.
        at_once: How many tasks run at a time; None: as many as the cluster lets.
        cwd: Folder in which the commands run.
    """
    limit = "" if at_once is None else f"%{at_once}"
    folders = sorted({str(job.log.parent) for job in jobs})
    cases = "".join(
        f"  {number}) {shlex.join(job.words)} >> {shlex.quote(str(job.log))} 2>&1 ;;\n"
        for number, job in enumerate(jobs)
    )
    return (
        "#!/bin/bash\n"
        f"#SBATCH --job-name={shlex.quote(name)}\n"
        f"#SBATCH --array=0-{len(jobs) - 1}{limit}\n"
        "# What is said outside of the runs, which have logs of their own; of all tasks, where this is submitted.\n"
        f"#SBATCH --output={shlex.quote(f'{name}_array.log')}\n"
        "#SBATCH --open-mode=append\n"
        "#SBATCH --requeue\n"
        "# What each task needs, in your cluster's terms:\n"
        "##SBATCH --time=04:00:00\n"
        "##SBATCH --cpus-per-task=4\n"
        "##SBATCH --gres=gpu:1\n"
        "# Each task goes on where it was, so submit this file again after a failure or a time limit.\n"
        f"cd {shlex.quote(str(cwd))} || exit 1\n"
        f"mkdir -p {shlex.join(folders)}\n"
        "export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}\n"
        'case "$SLURM_ARRAY_TASK_ID" in\n'
        f"{cases}"
        '  *) echo "no task $SLURM_ARRAY_TASK_ID" >&2; exit 1 ;;\n'
        "esac\n"
    )
