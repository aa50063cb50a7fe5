"""A loop's campaign opened, and gone on with, inside one launch of the Trainer's processes."""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import lightning.pytorch as pl

from lightning_al import _compat
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.states import INITIAL_WEIGHTS
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.fitting.hooks import call_round_hook
from lightning_al.fitting.initial_weights import Left, note_left, notes_of, take_notes
from lightning_al.fitting.setup_guard import weights_kept_in_setup
from lightning_al.loop import algorithm
from lightning_al.loop.copies import hand_back, take_back
from lightning_al.loop.fit import begin_fits, restore_weights
from lightning_al.loop.opening import open_campaign
from lightning_al.loop.project import Project
from lightning_al.loop.record import describe
from lightning_al.loop.session import Session
from lightning_al.loop.settings import Settings

Steps: TypeAlias = Callable[[Session], algorithm.Outcome]


class Launched:
    """What a loop does in each launch, whatever for."""

    model: pl.LightningModule
    datamodule: ActiveDataModule
    settings: Settings
    dirpath: Path | None
    status: str
    campaign: Campaign | None
    session: Session | None
    hints: _compat.Hints

    def _launch(self, trainer: pl.Trainer, steps: Steps, *, resume: bool) -> algorithm.Outcome:
        """Open the campaign and go some steps inside one launch of the Trainer's processes; copy back from copies."""
        project = Project.checked(trainer, self.model, self.datamodule, self.settings)
        copies = _compat.launches_copies(trainer)
        notes = notes_of(self.model)
        launched = functools.partial(self._go, project, steps, resume=resume, copies=copies, notes=notes)
        outcome: algorithm.Outcome | str = _compat.launch(trainer, launched, self.model)
        if isinstance(outcome, str):
            campaign, outcome = take_back(outcome, self.model)
            self._take(campaign)
            initial = campaign.states.load(INITIAL_WEIGHTS)
            if initial is not None:
                note_left(self.model, initial["state_dict"], campaign.dirpath)
        self.status = outcome.status
        return outcome

    def _go(
        self,
        project: Project,
        steps: Steps,
        model: pl.LightningModule,
        *,
        resume: bool,
        copies: bool,
        notes: dict[str, Left],
    ) -> algorithm.Outcome | str:
        """Return what the steps came to; from a copy of this process, where that lies."""
        self.model = model
        take_notes(model, notes)
        project = replace(project, model=model)
        trainer = project.trainer
        _compat.run_in_place(trainer)
        try:
            with (
                self.hints.once(),
                _compat.notes_beside_bars(),
                _compat.no_reseeding(),
                _compat.no_found_checkpoints(trainer),
                weights_kept_in_setup(model),
                contextlib.ExitStack() as alone,
            ):
                session = self._open(project, alone, resume=resume)
                try:
                    outcome = steps(session)
                finally:  # who interrupts a fit has a model that is half trained
                    note_left(model, session.fits.initial, session.campaign.dirpath)
        finally:
            project.acquisition.unbind()
            self.datamodule.close()
            if self.session is not None:
                self.session.fits.release()
        for logger in trainer.loggers:
            logger.save()
        return hand_back(session, outcome) if copies else outcome

    def _open(self, project: Project, alone: contextlib.ExitStack, *, resume: bool) -> Session:
        """Begin the campaign or read it back, and give the model the weights to go on from."""
        settings = self.settings
        campaign, asked_initial_set = open_campaign(project, settings, self.dirpath, alone, resume=resume)
        self._take(campaign)
        earlier = None if self.session is None else self.session.fits
        fits = begin_fits(project, settings, campaign, earlier=earlier)
        self.session = Session(
            project=project,
            settings=settings,
            campaign=campaign,
            fits=fits,
            call_hooks=functools.partial(call_round_hook, project.trainer, loop=self),
            options=describe(project, settings),
            asked_initial_set=asked_initial_set,
            has_fitted_weights=restore_weights(campaign, fits),
        )
        return self.session

    def _take(self, campaign: Campaign) -> None:
        """Have the datamodule train on what is labelled in this campaign."""
        self.campaign = campaign
        self.dirpath = campaign.dirpath
        self.datamodule.follow(campaign.pool, campaign.labels, own=campaign.own_labels)
