// The live view: polls the snapshot, decides what to show, and lets each panel draw its part.
// Selection, speed and zoom belong to this viewer; the run is shared by everyone.

import * as address from '../core/address.js';
import { Archive, decode } from '../store/groups.js';
import { Card } from './card.js';
import { Compare } from '../compare/compare.js';
import { factsOf } from '../setup/class_picker.js';
import { slots } from '../store/slots.js';
import { Curves } from './curves.js';
import { Gallery } from './gallery.js';
import { Header } from './header.js';
import { Inspect } from '../inspect/inspect.js';
import { KeyRegion } from './key_region.js';
import { Lessons } from '../lessons/lessons.js';
import { follow } from '../core/live.js';
import { num, setAttr, setText } from '../core/dom.js';
import { snapshotAt } from '../store/snapshot_at.js';
import { SelectionPanel } from './selection_panel.js';
import { Pages } from '../core/pages.js';
import { Player } from '../store/player.js';
import { ACTIVE, Sidebar } from '../setup/sidebar.js';
import { Runs } from '../runs/runs.js';
import { Scatter } from './scatter.js';
import { Stage } from '../audience/stage.js';
import { Status } from './status.js';
import { ForeignRunNotice } from './foreign_run_notice.js';
import { Timeline } from './timeline.js';
import { Keys, isTyping } from '../core/keys.js';
import { tips } from '../core/tips.js';
import { ViewerSidebar } from '../audience/viewer_sidebar.js';

/** @import { Address, Frame, Gradio, ImageKey, Panel, Selection } from '../core/types.js' */
/** @import { Shown, Snapshot } from '../core/types.js' */

/** @type {Selection} */
const NOTHING = { at: null, pinned: false, image: null };

/**
 * Starts the page.
 * @param {HTMLElement} element The template's host.
 * @param {Gradio} gradio
 * @returns {Studio | void} Nothing until Gradio has filled the sidebar; it retries until then.
 */
export function mount(element, gradio) {
  // Gradio may fill the sidebar's HTML after this runs
  if (
    !gradio.watching &&
    (!document.getElementById('kg-texts') || !document.querySelector('#kg-speed input'))
  )
    return void requestAnimationFrame(() => mount(element, gradio));
  return new Studio(element, gradio);
}

/** The live view. */
class Studio {
  /**
   * @param {HTMLElement} view
   * @param {Gradio} gradio
   */
  constructor(view, gradio) {
    const { sel, speed, t } = address.read('studio');
    this.view = view;
    this.gradio = gradio;
    this.sel = sel;
    this.away = 0;
    this.drawing = 0;
    const redraw = () => this.schedule();
    this.archive = new Archive(gradio.base, redraw);
    const hooks = {
      archive: this.archive,
      away: () => this.away,
      base: gradio.base,
      plotly: gradio.plotly,
      command: gradio.command,
      repaint: gradio.repaint,
      redraw,
      nameOf: (index) => this.#nameOf(index),
      colour: (c) => this.slots[c] ?? c % 10,
      select: (at) => this.select(at),
      isolate: (c) => this.scatter.isolate(c),
      gather: (images) => this.selectionPanel.show(images),
      inspect: (changes) => this.pages.go('inspect', changes),
      cleared: () => this.scatter.clear(),
      all: (c) => this.scatter.all(c),
      explain: (node) => this.tips.open(node),
      act: (what) => this.#act(what),
    };
    this.player = new Player(this.archive, speed, redraw, t);
    this.player.told = (t) => this.pages.page === 'studio' && address.write({ t }, this.taking);
    this.timeline = new Timeline(view, this.player);
    this.status = new Status(view, hooks);
    this.selectionPanel = new SelectionPanel(view, hooks);
    this.scatter = new Scatter(view, hooks);
    this.header = new Header(view, hooks);
    this.sidebar = gradio.watching ? new ViewerSidebar() : new Sidebar(hooks);
    /** @type {Panel[]} */
    this.panels = [
      this.status,
      new Gallery(view, hooks),
      new KeyRegion(view, hooks),
      this.selectionPanel,
      this.scatter,
      new Card(view, hooks),
      new Curves(view),
    ];
    this.tips = tips(view.querySelector('.tip'));
    // the other pages are panels too; besides, turn(shown) is called when one is entered or left
    const studio = () => {
      this.pages.go('studio');
      this.live.soon();
    };
    const compare = (runs) => {
      this.pages.go('compare', { runs, point: null });
      this.live.soon();
    };
    this.places = {
      inspect: new Inspect(view, { base: gradio.base, plotly: gradio.plotly, go: hooks.inspect }),
      compare: new Compare(view, { base: gradio.base, go: compare }),
      lessons: new Lessons(view, {
        base: gradio.base,
        watching: gradio.watching,
        studio,
        go: (changes) => this.pages.go('lessons', changes),
        soon: () => this.live.soon(),
      }),
      runs: new Runs(view, { base: gradio.base, studio, compare }),
    };
    this.pages = new Pages(view, (page, popped) => {
      this.tips.hide();
      for (const [name, place] of Object.entries(this.places)) place.turn(name === page, popped);
      if (page === 'studio' && !popped && this.snap) this.#tell();
      redraw();
    });
    this.foreignRun = new ForeignRunNotice(view, {
      inspect: hooks.inspect,
      post: (what) => this.places.runs.post(what),
      known: (run) =>
        fetch(`${gradio.base}/kg/inspect/${encodeURIComponent(run)}`, { cache: 'no-store' }).then(
          (answer) => answer.ok,
          () => true,
        ),
      alone: () => this.stage.alone,
      shown: () => this.live.soon(),
    });
    this.keys = new Keys(view, () => this.pages.page);
    this.#listen();
    address.keepSwitches(view);
    this.stage = new Stage(view, gradio);
    this.live = follow(`${gradio.base}/kg/live`, {
      alive: () => view.isConnected,
      onAway: (seconds) => {
        const away = seconds > 2 ? seconds : 0;
        if (away || this.away) {
          this.away = away;
          redraw();
        }
      },
      onSnapshot: (snap) => this.#take(snap),
      headers: this.stage.headers,
      onHeaders: (headers) => this.stage.hear(headers),
    });
  }

  #take(/** @type {Snapshot} */ snap) {
    this.taking = true; // address changes during this are not the user's
    try {
      this.#news(snap);
    } finally {
      this.taking = false;
    }
  }

  #news(/** @type {Snapshot} */ snap) {
    const other =
      this.snap &&
      (this.snap.run !== snap.run ||
        this.snap.id !== snap.id ||
        this.snap.attempt !== snap.attempt);
    const lost =
      // the image was never finished
      !ACTIVE.includes(snap.phase) && !snap.making && this.sel?.it >= snap.counters.iterations_done;
    const foreign = !this.snap && this.foreignRun.meets(snap, ACTIVE.includes(snap.phase));
    const came = this.foreignRun.came(snap); // selection and moment belong to the linked run
    if (other && !came && snap.run !== this.foreignRun.asked) this.foreignRun.hide();
    if (this.sel && (other || lost)) this.select(null, true);
    this.snap = snap;
    this.slots = slots(snap.class_indices);
    if (snap.making)
      snap.making = {
        ...decode(snap.making, snap),
        step: snap.making.step,
        steps: snap.making.steps,
      };
    this.archive.turnTo(snap);
    if (came) {
      this.player.asked = came.t;
      this.scatter.ask(came.pick);
    }
    this.player.turnTo(snap);
    if (foreign) this.#leaveLink();
    if (came?.sel) this.select(came.sel);
    this.schedule();
  }

  /**
   * Name of the teacher's class with that index, whether or not it was selected; its number until
   * the names arrive.
   */
  #nameOf(index) {
    const at = this.snap.class_indices.indexOf(index);
    const name = this.snap.recipe.teacher;
    if (at >= 0) return this.snap.classes[at];
    if (this.namesOf !== name) {
      this.namesOf = name;
      this.names = null;
      factsOf(this.gradio.base, name).then(
        (found) => {
          this.names = found.classes;
          this.schedule();
        },
        () => {},
      );
    }
    return this.names?.[index] ?? `class ${index}`;
  }

  /** Draws once in the next animation frame, no matter how much has changed. */
  schedule() {
    if (this.snap && !this.drawing)
      this.drawing = requestAnimationFrame(() => {
        this.drawing = 0;
        this.draw();
      });
  }

  /** Draws everything. */
  draw() {
    const live = this.snap;
    const frame = this.player.frame();
    document.body.dataset.kg = live.phase;
    document.body.classList.toggle('kg-away', this.away > 0);
    /** @type {Shown} */
    const now = { snapshot: live, moment: frame, selection: NOTHING };
    for (const panel of [this.header, this.sidebar, ...Object.values(this.places)]) panel.draw(now);
    // hidden panels have no size to draw in
    if (this.pages.page !== 'studio') return void this.status.draw(now);
    if (live.run !== address.read('studio').run) address.write({ run: live.run }, true);
    this.timeline.draw(now);
    this.#where(frame);
    // keep the last view until the requested moment arrives
    if (frame.waiting) return void setTimeout(() => this.schedule(), 200);
    /** @type {Shown} */
    const shown = {
      snapshot: snapshotAt(live, frame.past),
      moment: frame,
      selection: this.#selection(frame),
    };
    for (const panel of this.panels) panel.draw(shown);
  }

  /** The selected image, if it is already there at that moment; otherwise one of the newest. */
  #selection(/** @type {Frame} */ frame) {
    const pinned = this.sel?.it < frame.finished + Number(Boolean(frame.making));
    const at = pinned ? this.sel : this.#newest(frame);
    return { at, pinned, image: at && this.#image(at, frame) };
  }

  /** Without a selection, the page follows the newest batch, one class after another. */
  #newest(/** @type {Frame} */ frame) {
    const group = frame.making ?? this.archive.group(frame.finished - 1);
    if (!group?.tiles.length) return null;
    const c = group.iteration % this.snap.classes.length;
    const tile = group.tiles.find((t) => t.c === c) ?? group.tiles[0];
    return { it: group.iteration, pos: tile.pos };
  }

  /** Everything known about an image, from the group that shows it or else from its sample. */
  #image(/** @type {ImageKey} */ { it, pos }, /** @type {Frame} */ frame) {
    const group = frame.making?.iteration === it ? frame.making : this.archive.group(it);
    const tile = group?.byPos.get(pos);
    const finished = it < this.snap.counters.iterations_done;
    const sample = finished ? this.archive.sample(it, pos) : null;
    // in a replay, what only the finished image has (its position, its predictions) is hidden until
    // the end
    if (tile)
      return {
        ...tile,
        it,
        finished,
        replay: group.early,
        step: group.early ? group.step : null,
        cam: group.early ? null : tile.cam,
        sample: group.early ? null : sample,
        x: group.early ? null : (tile.x ?? sample?.x),
        y: tile.y ?? sample?.y,
        z: tile.z ?? sample?.z,
        piece: {
          url: group.sheet,
          col: tile.col,
          row: tile.row,
          columns: group.columns,
          rows: group.rows,
        },
      };
    return sample && { ...sample, it, pos, sample, finished, piece: { url: sample.image } };
  }

  /** Shows when this view lags behind the run, and offers to catch up. */
  #where(/** @type {Frame} */ frame) {
    const note = this.view.querySelector('.p-gallery .note');
    const button = this.view.querySelector('.live-now');
    const { lag } = frame;
    const { over } = this.player;
    note.classList.toggle('lag', Boolean(lag));
    const other = over ? this.sidebar.other(this.snap) : null;
    setText(
      note,
      lag
        ? `showing iteration ${num(lag.showing + 1)} · ${over ? 'the run ended' : 'live is'} at ${num(lag.live + 1)}`
        : other
          ? `from ${this.snap.teacher.title}; Start switches to ${other}`
          : 'newest on the right',
    );
    setText(button, lag ? (over ? 'Go to end' : 'Go live') : 'Play from the beginning');
    setAttr(button, 'hidden', !lag && !(over && this.player.done));
    setAttr(this.view.querySelector('.follow'), 'hidden', !this.sel);
  }

  /**
   * Selects an image, or follows the newest again.
   * @param {ImageKey | null} at
   * @param {boolean} [own] Done by the page, not by a person.
   */
  select(at, own = false) {
    this.sel = at;
    if (this.pages.page === 'studio') address.write({ sel: at }, own); // on other pages, `sel` belongs to that page
    this.schedule();
  }

  /** Back from another page: what this one shows may have changed in the meantime. */
  #tell() {
    address.write({ run: this.snap.run, sel: this.sel, t: this.player.moment });
    this.scatter.tell();
  }

  /**
   * The address has changed, through Back or Forward or because the presenter shows something else.
   */
  #turn(event) {
    if (this.pages.page !== 'studio') return;
    const { run, sel, t } = address.read('studio');
    if (this.snap && run && run !== this.snap.run) {
      if (event.isTrusted) this.foreignRun.meets(this.snap, ACTIVE.includes(this.snap.phase));
      else this.foreignRun.hide(); // it followed the presenter; nobody asked for it here
      return this.#leaveLink();
    }
    if (this.snap && t) this.player.seek(t);
    else if (this.snap && this.player.replaying && !this.player.playing) this.player.goLive();
    if (sel?.it === this.sel?.it && sel?.pos === this.sel?.pos) return;
    this.sel = sel;
    this.schedule();
  }

  /** The address belongs to another run. */
  #leaveLink() {
    this.select(null, true);
    this.scatter.clear();
    this.player.goLive();
  }

  #act(what) {
    if (what === 'resume') this.gradio.resume();
    if (what === 'start') document.getElementById('kg-start')?.click();
    this.live.soon();
  }

  #listen() {
    this.view
      .querySelector('.live-now')
      .addEventListener('click', () =>
        this.player.replaying ? this.player.goLive() : this.player.toggle(),
      );
    this.view.querySelector('.follow').addEventListener('click', () => this.select(null));
    /** @type {NodeListOf<HTMLInputElement>} */
    const speeds = document.querySelectorAll('#kg-speed input');
    for (const input of speeds) {
      input.checked = input.value === this.player.speed;
      input.addEventListener('change', () => {
        this.player.setSpeed(input.value);
        address.write({ speed: /** @type {Address['speed']} */ (input.value) });
      });
    }
    document.querySelector('#kg-buttons')?.addEventListener('click', () => this.live.soon());
    addEventListener('popstate', (event) => this.#turn(event));
    document.addEventListener('keydown', (event) => this.#press(event));
  }

  #press(event) {
    if (event.key === 'Escape') {
      this.tips.hide();
      /** @type {HTMLElement} */ (this.view.querySelector('.peek')).hidden = true;
      this.header.close();
      this.sidebar.sheet(false);
    }
    if (this.pages.page !== 'studio') return;
    // Space belongs to a focused button or link
    const within = (what) => event.target.closest?.(what);
    if (isTyping(event) || within('dialog') || (event.repeat && !event.key.startsWith('Arrow')))
      return;
    if (event.key === '.') this.sidebar.step();
    // Space pauses the engine during a live run; when the run is over or an earlier moment is
    // shown, it pauses this view
    if (event.key === ' ' && !within('input:not([type=radio]:checked), button, a, [role=button]')) {
      event.preventDefault();
      if (this.player.replaying || (this.player.over && this.player.done)) this.player.toggle();
      else this.sidebar.toggle();
    }
    this.#travel(event, within);
  }

  /** Arrows, Home and End move through time where nothing else uses them. */
  #travel(event, within) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const { player } = this;
    if (
      !this.snap?.counters.iterations_done ||
      within('input, .gallery, [role=radiogroup], .kg-seg, [role=dialog], #kg-rail')
    )
      return;
    if (by) {
      event.preventDefault();
      if (event.shiftKey) player.iterations(by);
      else player.frames(by);
    }
    if (event.key === 'Home') {
      event.preventDefault();
      player.start();
    }
    if (event.key === 'End') {
      event.preventDefault();
      player.goLive();
    }
  }
}
