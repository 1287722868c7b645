// The invitation: a QR code and a link, large enough to read from the last row.

import { modal } from '../core/dialog.js';
import { h, setChildren, setText } from '../core/dom.js';

/** The dialog that invites an audience. */
export class InviteDialog {
  /**
   * @param {string} base Path of the app.
   * @param {string[]} links Addresses at which others may reach this server, most likely
   *   first.
   */
  constructor(base, [link, ...others]) {
    this.link = link;
    this.copyButton = h(
      'button',
      { type: 'button', class: 'btn', onclick: () => this.#copy() },
      'Copy link',
    );
    this.address = h(
      'a',
      { class: 'invite-link', href: link, target: '_blank', rel: 'noopener' },
      link.replace(/^http:\/\//, '').replace(/\/$/, ''),
    );
    this.dialog = modal(
      h(
        'dialog',
        { id: 'kg-invite', 'aria-labelledby': 'kg-invite-title' },
        h(
          'header',
          null,
          h('h2', { id: 'kg-invite-title' }, 'Watch along'),
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
        h('img', { src: `${base}/kg/invite.svg`, alt: `QR code for ${link}` }),
        h('p', null, this.address),
        others.length
          ? h('p', { class: 'muted others' }, 'If that doesn’t open, try: ', others.join('  ·  '))
          : null,
        h(
          'p',
          { class: 'muted' },
          /\/\/(127\.|localhost|\[::1\])/.test(link)
            ? 'This link only works on this computer. To let others in, start the app with --host 0.0.0.0.'
            : 'Scan the code or type the address while on the same network. Viewers can watch, but not control the run.',
        ),
        h('div', { class: 'do' }, this.copyButton),
      ),
    );
    document.getElementById('kg-shell').append(this.dialog);
  }

  /** Shows the dialog. */
  open() {
    this.dialog.showModal();
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.link);
      setText(this.copyButton, 'Copied');
    } catch {
      // no clipboard outside a secure context
      getSelection().selectAllChildren(this.address);
      setText(this.copyButton, 'Press Ctrl-C to copy');
    }
    setTimeout(() => setChildren(this.copyButton, 'Copy link'), 1600);
  }
}
