// The open conversation: loads it, sends, has answers read to their end, and stops them.

import { isAway, networkIsBack } from "../reader/network.js";
import { announce, announceAnswer } from "../ui/announcer.js";
import { toast } from "../ui/toast.js";
import { Others, readInto } from "./reading.js";

const TRIES = 3; // after the browser has said that the network is back, which is a little early

export class Thread extends EventTarget {
  #chat;
  #conversations;
  #messages;
  #follow;
  #others;
  #answer = null; // the one that is read
  #isBusy = false; // from a question to its answer's end
  #isStopping = false;
  #visit = 0; // counts what was opened: what comes late belongs to another one
  #waiting = new AbortController(); // for the network, at this visit
  #isCreating = false;
  #unsent = ""; // a question that the service doesn't have, and that isn't being sent
  #known = new Map(); // conversations as they were last seen, to be shown at once
  id = null;
  modelTag = ""; // for a new conversation

  constructor(chat, conversations, messages, follow) {
    super();
    this.#chat = chat;
    this.#conversations = conversations;
    this.#messages = messages;
    this.#follow = follow;
    this.#others = new Others(chat, (answer) => this.#join(answer));
    addEventListener("pagehide", ({ persisted }) => persisted || this.#giveBack(this.id, this.#unsent));
  }

  get isBusy() {
    return this.#isBusy;
  }

  get isStopping() {
    return this.#isStopping;
  }

  /** @param {string | null} id null: a new conversation, which the first message creates */
  async open(id) {
    this.#leave();
    this.id = id;
    this.#changed();
    if (id === null) {
      this.#messages.welcome();
      return;
    }
    this.#messages.wait();
    const known = this.#known.get(id);
    if (known) this.#show(known);
    this.#follow.toEnd();
    await this.#load();
  }

  /** @returns {boolean} whether it was taken */
  send(content) {
    if (this.#isBusy) return false;
    this.#begin();
    const question = this.#messages.ask(content);
    const view = this.#messages.begin();
    this.#follow.toEnd();
    this.#deliver(question, view, crypto.getRandomValues(new Uint32Array(4)).join("-"));
    return true;
  }

  regenerate() {
    if (this.#isBusy || this.id === null) return;
    this.#begin();
    const view = this.#messages.begin();
    this.#follow.toEnd();
    this.#read(this.#chat.regenerate(this.id), view);
  }

  async stop() {
    if (!this.#isBusy) return;
    this.#isStopping = true;
    this.#changed();
    if (this.#isCreating) this.#waiting.abort();
    // What the service doesn't know of yet is stopped when it does.
    if (this.id !== null && this.#answer !== null && this.#answer.generationId !== null) await this.#stopNow();
  }

  /** The conversation as it is stored; and its answer, if one is on its way. */
  async #load() {
    const visit = this.#visit;
    let conversation;
    try {
      conversation = await this.#chat.conversations.get(this.id);
    } catch (error) {
      if (visit !== this.#visit) return;
      this.#apologise(error);
      if (isAway(error)) await networkIsBack(this.#waiting.signal);
      if (isAway(error) && visit === this.#visit && !this.#isBusy) this.open(this.id);
      return;
    }
    if (visit !== this.#visit || this.#isBusy) return;
    this.#show(conversation);
    this.#follow.toEnd();
    this.#goOn(conversation);
    if (!conversation.generation && conversation.messages.at(-1)?.role === "user") {
      this.#messages.fail("There is no answer to this yet.");
    }
    this.#others.watch(this.id, conversation);
  }

  /** Send a question. The key makes it one message, however often it is tried. */
  async #deliver(question, view, key) {
    const visit = this.#visit;
    const content = question.text;
    const refused = (error) => {
      this.#unsent = content;
      this.#messages.dropAnswer();
      const again = () => {
        if (this.#isBusy) return;
        this.#begin();
        this.#deliver(question, this.#messages.begin(), key);
      };
      question.notify(error.message, { bad: true, action: "Send again", act: again });
      announce(`Not sent. ${error.message}`);
    };
    let { id } = this;
    this.#unsent = "";
    if (id === null) {
      this.#unsent = content;
      try {
        ({ id } = await this.#create());
      } catch (error) {
        if (visit !== this.#visit) {
          this.#giveBack(null, content);
          return;
        }
        this.#end();
        refused(error);
        return;
      }
      if (visit === this.#visit) {
        this.#unsent = "";
        this.id = id;
        this.dispatchEvent(new CustomEvent("created", { detail: id }));
      }
    }
    this.#conversations.touch(id, content);
    const answer = this.#chat.send(id, content, { idempotencyKey: key });
    if (visit !== this.#visit) return; // it is answered all the same
    this.#others.watch(id);
    await this.#read(answer, view, { question, refused });
  }

  /** A new conversation; offline, as soon as there is a network. */
  async #create() {
    const { signal } = this.#waiting;
    this.#isCreating = true;
    try {
      for (let tries = 0; ; tries--) {
        try {
          return await this.#conversations.create(this.modelTag);
        } catch (error) {
          if (!navigator.onLine) tries = TRIES;
          if (!isAway(error) || signal.aborted || tries <= 0) throw error;
          await networkIsBack(signal);
          if (signal.aborted) throw error;
        }
      }
    } finally {
      if (signal === this.#waiting.signal) this.#isCreating = false;
    }
  }

  /** To the message box: what was written is not lost. */
  #giveBack(id, text) {
    if (text) this.dispatchEvent(new CustomEvent("returned", { detail: { id, text } }));
  }

  /** Show an answer to its end. `question`, `refused`: where it answers one that is sent just now. */
  async #read(answer, view, { question, refused } = {}) {
    const visit = this.#visit;
    this.#begin(answer);
    const { failure, error } = await readInto(answer, view, (start) => {
      if (question) question.id = start.user_message_id;
      if (this.#isStopping) this.#stopNow();
      this.#conversations.tellOthers();
      announce("The answer begins.");
    });
    if (visit !== this.#visit) return;
    this.#end();
    if (error === null) {
      announceAnswer(view.words, view.ending);
      await this.#settle(failure);
    } else if (answer.generationId !== null || !question) {
      await this.#settle(error.code === "answer_gone" ? "" : error.message);
    } else if (error.code === "generation_running") {
      // Another tab was quicker: its answer is shown, and the question goes back where it came from.
      this.#giveBack(this.id, question.text);
      toast(error.message);
      await this.#settle("");
    } else {
      if (error.status === 404) this.#forget(); // deleted elsewhere: sent again, it begins another one
      refused(error);
    }
  }

  /** After an answer: what is stored is the truth. The old answer is back where a new one failed. */
  async #settle(failure) {
    const visit = this.#visit;
    const { id } = this;
    const isPast = () => visit !== this.#visit || id !== this.id || this.#isBusy;
    let conversation;
    try {
      conversation = await this.#chat.conversations.get(id);
    } catch (error) {
      if (error.status === 404 && !isPast()) this.#apologise(error);
      return; // what is shown is right but for its small print
    }
    if (isPast()) return;
    this.#show(conversation);
    this.#goOn(conversation);
    if (failure) this.#messages.fail(failure);
  }

  async #join(answer) {
    if (this.#isBusy) return; // our own was sent, and is refused: its end shows what else there is
    const visit = this.#visit;
    const conversation = await this.#chat.conversations.get(this.id);
    if (visit !== this.#visit || this.#isBusy) return;
    this.#show(conversation);
    if (!answer.ended) this.#read(answer, this.#messages.begin());
  }

  #goOn({ generation }) {
    if (generation) this.#read(this.#chat.attach(this.id, { generation }), this.#messages.begin());
  }

  #show(conversation) {
    this.#known.set(conversation.id, conversation);
    this.#conversations.put(conversation);
    const { messages, generation } = conversation;
    const asked = messages.findIndex(({ id }) => id === generation?.user_message_id);
    this.#messages.show(asked < 0 ? messages : messages.slice(0, asked + 1)); // the old answer goes when the new one comes
    this.#changed();
  }

  #apologise(error) {
    if (error.status === 404) {
      this.#forget();
      this.#messages.apologise("This conversation no longer exists.", "Start a new one", () => (location.hash = "#/"));
    } else this.#messages.apologise(error.message, "Try again", () => this.open(this.id));
    announce(error.message);
  }

  #forget() {
    this.#known.delete(this.id);
    this.#conversations.forget(this.id);
    this.id = null; // what is written now begins another one
  }

  async #stopNow() {
    try {
      await this.#chat.stop(this.id);
    } catch (error) {
      this.#isStopping = false;
      this.#changed();
      toast(`It could not be stopped: ${error.message}`);
    }
  }

  #begin(answer = null) {
    this.#isBusy = true;
    this.#answer = answer;
    this.#changed();
  }

  #end() {
    this.#isBusy = this.#isStopping = false;
    this.#answer = null;
    this.#changed();
  }

  #leave() {
    this.#visit++;
    if (!this.#isCreating) this.#giveBack(this.id, this.#unsent); // else that ends first
    this.#unsent = "";
    this.#isCreating = false;
    this.#waiting.abort();
    this.#waiting = new AbortController();
    this.#answer?.leave(); // it is written to its end all the same
    this.#others.leave();
    this.#end();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
