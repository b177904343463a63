/** An object with listeners. Their errors go to its `_failed`. */
export class Emitter {
  _listeners = {};

  on(event, listener) {
    (this._listeners[event] ??= new Set()).add(listener);
    return () => this.off(event, listener);
  }

  off(event, listener) {
    this._listeners[event]?.delete(listener);
  }

  _isHeard() {
    return Object.values(this._listeners).some(({ size }) => size);
  }

  /** Calls the listeners; returns true if none failed, or a promise of that if one is still running. */
  _emit(event, ...values) {
    const failed = (error) => (this._failed(error), false);
    const results = [...(this._listeners[event] ?? [])].map((listener) => {
      try {
        const result = listener(...values);
        return typeof result?.then === "function" ? Promise.resolve(result).then(() => true, failed) : true;
      } catch (error) {
        return failed(error);
      }
    });
    return results.some((result) => result.then)
      ? Promise.all(results).then((all) => all.every(Boolean))
      : results.every(Boolean);
  }
}
