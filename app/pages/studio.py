"""The Studio page: the setup sidebar (Gradio components) and the live view (one gr.HTML).

Gradio only carries what a person does: choose, start, pause, step, stop. What the run does reaches
the page through the polled snapshot, drawn by `static/studio/studio.js`. The same snapshot decides
which buttons are shown and when the form is locked, so every viewer sees the same thing. No run
state is kept here.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict

import gradio as gr
import plotly

from app.process import recording
from app.process.runs import RunError, Runs
from app.setup import form, ladder, offers, setup
from app.web.roles import CALLBACKS, PRESENTER_ONLY, AccessControl
from kgen.engine.controls import UNITS
from kgen.recipe.recipe import Recipe
from kgen.recipes import recipes

HTML = Path(__file__).parent / "html"
FRAGMENTS = ("frame", "studio", "inspect", "compare", "lessons", "runs", "overlays")
"""The template in pieces: the top bar, a <main> for each page, and the overlays."""
VIEW_HTML = "".join((HTML / f"{name}.html").read_text(encoding="utf-8") for name in FRAGMENTS)

SPEED_HTML = (
    '<div class="kg-choice" role="radiogroup" aria-label="Playback speed">'
    + "".join(
        f'<label data-tip="{tip}"><input type="radio" name="kg-speed"'
        f' value="{value}"><span>{value.title()}</span></label>'
        for value, tip in (
            (
                "slow",
                (
                    "Slow motion: one frame every 1.5 seconds. Affects this view only; the engine"
                    " keeps running at full speed."
                ),
            ),
            ("watch", "Two frames per second. Affects this view only."),
            ("full", "Shows each new state as it arrives; replays run fast."),
        )
    )
    + "</div>"
)

# Runs once. The template has no placeholders, so Gradio never touches this DOM again. Event names
# must be spelled out here for Gradio to find them.
MOUNT_JS = """
const base = (window.gradio_config?.root || '').replace(/\\/$/, '');
import(base + '/kg/static/studio/studio.js?v=' + VERSION).then((page) => page.mount(element, {
  base, plotly: base + '/kg/plotly.min.js?v=' + PLOTLY, command: () => props.value?.command || '',
  repaint: () => trigger('repaint'), resume: () => trigger('resume'),
}));
"""


class ListenerOptions(TypedDict):
    """Options of an event listener."""

    show_progress: Literal["hidden"]
    api_visibility: Literal["private"]
    concurrency_limit: None
    preprocess: bool


# For event listeners: no spinner over the page, no queue of one, not in the public API.
# `form.read` validates the fields and explains errors; Gradio's own check would raise while choices
# change.
LISTENER: ListenerOptions = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "concurrency_limit": None,
    "preprocess": False,
}
# Choices that only affect the form are handled in the browser.
CLIENT_ONLY = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
# While the server fills in the whole form, clicks would be overwritten, so the form is inert until
# then.
LOCK_FORM = "(...values) => { document.getElementById('kg-setup').inert = true; return values; }"
UNLOCK_FORM = (
    "() => { document.getElementById('kg-setup').inert = false; document.body.dataset.kgForm ="
    " 'filled'; }"
)


def build(demo: gr.Blocks, runs: Runs, version: str, access: AccessControl) -> None:
    """Put the page into `demo` and connect it to `runs`."""
    with gr.Row(elem_id="kg-shell"):
        with gr.Column(elem_id="kg-rail", min_width=0):
            with gr.Column(elem_id="kg-setup", min_width=0):
                fields = setup.build(version)
            with gr.Column(elem_id="kg-transport", min_width=0):
                buttons = _transport()
        live = gr.HTML(
            html_template=VIEW_HTML,
            js_on_load=MOUNT_JS.replace("VERSION", json.dumps(version)).replace(
                "PLOTLY", json.dumps(plotly.__version__)
            ),
            value={},
            apply_default_css=False,
            container=False,
            padding=False,
            elem_id="kg-view",
        )
    _connect(demo, runs, fields, buttons, live, access)


def _transport() -> dict[str, gr.components.Component]:
    """The run buttons. `sidebar.js` shows Start, Pause or Continue, depending on the snapshot."""
    with gr.Row(elem_id="kg-buttons"):
        gr.Button("Setup", elem_id="kg-sheet", min_width=0)
        start = gr.Button("Start", variant="primary", elem_id="kg-start", min_width=0)
        pause = gr.Button("Pause", variant="primary", elem_id="kg-pause", min_width=0)
        go_on = gr.Button("Continue", variant="primary", elem_id="kg-continue", min_width=0)
        step = gr.Button("Step", elem_id="kg-step", min_width=0)
        stop = gr.Button("Stop", elem_id="kg-stop", min_width=0)
    unit = gr.Radio(
        [("Generator", "generator"), ("Iteration", "iteration"), ("Student", "student")],
        value="generator",
        label="Step size",
        container=False,
        show_label=False,
        interactive=True,
        elem_id="kg-unit",
        elem_classes="kg-seg",
    )
    gr.HTML(html_template=SPEED_HTML, apply_default_css=False, padding=False, elem_id="kg-speed")
    return {
        "start": start,
        "pause": pause,
        "continue": go_on,
        "step": step,
        "stop": stop,
        "unit": unit,
    }


def _connect(
    demo: gr.Blocks, runs: Runs, fields: dict, buttons: dict, live: gr.HTML, access: AccessControl
) -> None:
    """Permissions are enforced here and in `runs`, never by what the page shows."""
    inputs = [fields[name] for name in form.FIELDS]

    def guard(action: Callable) -> Callable:
        return guarded(action, access)

    def paint() -> list:
        return setup.field_updates(
            form.write(
                runs.recipe
                if runs.recipe and runs.name not in recording.RUNS
                else recipes.get("fashion-live")
            )
        )

    def preset(name: Any, teacher: Any) -> list:
        return _fill_form(teacher, name)

    def turn(teacher: Any, name: Any, classes: Any) -> list:
        if not isinstance(teacher, str) or teacher not in offers.teachers():
            return _fill_form(None, None)
        offer, previous = offers.offer(teacher), _offer_shown(classes)
        if previous and (offer.classes, offer.sides, offer.recipes) == (
            previous.classes,
            previous.sides,
            previous.recipes,
        ):
            unchanged = {
                "classes": classes | {"teacher": teacher}
            }  # the same options, so keep what was chosen
            return [unchanged.get(field, gr.skip()) for field in form.FIELDS]
        return _fill_form(teacher, name)

    def adopted(event: gr.EventData) -> list:
        name = event._data.get("name") if isinstance(event._data, dict) else None
        return (
            setup.teacher_choice_updates()
            if runs.active or name not in offers.teachers()
            else _fill_form(name, None)
        )

    def command(*values: Any) -> dict[str, str]:
        try:
            return {"command": recipes.command(form.read(_form_values(values)))}
        except form.FormError as error:
            return {"command": f"# {error}"}

    def start(*values: Any) -> None:
        _warn_on_error(lambda: runs.start(_read(values)))

    def resume() -> None:
        _warn_on_error(
            lambda: runs.resume(runs.name) if runs.name else _refuse("There is no run to resume.")
        )

    def pause() -> None:
        _warn_on_error(lambda: runs.control("pause"))

    def go_on() -> None:
        _warn_on_error(lambda: runs.control("resume"))

    def stop() -> None:
        _warn_on_error(lambda: runs.control("stop"))

    def step(unit: Any) -> None:
        _warn_on_error(
            lambda: runs.control("step", unit) if unit in UNITS else _refuse("Choose a step size.")
        )

    for event in (demo.load, live.repaint):
        event(guard(paint), None, inputs, js=LOCK_FORM, **LISTENER).then(
            None, None, None, js=UNLOCK_FORM, **CLIENT_ONLY
        )
    fields["recipe"].input(guard(preset), [fields["recipe"], fields["teacher"]], inputs, **LISTENER)
    fields["teacher"].input(
        guard(turn), [fields["teacher"], fields["recipe"], fields["classes"]], inputs, **LISTENER
    )
    fields["own"].adopted(guard(adopted), None, inputs, **LISTENER)
    gr.on(
        [field.change for field in inputs],
        guard(command),
        inputs,
        live,
        trigger_mode="always_last",
        **LISTENER,
    )
    _sync_fields(fields)

    buttons["start"].click(guard(start), inputs, None, **LISTENER)
    live.resume(guard(resume), None, None, **LISTENER)
    for name, action in (("pause", pause), ("continue", go_on), ("stop", stop)):
        buttons[name].click(guard(action), None, None, **LISTENER)
    buttons["step"].click(guard(step), buttons["unit"], None, **LISTENER)


def _sync_fields(fields: dict) -> None:
    """Rungs, presets, resolutions and weights are four views of the same thing;
    `static/setup/ladder.js` keeps them in sync.
    """
    constants = ladder.constants(offers.offer(recipes.get("fashion-live").teacher))
    weights = [fields[f"weights.{name}"] for name in ("kr", "ed", "aed")]
    sides_and_weights = [fields["sides"], *weights]

    def sync(event: Any, name: str, inputs: list, outputs: list) -> None:
        event(
            None,
            inputs,
            outputs,
            js=f"(...values) => kgLadder.{name}({constants}, ...values)",
            **CLIENT_ONLY,
        )

    sync(
        fields["rungs"].input,
        "flip",
        [fields["rungs"], *sides_and_weights],
        [fields["rungs"], *sides_and_weights],
    )
    sync(
        fields["preset"].input,
        "preset",
        [fields["preset"], *sides_and_weights],
        [fields["rungs"], *sides_and_weights],
    )
    for field in sides_and_weights:
        sync(field.input, "seen", sides_and_weights, [fields["rungs"]])
    for field in (fields["rungs"], fields["source"]):
        sync(field.change, "which", [fields["rungs"], fields["source"]], [fields["preset"]])
    priors = {source: form.priors(source) for source in form.SOURCES}
    prior_fields = [fields["weights.tv"], fields["weights.l2"]]
    fields["source"].input(
        None,
        fields["source"],
        prior_fields,
        js=f"(source) => ({json.dumps(priors)})[source]",
        **CLIENT_ONLY,
    )
    preset_priors = json.dumps(
        ["noise", *priors["noise"]]
    )  # every preset has a noisy layer and a generator
    fields["preset"].input(
        None, None, [fields["source"], *prior_fields], js=f"() => {preset_priors}", **CLIENT_ONLY
    )


def guarded(action: Callable, access: AccessControl) -> Callable:
    """The callback with a role check on every call, since a hidden button is no protection. A
    callback without a role cannot be connected.
    """
    role = CALLBACKS[action.__name__]

    def check(request: gr.Request) -> None:
        if request.request is None or not access.allows(role, request.request):
            raise gr.Error(PRESENTER_ONLY, print_exception=False)

    # Gradio passes what the annotations ask for, and nothing else to functions that take any number
    # of values
    def with_values(request: gr.Request, *values: Any) -> Any:
        check(request)
        return action(*values)

    def with_event(request: gr.Request, event: gr.EventData) -> Any:
        check(request)
        return action(event)

    wrapper = with_event if action.__name__ == "adopted" else with_values
    wrapper.__name__ = action.__name__
    return wrapper


def _fill_form(teacher: Any, name: Any) -> list:
    """The fields for a recipe and a teacher; unknown names get the default."""
    offer = offers.offer(
        teacher
        if isinstance(teacher, str) and teacher in offers.teachers()
        else recipes.get("fashion-live").teacher
    )
    return setup.field_updates(
        form.write(
            offer.base(
                name if isinstance(name, str) and name in offer.recipes else offer.recipes[0]
            )
        )
    )


def _offer_shown(classes: Any) -> offers.Offer | None:
    """The offer of the teacher whose classes the picker shows."""
    teacher = classes.get("teacher") if isinstance(classes, dict) else None
    return (
        offers.offer(teacher) if isinstance(teacher, str) and teacher in offers.teachers() else None
    )


def _form_values(values: tuple) -> dict[str, Any]:
    """The form's values by field. The class picker's value also includes its teacher."""
    fields = dict(zip(form.FIELDS, values))
    classes = fields["classes"]
    return fields | {"classes": classes.get("chosen") if isinstance(classes, dict) else classes}


def _read(values: tuple) -> Recipe:
    try:
        return form.read(_form_values(values))
    except form.FormError as error:
        raise RunError(
            str(error),
            code=error.code,
            **error.fields,
        ) from None


def _refuse(sentence: str) -> None:
    raise RunError(sentence)


def _warn_on_error(action: Callable[[], Any]) -> None:
    """Run the action; errors become a sentence on the page, never a traceback."""
    try:
        action()
    except RunError as error:
        gr.Warning(html.escape(str(error), quote=False))  # Gradio renders markup in toasts
