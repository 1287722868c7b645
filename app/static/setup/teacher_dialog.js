// Adds a custom teacher: a dialog that takes a file or a path, shows the check's findings as they
// come in, and saves the teacher. The server checks the file in a separate process.

import { CheckReport } from './check_report.js';
import { h, num, setChildren, setText } from '../core/dom.js';
import { decodeText } from './names_file.js';

/** @import { DialogPage, Report, Suggestions } from '../core/types.js' */

const NAMES = ['.txt', '.csv', '.tsv', '.json'];
const LARGEST = 2 ** 31;
const LARGEST_NAMES = 1e6;
const POLL = 300;
const WHOLE_FILE = '.';

const hasSuffix = (file, suffixes) =>
  suffixes.some((suffix) => file.name.toLowerCase().endsWith(suffix));
const formatSize = (bytes) =>
  bytes < 1e6 ? `${num(bytes / 1e3)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
const delay = (ms) => new Promise((done) => setTimeout(done, ms));

/** "C:\models\My Pets.pth.tar" → "My Pets"; teacherName turns it into a valid name: "my-pets". */
const fileStem = (path) =>
  path
    .split(/[\\/]/)
    .pop()
    .replace(/(\.pth)?\.[^.]*$/, '');
const teacherName = (path) =>
  fileStem(path)
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+|[._-]+$/g, '')
    .slice(0, 64);

const field = (label, input, hint) =>
  h(
    'label',
    { class: 'field' },
    h('b', null, label),
    input,
    hint && h('small', { class: 'muted' }, hint),
  );
const text = (name, props) =>
  h('input', { type: 'text', name, autocomplete: 'off', spellcheck: 'false', ...props });
const number = (name, low, high, props) =>
  h('input', { type: 'number', name, min: low, max: high, step: 1, ...props });
const datalist = (id, options) =>
  h(
    'datalist',
    { id },
    options.map((value) => h('option', { value })),
  );
/**
 * Makes a file picker that looks like a link. Because it is a label, it needs no script, and its
 * input can be reached from the keyboard.
 */
const fileLink = (label, accept, onFile) =>
  h(
    'label',
    { class: 'opener' },
    h('input', {
      type: 'file',
      accept: accept?.join(),
      class: 'vh',
      onchange: (e) => {
        if (e.target.files[0]) onFile(e.target.files[0]);
        e.target.value = '';
      },
    }),
    h('span', { class: 'link' }, label),
  );

/** The dialog for a custom teacher. */
class TeacherDialog {
  /**
   * @param {DialogPage} page
   * @param {Suggestions} suggestions
   */
  constructor(page, suggestions) {
    this.page = page;
    this.file = null;
    this.uploaded = null;
    /** @type {{ name: string, text: string } | null} */
    this.namesFile = null;
    this.lastRequest = null;
    this.isBusy = false;
    this.fileLabel = h('p', { class: 'chosen', role: 'status' });
    this.path = text('path', {
      placeholder: '/home/me/pets.pth',
      'aria-label': 'Path to the file on this machine',
      maxlength: 4096,
    });
    this.classes = h('textarea', {
      name: 'classes',
      rows: 4,
      spellcheck: 'false',
      'aria-label': 'Class names',
      placeholder: 'cat, dog, horse',
    });
    this.weights = h('select', { name: 'weights' });
    this.weightsField = field(
      'Weights',
      this.weights,
      'The file has several sets of weights. Choose which set becomes the teacher.',
    );
    this.normalizeHint = h('p', { class: 'offer muted' });
    this.mean = text('mean', { placeholder: '0.485, 0.456, 0.406', maxlength: 200 });
    this.std = text('std', { placeholder: '0.229, 0.224, 0.225', maxlength: 200 });
    this.more = h('details');
    this.checkButton = h('button', { type: 'submit', class: 'btn primary' }, 'Check');
    this.form = h(
      'form',
      {
        onsubmit: (e) => {
          e.preventDefault();
          this.#runCheck();
        },
        oninput: () => this.report.outdate(),
      },
      this.#fields(suggestions),
    );
    this.report = new CheckReport((name) => this.#save(name));
    this.dialog = h(
      'dialog',
      { id: 'kg-own', 'aria-labelledby': 'kg-own-title' },
      h(
        'header',
        null,
        h('h2', { id: 'kg-own-title' }, 'Your own teacher'),
        h(
          'button',
          {
            type: 'button',
            class: 'btn icon',
            'aria-label': 'Close',
            onclick: () => this.dialog.close(),
          },
          '×',
        ),
      ),
      h('div', { class: 'halves' }, this.form, this.report.root),
    );
    this.path.addEventListener('input', () => this.#setFile(null));
    this.#offer(null);
    this.dialog.addEventListener('keydown', (e) => e.stopPropagation()); // the page's keyboard shortcuts control the run
    this.dialog.addEventListener('close', () => this.upload?.abort());
    this.#listenToDrops();
    document.getElementById('kg-shell').append(this.dialog);
  }

  #fields(suggestions) {
    const fits = { list: 'kg-own-architectures', placeholder: 'resnet18', maxlength: 200 };
    return [
      h(
        'div',
        { class: 'drop' },
        h(
          'p',
          null,
          'Drop a weights file here, or ',
          fileLink('choose one', null, (file) => this.#setFile(file)), // any extension is allowed
        ),
        this.fileLabel,
        h(
          'p',
          { class: 'or' },
          h('span', { class: 'muted' }, 'or enter a path on this machine'),
          this.path,
        ),
      ),
      this.weightsField,
      field(
        'Architecture',
        text('architecture', fits),
        'Any timm model, or torchvision:NAME. Not needed if the file has a model card. A network in your own Python file works on the command line only.',
      ),
      h(
        'div',
        { class: 'field' },
        h(
          'div',
          { class: 'line' },
          h('b', null, 'Class names'),
          fileLink('open .txt, .csv, or .json', NAMES, (file) => this.#readClassNames(file)),
        ),
        this.classes,
        h(
          'small',
          { class: 'muted' },
          'In output order, one per line or separated by commas; or as JSON or a table with their indices. Or enter the name of a data set, such as imagenet1k.',
        ),
      ),
      setChildren(this.more, [
        h('summary', null, 'More'),
        h(
          'div',
          { class: 'grid' },
          field(
            'Constructor arguments',
            text('arguments', { placeholder: 'img_size=32, patch_size=4', maxlength: 1000 }),
            'for a timm model, if they differ from its defaults',
          ),
          field('Mean', this.mean),
          field('Std', this.std),
          this.normalizeHint,
          field('Side', number('side', 8, 4096, { placeholder: '224' })),
          field('Training images', number('n_train', 1, 1e10, { placeholder: '50000' })),
          field('Title', text('title', { placeholder: 'shown in the app', maxlength: 200 })),
          field(
            'Real test images',
            text('data', { list: 'kg-own-data', placeholder: 'a data set', maxlength: 200 }),
          ),
          h(
            'label',
            { class: 'tick' },
            h('input', { type: 'checkbox', name: 'no_flip' }),
            'No mirroring',
            h('small', { class: 'muted' }, 'for letters and digits'),
          ),
          h(
            'label',
            { class: 'tick' },
            h('input', { type: 'checkbox', name: 'by_order' }),
            'Match by order',
            h('small', { class: 'muted' }, 'layer names differ, shapes match'),
          ),
          h(
            'label',
            { class: 'tick' },
            h('input', { type: 'checkbox', name: 'half' }),
            'Half precision',
            h('small', { class: 'muted' }, 'halves the file size'),
          ),
        ),
      ]),
      datalist('kg-own-architectures', suggestions.architectures),
      datalist('kg-own-data', suggestions.data),
      h('div', { class: 'do' }, this.checkButton),
    ];
  }

  /** Shows the dialog. */
  open() {
    this.dialog.showModal();
  }

  // --- input -----------------------------------------------------------------------------------

  /**
   * Shows a different file, except during a check, whose findings are about the current one.
   * @param {File | null} file
   */
  #setFile(file) {
    if (this.isBusy) return;
    this.file = file;
    setText(this.fileLabel, file ? `${file.name}, ${formatSize(file.size)}` : '');
    if (file) this.path.value = '';
    this.#offer(null);
    this.report.outdate();
  }

  /**
   * Offers what the check found in the file: a choice of weights, and the values of a Normalize
   * layer, which it has already used if the form had none.
   * @param {Report | null} report
   */
  #offer(report) {
    const names = report?.weights ?? [];
    this.weightsField.hidden = names.length < 2;
    setChildren(
      this.weights,
      names.map((name) => h('option', { value: name || WHOLE_FILE }, name || 'the top level')),
    );
    this.weights.value = report?.taken || WHOLE_FILE;
    if (!report && this.offered?.every((value, i) => value === [this.mean, this.std][i].value))
      this.mean.value = this.std.value = ''; // they belong to the previous file
    const { mean, std } = report?.normalize ?? {};
    const isFree = !this.mean.value && !this.std.value;
    if (mean && isFree) {
      this.offered = [mean.join(', '), std.join(', ')];
      [this.mean.value, this.std.value] = this.offered;
      this.more.open = true;
    } else if (!mean) this.offered = null;
    this.normalizeHint.hidden = !this.offered;
    setText(
      this.normalizeHint,
      this.offered
        ? `From the Normalize layer in the file: mean ${this.offered[0]}; std ${this.offered[1]}. Clear the fields to use them again.`
        : '',
    );
  }

  /** Loads class names from a file into the field, where the user can see them. */
  async #readClassNames(file) {
    if (file.size > LARGEST_NAMES)
      return this.report.fail(
        `${file.name} is larger than 1 MB. Choose a file of class names, one per line.`,
      );
    const names = decodeText(await file.arrayBuffer());
    if (names === null)
      return this.report.fail(
        `${file.name} is not UTF-8 or UTF-16 text. Save it as UTF-8 and open it again.`,
      );
    if (this.isBusy) return; // as for the file
    this.classes.value = names;
    this.namesFile = { name: file.name, text: this.classes.value };
    this.report.outdate();
  }

  #listenToDrops() {
    const files = (e) => e.dataTransfer?.types.includes('Files');
    const over = (on) => this.dialog.classList.toggle('over', on);
    this.dialog.addEventListener('dragover', (e) => {
      if (!files(e)) return;
      e.preventDefault();
      e.dataTransfer.dropEffect = this.isBusy ? 'none' : 'copy';
      over(!this.isBusy);
    });
    this.dialog.addEventListener('dragleave', (e) => {
      if (!this.dialog.contains(/** @type {Node} */ (e.relatedTarget))) over(false);
    });
    this.dialog.addEventListener('drop', (e) => {
      if (!files(e)) return;
      e.preventDefault();
      over(false);
      for (const file of e.dataTransfer.files)
        if (hasSuffix(file, NAMES)) this.#readClassNames(file);
        else this.#setFile(file);
    });
  }

  /**
   * Uploads the file and builds a request from the form.
   * @returns {Promise<Record<string, any>>}
   */
  async #buildRequest() {
    /** @type {Record<string, any>} */
    const values = Object.fromEntries(new FormData(this.form));
    /** @type {Record<string, any>} */
    const request = { by_order: 'by_order' in values, half: 'half' in values };
    for (const name of ['architecture', 'arguments', 'classes', 'mean', 'std', 'title', 'data'])
      request[name] = values[name].trim();
    if ('no_flip' in values) request.flip = false;
    if (!this.weightsField.hidden) request.weights = values.weights;
    // what kind of file they came from, unless they have been edited since
    if (this.namesFile?.text === this.classes.value) request.classes_file = this.namesFile.name;
    for (const name of ['side', 'n_train']) request[name] = values[name] && Number(values[name]);
    if (!this.file) return { ...request, path: values.path };
    if (this.uploaded?.file !== this.file)
      this.uploaded = { file: this.file, token: await this.#uploadFile(this.file) };
    return { ...request, file: this.uploaded.token };
  }

  // --- the server ------------------------------------------------------------------------------

  #uploadFile(file) {
    if (file.size > LARGEST)
      throw new Error(`${file.name} is larger than the 2 GB upload limit. Enter its path instead.`);
    return new Promise((resolve, reject) => {
      const upload = (this.upload = new XMLHttpRequest()); // fetch does not report progress
      upload.open(
        'POST',
        `${this.page.base}/kg/teacher-file?name=${encodeURIComponent(file.name)}`,
      );
      upload.upload.addEventListener('progress', (e) =>
        this.report.showProgress(`Uploading… ${Math.floor((100 * e.loaded) / file.size)}%`),
      );
      upload.addEventListener('load', () =>
        upload.status === 200
          ? resolve(JSON.parse(upload.responseText).file)
          : reject(new Error(upload.responseText)),
      );
      upload.addEventListener('error', () => reject(new TypeError()));
      upload.addEventListener('abort', () =>
        reject(new Error('The upload was canceled. Press Check to start over.')),
      );
      upload.addEventListener('loadend', () => {
        this.upload = null;
      });
      upload.send(file);
    });
  }

  async #fetch(path, body) {
    const response = await fetch(
      `${this.page.base}/kg/check${path}`,
      body && {
        method: 'POST',
        body: JSON.stringify(body),
        headers: { 'Content-Type': 'application/json' },
      },
    );
    if (response.status === 410) this.uploaded = null; // the next check uploads it again
    if (!response.ok) throw new Error(await response.text());
    return response.json();
  }

  async #pollCheck(request, onReport) {
    const { id } = await this.#fetch('', request);
    for (;;) {
      const report = await this.#fetch(`/${encodeURIComponent(id)}`);
      onReport(report);
      if (report.done) return report;
      await delay(POLL);
    }
  }

  async #runCheck() {
    await this.#runExclusive(async () => {
      this.report.begin('Checking… This takes about ten seconds.');
      this.lastRequest = await this.#buildRequest();
      this.report.showProgress('Checking… This takes about ten seconds.');
      const report = await this.#pollCheck(this.lastRequest, (found) => this.report.draw(found));
      this.report.end(report, teacherName(this.file?.name ?? this.lastRequest.path));
      this.#offer(report);
      this.report.show(); // the form may have grown
    });
  }

  /** Repeats the request and saves the teacher: the server never trusts findings sent by a page. */
  async #save(name) {
    let saved = null;
    await this.#runExclusive(async () => {
      this.report.showProgress('Saving… The file is being checked again.');
      const report = await this.#pollCheck({ ...this.lastRequest, save: name }, () => {});
      if (!report.saved) return this.report.refuse(report);
      saved = report.saved;
    });
    if (!saved) return;
    this.#setFile(null);
    this.uploaded = null;
    this.form.reset();
    this.report.clear();
    this.dialog.close();
    this.page.adopted(saved);
  }

  async #runExclusive(action) {
    if (this.isBusy) return;
    this.isBusy = this.checkButton.disabled = this.form.inert = true;
    try {
      await action();
    } catch (error) {
      this.report.fail(
        error instanceof TypeError
          ? 'The app is not responding. Is it still running?'
          : error.message,
      );
    }
    this.isBusy = this.checkButton.disabled = this.form.inert = false;
    if (this.dialog.open)
      // the pressed button has lost focus
      (this.report.isValid ? this.report.submitButton : this.checkButton).focus({
        preventScroll: true,
      });
  }
}

/**
 * Makes the button open the dialog.
 * @param {HTMLElement} element
 * @param {DialogPage} page
 */
export function mount(element, page) {
  let dialog = null;
  element.querySelector('button').addEventListener('click', async () => {
    const nothing = { architectures: [], data: [] };
    dialog ??= fetch(`${page.base}/kg/known`)
      .then((response) => (response.ok ? response.json() : nothing))
      .catch(() => nothing)
      .then((suggestions) => new TeacherDialog(page, suggestions));
    (await dialog).open();
  });
}
