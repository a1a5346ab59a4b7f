// Models' names.

const shown = new Map(); // by tag: what the operator calls them

/** The name of a model in a model server's list, which has names, or objects with a name. */
export function nameOf(model) {
  return typeof model === "string" ? model : (model?.model_tag ?? model?.tag ?? model?.id ?? model?.name ?? "");
}

/** Learn what models are called. @param {{tag: string, name: string}[]} details as the service lists them */
export function learnNames(details) {
  shown.clear();
  for (const { tag, name } of details) if (name !== tag) shown.set(tag, name);
}

/** What a model is called; without a name of its own, its tag without the folder and file type that servers add. */
export function shownName(tag) {
  return shown.get(tag) ?? tag.replace(/^.*[/\\]/, "").replace(/\.gguf$/i, "");
}
