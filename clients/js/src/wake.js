// When it is worth to look at once: the network is back, or a page that slept is awake. Nothing where there is no page.

/**
 * Calls `awake` until `signal` is aborted.
 * @param {() => void} awake
 * @param {AbortSignal} signal
 */
export function onWake(awake, signal) {
  if (typeof window === "undefined") return;
  const whenVisible = () => document.visibilityState === "visible" && awake();
  for (const name of ["online", "pageshow"]) window.addEventListener(name, awake, { signal });
  for (const name of ["resume", "visibilitychange"]) document.addEventListener(name, whenVisible, { signal });
}
