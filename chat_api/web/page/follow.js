// Scrolling along with an answer: only while the reader is at the end.

const NEAR_PX = 48;

export class Follow {
  #thread;
  #button;
  #following = true;
  #height = 0;

  /**
   * @param {HTMLElement} thread what scrolls
   * @param {HTMLElement} messages what grows in it
   * @param {HTMLElement} button shown while the reader is elsewhere
   */
  constructor(thread, messages, button) {
    this.#thread = thread;
    this.#button = button;
    thread.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#grown()).observe(messages);
    new ResizeObserver(() => this.#grown()).observe(thread);
    button.addEventListener("click", () => this.toEnd(true));
  }

  /** Go to the end and stay there. */
  toEnd(smooth = false) {
    this.#following = true;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.#thread.scrollTo({ top: this.#thread.scrollHeight, behavior: smooth && !calm ? "smooth" : "instant" });
    this.#show();
  }

  #grown() {
    if (this.#following) this.#thread.scrollTop = this.#thread.scrollHeight;
    this.#height = this.#thread.scrollHeight;
    this.#show();
  }

  #scrolled() {
    // A scroll that comes from growth is no reader's wish to stay behind.
    if (this.#thread.scrollHeight !== this.#height && this.#following) return;
    this.#following = this.#distance() < NEAR_PX;
    this.#show();
  }

  #show() {
    this.#button.hidden = this.#following || this.#distance() < NEAR_PX;
  }

  #distance() {
    return this.#thread.scrollHeight - this.#thread.scrollTop - this.#thread.clientHeight;
  }
}
