// Scrolling with an answer as it grows, but only while the reader is at the end.

const NEAR_PX = 48;

export class Follow {
  #thread;
  #button;
  #following = true;
  #top = 0;

  /**
   * @param {HTMLElement} thread the element that scrolls
   * @param {HTMLElement} messages the element in it that grows
   * @param {HTMLElement} button shown while the reader is elsewhere
   */
  constructor(thread, messages, button) {
    this.#thread = thread;
    this.#button = button;
    thread.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#grown()).observe(messages);
    new ResizeObserver(() => this.#grown()).observe(thread);
    button.addEventListener("click", () => this.toEnd(true));
    messages.addEventListener("click", ({ target }) => this.#unfolding(/** @type {Element} */ (target)));
  }

  /** Scroll to the end and stay there. */
  toEnd(smooth = false) {
    this.#following = true;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.#thread.scrollTo({ top: this.#thread.scrollHeight, behavior: smooth && !calm ? "smooth" : "instant" });
    this.#show();
  }

  /** Scroll a page up (-1) or down (1): the browser's own keys don't while the focus is in the message box. */
  page(direction) {
    this.#thread.scrollBy({ top: direction * this.#thread.clientHeight * 0.85 });
  }

  #grown() {
    if (this.#following) this.#thread.scrollTop = this.#thread.scrollHeight;
    this.#show();
  }

  /** Stay at this place, though the thread grows or another version of a message is shown. */
  stay() {
    this.#following = false;
  }

  /** What the reader unfolds stays where it is, unless it still grows. */
  #unfolding(target) {
    const summary = target.closest("summary");
    if (summary && !summary.closest(".running")) this.stay();
  }

  #scrolled() {
    // When the text grows, the distance to the end grows too. But only the reader scrolls up.
    const { scrollTop } = this.#thread;
    if (this.#distance() < NEAR_PX) this.#following = true;
    else if (scrollTop < this.#top) this.#following = false;
    this.#top = scrollTop;
    this.#show();
  }

  #show() {
    this.#button.hidden = this.#following || this.#distance() < NEAR_PX;
  }

  #distance() {
    return this.#thread.scrollHeight - this.#thread.scrollTop - this.#thread.clientHeight;
  }
}
