"""The options of a run: checked one by one, with one sentence for what is wrong."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from editing.errors import UserError
from editing.inversions import common_options, find_inversions
from samplers import checks

MAX_SIZE = 4096  # pixels
SOURCE = "a picture, a folder or a glob, as in src=cat.png"
TARGET = 'what the picture shall show, as in target="a pig"'
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune")  # of torch.compile
TASKS = ("edit", "invert")
INVERT_WITHOUT = ("target", "jobs", "mask")  # what task=invert does not take
EDIT_INVERTED_WITHOUT = ("src", "source", "jobs", "size")  # nor edits that begin with an inversion
OPTIMISATION = ("steps", "step_size")  # fields of a method that are the loop's
# What only a method that optimises takes.
LOOP = ("noise", "timesteps", "optimizer", "schedule", "parameters", "reverse", "early_stop")


@dataclass(frozen=True)
class Settings:
    """Checked options of one run.

    Attributes:
        src: picture, folder or glob.
        target: what the edit shall show, or a list of that in brackets.
        jobs: file of pictures and targets, instead of the two; None for these.
        task: `edit`, or `invert` to find out about pictures and edit them later.
        inversion: file or folder of what `task=invert` has found, instead of pictures, or None.
        source: what the source shows, or None if that is to be found out.
        output: folder of the result, or None for the default.
        reverse: whether the edit is run back.
        trace: whether an animation of the way is kept.
        overwrite: whether the result may replace an older one there.
        resume: whether an interrupted edit of a scene, or inversion, goes on.
        method: name of the method.
        trajectory: whether the method runs a sampler, instead of optimising.
        distiller: its config for `hydra.utils.instantiate`, guidance included.
        distilled_guidance: what a guidance-distilled FLUX is told, None for its own default.
        parameters: the config of what is optimised.
        optimizer: the config of how.
        schedule: the config of the step size's course.
        guidance: the scale in effect, None for a method without one.
        steps: number of optimisation steps, or of the sampler's schedule.
        step_size: per element, None for a trajectory method.
        prior: name, folder or hub name of the model, as it was chosen.
        model: what `load_prior` takes for it.
        seed: of the random numbers.
        size: shorter side of the edit in pixels, or None for the model's own.
        batch_size: how many pictures are edited at once.
        device: as for `load_prior`.
        dtype: as for `load_prior`.
        early_stop: arguments of `editing.plateau.Plateau` and its `model`, or None to go on.
        lora: file of weights to add to the model's, or None.
        lora_scale: factor of these weights.
        embedding: file of a word to teach the model, or None.
        tuning: arguments of `editing.priors.tuning.Tuning`.
        mask: arguments of `editing.mask.Mask`, or None to change everything.
        captioner: BLIP model for priors without a captioner of their own.
        parent: where the default folder of the result is made.
    """

    src: str
    target: str
    source: str | None
    jobs: str | None
    task: str
    inversion: str | None
    output: str | None
    reverse: bool
    trace: bool
    overwrite: bool
    resume: bool
    method: str
    trajectory: bool
    distiller: dict[str, Any]
    distilled_guidance: float | None
    parameters: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    guidance: float | None
    steps: int
    step_size: float | None
    prior: str
    model: str
    seed: int
    size: int | None
    batch_size: int
    device: str
    dtype: str
    early_stop: dict[str, Any] | None
    lora: str | None
    lora_scale: float
    embedding: str | None
    tuning: dict[str, Any]
    mask: dict[str, Any] | None
    captioner: str
    parent: str = "results"


def read_settings(cfg: DictConfig, method: str, prior: str, given: Collection[str]) -> Settings:
    """Check a composed config.

    Args:
        cfg: the config of `conf/config.yaml`.
        method: name of the chosen method.
        prior: name of the chosen model, a folder or a hub name.
        given: the keys given on the command line. A `method.KEY` among them wins over what
            `conf/prior` recommends for the model, which wins over `conf/method`; a plain
            `steps` or `guidance` wins over all of them.

    Raises:
        UserError: naming the first option that cannot be used, its value, and what can.
    """
    fields = _mapping(cfg.method)
    recommended = (_mapping(cfg.prior).get("recommended") or {}).get(method) or {}
    fields |= {
        key: value
        for key, value in recommended.items()
        if key in fields and f"method.{key}" not in given
    }
    fields |= {key: cfg[key] for key in ("steps", "guidance") if cfg[key] is not None}
    trajectory = "step_size" not in fields
    task = check_task(cfg, method, trajectory)
    inversion = _given(cfg.inversion)
    if inversion is not None:
        fields |= of_inversion(inversion, method, fields, given)
    if "guidance" in fields:
        fields["guidance"] = number("guidance", fields["guidance"], least=0.0)
    if trajectory:
        check_no_loop(method, given)
    else:
        for group in ("noise", "timesteps"):
            fields[group] = _mapping(cfg[group])
    optimizer = _mapping(cfg.optimizer)
    own = optimizer.pop("step_size")
    if own is not None and "method.step_size" not in given and not trajectory:
        fields["step_size"] = own
    step_size = None if trajectory else number("step_size", fields["step_size"], least=0.0)
    if step_size == 0:
        raise UserError("step_size=0 would change nothing: it must be positive.")
    jobs, src, target = _given(cfg.jobs), "", ""
    if inversion is not None:
        target = utf8("target", needed("target", cfg.target, TARGET))
    elif task == "invert":
        src = needed("src", cfg.src, SOURCE)
    elif jobs is None:
        src = needed("src", cfg.src, SOURCE)
        target = utf8("target", needed("target", cfg.target, TARGET))
    elif extra := [key for key in ("src", "target", "source") if cfg[key] is not None]:
        raise UserError(f"jobs={jobs} brings its own {extra[0]}: leave {extra[0]}= out.")
    if flag("resume", cfg.resume) and _given(cfg.output) is None:
        raise UserError("resume=true needs the folder of the interrupted run: give output=.")
    stopping = early_stop(_mapping(cfg.early_stop))
    check_without(cfg, given)
    if stopping and flag("reverse", cfg.reverse):
        raise UserError("reverse=true needs every step: leave early_stop.patience at 0.")
    return Settings(
        src=src,
        target=target,
        jobs=jobs,
        task=task,
        inversion=inversion,
        source=None if cfg.source is None else utf8("source", cfg.source),
        output=_given(cfg.output),
        reverse=flag("reverse", cfg.reverse),
        trace=flag("trace", cfg.trace),
        overwrite=flag("overwrite", cfg.overwrite),
        resume=flag("resume", cfg.resume),
        method=method,
        trajectory=trajectory,
        distiller={k: v for k, v in fields.items() if trajectory or k not in OPTIMISATION},
        distilled_guidance=_distilled(_mapping(cfg.prior).get("distilled_guidance")),
        parameters=_mapping(cfg.parameters),
        optimizer=optimizer,
        schedule=_mapping(cfg.schedule),
        guidance=fields.get("guidance"),
        steps=whole("steps", fields["steps"], least=1),
        step_size=step_size,
        prior=prior,
        model=model(prior, _mapping(cfg.prior)),
        seed=whole("seed", cfg.seed, least=0),
        size=None if cfg.size is None else whole("size", cfg.size, least=1, most=MAX_SIZE),
        batch_size=whole("batch_size", cfg.batch_size, least=1),
        device=str(cfg.device),
        dtype=str(cfg.dtype),
        early_stop=stopping,
        lora=_given(cfg.lora),
        lora_scale=number("lora_scale", cfg.lora_scale, least=-math.inf),
        embedding=_given(cfg.embedding),
        tuning=tuning(_mapping(cfg.tuning)),
        mask=mask(_mapping(cfg.mask)),
        captioner=str(cfg.captioner),
    )


def check_task(cfg: DictConfig, method: str, trajectory: bool) -> str:
    """`task`, if what it and `inversion` need is given, and nothing that they do without.

    Raises:
        UserError: naming what is missing or too much.
    """
    if cfg.task not in TASKS:
        raise UserError(f"task={cfg.task} is not one of {', '.join(TASKS)}.")
    inverts, begun = cfg.task == "invert", _given(cfg.inversion) is not None
    if not inverts and not begun:
        return str(cfg.task)
    what = "task=invert" if inverts else "inversion="
    if not trajectory:
        raise UserError(
            f"{what} is for methods that run a sampler, which method={method} does not: "
            "give method=null_text, say."
        )
    if inverts and begun:
        raise UserError("task=invert makes inversions: leave inversion= out.")
    without = INVERT_WITHOUT if inverts else EDIT_INVERTED_WITHOUT
    set_ = {"mask": cfg.mask.area, **{key: cfg[key] for key in without if key != "mask"}}
    if extra := [key for key in without if _given(set_[key]) is not None]:
        raise UserError(f"{what} does without {extra[0]}: leave {extra[0]}= out.")
    return str(cfg.task)


def of_inversion(
    name: str, method: str, fields: Mapping[str, Any], given: Collection[str]
) -> dict[str, Any]:
    """The settings that inversions were made with, which edits that begin with them share.

    Raises:
        UserError: if another value was given on the command line.
    """
    options = common_options(find_inversions(name), method)
    if unknown := sorted(set(options) - set(fields)):
        raise UserError(
            f"inversion={name} was made with {unknown[0]}, which method={method} lacks."
        )
    for key, value in options.items():
        said = key if key in ("steps", "guidance") and key in given else f"method.{key}"
        if said in given and fields.get(key) != value:
            raise UserError(
                f"inversion={name} was made with {key}={value}: leave {said}={fields.get(key)} out."
            )
    return options


def _distilled(value: Any) -> float | None:
    return None if value is None else number("prior.distilled_guidance", value, least=0.0)


def check_without(cfg: DictConfig, given: Collection[str]) -> None:
    """Refuses fields of what is not there."""
    off = {
        "mask": (_given(cfg.mask.area) is None, "mask="),
        "early_stop": (cfg.early_stop.patience == 0, "early_stop.patience="),
        "lora_scale": (_given(cfg.lora) is None, "lora="),
    }
    for name in given:
        missing, without = off.get(name.partition(".")[0], (False, ""))
        if missing and name not in ("mask", "mask.area", "early_stop.patience"):
            raise UserError(f"{name}= does nothing without {without}: give that too.")


def check_no_loop(method: str, given: Collection[str]) -> None:
    """Refuses options of the optimisation loop for a method that has none."""
    for name in given:
        group = name.partition(".")[0]
        if group in LOOP:
            raise UserError(
                f"method={method} runs a sampler and optimises nothing: leave {group}= out."
            )


def early_stop(fields: dict[str, Any]) -> dict[str, Any] | None:
    """The checked fields of `early_stop`, None if no picture is to stop early."""
    checked = fields | {
        "patience": whole("early_stop.patience", fields["patience"], least=0),
        "every": whole("early_stop.every", fields["every"], least=1),
        "gain": number("early_stop.gain", fields["gain"], least=0.0),
    }
    return checked if checked["patience"] else None


def tuning(fields: dict[str, Any]) -> dict[str, Any]:
    """The checked fields of `tuning`."""
    if fields["attention"] not in ("sdpa", "sliced"):
        raise UserError(f"tuning.attention={fields['attention']} is not one of sdpa, sliced.")
    if isinstance(fields["compile"], str) and fields["compile"] not in COMPILE_MODES:
        known = ", ".join(("true", "false", *COMPILE_MODES))
        raise UserError(f"tuning.compile={fields['compile']} is not one of {known}.")
    for name in set(fields) - {"attention"}:
        if name != "compile" or not isinstance(fields[name], str):
            flag(f"tuning.{name}", fields[name])
    return fields


def mask(fields: dict[str, Any]) -> dict[str, Any] | None:
    """The checked fields of `mask`, for `editing.mask.Mask`; None if there is none."""
    if _given(fields["area"]) is None:
        return None
    if type(fields["grow"]) is not int:
        raise UserError(f"mask.grow={fields['grow']} cannot be used: give a whole number.")
    return fields | {
        "area": utf8("mask", fields["area"]),
        "feather": number("mask.feather", fields["feather"], least=0.0),
        "paste": flag("mask.paste", fields["paste"]),
    }


def model(name: str, config: dict[str, Any]) -> str:
    """What `load_prior` takes for a choice of `prior`: its `folder`, `path` or `hub` name."""
    if "folder" in config:  # relative to editing/priors
        return str(Path(__file__).parent / "priors" / config["folder"])
    return str(config.get("path") or config.get("hub") or name)


def needed(name: str, value: Any, what: str) -> str:
    """`value` as text that is not blank; `what` says what it should be."""
    if _given(value) is None:
        raise UserError(f"{name} is {'missing' if value is None else 'empty'}: give {what}.")
    return str(value)


def utf8(name: str, value: Any) -> str:
    """`value` as text that can be encoded; a terminal may hand over anything."""
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{name} is not valid UTF-8: check the terminal's encoding.") from error
    return str(value)


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """`value` as an integer between `least` and `most`; a UserError otherwise."""
    return _checked(checks.whole, name, value, least, most)


def number(name: str, value: Any, least: float) -> float:
    """`value` as a finite number that is at least `least`; a UserError otherwise."""
    return _checked(checks.number, name, value, least)


def flag(name: str, value: Any) -> bool:
    """`value` as a truth value; a UserError otherwise."""
    return _checked(checks.flag, name, value)


def _checked(check: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return check(*arguments)
    except ValueError as error:
        raise UserError(str(error)) from error


def suggestion(name: str, known: Collection[str]) -> str:
    """A question that names the nearest of `known`, or the list of all of them."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}."


def _given(value: Any) -> str | None:
    """`value` as text, or None if it is missing or blank."""
    return None if value is None or not str(value).strip() else str(value)


def _mapping(cfg: Any) -> dict[str, Any]:
    container = OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_dict(cfg) else cfg
    if not isinstance(container, dict):
        raise UserError(f"{cfg} is given where fields are needed, as in tuning.channels_last=true.")
    return {str(key): value for key, value in container.items()}
