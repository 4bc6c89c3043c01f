/** The settings that new chats begin with: the model, instructions and parameters. */

import { fill } from './account_parts.js';
import { h } from './dom.js';
import { asText } from './explanations.js';
import { field, parametersForm, parametersIn, selectBox } from './parameters_form.js';
import { changePreferences, preferences } from './preferences.js';
import { t } from './texts.js';

/** The section. `models()`: the models, as models.js has them. */
export function chatsPage({ models }) {
  const body = h('div', {});
  fill(body, async () => [form(await preferences(), models())]);
  return h('div', {}, h('p', { class: 'about' }, t('settings.new_chats_about')), body);
}

function form({ model, system_prompt: prompt, parameters }, { items, accepts }) {
  const known = items.map(({ name, label }) => [name, label]);
  const gone = model && !items.some(({ name }) => name === model) ? [[model, model]] : [];
  const box = selectBox('model', [['', t('settings.model_default')], ...known, ...gone], model ?? '');
  const node = parametersForm(
    { system_prompt: prompt, parameters: parameters ?? {} },
    {
      reasoning: items.some(({ name }) => accepts(name).reasoning),
      hint: t('settings.instructions_hint'),
      first: field(t('model.name'), t('settings.model_hint'), box),
    },
  );
  const state = h('p', { class: 'saved', role: 'status' });
  const problem = h('p', { class: 'problem', role: 'alert' });
  node.addEventListener('submit', async (event) => {
    event.preventDefault();
    problem.textContent = state.textContent = '';
    try {
      await changePreferences({ ...parametersIn(node), model: box.value || null });
      state.textContent = t('settings.saved');
    } catch (refusal) {
      problem.textContent = refusal.explanation ? asText(refusal.explanation) : refusal.message;
    }
  });
  node.append(problem, h('div', { class: 'choices' }, state, h('button', { type: 'submit', class: 'primary' }, t('common.save'))));
  return node;
}
