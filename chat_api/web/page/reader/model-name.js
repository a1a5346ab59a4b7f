// Models' names.

/** The name of a model in a model server's list, which has names, or objects with a name. */
export function nameOf(model) {
  return typeof model === "string" ? model : (model?.model_tag ?? model?.tag ?? model?.id ?? model?.name ?? "");
}

/** A model's name without the folder and file type that model servers add. */
export function shortName(model) {
  return model.replace(/^.*[/\\]/, "").replace(/\.gguf$/i, "");
}
