// The live view: polls the snapshot, decides what to show, and has each panel draw its part.
// Everyone sees the same run; selection, speed and zoom are each viewer's own.

import * as address from '../core/address.js';
import { Archive, decode } from '../store/groups.js';
import { Card } from './card.js';
import { Compare } from '../compare/compare.js';
import { fetchFacts } from '../setup/class_picker.js';
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
/** @import { PanelState, Snapshot } from '../core/types.js' */

/** @type {Selection} */
const NO_SELECTION = { imageKey: null, pinned: false, image: null };

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
    this.selected = sel;
    this.secondsOffline = 0;
    this.pendingDraw = 0;
    const redraw = () => this.schedule();
    this.archive = new Archive(gradio.base, redraw);
    const hooks = {
      archive: this.archive,
      secondsOffline: () => this.secondsOffline,
      base: gradio.base,
      plotly: gradio.plotly,
      command: gradio.command,
      repaint: gradio.repaint,
      redraw,
      nameOf: (index) => this.#nameOf(index),
      colorOf: (c) => this.colorSlots[c] ?? c % 10,
      select: (at) => this.select(at),
      isolate: (c) => this.scatter.isolate(c),
      showSelection: (images) => this.selectionPanel.show(images),
      inspect: (changes) => this.pages.go('inspect', changes),
      onClear: () => this.scatter.clear(),
      selectClass: (c) => this.scatter.selectClass(c),
      showTip: (node) => this.tips.open(node),
      onAction: (action) => this.#onAction(action),
    };
    this.player = new Player(this.archive, speed, redraw, t);
    this.player.onMomentChange = (t) =>
      this.pages.page === 'studio' && address.write({ t }, this.isUpdating);
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
    // the other pages are panels too; setVisible is called when one is entered or left
    const openStudio = () => {
      this.pages.go('studio');
      this.live.pollSoon();
    };
    const openComparison = (runs) => {
      this.pages.go('compare', { runs, point: null });
      this.live.pollSoon();
    };
    this.pageViews = {
      inspect: new Inspect(view, { base: gradio.base, plotly: gradio.plotly, go: hooks.inspect }),
      compare: new Compare(view, { base: gradio.base, go: openComparison }),
      lessons: new Lessons(view, {
        base: gradio.base,
        watching: gradio.watching,
        openStudio,
        go: (changes) => this.pages.go('lessons', changes),
        pollSoon: () => this.live.pollSoon(),
      }),
      runs: new Runs(view, {
        base: gradio.base,
        plotly: gradio.plotly,
        openStudio,
        openComparison,
        inspect: hooks.inspect,
        go: (changes) => this.pages.go('runs', changes),
      }),
    };
    this.pages = new Pages(view, (page, popped) => {
      this.tips.hide();
      for (const [name, pageView] of Object.entries(this.pageViews))
        pageView.setVisible(name === page, popped);
      if (page === 'studio' && !popped && this.snap) this.#writeAddress();
      redraw();
    });
    this.foreignRun = new ForeignRunNotice(view, {
      inspect: hooks.inspect,
      post: (path) => this.pageViews.runs.post(path),
      runExists: (run) =>
        fetch(`${gradio.base}/kg/inspect/${encodeURIComponent(run)}`, { cache: 'no-store' }).then(
          (response) => response.ok,
          () => true,
        ),
      isAlone: () => this.stage.isAlone,
      onShown: () => this.live.pollSoon(),
    });
    this.keys = new Keys(view, () => this.pages.page);
    this.#listen();
    address.syncSwitches(view);
    this.stage = new Stage(view, gradio);
    this.live = follow(`${gradio.base}/kg/live`, {
      alive: () => view.isConnected,
      onOffline: (seconds) => {
        const secondsOffline = seconds > 2 ? seconds : 0;
        if (secondsOffline || this.secondsOffline) {
          this.secondsOffline = secondsOffline;
          redraw();
        }
      },
      onSnapshot: (snap) => this.#onSnapshot(snap),
      headers: this.stage.headers,
      onHeaders: (headers) => this.stage.onHeaders(headers),
    });
  }

  #onSnapshot(/** @type {Snapshot} */ snap) {
    this.isUpdating = true; // address changes during the update are not the user's
    try {
      this.#update(snap);
    } finally {
      this.isUpdating = false;
    }
  }

  #update(/** @type {Snapshot} */ snap) {
    const isOtherRun =
      this.snap &&
      (this.snap.run !== snap.run ||
        this.snap.id !== snap.id ||
        this.snap.attempt !== snap.attempt);
    const isLost =
      // the selected image was never finished
      !ACTIVE.includes(snap.phase) &&
      !snap.making &&
      this.selected?.it >= snap.counters.iterations_done;
    const linksElsewhere = !this.snap && this.foreignRun.check(snap, ACTIVE.includes(snap.phase));
    const linked = this.foreignRun.takeLinkedState(snap);
    if (isOtherRun && !linked && snap.run !== this.foreignRun.requestedRun) this.foreignRun.hide();
    if (this.selected && (isOtherRun || isLost)) this.select(null, true);
    this.snap = snap;
    this.colorSlots = slots(snap.class_indices);
    if (snap.making)
      snap.making = {
        ...decode(snap.making, snap),
        step: snap.making.step,
        steps: snap.making.steps,
      };
    this.archive.update(snap);
    if (linked) {
      this.player.requestedMoment = linked.t;
      this.scatter.requestSelection(linked.pick);
    }
    this.player.update(snap);
    if (linksElsewhere) this.#dropLink();
    if (linked?.sel) this.select(linked.sel);
    this.schedule();
  }

  /**
   * Names a class of the teacher, whether or not it was selected. Until the names arrive, this is
   * its number.
   */
  #nameOf(index) {
    const at = this.snap.class_indices.indexOf(index);
    const name = this.snap.recipe.teacher;
    if (at >= 0) return this.snap.classes[at];
    if (this.namesOf !== name) {
      this.namesOf = name;
      this.names = null;
      fetchFacts(this.gradio.base, name).then(
        (facts) => {
          this.names = facts.classes;
          this.schedule();
        },
        () => {},
      );
    }
    return this.names?.[index] ?? `class ${index}`;
  }

  /** Draws once in the next animation frame, no matter how much has changed. */
  schedule() {
    if (this.snap && !this.pendingDraw)
      this.pendingDraw = requestAnimationFrame(() => {
        this.pendingDraw = 0;
        this.draw();
      });
  }

  /** Draws everything. */
  draw() {
    const live = this.snap;
    const frame = this.player.frame();
    document.body.dataset.kg = live.phase;
    document.body.classList.toggle('kg-offline', this.secondsOffline > 0);
    /** @type {PanelState} */
    const liveState = { snapshot: live, moment: frame, selection: NO_SELECTION };
    for (const panel of [this.header, this.sidebar, ...Object.values(this.pageViews)])
      panel.draw(liveState);
    // hidden panels have no size to draw in
    if (this.pages.page !== 'studio') return void this.status.draw(liveState);
    if (live.run !== address.read('studio').run) address.write({ run: live.run }, true);
    this.timeline.draw(liveState);
    this.#drawLag(frame);
    // keep the last view until the requested moment arrives
    if (frame.waiting) return void setTimeout(() => this.schedule(), 200);
    /** @type {PanelState} */
    const state = {
      snapshot: snapshotAt(live, frame.past),
      moment: frame,
      selection: this.#selection(frame),
    };
    for (const panel of this.panels) panel.draw(state);
  }

  /** The selected image, if it is already there at that moment; otherwise one of the newest. */
  #selection(/** @type {Frame} */ frame) {
    const pinned = this.selected?.it < frame.finishedIterations + Number(Boolean(frame.current));
    const imageKey = pinned ? this.selected : this.#newest(frame);
    return { imageKey, pinned, image: imageKey && this.#image(imageKey, frame) };
  }

  /** Without a selection, the page follows the newest batch, one class after another. */
  #newest(/** @type {Frame} */ frame) {
    const group = frame.current ?? this.archive.group(frame.finishedIterations - 1);
    if (!group?.tiles.length) return null;
    const c = group.iteration % this.snap.classes.length;
    const tile = group.tiles.find((t) => t.c === c) ?? group.tiles[0];
    return { it: group.iteration, pos: tile.pos };
  }

  /**
   * Collects what is known about an image, from the group that shows it or else from its sample.
   */
  #image(/** @type {ImageKey} */ { it, pos }, /** @type {Frame} */ frame) {
    const group = frame.current?.iteration === it ? frame.current : this.archive.group(it);
    const tile = group?.byPos.get(pos);
    const finished = it < this.snap.counters.iterations_done;
    const sample = finished ? this.archive.sample(it, pos) : null;
    // during a replay, hide what is only known about finished images (position, predictions) until
    // the end
    if (tile)
      return {
        ...tile,
        it,
        finished,
        replayed: group.unfinished,
        step: group.unfinished ? group.step : null,
        cam: group.unfinished ? null : tile.cam,
        sample: group.unfinished ? null : sample,
        x: group.unfinished ? null : (tile.x ?? sample?.x),
        y: tile.y ?? sample?.y,
        z: tile.z ?? sample?.z,
        crop: {
          url: group.sheet,
          col: tile.col,
          row: tile.row,
          columns: group.columns,
          rows: group.rows,
        },
      };
    return sample && { ...sample, it, pos, sample, finished, crop: { url: sample.image } };
  }

  /** Shows when this view lags behind the run, and offers to catch up. */
  #drawLag(/** @type {Frame} */ frame) {
    const note = this.view.querySelector('.p-gallery .note');
    const button = this.view.querySelector('.live-now');
    const { lag } = frame;
    const { ended } = this.player;
    note.classList.toggle('lag', Boolean(lag));
    const otherTeacher = ended ? this.sidebar.otherTeacher(this.snap) : null;
    setText(
      note,
      lag
        ? `showing iteration ${num(lag.showing + 1)} · ${ended ? 'the run ended' : 'the run is'} at ${num(lag.live + 1)}`
        : otherTeacher
          ? `from ${this.snap.teacher.title}; Start switches to ${otherTeacher}`
          : 'newest on the right',
    );
    setText(button, lag ? (ended ? 'Go to end' : 'Go live') : 'Play from the beginning');
    setAttr(button, 'hidden', !lag && !(ended && this.player.iterationsDone));
    setAttr(this.view.querySelector('.follow'), 'hidden', !this.selected);
  }

  /**
   * Selects an image, or follows the newest again.
   * @param {ImageKey | null} imageKey
   * @param {boolean} [automatic] The page made the change, not a person.
   */
  select(imageKey, automatic = false) {
    this.selected = imageKey;
    // on other pages, `sel` belongs to that page
    if (this.pages.page === 'studio') address.write({ sel: imageKey }, automatic);
    this.schedule();
  }

  /**
   * Writes this page's state on return from another page, because it may have changed meanwhile.
   */
  #writeAddress() {
    address.write({ run: this.snap.run, sel: this.selected, t: this.player.addressMoment });
    this.scatter.writeAddress();
  }

  /**
   * The address has changed, through Back or Forward or because the presenter shows something else.
   */
  #onPopState(event) {
    if (this.pages.page !== 'studio') return;
    const { run, sel, t } = address.read('studio');
    if (this.snap && run && run !== this.snap.run) {
      if (event.isTrusted) this.foreignRun.check(this.snap, ACTIVE.includes(this.snap.phase));
      else this.foreignRun.hide(); // the presenter changed the address, not the viewer
      return this.#dropLink();
    }
    if (this.snap && t) this.player.seek(t);
    else if (this.snap && this.player.replaying && !this.player.playing) this.player.goLive();
    if (sel?.it === this.selected?.it && sel?.pos === this.selected?.pos) return;
    this.selected = sel;
    this.schedule();
  }

  /** The address belongs to another run. */
  #dropLink() {
    this.select(null, true);
    this.scatter.clear();
    this.player.goLive();
  }

  #onAction(action) {
    if (action === 'resume') this.gradio.resume();
    if (action === 'start') document.getElementById('kg-start')?.click();
    this.live.pollSoon();
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
    document.querySelector('#kg-buttons')?.addEventListener('click', () => this.live.pollSoon());
    addEventListener('popstate', (event) => this.#onPopState(event));
    document.addEventListener('keydown', (event) => this.#onKeydown(event));
  }

  #onKeydown(event) {
    if (event.key === 'Escape') {
      this.tips.hide();
      /** @type {HTMLElement} */ (this.view.querySelector('.peek')).hidden = true;
      this.header.close();
      this.sidebar.setSheetOpen(false);
    }
    if (this.pages.page !== 'studio') return;
    // Space belongs to a focused button or link
    const within = (what) => event.target.closest?.(what);
    if (isTyping(event) || within('dialog') || (event.repeat && !event.key.startsWith('Arrow')))
      return;
    if (event.key === '.') this.sidebar.step();
    // Space pauses the engine during a live run. When the run is over or an earlier moment is
    // shown, it pauses this view instead.
    if (event.key === ' ' && !within('input:not([type=radio]:checked), button, a, [role=button]')) {
      event.preventDefault();
      if (this.player.replaying || (this.player.ended && this.player.iterationsDone))
        this.player.toggle();
      else this.sidebar.toggle();
    }
    this.#navigateTime(event, within);
  }

  /** Arrow keys, Home and End move through time unless the focused element uses them. */
  #navigateTime(event, within) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const { player } = this;
    if (
      !this.snap?.counters.iterations_done ||
      within('input, .gallery, [role=radiogroup], .kg-seg, [role=dialog], #kg-rail')
    )
      return;
    if (by) {
      event.preventDefault();
      if (event.shiftKey) player.stepIterations(by);
      else player.stepFrames(by);
    }
    if (event.key === 'Home') {
      event.preventDefault();
      player.goToStart();
    }
    if (event.key === 'End') {
      event.preventDefault();
      player.goLive();
    }
  }
}
