// Tabs that share a connection, with everything that may happen to them, in virtual time; one run for each seed.
//
//     node --experimental-vm-modules tabs_machine.mjs <directory of the modules> <first seed> <number of seeds>
//
// Each tab must receive each event of each answer that it reads exactly once and in order, and each change once, whatever
// happens to the leader. In the end one tab is connected. A failure is printed with its seed.

import { Browser, Clock, randomOf, Tab } from './virtual_world.mjs';
import { Server } from './virtual_server.mjs';

const [directory, first, count] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const LASTS = 60_000; // milliseconds of a run in which things happen
const SETTLES = 60_000; // milliseconds in which everything comes to its end

class Run {
  trouble = [];
  tabs = [];

  constructor(seed) {
    this.random = randomOf(seed);
    this.clock = new Clock();
    this.server = new Server(this.clock, this.random);
    // A message takes longer than a claim stands in some worlds: then two tabs may lead for a moment.
    this.isSlow = this.random() < 0.3;
    this.browser = new Browser(this.clock, this.random, this.isSlow ? { latency: 300, lag: 200 } : {});
    this.journal = [];
  }

  pick(list) {
    return list[Math.floor(this.random() * list.length)];
  }

  get alive() {
    return this.tabs.filter(({ tab }) => !tab.isGone);
  }

  note(what) {
    this.journal.push(`${Math.round(this.clock.now)} ${what}`);
  }

  async open(name = 'one') {
    const number = this.tabs.length;
    const tab = new Tab(this.browser, this.server, number);
    const entry = { tab, name, number, readers: [], events: [], missed: 0 };
    this.tabs.push(entry);
    const { SharedConnection } = await tab.load(directory, 'shared_connection.js');
    entry.connection = new SharedConnection({
      url: '/api/v1',
      token: () => 'secret',
      name,
      onEvent: (event) => this.onEvent(entry, event),
      onMissed: () => this.onMissed(entry),
    });
    this.note(`tab ${number} opens`);
    this.clock.at(this.clock.now + 5 + this.random() * 200, () => tab.task(() => this.begin(entry)));
    return entry;
  }

  // As the page does when it has loaded its list.
  begin(entry) {
    entry.newest = this.server.feed.filter(({ at }) => at <= this.clock.now).length;
    entry.connection.begin(entry.newest);
  }

  onMissed(entry) {
    entry.missed += 1;
    this.clock.at(this.clock.now + 20, () => entry.tab.task(() => this.begin(entry)));
  }

  onEvent(entry, event) {
    if (event.type !== 'presence') entry.events.push(event);
  }

  read(entry) {
    const id = this.pick([...this.server.answers.keys()]);
    const record = { id, ids: [], end: null };
    const truth = this.server.text(id);
    const reader = entry.connection.follow(id, {
      onEvent: (event) => {
        if (event.id) record.ids.push(event.id);
        if (!truth.startsWith(record.reader.transcript.text))
          this.trouble.push(`tab ${entry.number} shows no prefix of ${id}`);
      },
    });
    record.reader = reader;
    reader.finished.then((end) => (record.end = end));
    entry.readers.push(record);
    this.note(`tab ${entry.number} reads ${id}`);
  }

  // --- what may happen -----------------------------------------------------------------------------------------

  leader() {
    const connected = new Set([...this.server.open].map(({ tab }) => tab));
    return this.alive.find(({ tab }) => connected.has(tab)) ?? this.pick(this.alive);
  }

  async happen() {
    const leader = this.leader();
    const victim = this.random() < 0.6 ? leader : this.pick(this.alive);
    const what = this.random();
    if (what < 0.2) await this.open();
    else if (what < 0.45) this.pick(this.alive.filter(({ tab }) => !tab.isFrozen)) && this.readSomewhere();
    else if (what < 0.55 && this.alive.length > 1) this.end(victim, 'close');
    else if (what < 0.65 && this.alive.length > 1) this.end(victim, 'crash');
    else if (what < 0.8) this.freeze(victim);
    else if (what < 0.85) this.away();
    else if (what < 0.95) this.showSomething();
    else this.reload(victim);
  }

  readSomewhere() {
    const entry = this.pick(this.alive.filter(({ tab }) => !tab.isFrozen));
    if (entry) this.read(entry);
  }

  showSomething() {
    const entry = this.pick(this.alive.filter(({ tab }) => !tab.isFrozen));
    entry?.connection.show(this.random() < 0.5 ? [] : [`c${Math.floor(this.random() * 3)}`]);
  }

  end(entry, how) {
    this.note(`tab ${entry.number}: ${how}`);
    entry.tab[how]();
  }

  async reload(entry) {
    this.end(entry, 'close');
    await this.open();
  }

  freeze(entry) {
    this.note(`tab ${entry.number} freezes`);
    entry.tab.freeze();
    this.clock.at(this.clock.now + this.random() * 20_000, () => {
      this.note(`tab ${entry.number} goes on`);
      entry.tab.thaw();
    });
  }

  away() {
    this.note('the server is away');
    this.server.isAway = true;
    this.clock.at(this.clock.now + this.random() * 5000, () => (this.server.isAway = false));
  }

  // --- the run -------------------------------------------------------------------------------------------------

  async go() {
    const answers = 1 + Math.floor(this.random() * 5);
    for (let n = 0; n < answers; n += 1)
      this.server.addAnswer(`g${n}`, this.random() * LASTS * 0.7, 20 + this.random() * 300, 20 + this.random() * 80);
    for (let n = 0; n < 20; n += 1) this.server.addEvent(this.random() * LASTS, { type: 'conversation.updated', n });
    const begin = 1 + Math.floor(this.random() * 6);
    for (let n = 0; n < begin; n += 1) await this.open();
    const other = await this.open('two');
    for (let at = 500; at < LASTS; at += 200 + this.random() * 6000) {
      await this.clock.run(at);
      await this.happen();
    }
    await this.clock.run(LASTS);
    this.most = this.server.most;
    for (const { tab } of this.alive) tab.thaw();
    this.server.isAway = false;
    this.server.isCalm = true;
    await this.clock.run(LASTS + SETTLES);
    this.check(other);
    for (const { tab, connection } of this.alive) tab.task(() => connection.close());
    return this.trouble;
  }

  check(other) {
    const connected = [...this.server.open].map(({ tab }) => tab);
    const names = new Set(this.alive.map(({ name }) => name));
    if (connected.length !== names.size)
      this.trouble.push(`${connected.length} connections for ${names.size} names in the end`);
    for (const entry of this.alive) {
      for (const record of entry.readers) this.checkReader(entry, record);
      this.checkFeed(entry);
    }
    if (!other.tab.isGone && !this.alive.some(({ name, tab }) => name === 'two' && connected.includes(tab)))
      this.trouble.push('the tab of the other name has no connection of its own');
  }

  checkReader({ number }, { id, ids, end, reader }) {
    const truth = this.server.answers.get(id).map((event) => event.id);
    if (ids.join() !== truth.join())
      this.trouble.push(`tab ${number} received ${ids.length} events of ${id}, not ${truth.length}, in order`);
    if (end?.reason !== 'done')
      this.trouble.push(`tab ${number} did not come to the end of ${id}: ${JSON.stringify(end)}`);
    if (reader.transcript.text !== this.server.text(id)) this.trouble.push(`tab ${number} has another text of ${id}`);
  }

  // Each change once; a tab that has missed some has loaded everything again.
  checkFeed({ number, events, missed, newest }) {
    const all = this.server.feed.map(({ event }) => event);
    const received = events.map((event) => all.findIndex((each) => JSON.stringify(each) === JSON.stringify(event)));
    const rest = all.length - (missed ? newest : Math.min(newest, ...received));
    const isComplete = missed || received.length >= rest;
    if (!isComplete) this.trouble.push(`tab ${number} received ${received.length} changes`);
    if (received.some((index, n) => n && index <= received[n - 1] && !missed))
      this.trouble.push(`tab ${number} received a change twice`);
  }
}

let failed = false;
let most = 0;
for (let seed = first; seed < first + count; seed += 1) {
  const run = new Run(seed);
  const trouble = await run.go();
  most = Math.max(most, run.isSlow ? 0 : run.most);
  // One connection for each of the two names, and one more while a leader changes.
  if (!run.isSlow && run.most > 4) trouble.push(`${run.most} tabs were connected at a time`);
  if (trouble.length) {
    failed = true;
    console.log(`seed ${seed}:\n  ${[...new Set(trouble)].join('\n  ')}`);
    if (process.env.JOURNAL) console.log(run.journal.join('\n'));
  }
}
console.log(`seeds ${first} to ${first + count - 1}: at most ${most} tabs were connected at a time`);
process.exitCode = failed ? 1 : 0;
