/**
 * Run the tools that an answer calls, and ask for the answer that their results lead to.
 *
 * @param {import("./answer.js").Answer} answer
 * @param {((calls: any[], answer: any) => any) | undefined} run the caller's function
 * @param {(results: any[]) => import("./answer.js").Answer} send sends the results
 * @returns {Promise<import("./answer.js").Answer | null>} null: there are no calls, or no results. It rejects with
 *   whatever `run` throws.
 */
export async function runTools(answer, run, send) {
  const done = await answer.done.catch(() => null); // the answer's iterator throws it
  if (!run || done?.finish_reason !== "tool_calls") return null;
  const results = await run(answer.toolCalls, answer);
  return results ? send(results) : null;
}
