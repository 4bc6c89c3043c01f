/** What the events of a stream add up to, and how one event follows another. */

/** The text, reasoning and tool calls of the events so far; the server folds them in the same way. */
export class Transcript {
  text = '';
  reasoning = '';
  tools = new Map();
  status = null;
  done = null;

  add(event) {
    switch (event.type) {
      case 'snapshot':
        this.text = event.text;
        this.reasoning = event.reasoning ?? '';
        // The calls belong to the answer that is replaced; those that still count follow.
        if (event.reason === 'restart' || event.reason === 'failover') this.tools = new Map();
        break;
      case 'token':
        this.text += event.content;
        break;
      case 'reasoning':
        this.reasoning += event.content;
        break;
      case 'tool':
        this.tools.set(event.call_id, event);
        break;
      case 'done':
        this.done = event;
        this.status = event.status;
        break;
      case 'final':
        this.text = event.generation.content ?? '';
        this.reasoning = event.generation.reasoning ?? '';
        this.tools = new Map((event.generation.tools ?? []).map((tool) => [tool.call_id, tool]));
        this.status = event.generation.status;
        break;
    }
  }
}

/** The place of event `id` after the cursor: 'next', 'repeat' or 'hole'. An id of another form is 'next'. */
export function compare(cursor, id) {
  const [last, next] = [position(cursor), position(id)];
  if (!last || !next) return 'next';
  const [epoch, n] = last;
  const [nextEpoch, nextN] = next;
  if (nextEpoch < epoch || (nextEpoch === epoch && nextN <= n)) return 'repeat';
  const follows = nextEpoch === epoch ? nextN === n + 1 : nextN === 0;
  return follows ? 'next' : 'hole';
}

/** Whether events lie between the cursor and the later cursor `after`. */
export function isBehind(cursor, after) {
  const [one, other] = [position(cursor), position(after)];
  return Boolean(one && other) && (one[0] < other[0] || (one[0] === other[0] && one[1] < other[1]));
}

function position(id) {
  const match = /^(\d+)-(\d+)$/.exec(id);
  return match && [Number(match[1]), Number(match[2])];
}
