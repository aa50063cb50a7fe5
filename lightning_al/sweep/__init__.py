"""Many commands side by side: what runs next, what is left, and what failed. Without torch."""

from lightning_al.sweep.jobs import Job, Progress
from lightning_al.sweep.runner import Interrupted, run_jobs
from lightning_al.sweep.schedule import Schedule, State

__all__ = ["Interrupted", "Job", "Progress", "Schedule", "State", "run_jobs"]
