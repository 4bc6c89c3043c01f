/** The settings of a chat: instructions for the model, and parameters of its answers. */

import * as api from './api.js';
import { announce, h, iconButton } from './dom.js';
import { asText } from './explanations.js';
import { frame, show } from './overlay.js';
import { parametersForm, parametersIn } from './parameters_form.js';
import { t } from './texts.js';

/** The button of a chat's settings. They belong to the conversation; before there is one, they go with the first message. */
export class ChatSettings {
  node = iconButton('sliders', t('chat_settings.name'), () => this.#open(), { 'aria-haspopup': 'dialog' });
  #id = null;
  #kept = { system_prompt: null, parameters: {} };
  #accepts;

  /** `accepts()`: what the model of the chat can (models.js). */
  constructor(accepts) {
    this.#accepts = accepts;
  }

  /** The fields for the first message of a conversation. */
  get forNew() {
    const { system_prompt: prompt, parameters } = this.#kept;
    return { ...(prompt ? { system_prompt: prompt } : {}), ...(count(parameters) ? { parameters } : {}) };
  }

  /** The chat is the conversation `id`. Its settings are those of the server where they are given. */
  use(id, { system_prompt: prompt = this.#kept.system_prompt, parameters = this.#kept.parameters } = {}) {
    this.#id = id;
    this.#keep({ system_prompt: prompt, parameters: parameters ?? {} });
  }

  #keep(kept) {
    this.#kept = kept;
    const changed = Boolean(kept.system_prompt) || count(kept.parameters) > 0;
    this.node.classList.toggle('changed', changed);
    this.node.title = changed ? t('chat_settings.changed') : t('chat_settings.name');
  }

  #open() {
    const problem = h('p', { class: 'problem', role: 'alert' });
    const { reasoning } = this.#accepts();
    const form = parametersForm(this.#kept, { reasoning, hint: t('chat_settings.instructions_hint') });
    const dialog = frame(t('chat_settings.name'), form, problem);
    const save = async (event) => {
      event.preventDefault();
      const changed = parametersIn(form);
      try {
        if (this.#id) await api.change(this.#id, changed);
      } catch (refusal) {
        problem.textContent = refusal.explanation ? asText(refusal.explanation) : refusal.message;
        return;
      }
      this.#keep(changed);
      dialog.close('');
      announce(t('chat_settings.saved'));
    };
    form.addEventListener('submit', save);
    form.append(
      h(
        'div',
        { class: 'choices' },
        h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close('') }, t('common.cancel')),
        h('button', { type: 'submit', class: 'primary' }, t('common.save')),
      ),
    );
    show(dialog).then(() => this.node.focus({ focusVisible: false }));
  }
}

const count = (parameters) => Object.values(parameters).filter((value) => value !== null && value !== undefined).length;
