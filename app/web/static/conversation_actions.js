/** Actions on a whole conversation: pin, rename, tags, share, archive, save, delete; and the import of others. */

import * as api from './api.js';
import { announce } from './dom.js';
import './list_signs.js';
import { confirmDialog, promptDialog } from './overlay.js';
import { conversationPath, newPath } from './router.js';
import * as session from './session.js';
import { t } from './texts.js';
import { toast } from './toast.js';
import { save } from './transfer.js';

// Dialogs are loaded when they are opened.
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
      entry(pinned ? t('actions.unpin') : t('actions.pin'), 'pin', 'pin'),
      entry(t('actions.rename'), 'pencil', 'rename'),
      entry(t('actions.tags'), 'tag', 'tags'),
      entry(t('actions.share'), 'share', 'share'),
      entry(archived ? t('actions.restore') : t('actions.archive'), 'archive', 'archive'),
    ];
    return [
      ...(temporary ? [] : listed),
      entry(t('actions.save_markdown'), 'download', 'markdown'),
      entry(t('actions.save_json'), 'download', 'json'),
      null,
      { ...entry(t('actions.delete'), 'trash', 'delete'), danger: true },
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
      announce(pinned ? t('actions.unpinned') : t('actions.pinned'));
    },
    rename: (conversation) => this.#rename(conversation),
    tags: async ({ id, title, tags = [] }) => {
      const { tagsDialog } = await import('./tags_dialog.js');
      const chosen = await tagsDialog({ title, tags, known: this.#app.sidebar.tags });
      if (!chosen) return;
      await this.#change(id, { tags: chosen });
      announce(chosen.length ? t('actions.tags_are', { tags: chosen.join(', ') }) : t('actions.no_tags'));
    },
    share: async (conversation) => {
      const { chat } = this.#app;
      const { shareDialog } = await import('./share_dialog.js');
      return shareDialog(conversation, chat?.id === conversation.id ? chat.lastShown : null);
    },
    archive: async ({ id, archived }) => {
      await this.#change(id, { archived: !archived });
      announce(archived ? t('actions.restored') : t('actions.archived'));
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
      title: t('actions.rename'),
      label: t('actions.rename_label'),
      value: title,
      action: t('actions.rename'),
    });
    if (!name || name === title) return;
    await this.#change(id, { title: name });
    if (this.#app.chat?.id === id) this.#app.chat.rename(name);
  }

  async #delete({ id, title }) {
    const sure = await confirmDialog({
      title: t('actions.delete_title'),
      text: t('actions.delete_about', { title }),
      action: t('actions.delete'),
    });
    if (!sure) return;
    await api.remove(id);
    this.#app.sidebar.remove(id);
    announce(t('actions.deleted'));
    session.notifyTabs({ type: 'deleted', conversation: id });
    if (this.#app.chat?.id === id) this.#app.router.go(newPath(), { replace: true });
  }

  /** Let the user import conversations from a file. A single one is shown. */
  async import() {
    const { importDialog } = await import('./import_dialog.js');
    const conversations = await importDialog();
    if (!conversations.length) return;
    await this.#app.sidebar.refresh();
    const [one, another] = conversations;
    if (one && !another) this.#app.router.go(conversationPath(one.id, this.#app.models.chosen(one.model)));
  }
}
