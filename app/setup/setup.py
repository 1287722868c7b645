"""The setup sidebar's form as Gradio components, in the order of `form.FIELDS`. Static texts and
tooltips only, no run state.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import gradio as gr

from app.live.format import percent
from app.setup import form, ladder, offers
from app.setup.knobs import Knob, knobs
from app.setup.offers import Offer
from kgen.nets import architectures
from kgen.recipes import recipes
from kgen.zoo import zoo

TEACHER = (Path(__file__).parent / "teacher.html").read_text(encoding="utf-8")
PLAIN: dict[str, Any] = {"container": False, "show_label": False, "interactive": True}
SOURCES = {
    "noise": (
        "Noisy layer",
        "One generator for the whole run, fed class names through a noisy layer (K-Gen, NAYER).",
    ),
    "latent": (
        "Latent",
        "A latent code and a generator that builds on what earlier ones learned (Fast).",
    ),
    "pixels": (
        "Pixels",
        (
            "No generator: optimizes the pixels directly, with two priors to keep them smooth"
            " (DeepInversion)."
        ),
    ),
    "pyramid": (
        "Pyramid",
        (
            "No generator: each image is a sum of layers from coarse to fine, so whole regions"
            " change as easily as single pixels."
        ),
    ),
}
# Runs once; the module owns the picker's DOM. The value is {teacher, chosen}.
PICKER = """
const base = (window.gradio_config?.root || '').replace(/\\/$/, '');
import(base + '/kg/static/setup/class_picker.js?v=' + VERSION).then((picker) =>
  picker.mount(element, {
    base,
    value: () => props.value,
    set: (value) => { props.value = value; trigger('change'); },
    watch: (told) => watch('value', told),
  }));
"""
# Runs once; the module owns the dialog. Only the name of a teacher that was kept comes back.
OWN = """
const base = (window.gradio_config?.root || '').replace(/\\/$/, '');
import(base + '/kg/static/setup/teacher_dialog.js?v=' + VERSION).then((own) =>
  own.mount(element, { base, adopted: (name) => trigger('adopted', { name }) }));
"""


def build(version: str) -> dict[str, gr.components.Component]:
    """The form. Besides the fields in `form.FIELDS` it has "preset", which only sets other fields,
    and "own", which adds teachers.

    `version`: of the static files.
    """
    said = form.write(recipes.get("fashion-live"))
    offer = offers.offer(said["teacher"])
    teacher, own = _teacher(said["teacher"], version)
    _heading(form.TITLES["name"], "time on two CPU cores")
    recipe = gr.Radio(
        _recipes(offer),
        value=said["recipe"],
        label="Recipe",
        elem_id="kg-recipe",
        elem_classes="kg-seg",
        **PLAIN,
    )
    _heading(
        form.TITLES["classes"],
        '<span id="kg-chosen"></span> · <button type="button" data-all>all</button> <button'
        ' type="button" data-none>none</button> <button type="button" data-ten hidden>random'
        " ten</button>",
    )
    classes = gr.HTML(
        value={"teacher": offer.teacher, "chosen": said["classes"]},
        html_template="<div></div>",
        js_on_load=PICKER.replace("VERSION", json.dumps(version)),
        apply_default_css=False,
        padding=False,
        elem_id="kg-classes",
    )
    _heading(
        form.TITLES["resolutions"],
        "one or more · cost per image",
        "Side of a synthetic image in pixels. At half the side, the same budget holds four times as"
        " many images. Several resolutions take turns.",
    )
    sides = gr.CheckboxGroup(
        _sides(offer), value=said["sides"], label="Resolution", elem_id="kg-side", **PLAIN
    )
    preset, rungs = _ladder(said["rungs"])
    _heading(form.TITLES["source"], "", "What is optimized to produce images.")
    source = gr.Radio(
        [(label, name) for name, (label, _) in SOURCES.items()],
        value=said["source"],
        label="Image source",
        elem_id="kg-source",
        elem_classes="kg-seg",
        **PLAIN,
    )
    _heading(form.TITLES["ratio"], '<output id="kg-budget-out"></output>', term="budget")
    low, high, step = offer.budget
    budget = gr.Slider(
        low,
        high,
        value=said["budget"],
        step=step,
        label="Budget in percent",
        elem_id="kg-budget",
        buttons=[],
        **PLAIN,
    )
    seed = gr.Number(
        said["seed"],
        label="Seed",
        precision=0,
        minimum=0,
        maximum=form.LARGEST_SEED,
        container=False,
        interactive=True,
        elem_id="kg-seed",
    )
    more = _more(said)
    _tips()
    fields = {
        "teacher": teacher,
        "recipe": recipe,
        "classes": classes,
        "sides": sides,
        "source": source,
        "rungs": rungs,
        "budget": budget,
        "seed": seed,
        **more,
    }
    return {name: fields[name] for name in form.FIELDS} | {"preset": preset, "own": own}


def with_choices() -> list[Any]:
    """Field updates after a teacher was added during another one's run: it is listed and can be
    chosen later.
    """
    return [
        gr.update(choices=_teachers()) if name == "teacher" else gr.skip() for name in form.FIELDS
    ]


def shown(values: dict[str, Any]) -> list[Any]:
    """The result of `form.write` as field updates, including the choices for its teacher."""
    teacher = values["teacher"] or recipes.get("fashion-live").teacher
    offer = offers.offer(teacher)
    low, high, step = offer.budget
    updates = {
        "teacher": gr.update(choices=_teachers(), value=values["teacher"]),
        "recipe": gr.update(choices=_recipes(offer), value=values["recipe"]),
        "classes": {"teacher": teacher, "chosen": values["classes"]},
        "sides": gr.update(choices=_sides(offer), value=values["sides"]),
        "budget": gr.update(minimum=low, maximum=high, step=step, value=values["budget"]),
    }
    return [updates.get(name, values[name]) for name in form.FIELDS]


def _recipes(offer: Offer) -> list[tuple[str, str]]:
    own = offer.base(offer.recipes[0]) == recipes.get(offer.recipes[0])
    return [
        (
            n.removeprefix("fashion-").removeprefix("imagenet-")
            + (f", {offers.TIMES[n]}" if own else ""),
            n,
        )
        for n in offer.recipes
    ]


def _sides(offer: Offer) -> list[tuple[str, int]]:
    return [(f"{side}\n{cost:.2g} ×", side) for side, cost in zip(offer.sides, offer.costs)]


def _teachers() -> list[tuple[str, str]]:
    cards = {name: offers.offer(name).card for name in offers.teachers()}
    return [
        (
            c.title.removeprefix("Fashion ") + (f", {percent(c.accuracy)}" if c.accuracy else ""),
            name,
        )
        for name, c in cards.items()
    ]


def _teacher(chosen: str, version: str) -> tuple[gr.Radio, gr.HTML]:
    """The teacher's card, the choice of teachers below it, and the button to add another."""
    with gr.Column(elem_id="kg-teachers", min_width=0):
        gr.HTML(html_template=TEACHER, apply_default_css=False, padding=False, elem_id="kg-teacher")
        which = gr.Radio(
            _teachers(),
            value=chosen,
            label="Teacher",
            elem_id="kg-which-teacher",
            elem_classes="kg-seg",
            **PLAIN,
        )
        own = gr.HTML(
            html_template=(
                '<button type="button" class="link" aria-haspopup="dialog">Your own teacher'
                "…</button>"
            ),
            js_on_load=OWN.replace("VERSION", json.dumps(version)),
            apply_default_css=False,
            padding=False,
            elem_id="kg-bring",
        )
    return which, own


def _ladder(rungs: list[str]) -> tuple[gr.Radio, gr.CheckboxGroup]:
    _heading(
        "Method",
        '<span id="kg-custom"></span>',
        "Each rung adds one idea to a plain generator (Table 4 in the paper). Pick a preset above,"
        " or switch single ideas below.",
    )
    preset = gr.Radio(
        list(ladder.PRESETS),
        value=ladder.PRESETS[len(rungs)] if tuple(rungs) == ladder.NAMES[: len(rungs)] else None,
        label="Method preset",
        elem_id="kg-preset",
        elem_classes="kg-seg",
        **PLAIN,
    )
    gr.HTML(
        html_template=(
            f'<p class="rung" data-tip="{html.escape(ladder.BASELINE)}" tabindex="0"><i></i>Plain'
            " generator (NAYER)</p>"
        ),
        apply_default_css=False,
        padding=False,
        elem_id="kg-baseline",
    )
    switches = gr.CheckboxGroup(
        [(f"+ {name}", name) for name in ladder.NAMES],
        value=rungs,
        label="Method",
        elem_id="kg-ladder",
        **PLAIN,
    )
    gr.HTML(
        html_template='<p class="small muted" id="kg-expect" role="status"></p>',
        apply_default_css=False,
        padding=False,
    )
    return preset, switches


def _more(said: dict) -> dict[str, gr.components.Component]:
    """The rest of the method: weights, radii, target and class representatives, each from the
    recipe's schema.
    """
    with gr.Accordion("More", open=False, elem_id="kg-more"):
        _heading(form.TITLES["target"], "", term="target")
        found: dict[str, gr.components.Component] = {
            "target": gr.Radio(
                list(form.TARGETS),
                value=said["target"],
                label="Target",
                elem_id="kg-target",
                elem_classes="kg-chips",
                **PLAIN,
            )
        }
        for knob in (k for k in knobs() if k.choices):
            _heading(html.escape(knob.label), "", html.escape(knob.tip))
            found[knob.field] = gr.Radio(
                list(knob.choices),
                value=said[knob.field],
                label=knob.label,
                elem_id=_id(knob),
                elem_classes="kg-seg",
                **PLAIN,
            )
        _heading(
            "Weights and radii",
            "",
            "Weights of the loss terms, and the radii of the embedding in-out game.",
        )
        with gr.Row(elem_id="kg-knobs"):
            for knob in (k for k in knobs() if not k.choices):
                found[knob.field] = gr.Number(
                    said[knob.field],
                    label=knob.label,
                    minimum=knob.low,
                    maximum=knob.high,
                    step=0.05,
                    placeholder="auto",
                    container=False,
                    interactive=True,
                    min_width=0,
                    elem_id=_id(knob),
                )
        _heading(
            form.TITLES["real_images"],
            "",
            "Folder of real images, with one subfolder per class, named after it. Used for"
            " evaluation only, never for training.",
        )
        found["real_images"] = gr.Textbox(
            said["real_images"],
            label="Folder of real test images",
            placeholder="the teacher's own test set, if available",
            max_length=4096,
            elem_id="kg-real",
            **PLAIN,
        )
        _heading(
            form.TITLES["student"],
            "",
            "The network that learns: one of our small ones, any timm model, or torchvision:NAME."
            " Larger networks make each step slower.",
        )
        found["student"] = gr.Dropdown(
            [*zoo.STUDENTS, *architectures.NAMES],
            value=said["student"],
            label="Student",
            allow_custom_value=True,
            elem_id="kg-student",
            **PLAIN,
        )
        _heading(
            form.TITLES["class_texts"],
            "",
            "By default, a class is represented by the embedding of its name. To use another text,"
            " write one line per class: name = text. Texts other than class names of bundled data"
            " sets need the live encoder (above).",
        )
        found["class_texts"] = gr.Textbox(
            said["class_texts"],
            label="Class texts",
            placeholder="Bag = backpack",
            lines=2,
            max_length=20_000,
            elem_id="kg-texts-of",
            **PLAIN,
        )
    return found


def _id(knob: Knob) -> str:
    return f"kg-{knob.field.replace('.', '-').replace('_', '-')}"


def _tips() -> None:
    """Tips for choices, which Gradio has no place for: [id, [one per choice]]. `sidebar.js`
    attaches them.
    """
    up_to = [
        ladder.BASELINE,
        *(f"All ideas up to “{rung.name}”. {rung.adds}" for rung in ladder.RUNGS),
    ]
    tips = [
        ["kg-ladder", [rung.adds for rung in ladder.RUNGS]],
        ["kg-preset", up_to],
        ["kg-source", [tip for _, tip in SOURCES.values()]],
        *([_id(k), [k.tip]] for k in knobs() if not k.choices),
    ]
    data = {"tips": tips, "without": [rung.without for rung in ladder.RUNGS]}
    attributes = " ".join(
        f'data-{name}="{html.escape(json.dumps(value))}"' for name, value in data.items()
    )
    gr.HTML(
        html_template=f'<i id="kg-texts" hidden {attributes}></i>',
        apply_default_css=False,
        padding=False,
    )


def _heading(title: str, aside: str, tip: str = "", term: str = "") -> None:
    """A field's heading, explained by its own tip or by a glossary term. Only constant text from
    this package is passed in, so nothing needs escaping.
    """
    said = f'data-term="{term}"' if term else f'data-tip="{tip}"'
    head = f'<b class="term" tabindex="0" {said}>{title}</b>' if tip or term else f"<b>{title}</b>"
    gr.HTML(
        html_template=f'<div class="field-head">{head}<span>{aside}</span></div>',
        apply_default_css=False,
        padding=False,
        elem_classes="kg-head",
    )
