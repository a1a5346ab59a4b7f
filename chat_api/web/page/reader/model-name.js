// Models' names.

/** Model servers list names, or objects that have one. */
export function nameOf(model) {
  return typeof model === "string" ? model : (model?.model_tag ?? model?.tag ?? model?.id ?? model?.name ?? "");
}

/** A model's name without its folder and file type, as model servers like to give it. */
export function shortName(model) {
  return model.replace(/^.*[/\\]/, "").replace(/\.gguf$/i, "");
}
