"""From checked settings to the objects of a run: the model, and the editor."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from editing.edit import DistillationEditor
from editing.editor import Editor
from editing.errors import UserError
from editing.priors import load_prior
from editing.priors.tuning import Tuning
from editing.settings import Settings
from editing.trajectory import TrajectoryEditor


def load_model(settings: Settings) -> Any:
    """The prior that the settings name."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()  # of reading files, a second at most
    prior = load_prior(
        settings.model,
        settings.device,
        settings.dtype,
        lora=settings.lora,
        lora_scale=settings.lora_scale,
        embeddings=[settings.embedding] if settings.embedding else [],
        tuning=Tuning(**settings.tuning),
        distilled_guidance=settings.distilled_guidance,
    )
    prior.name = settings.prior
    return prior


def make_editor(settings: Settings, prior: Any) -> Editor:
    """The editor that the settings describe.

    Raises:
        UserError: if the method does not take one of its options.
    """
    from hydra.utils import instantiate

    with _options_of(f"method={settings.method}"):
        method = instantiate(settings.distiller)(prior)
    if settings.trajectory:
        return TrajectoryEditor(method)
    with _options_of(f"method={settings.method}"):
        optimizer = instantiate(settings.optimizer)
        schedule = instantiate(settings.schedule)
        optimizer([torch.zeros(1, requires_grad=True)], lr=settings.step_size)  # refuses now
    parameters = make_parameters(settings)
    assert settings.step_size is not None
    return DistillationEditor(
        method, parameters, settings.steps, settings.step_size, optimizer, schedule
    )


def make_parameters(settings: Settings) -> Any:
    """What the settings say is to be moved.

    Raises:
        UserError: if it does not take one of its options.
    """
    from hydra.utils import instantiate

    with _options_of("parameters="):
        return instantiate(settings.parameters)


@contextmanager
def _options_of(what: str) -> Iterator[None]:
    """What an option is not taken for becomes a sentence."""
    from hydra.errors import InstantiationException

    try:
        yield
    except (InstantiationException, TypeError, ValueError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        reason = " ".join(str(cause).split()).rstrip(".")
        raise UserError(f"{what} cannot be set up: {reason}.") from error
