// What a number was before the page was opened: buckets from the bridge, for the time that is shown.

const POINTS = 400;
const AT_ONCE = 2; // Questions; the others wait, and those for what is no longer shown are never asked.
const SHORTEST = 60_000; // The page itself has what is shorter.
const PATIENCE = 15_000;

export class History {
  #asking = 0;

  // Asks for the history of a field, unless it is there and fresh. It becomes `field.history`:
  // times, values, and the span it was asked for.
  want(device, field, span, now, arrived) {
    if (span <= SHORTEST || !device.known) return;
    const { history } = field;
    const isFresh = history?.span === span && now - history.asked < Math.max(span / POINTS, 5000);
    if (isFresh || field.asking || this.#asking >= AT_ONCE) return;
    field.asking = true;
    this.#asking += 1;
    this.#ask(device.name, field.path, span, now)
      .then((points) => {
        field.history = { span, asked: now, ...points };
        arrived();
      })
      .catch(() => (field.history = { times: [], values: [], ...history, span, asked: now }))
      .finally(() => {
        field.asking = false;
        this.#asking -= 1;
      });
  }

  async #ask(device, metric, span, now) {
    const question = new URLSearchParams({
      device,
      metric,
      fn: "avg",
      from: new Date(now - span).toISOString(),
      to: new Date(now).toISOString(),
      max_points: POINTS,
    });
    const answer = await fetch(`/api/series?${question}`, { signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(answer.status);
    const { points } = await answer.json();
    return { times: points.map(({ time }) => Date.parse(time)), values: points.map(({ avg }) => avg) };
  }
}
