/** The models of the server, and the menu to choose one for a new chat. */

import { h, icon } from './dom.js';
import { openMenu } from './overlay.js';

/** A reply of the server as {items, chosen(name), labelOf(name), accepts(name)}; an item is {name, label, …}. */
export function modelList(answer) {
  const items = answer.items.map(({ name, label, description, price, accepts, default: isDefault }) => ({
    name,
    label: label ?? name,
    description: description ?? '',
    price: priceText(price),
    accepts,
    isDefault,
  }));
  const byDefault = items.find(({ isDefault }) => isDefault)?.name;
  const known = new Map(items.map((item) => [item.name, item]));
  return {
    items,
    // The address of a chat with the default model does not name the model.
    chosen: (name) => (name && name !== byDefault && known.has(name) ? name : null),
    labelOf: (name) => known.get(name)?.label ?? name,
    accepts: (name) => accepted(known.get(name ?? byDefault)),
  };
}

// The server refuses what a model cannot take. A model that the page does not know is left to the server.
const accepted = (item) => ({ images: true, ...item?.accepts, label: item?.label ?? 'This model' });

export const NO_MODELS = { items: [], chosen: () => null, labelOf: (name) => name, accepts: () => accepted() };

/** A button that shows the chosen model and opens the list; null when there are fewer than two models. */
export function modelPicker({ items }, name, onPick) {
  if (items.length < 2) return null;
  const current = items.find((item) => item.name === name) ?? items.find(({ isDefault }) => isDefault);
  const button = h(
    'button',
    {
      type: 'button',
      class: 'model',
      'aria-haspopup': 'menu',
      'aria-expanded': 'false',
      onclick: () => openMenu(button, items.map(choice), { label: 'Models' }),
    },
    h('span', { class: 'sr-only' }, 'Model: '),
    h('span', {}, current?.label ?? 'Model'),
    icon('chevron'),
  );
  const choice = (item) => ({
    label: item.label,
    note: [item.description, item.price].filter(Boolean).join(' · '),
    checked: item === current,
    action: () => onPick(item),
  });
  return button;
}

/** `3 in, 15 out, USD per million tokens` */
function priceText(price) {
  if (!price) return '';
  const money = amounts(price.currency);
  return `${money(price.input)} in, ${money(price.output)} out per million tokens`;
}

/** A function that formats sums of a currency; without a currency it formats plain numbers. */
export function amounts(currency) {
  try {
    const format = new Intl.NumberFormat(undefined, { style: 'currency', currency, maximumFractionDigits: 4 });
    return (sum) => format.format(Number(sum));
  } catch {
    return (sum) => `${Number(sum).toLocaleString()}${currency ? ` ${currency}` : ''}`;
  }
}
