// The open conversation: loads it, sends, reads answers to their end, and joins those that other tabs began.

import { announce, announceAnswer } from "./announcer.js";
import { toast } from "./toast.js";

export class Thread extends EventTarget {
  #chat;
  #conversations;
  #messages;
  #follow;
  #answer = null; // the one that is read
  #busy = false; // from a question to its answer's end
  #stopAsked = false;
  #visit = 0; // counts what was opened: what comes late belongs to another one
  #others = null;
  #known = new Map(); // conversations as they were last seen, to be shown at once
  id = null;
  modelTag = ""; // for a new conversation

  constructor(chat, conversations, messages, follow) {
    super();
    this.#chat = chat;
    this.#conversations = conversations;
    this.#messages = messages;
    this.#follow = follow;
  }

  get isBusy() {
    return this.#busy;
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
    if (known) {
      this.#messages.show(known.messages);
      this.#follow.toEnd();
    }
    await this.#load();
  }

  /** The conversation as it is stored; and its answer, if one is on its way. */
  async #load() {
    const { id } = this;
    const visit = this.#visit;
    let conversation;
    try {
      conversation = await this.#chat.conversations.get(id);
    } catch (error) {
      if (visit === this.#visit) this.#apologise(error);
      return;
    }
    if (visit !== this.#visit) return;
    const { generation } = conversation;
    this.#show(conversation);
    this.#follow.toEnd();
    if (generation) this.#read(this.#chat.attach(id, { generation }), this.#messages.begin());
    else if (conversation.messages.at(-1)?.role === "user") this.#messages.fail("There is no answer to this yet.");
    this.#watch(conversation);
  }

  /** @returns {boolean} whether it was taken */
  send(content) {
    if (this.#busy) return false;
    this.#begin();
    const question = this.#messages.ask(content);
    const answer = this.#messages.begin();
    this.#follow.toEnd();
    this.#deliver(question, answer, content, crypto.getRandomValues(new Uint32Array(4)).join("-"));
    return true;
  }

  regenerate() {
    if (this.#busy || this.id === null) return;
    this.#begin();
    const answer = this.#messages.begin();
    this.#follow.toEnd();
    this.#read(this.#chat.regenerate(this.id), answer);
  }

  async stop() {
    if (!this.#busy) return;
    this.#stopAsked = true; // also for one that isn't known by the server yet
    this.#changed();
    if (this.id === null || this.#answer?.generationId === null) return;
    await this.#stopNow();
  }

  get isStopping() {
    return this.#stopAsked;
  }

  /** Send a question, safe to repeat: the key makes it one message, however often it is tried. */
  async #deliver(question, view, content, key) {
    const visit = this.#visit;
    const again = () => {
      if (this.#busy) return;
      this.#begin();
      this.#deliver(question, this.#messages.begin(), content, key);
    };
    const refused = (error) => {
      view.element.remove();
      this.#messages.dropAnswer();
      question.notify(error.message, { bad: true, action: "Send again", act: again });
      announce(`Not sent. ${error.message}`);
    };
    let id = this.id;
    if (id === null) {
      try {
        ({ id } = await this.#conversations.create(this.modelTag));
      } catch (error) {
        if (visit === this.#visit) {
          this.#end();
          refused(error);
        }
        return;
      }
      if (visit === this.#visit) {
        this.id = id;
        this.dispatchEvent(new CustomEvent("created", { detail: id }));
      }
    }
    this.#conversations.touch(id, content);
    const answer = this.#chat.send(id, content, { idempotencyKey: key });
    if (visit !== this.#visit) return; // it is answered all the same
    this.#watch();
    await this.#read(answer, view, { question, refused });
  }

  /** Show an answer's events to its end. */
  async #read(answer, view, { question, refused } = {}) {
    const visit = this.#visit;
    this.#begin(answer);
    let failure = "";
    let done = null;
    try {
      for await (const event of answer) {
        if (visit !== this.#visit) return;
        if (event.type === "start") {
          if (question) question.id = event.user_message_id;
          if (this.#stopAsked) this.#stopNow();
          this.#conversations.tellOthers();
          announce("The answer begins.");
        } else if (event.type === "token") view.append(event.token);
        else if (event.type === "reset") view.reset(event.content);
        else if (event.type === "error") failure = event.detail;
        else done = event;
      }
    } catch (error) {
      if (visit !== this.#visit) return;
      view.finish();
      this.#end();
      if (answer.generationId === null && refused && error.code !== "generation_running") refused(error);
      else await this.#settle(error.code === "answer_gone" ? "" : error.message);
      return;
    }
    if (visit !== this.#visit) return;
    view.finish(done);
    if (failure) view.fail(failure);
    this.#end();
    announceAnswer(view.words, view.ending);
    await this.#settle(failure);
  }

  /** After an answer: what is stored is the truth. The old answer is back where a new one failed. */
  async #settle(failure) {
    const visit = this.#visit;
    let conversation;
    try {
      conversation = await this.#chat.conversations.get(this.id);
    } catch (error) {
      if (visit === this.#visit && error.status === 404) this.#apologise(error);
      return; // what is shown is right but for its small print
    }
    if (visit !== this.#visit || this.#busy) return;
    this.#show(conversation);
    if (conversation.generation) {
      this.#read(this.#chat.attach(this.id, { generation: conversation.generation }), this.#messages.begin());
    }
    if (failure) this.#messages.fail(failure);
  }

  /** Answers that other tabs begin. */
  async #watch(conversation) {
    if (this.#others) return;
    const visit = this.#visit;
    const others = (this.#others = this.#chat.follow(this.id, { conversation }));
    try {
      for await (const answer of others) {
        if (visit !== this.#visit) return;
        await this.#join(answer, visit);
      }
    } catch (error) {
      if (visit !== this.#visit) return;
      this.#others = null; // the next message, or the next visit, looks again
      toast(`Other tabs' answers can't be followed: ${error.message}`);
    }
  }

  async #join(answer, visit) {
    if (this.#busy) return; // our own is refused or comes first; its end shows what else there is
    const conversation = await this.#chat.conversations.get(this.id);
    if (visit !== this.#visit || this.#busy) return;
    this.#show(conversation);
    if (!answer.ended) this.#read(answer, this.#messages.begin());
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
      this.#conversations.forget(this.id);
      this.id = null; // what is written now begins another one
      this.#messages.apologise("This conversation is no more.", "Begin a new one", () => (location.hash = "#/"));
    } else this.#messages.apologise(error.message, "Try again", () => this.open(this.id));
    announce(error.message);
  }

  async #stopNow() {
    try {
      await this.#chat.stop(this.id);
    } catch (error) {
      this.#stopAsked = false;
      this.#changed();
      toast(`It could not be stopped: ${error.message}`);
    }
  }

  #begin(answer = null) {
    this.#busy = true;
    this.#answer = answer;
    this.#changed();
  }

  #end() {
    this.#busy = this.#stopAsked = false;
    this.#answer = null;
    this.#changed();
  }

  #leave() {
    this.#visit++;
    this.#answer?.leave(); // it is written to its end all the same
    this.#others?.leave();
    this.#others = null;
    this.#end();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
