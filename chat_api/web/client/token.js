import { EARLY_MS } from "./times.js";

/** The bearer token. It is fetched or renewed once, however many requests ask for it at the same time. */
export class Token {
  #source;
  #token = null;
  #renewAt = Infinity;
  #isRefused = false;
  #asking = null;

  constructor(source) {
    this.#source = source ?? null;
    if (typeof source !== "function") this.#token = this.#source;
  }

  /** Milliseconds until it should be renewed; null: not known. */
  get life() {
    const life = this.#renewAt - Date.now();
    return life < 2 ** 31 ? Math.max(life, 0) : null; // a timer can't wait longer
  }

  /** The token; null if the caller gave none, because a proxy adds it. */
  async get() {
    if (typeof this.#source !== "function") return this.#token;
    if (this.#token === null || this.#isRefused) return this.#ask(this.#isRefused);
    if (Date.now() < this.#renewAt) return this.#token;
    this.#renewAt = Infinity; // one try: the old token stays valid for a while
    return this.#ask(true).catch(() => this.#token);
  }

  /** Don't use this token again. Returns whether another one can be fetched. */
  refuse(token) {
    if (token === this.#token) this.#isRefused = true;
    return typeof this.#source === "function";
  }

  #ask(expired) {
    this.#asking ??= (async () => {
      try {
        const token = await this.#source({ expired });
        if (typeof token !== "string" || !token) throw new Error("the token function returned no token");
        this.#token = token;
        this.#isRefused = false;
        this.#renewAt = Date.now() + renewIn(this.#token);
        return this.#token;
      } finally {
        this.#asking = null;
      }
    })();
    return this.#asking;
  }
}

/** Milliseconds until a JSON Web Token should be renewed; Infinity if it isn't one, or if the clock is wrong. */
function renewIn(token) {
  try {
    const { iat, exp } = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    const left = Math.min(exp * 1000 - Date.now(), (exp - iat) * 1000);
    return left > 0 ? left - Math.min(left / 5, EARLY_MS) : Infinity;
  } catch {
    return Infinity;
  }
}
