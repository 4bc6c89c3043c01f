/** The models of the server, and the menu to choose one. */

import { h, icon } from './dom.js';
import { openMenu } from './overlay.js';
import { facts, locale, t } from './texts.js';

// What a model can, by the fields of `accepts`; `files: "text"` is a model that receives the text of a file.
const ABILITIES = [
  [t('model.images'), ({ images }) => images],
  [t('file.list'), ({ files }) => files === true],
  [t('model.file_texts'), ({ files }) => files === 'text'],
  [t('model.tools'), ({ tools }) => tools],
  [t('parameters.effort'), ({ reasoning }) => reasoning],
];

/**
 * A reply of the server as {items: [{name, label, description, price, abilities, accepts, isDefault}], byDefault,
 * chosen(name), labelOf(name), find(name)}.
 */
export function modelList(answer) {
  const items = answer.items.map(({ name, label, description, price, accepts, default: isDefault }) => ({
    name,
    label: label ?? name,
    description: description ?? '',
    price: priceText(price),
    abilities: ABILITIES.filter(([, can]) => accepts && can(accepts)).map(([word]) => word),
    accepts: accepts ?? {},
    isDefault,
  }));
  const byDefault = items.find(({ isDefault }) => isDefault);
  const known = new Map(items.map((item) => [item.name, item]));
  return {
    items,
    byDefault,
    // The address of a chat with the default model does not name the model.
    chosen: (name) => (name && name !== byDefault?.name && known.has(name) ? name : null),
    labelOf: (name) => known.get(name)?.label ?? name,
    accepts: (name) => accepted(name ? known.get(name) : byDefault),
    find: (name) => (name ? known.get(name) : byDefault),
  };
}

// The server refuses what a model cannot take. A model that the page does not know is left to the server.
const accepted = (item) => ({ images: true, ...item?.accepts, label: item?.label ?? t('model.this') });

export const NO_MODELS = {
  items: [],
  byDefault: undefined,
  chosen: () => null,
  labelOf: (name) => name,
  find: () => undefined,
  accepts: () => accepted(),
};

/**
 * A button that shows the model `name` (null: the default one) and opens the list; null when there is nothing to choose.
 * `onPick(item)` is called with the chosen one.
 */
export function modelPicker(models, name, onPick) {
  const current = models.find(name);
  if (models.items.length < 2 && current) return null;
  if (models.items.length === 0) return null;
  const attributes = { type: 'button', class: 'model', 'aria-haspopup': 'menu', 'aria-expanded': 'false' };
  const button = h(
    'button',
    { ...attributes, onclick: () => openModels(button, models, current, onPick) },
    h('span', { class: 'sr-only' }, t('model.current')),
    h('span', {}, current?.label ?? name ?? t('model.name')),
    icon('chevron'),
  );
  button.classList.toggle('missing', Boolean(name) && !current);
  return button;
}

/** Open the list of models at a button. `current`: the item that is marked. */
export function openModels(anchor, models, current, onPick) {
  const choice = (item) => ({
    label: item.label,
    note: facts([item.description, item.price]),
    marks: item.abilities,
    checked: item === current,
    action: () => onPick(item),
  });
  openMenu(anchor, models.items.map(choice), { label: t('model.list') });
}

/** `3 in, 15 out, USD per million tokens` */
function priceText(price) {
  if (!price) return '';
  const money = amounts(price.currency);
  return t('model.price', { input: money(price.input), output: money(price.output) });
}

/** A function that formats sums of a currency; without a currency it formats plain numbers. */
export function amounts(currency) {
  try {
    const format = new Intl.NumberFormat(locale, { style: 'currency', currency, maximumFractionDigits: 4 });
    return (sum) => format.format(Number(sum));
  } catch {
    return (sum) => `${Number(sum).toLocaleString(locale)}${currency ? ` ${currency}` : ''}`;
  }
}
