// What a number was before the page was opened: buckets from the bridge, for the time that is shown.

const POINTS = 500;
const AT_ONCE = 2; // Questions; the others wait, and those for what is no longer shown are never asked.
const PATIENCE = 15_000;

export class History {
  #asking = 0;

  // Asks for the history of a field, unless it is there and fresh. It becomes `field.history`: times,
  // averages, lowest and highest values, when it ends, and the name of the range it was asked for.
  want(device, field, range, now, arrived) {
    if (!device.known) return;
    const { history } = field;
    const isFresh = history?.name === range.name && (history.isOver || now - history.end < Math.max((range.end - range.start) / POINTS, 5000));
    if (isFresh || field.asking || this.#asking >= AT_ONCE) return;
    field.asking = true;
    this.#asking += 1;
    const { name, isOver } = range;
    const end = Math.min(range.end, now);
    this.#ask(device.name, field.path, range.start, range.end)
      .then((points) => (field.history = { name, isOver, end, ...points }))
      // Asked again as if it had come.
      .catch(() => (field.history = { ...(history?.name === name ? history : NOTHING), name, isOver: false, end: now }))
      .finally(() => {
        field.asking = false;
        this.#asking -= 1;
        arrived();
      });
  }

  async #ask(device, metric, start, end) {
    const question = new URLSearchParams({
      device,
      metric,
      fn: "avg,min,max",
      from: new Date(start).toISOString(),
      to: new Date(end).toISOString(),
      max_points: POINTS,
    });
    const answer = await fetch(`/api/series?${question}`, { signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(answer.status);
    const { points } = await answer.json();
    return {
      times: points.map(({ time }) => Date.parse(time)),
      values: points.map(({ avg }) => avg),
      lows: points.map(({ min }) => min),
      highs: points.map(({ max }) => max),
    };
  }
}

const NOTHING = { times: [], values: [], lows: [], highs: [] };
