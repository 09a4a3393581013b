// Refusals as RFC 9457 has them.

const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504]);
const LONGEST = 300; // Characters of a body that is no problem.

/** A refusal, as the bridge has put it. */
export class ProblemError extends Error {
  /**
   * @param {number} status
   * @param {Record<string, unknown>} problem
   * @param {number} [retryAfter] milliseconds
   */
  constructor(status, problem, retryAfter) {
    super(String(problem.detail ?? problem.title ?? `the answer was ${status}`));
    this.name = "ProblemError";
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }

  /** @returns {string | undefined} */
  get commandId() {
    return typeof this.problem.commandId === "string" ? this.problem.commandId : undefined;
  }

  get isTransient() {
    return TRANSIENT.has(this.status);
  }
}

/**
 * The refusal that an answer is.
 * @param {Response} answer
 */
export async function refusal(answer) {
  const text = await answer.text().catch(() => "");
  const seconds = Number(answer.headers.get("Retry-After") || NaN);
  const retryAfter = Number.isFinite(seconds) ? seconds * 1000 : undefined;
  return new ProblemError(answer.status, parse(text), retryAfter);
}

/**
 * A proxy's page is no problem document.
 * @param {string} text
 * @returns {Record<string, unknown>}
 */
function parse(text) {
  try {
    const value = JSON.parse(text);
    if (value !== null && typeof value === "object") return value;
  } catch {
    // As it is, then.
  }
  return text ? { detail: text.slice(0, LONGEST) } : {};
}
