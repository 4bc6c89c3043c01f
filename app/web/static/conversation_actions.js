/** Actions on a whole conversation: rename, archive, save, delete, import. */

import * as api from './api.js';
import { announce } from './dom.js';
import { confirmDialog, promptDialog } from './overlay.js';
import { conversationPath, newPath } from './router.js';
import * as session from './session.js';
import { toast } from './toast.js';
import { importFile, save } from './transfer.js';

export class ConversationActions {
  #app;

  /** `app`: the workspace, for its sidebar, router, models and open chat. */
  constructor(app) {
    this.#app = app;
  }

  /** The menu of a conversation, as `openMenu` takes it. */
  menu(conversation) {
    const { id, archived } = conversation;
    return [
      { label: 'Rename', icon: 'pencil', action: () => this.#rename(conversation) },
      {
        label: archived ? 'Restore' : 'Archive',
        icon: 'archive',
        action: () => this.#try(() => this.#archive(id, !archived)),
      },
      { label: 'Save as Markdown', icon: 'download', action: () => this.#try(() => save(conversation, 'md')) },
      { label: 'Save as JSON', icon: 'download', action: () => this.#try(() => save(conversation, 'json')) },
      null,
      { label: 'Delete', icon: 'trash', danger: true, action: () => this.#delete(conversation) },
    ];
  }

  async #rename({ id, title }) {
    const name = await promptDialog({
      title: 'Rename',
      label: 'Name of the conversation',
      value: title,
      action: 'Rename',
    });
    if (!name || name === title) return;
    await this.#try(async () => {
      await api.change(id, { title: name });
      this.#app.sidebar.touch(id, { title: name });
      if (this.#app.chat?.id === id) this.#app.chat.rename(name);
      session.notifyTabs({ type: 'changed' });
    });
  }

  async #archive(id, archived) {
    const changed = await api.change(id, { archived });
    // The feed may have reported the change already, and the list may show the other kind by now.
    this.#app.sidebar.applyEvent({ ...changed, type: 'conversation.updated', conversation_id: id });
    announce(archived ? 'Archived' : 'Restored');
    session.notifyTabs({ type: 'changed' });
    if (archived && this.#app.chat?.id === id) this.#app.router.go(newPath());
  }

  async #delete({ id, title }) {
    const sure = await confirmDialog({
      title: 'Delete this conversation?',
      text: `“${title}” and all its messages will be deleted for ever. A running answer is stopped.`,
      action: 'Delete',
    });
    if (!sure) return;
    await this.#try(async () => {
      await api.remove(id);
      this.#app.sidebar.remove(id);
      announce('Deleted');
      session.notifyTabs({ type: 'deleted', conversation: id });
      if (this.#app.chat?.id === id) this.#app.router.go(newPath(), { replace: true });
    });
  }

  /** Import a conversation from a file that the user chooses, and show it. */
  async import() {
    await this.#try(async () => {
      const conversation = await importFile();
      if (!conversation) return;
      this.#app.sidebar.add(conversation);
      this.#app.router.go(conversationPath(conversation.id, this.#app.models.chosen(conversation.model)));
      announce('Imported');
    });
  }

  async #try(action) {
    try {
      await action();
    } catch (problem) {
      toast(problem.message);
    }
  }
}
