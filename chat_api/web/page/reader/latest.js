/**
 * A function that does something, one time after the other. What is asked for meanwhile is done once, afterwards.
 *
 * Whoever reads by it, and asks again whenever something may have changed, ends with the newest state: a read that began
 * before the last change isn't the last one, and none is overtaken by an older one.
 *
 * @template T
 * @param {(isOld: () => boolean) => Promise<T>} act `isOld`: whether it will be done again
 * @returns {() => Promise<T>} resolves after an `act` that began after the call
 */
export function latest(act) {
  let isAsked = false;
  let doing = null;
  const go = async () => {
    try {
      for (;;) {
        isAsked = false;
        const result = await act(() => isAsked);
        if (!isAsked) return result;
      }
    } finally {
      doing = null;
    }
  };
  return () => {
    isAsked = true;
    return (doing ??= go());
  };
}
