/**
 * Follows the page and its network: calls `probe` if the network may be gone, `wake` if it may be back, `freeze` and
 * `thaw` if the page is put aside and returns. Returns a function that stops it.
 */
export function followPage({ probe, wake, freeze, thaw }) {
  const { document, navigator } = globalThis;
  const watch = (target, type, listener) => {
    target?.addEventListener?.(type, listener);
    return () => target?.removeEventListener?.(type, listener);
  };
  const stops = [
    watch(globalThis, "offline", probe),
    watch(globalThis, "online", wake),
    watch(globalThis, "pagehide", ({ persisted }) => persisted && freeze()),
    watch(globalThis, "pageshow", thaw),
    watch(document, "visibilitychange", () => document.visibilityState === "visible" && wake()),
    watch(document, "freeze", freeze),
    watch(document, "resume", thaw),
    watch(navigator?.connection, "change", probe),
  ];
  return () => stops.forEach((stop) => stop());
}
