/** Actions on a whole conversation: pin, rename, tags, share, archive, save, delete; and the import of others. */

import * as api from './api.js';
import { announce } from './dom.js';
import { importDialog } from './import_dialog.js';
import './list_signs.js';
import { confirmDialog, promptDialog } from './overlay.js';
import { conversationPath, newPath } from './router.js';
import * as session from './session.js';
import { shareDialog } from './share_dialog.js';
import { tagsDialog } from './tags_dialog.js';
import { toast } from './toast.js';
import { save } from './transfer.js';

export class ConversationActions {
  #app;

  /** `app`: the workspace, for its sidebar, router, models and open chat. */
  constructor(app) {
    this.#app = app;
  }

  /** The menu of a conversation, as `openMenu` takes it. */
  menu(conversation) {
    const { archived, pinned, temporary } = conversation;
    const entry = (label, icon, action) => ({ label, icon, action: () => this.act(action, conversation) });
    const listed = [
      entry(pinned ? 'Unpin' : 'Pin to the top', 'pin', 'pin'),
      entry('Rename', 'pencil', 'rename'),
      entry('Tags', 'tag', 'tags'),
      entry('Share', 'share', 'share'),
      entry(archived ? 'Restore' : 'Archive', 'archive', 'archive'),
    ];
    return [
      ...(temporary ? [] : listed),
      entry('Save as Markdown', 'download', 'markdown'),
      entry('Save as JSON', 'download', 'json'),
      null,
      { ...entry('Delete', 'trash', 'delete'), danger: true },
    ];
  }

  /** Do one of the actions of the menu, by its name. A failure is shown. */
  async act(action, conversation) {
    try {
      await this.#actions[action](conversation);
    } catch (problem) {
      toast(problem.message);
    }
  }

  #actions = {
    pin: async ({ id, pinned }) => {
      await this.#change(id, { pinned: !pinned });
      announce(pinned ? 'Not pinned any more' : 'Pinned to the top');
    },
    rename: (conversation) => this.#rename(conversation),
    tags: async ({ id, title, tags = [] }) => {
      const chosen = await tagsDialog({ title, tags, known: this.#app.sidebar.tags });
      if (!chosen) return;
      await this.#change(id, { tags: chosen });
      announce(chosen.length ? `Tags: ${chosen.join(', ')}` : 'No tags');
    },
    share: (conversation) => {
      const { chat } = this.#app;
      return shareDialog(conversation, chat?.id === conversation.id ? chat.lastShown : null);
    },
    archive: async ({ id, archived }) => {
      await this.#change(id, { archived: !archived });
      announce(archived ? 'Restored' : 'Archived');
      if (!archived && this.#app.chat?.id === id) this.#app.router.go(newPath());
    },
    markdown: (conversation) => save(conversation, 'md'),
    json: (conversation) => save(conversation, 'json'),
    delete: (conversation) => this.#delete(conversation),
  };

  // The feed may have reported the change already, and the list may show another kind by now.
  async #change(id, fields) {
    const changed = await api.change(id, fields);
    this.#app.sidebar.applyEvent({ ...changed, type: 'conversation.updated', conversation_id: id });
    session.notifyTabs({ type: 'changed' });
  }

  async #rename({ id, title }) {
    const name = await promptDialog({
      title: 'Rename',
      label: 'Name of the conversation',
      value: title,
      action: 'Rename',
    });
    if (!name || name === title) return;
    await this.#change(id, { title: name });
    if (this.#app.chat?.id === id) this.#app.chat.rename(name);
  }

  async #delete({ id, title }) {
    const sure = await confirmDialog({
      title: 'Delete this conversation?',
      text: `“${title}” and all its messages will be deleted for ever. A running answer is stopped.`,
      action: 'Delete',
    });
    if (!sure) return;
    await api.remove(id);
    this.#app.sidebar.remove(id);
    announce('Deleted');
    session.notifyTabs({ type: 'deleted', conversation: id });
    if (this.#app.chat?.id === id) this.#app.router.go(newPath(), { replace: true });
  }

  /** Let the user import conversations from a file. A single one is shown. */
  async import() {
    const conversations = await importDialog();
    if (!conversations.length) return;
    await this.#app.sidebar.refresh();
    const [one, another] = conversations;
    if (one && !another) this.#app.router.go(conversationPath(one.id, this.#app.models.chosen(one.model)));
  }
}
