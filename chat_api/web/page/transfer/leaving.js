// While a file is on its way, the browser asks before the page is left.

let onTheWay = 0;
const ask = (event) => event.preventDefault();

/** @template T @param {Promise<T>} doing @returns {Promise<T>} */
export async function askBeforeLeaving(doing) {
  if (onTheWay++ === 0) addEventListener("beforeunload", ask);
  try {
    return await doing;
  } finally {
    if (--onTheWay === 0) removeEventListener("beforeunload", ask);
  }
}
